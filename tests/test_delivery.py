from typing import Any

import pytest
import torch
from torch import Tensor

from robustbench_aigi.attacks import Perturbation, load_attack
from robustbench_aigi.attacks._engine.views import AveragedDetector, Delivered
from robustbench_aigi.detectors import Card, Detector, load_detector, straight_through, wrap
from robustbench_aigi.errors import ConfigError, LogitsError
from tests.conftest import Linear


class Noisy(Detector):
    """Stochastic: adds torch's noise to the image before a linear score."""

    default_card = Card(name="noisy", source="tests", gradient="eot")
    weight: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", weight)

    def logits(self, images: Tensor) -> Tensor:
        noisy = images + 0.2 * torch.randn_like(images)
        return ((noisy - 0.5) * self.weight).sum(dim=(1, 2, 3))


def test_straight_through_is_the_step_forwards_and_the_identity_backwards() -> None:
    images = torch.rand(2, 3, 8, 8).requires_grad_(True)
    stepped = straight_through(lambda x: (x * 4).round() / 4, images)
    torch.testing.assert_close(stepped.detach(), (images.detach() * 4).round() / 4)
    stepped.sum().backward()
    assert images.grad is not None
    assert torch.equal(images.grad, torch.ones_like(images))


def coarse(images: Tensor) -> Tensor:
    return (images * 32).round() / 32


def test_a_detector_with_quantisation_inside_falls_only_with_bpda(
    images: Tensor, labels: Tensor
) -> None:
    weight = torch.randn(3, 32, 32, generator=torch.Generator().manual_seed(0))

    class Quantised(Detector):
        default_card = Card(name="quantised", source="tests", gradient="bpda")
        honest = False

        def logits(self, images: Tensor) -> Tensor:
            inside = straight_through(coarse, images) if self.honest else coarse(images)
            return ((inside - 0.5) * weight).sum(dim=(1, 2, 3))

    masked = Quantised().eval()
    honest = Quantised().eval()
    honest.honest = True
    with torch.no_grad():
        labels = (masked.logits(images) > 0).long()
    attack = load_attack("pgd-linf", eps=8, steps=10, random_start=False)
    assert not attack(masked, images, labels).fooled.any()
    assert attack(honest, images, labels).fooled.all()


def test_what_survives_is_what_a_second_encoding_gives(images: Tensor, labels: Tensor) -> None:
    detector = load_detector("resnet18-c32", "cifake")
    inner = load_attack("pgd-linf", eps=8, steps=5)
    jpeg = load_attack("jpeg", quality=75)
    assert isinstance(jpeg, Perturbation)
    numbers: dict[str, Any] = {
        "attack": "pgd-linf",
        "numbers": {"eps": 8, "steps": 5},
        "settings": {"quality": 75},
    }
    got = load_attack("survives", **numbers)(detector, images, labels, seed=4)
    sent = inner(detector, images, labels, seed=4, full=True).images
    assert torch.equal(got.images, jpeg.apply(sent, list("0123"), seed=4))


def smooth(count: int) -> Tensor:
    rng = torch.Generator().manual_seed(0)
    coarse = torch.rand(count, 3, 8, 8, generator=rng)
    images = torch.nn.functional.interpolate(coarse, size=32, mode="bicubic").clamp(0, 1)
    return images.mul(255).round() / 255


def test_an_adaptive_attack_survives_more() -> None:
    detector = load_detector("resnet18-c32", "cifake")
    images = smooth(24)
    margins = {}
    for adaptive in (False, True):
        inner = {"eps": 4, "step": 1, "steps": 10}
        attack = load_attack("survives", numbers=inner, settings={"quality": 50}, adaptive=adaptive)
        with torch.no_grad():
            labels = (detector.logits(images) > 0).long()
        result = attack(detector, images, labels)
        margins[adaptive] = float((result.logits * (2 * labels - 1)).mean())
    assert margins[True] < margins[False]


