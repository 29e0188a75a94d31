"""The binarisation test: a head is built so that an adversarial is known to be there; an attack
must find it.

Source: Zimmermann et al., Increasing Confidence in Adversarial Robustness Evaluations, NeurIPS
    2022.
"""

from typing import Any

import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from robustbench_aigi.attacks import Attack, load_attack, load_suite
from robustbench_aigi.detectors import Card, Detector, load_detector

EPS_GREY = 8
INNER_POINTS = 150
IMAGE_COUNT = 20


class Planted(Detector):
    """A fitted network's features under a new head that tells the planted point from points well
    inside the ball.
    """

    default_card = Card(name="planted", source="tests")

    def __init__(self, net: nn.Module, weight: Tensor, bias: float) -> None:
        super().__init__()
        self.net = net
        self.head = nn.Parameter(weight)
        self.bias = bias

    def logits(self, images: Tensor) -> Tensor:
        return features(self.net, images) @ self.head + self.bias


def features(net: Any, images: Tensor) -> Tensor:
    kept: Tensor = net.net.forward_head(
        net.net.forward_features(net.normalise(images)), pre_logits=True
    )
    return kept


def plant(net: nn.Module, image: Tensor, rng: torch.Generator) -> Planted | None:
    """A detector right (above 0) on the image and wrong on a corner of the ball; None where
    features are blind.
    """
    noise = (
        torch.randint(-EPS_GREY + 1, EPS_GREY, (INNER_POINTS, *image.shape), generator=rng) / 255
    )
    corner = EPS_GREY / 255 * (2 * torch.randint(0, 2, image.shape, generator=rng) - 1)
    points = (image + torch.cat([torch.zeros(1, *image.shape), noise, corner[None]])).clamp(0, 1)
    with torch.no_grad():
        known = features(net, points)
    spread = known[:-1].std(dim=0).clamp(min=1e-6)
    scaled = (known - known[:-1].mean(dim=0)) / spread
    centre = known[:-1].mean(dim=0)
    target = [1] * (len(known) - 1) + [0]
    head = LogisticRegression(C=1e4, max_iter=5000).fit(scaled.double().numpy(), target)
    weight = torch.from_numpy(head.coef_[0]).float() / spread
    scores = (known - centre) @ weight
    inside = scores[:-1].min()
    planted = scores[-1]
    if planted >= inside:
        return None
    middle = float(0.01 * inside + 0.99 * planted) + float(centre @ weight)
    return Planted(net, weight, -middle).eval()


@pytest.fixture(scope="module")
def planted() -> list[tuple[Tensor, Planted]]:
    net = load_detector("resnet18-c32", "cifake")
    rng = torch.Generator().manual_seed(0)
    coarse = torch.rand(IMAGE_COUNT, 3, 8, 8, generator=rng)
    images = (
        nn.functional.interpolate(coarse, size=32, mode="bicubic").clamp(0, 1).mul(255).round()
        / 255
    )
    made = [(image, plant(net, image, rng)) for image in images]
    kept = [(image, detector) for image, detector in made if detector is not None]
    assert len(kept) >= 0.9 * IMAGE_COUNT
    return kept


def share_found(planted: list[tuple[Tensor, Planted]], attack: Attack) -> float:
    """Share of the planted adversarials found; every detector is right on its clean image."""
    results = [attack(detector, image[None], torch.tensor([1])) for image, detector in planted]
    assert all(bool(result.clean_logits > 0) for result in results)
    return sum(bool(result.fooled) for result in results) / len(results)


def test_random_corners_find_few_of_them(planted: list[tuple[Tensor, Planted]]) -> None:
    rng = torch.Generator().manual_seed(1)
    hits = 0
    for image, detector in planted:
        corners = EPS_GREY / 255 * (2 * torch.randint(0, 2, (50, *image.shape), generator=rng) - 1)
        with torch.no_grad():
            hits += bool((detector.logits((image + corners).clamp(0, 1)) <= 0).any())
    assert hits <= 0.5 * len(planted)


def test_pgd_finds_four_in_five_planted_adversarials(planted: list[tuple[Tensor, Planted]]) -> None:
    pgd = load_attack("pgd-linf", eps=EPS_GREY, step=2, steps=40)
    assert share_found(planted, pgd) >= 0.8


def test_the_strong_suite_finds_nineteen_in_twenty(planted: list[tuple[Tensor, Planted]]) -> None:
    ensemble = next(row.built for row in load_suite("strong").rows if row.id == "aa-binary-linf-8")
    assert share_found(planted, ensemble) >= 0.95
