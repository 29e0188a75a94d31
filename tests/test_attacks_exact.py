"""Attacks against what is known exactly: closed forms of a linear detector, exhaustive search,
planted adversarials.
"""

import pytest
import torch
from torch import Tensor

from robustbench_aigi.attacks import load_attack
from robustbench_aigi.attacks._engine.norm_balls import Ball
from robustbench_aigi.attacks.gradient.fab import nearest
from robustbench_aigi.detectors import load_detector
from tests.conftest import Linear

IMAGE_SIZES = (8, 16, 32)
BATCH_SIZES = (1, 3, 8)


def scene(size: int, batch: int) -> tuple[Tensor, Tensor, Tensor]:
    """Images with room to both ends of the pixel range, labels, and a detector's weight."""
    rng = torch.Generator().manual_seed(batch + size)
    images = torch.randint(60, 196, (batch, 3, size, size), generator=rng).float() / 255
    return (
        images,
        torch.randint(0, 2, (batch,), generator=rng),
        torch.randn(3, size, size, generator=rng),
    )


class OwnBias(Linear):
    """A linear detector whose margin is the same on every image of a known batch: a bias an
    image.
    """

    def __init__(self, weight: Tensor, images: Tensor, labels: Tensor, margin: float) -> None:
        super().__init__(weight, 0.0)
        self.known = images
        self.goal: Tensor = margin * (2 * labels - 1)
        self.shift: Tensor = self.goal - super().logits(images).detach()

    def nearest(self, images: Tensor) -> Tensor:
        """Places in the known batch."""
        return (images.unsqueeze(1) - self.known).abs().amax(dim=(2, 3, 4)).detach().argmin(dim=1)

    def logits(self, images: Tensor) -> Tensor:
        return super().logits(images) + self.shift[self.nearest(images)]


def reach(weight: Tensor, norm: str, eps: float) -> float:
    """How far a change of ``eps`` moves the logit: the dual norm."""
    return float(weight.abs().sum() * eps / 255 if norm == "linf" else weight.norm() * eps)


@pytest.mark.parametrize("size", IMAGE_SIZES)
@pytest.mark.parametrize("batch", BATCH_SIZES)
@pytest.mark.parametrize(("norm", "eps"), [("linf", 4), ("l2", 0.5)])
def test_fab_flips_what_5_percent_more_than_the_optimum_can_flip(
    norm: str, eps: float, batch: int, size: int
) -> None:
    images, labels, weight = scene(size, batch)
    attack = load_attack(f"fab-{norm}", eps=eps)
    inside = OwnBias(weight, images, labels, reach(weight, norm, eps) / 1.05)
    assert attack(inside, images, labels).fooled.all()
    outside = OwnBias(weight, images, labels, reach(weight, norm, eps) * 1.01)
    assert not attack(outside, images, labels).fooled.any()


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_nearest_is_the_nearest_change_inside_the_pixel_range(norm: str) -> None:
    rng = torch.Generator().manual_seed(0)
    slope = torch.randn(20, 3, 4, 4, generator=rng)
    low = -255 * torch.rand(20, 3, 4, 4, generator=rng)
    high = 255 * torch.rand(20, 3, 4, 4, generator=rng)
    most = (slope * torch.where(slope > 0, high, low)).sum(dim=(1, 2, 3), keepdim=True)
    fall = most * torch.linspace(0.05, 0.98, 20).view(-1, 1, 1, 1)
    ball = load_attack(f"pgd-{norm}")
    assert isinstance(ball, Ball)
    change = nearest(ball, slope, fall, low, high)
    torch.testing.assert_close(
        (slope * change).sum(dim=(1, 2, 3), keepdim=True), fall, rtol=1e-4, atol=1e-2
    )
    assert ((change >= low) & (change <= high)).all()
    free = (change > low) & (change < high)
    pull = (
        change / slope if norm == "l2" else change.abs()
    )  # Lagrange: one multiplier for all that meet no bound
    for row in range(20):
        own = pull[row][free[row]]
        torch.testing.assert_close(own, own[:1].expand_as(own), rtol=1e-3, atol=1e-3)
    back = nearest(ball, slope, torch.full((20, 1, 1, 1), -5.0), low - 255, high + 255)
    torch.testing.assert_close(
        (slope * back).sum(dim=(1, 2, 3)), torch.full((20,), -5.0), rtol=1e-4, atol=1e-3
    )


@pytest.mark.parametrize("size", IMAGE_SIZES)
@pytest.mark.parametrize("batch", BATCH_SIZES)
@pytest.mark.parametrize("pixels", [1, 5, 20])
def test_pgd_l0_finds_the_best_pixels_of_a_linear_detector(
    pixels: int, batch: int, size: int
) -> None:
    images, labels, weight = scene(size, batch)
    result = load_attack("pgd-l0", pixels=pixels)(Linear(weight, 0.0), images, labels, full=True)
    slope = weight * (1 - 2 * labels).view(-1, 1, 1, 1)
    gain = torch.where(slope > 0, slope * (1 - images), -slope * images).sum(dim=1).flatten(1)
    optimum = gain.topk(pixels, dim=1).values.sum(dim=1)
    assert ((result.clean_logits - result.logits) * (2 * labels - 1) > optimum / 1.05).all()