def test_delivered_scores_what_arrives() -> None:
    detector = load_detector("resnet18-c32", "cifake")
    images = smooth(4)
    jpeg = load_attack("jpeg", quality=50)
    assert isinstance(jpeg, Perturbation)
    with torch.no_grad():
        arrived = detector.logits(jpeg.apply(images, list("abcd")))
        torch.testing.assert_close(
            Delivered(detector, jpeg).logits(images), arrived, rtol=1e-4, atol=1e-4
        )


def test_eot_beats_chance_and_is_the_same_twice(images: Tensor, labels: Tensor) -> None:
    weight = torch.randn(3, 32, 32, generator=torch.Generator().manual_seed(0))
    detector = Noisy(weight).eval()
    view = AveragedDetector(detector, 16)
    state = torch.random.get_rng_state()
    assert torch.equal(view.logits(images), view.logits(images))
    assert torch.equal(torch.random.get_rng_state(), state)
    attack = load_attack("eot", numbers={"eps": 8, "steps": 12}, draws=16)
    result = attack(detector, images, labels, full=True)
    gain = (view.logits(images) - view.logits(result.images)) * (2 * labels - 1)
    assert (gain > float(weight.abs().sum()) * 8 / 255 / 1.1).all()
    assert (result.linf <= 8).all()


def test_an_attack_behind_a_delivery_keeps_its_query_budget(images: Tensor, labels: Tensor) -> None:
    detector = Linear(
        torch.randn(3, 32, 32, generator=torch.Generator().manual_seed(0)), 0.0, centre=0.5
    )
    through = load_attack(
        "survives", attack="hop-skip-jump-linf", numbers={"eps": 8, "queries": 70}, delivery="jpeg"
    )
    assert (through(detector, images, labels, full=True).forwards <= 1 + 71 + 1).all()


def test_the_smallest_change_behind_a_view_is_the_smallest(images: Tensor, labels: Tensor) -> None:
    detector = Linear(
        torch.randn(3, 32, 32, generator=torch.Generator().manual_seed(0)), 0.0, centre=0.5
    )
    direct = load_attack("fmn-linf", steps=30)(detector, images, labels)
    through = load_attack("eot", attack="fmn-linf", numbers={"steps": 30}, draws=1)(
        detector, images, labels
    )
    assert torch.equal(through.linf, direct.linf)
    assert through.fooled.all()


def test_bad_numbers_name_the_attack_and_the_value() -> None:
    for name, numbers in (
        ("pgd-linf", {"eps": -1}),
        ("pgd-linf", {"eps": 300}),
        ("pgd-linf", {"steps": 0}),
        ("square-l2", {"queries": 0}),
        ("k-pixel", {"pixels": 0}),
        ("dct-pgd", {"low": 2.0}),
    ):
        ((key, value),) = numbers.items()
        with pytest.raises(ConfigError, match=rf"{name} wants {key} of .* got {value}"):
            load_attack(name, **numbers)
    with pytest.raises(ConfigError, match="delivery must be a perturbation, got 'pgd-linf'"):
        load_attack("survives", delivery="pgd-linf")


def test_a_detector_that_answers_nonsense_is_named(images: Tensor, labels: Tensor) -> None:
    nan = Linear(torch.full((3, 32, 32), float("nan")), 0.0)
    with pytest.raises(LogitsError, match="linear gave a logit of nan for 4 of 4"):
        load_attack("pgd-linf")(nan, images, labels)
    assert nan.weight.requires_grad
    black_box = wrap(torch.nn.Flatten(), input_size=32, name="remote", gradient="none")
    with pytest.raises(LogitsError, match="pgd-linf needs gradients, and remote has none"):
        load_attack("pgd-linf")(black_box, images, labels)

    class Cut(Linear):
        def logits(self, images: Tensor) -> Tensor:
            return super().logits(images.detach())

    with pytest.raises(LogitsError, match="no gradient from its logit to its image"):
        load_attack("pgd-linf")(Cut(torch.ones(3, 32, 32), 0.0), images, labels, full=True)