@pytest.mark.parametrize("size", IMAGE_SIZES)
@pytest.mark.parametrize("batch", BATCH_SIZES)
@pytest.mark.parametrize(
    ("norm", "eps"), [("linf", 1), ("linf", 3), ("linf", 20), ("l2", 0.3), ("l2", 2.0)]
)
def test_fmn_reports_the_smallest_eps(norm: str, eps: float, batch: int, size: int) -> None:
    images, labels, weight = scene(size, batch)
    detector = OwnBias(weight, images, labels, reach(weight, norm, eps) * 0.999)
    result = load_attack(f"fmn-{norm}")(detector, images, labels)
    got = result.linf.double() if norm == "linf" else result.l2
    assert result.fooled.all()
    assert (got <= eps * 1.05).all()
    assert (got >= eps * 0.99).all()


class Sure(OwnBias):
    """The same boundary; next to no slope where the images lie, and a long way off no slope and no
    error.
    """

    def logits(self, images: Tensor) -> Tensor:
        which = self.nearest(images)
        far = (images - self.known[which]).square().mean(dim=(1, 2, 3)).sqrt() > 64 / 255
        near = torch.tanh(6 * super().logits(images) / self.goal[which].abs())
        return torch.where(far, self.goal[which].sign(), near)


@pytest.mark.parametrize("size", IMAGE_SIZES)
@pytest.mark.parametrize(("norm", "eps"), [("linf", 3), ("linf", 20), ("l2", 0.5)])
def test_fmn_finds_what_is_near_where_the_detector_is_flat(
    norm: str, eps: float, size: int
) -> None:
    images, labels, weight = scene(size, 3)
    detector = Sure(weight, images, labels, reach(weight, norm, eps) * 0.999)
    result = load_attack(f"fmn-{norm}")(detector, images, labels)
    assert result.fooled.all()
    assert ((result.linf.double() if norm == "linf" else result.l2) <= eps * 1.05).all()


def test_fmn_reaches_far_in_few_steps_where_nothing_has_fooled_yet() -> None:
    images, labels, weight = scene(16, 3)
    detector = Sure(weight, images, labels, reach(weight, "linf", 55) * 0.999)
    assert load_attack("fmn-linf", steps=28)(detector, images, labels).fooled.all()


def test_fmn_leaves_images_it_cannot_flip_and_those_already_wrong(
    images: Tensor, labels: Tensor
) -> None:
    blind = Linear(torch.zeros(3, 32, 32), 1.0)
    result = load_attack("fmn-linf", steps=5)(blind, images, labels)
    assert torch.equal(result.images, images)
    assert result.fooled.tolist() == [True, False, True, False]


def test_evolution_finds_95_percent_of_what_exhaustive_search_finds() -> None:
    rng = torch.Generator().manual_seed(7)
    images = torch.randint(0, 256, (20, 3, 32, 32), generator=rng).float() / 255
    weight = 0.1 * torch.randn(3, 32, 32, generator=rng) ** 3
    with torch.no_grad():
        middle = float(Linear(weight, 0.0).logits(images).median())
        detector = Linear(weight, -middle)
        labels = (detector.logits(images) > 0).long()
    known = load_attack("one-pixel-exhaustive", batch=8192)(detector, images, labels).fooled
    found = load_attack("one-pixel")(detector, images, labels).fooled
    assert 2 <= int(known.sum()) <= 18
    assert int((found & known).sum()) >= 0.95 * int(known.sum())


def test_more_pixels_move_further_and_spend_no_more(images: Tensor, labels: Tensor) -> None:
    weight = torch.randn(3, 32, 32, generator=torch.Generator().manual_seed(0))
    moved = []
    for pixels in (1, 3, 8):
        attack = load_attack("k-pixel", pixels=pixels, population=40, generations=30)
        result = attack(Linear(weight, 0.0), images, labels, full=True)
        moved.append(float(((result.clean_logits - result.logits) * (2 * labels - 1)).mean()))
        assert (result.l0 <= pixels).all()
        assert result.forwards.tolist() == [1 + 40 * 31] * 4
    assert moved == sorted(moved)


@pytest.mark.parametrize(("norm", "eps"), [("linf", 2), ("l2", 0.25)])
def test_the_ensemble_leaves_no_image_that_a_member_flips(norm: str, eps: float) -> None:
    detector = load_detector("resnet18-c32", "cifake")
    rng = torch.Generator().manual_seed(0)
    images = torch.nn.functional.interpolate(
        torch.rand(12, 3, 8, 8, generator=rng), size=32, mode="bicubic"
    )
    images = images.clamp(0, 1).mul(255).round() / 255
    with torch.no_grad():
        labels = (detector.logits(images) > 0).long()
    whole = load_attack(f"aa-binary-{norm}", eps=eps, steps=10, queries=100)
    alone = [member(detector, images, labels).fooled for member in whole.members()]  # type: ignore[attr-defined]
    fooled = whole(detector, images, labels).fooled
    assert all((fooled >= own).all() for own in alone)
    assert any(bool(own.any()) for own in alone)
