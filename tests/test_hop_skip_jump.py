import pytest
import torch
from torch import Tensor

from robustbench_aigi.attacks import load_attack
from robustbench_aigi.attacks.decision._boundary_walk import BISECTION_STEPS, STEP_LENGTHS
from robustbench_aigi.attacks.decision.hop_skip_jump import MIN_PROBES
from robustbench_aigi.imaging.pixels import snap
from tests.conftest import Linear

LEAST_ROUND = MIN_PROBES + BISECTION_STEPS + STEP_LENGTHS


def apart(size: int, distance: float) -> tuple[Linear, Tensor, Tensor, Tensor]:
    """A linear detector, images about ``distance`` (L2) from its boundary on both sides, labels,
    exact distances.
    """
    rng = torch.Generator().manual_seed(size)
    weight = torch.randn(3, size, size, generator=rng)
    noise = torch.randint(-50, 51, (4, 3, size, size), generator=rng) / 255
    sides = torch.tensor([1.0, -1, 1, -1])
    noise = (
        noise
        - (noise * weight).sum(dim=(1, 2, 3)).view(-1, 1, 1, 1) * weight / weight.square().sum()
    )
    images = snap(0.5 + noise + (sides * distance).view(-1, 1, 1, 1) * weight / weight.norm())
    detector = Linear(weight, 0.0, centre=0.5)
    with torch.no_grad():
        return detector, images, (sides > 0).long(), detector.logits(images).abs() / weight.norm()


@pytest.mark.parametrize("size", [8, 16])
def test_hop_skip_jump_comes_within_20_percent_of_a_linear_boundary(size: int) -> None:
    detector, images, labels, nearest = apart(size, 0.6)
    result = load_attack("hop-skip-jump-l2", eps=1.2 * float(nearest.min()))(
        detector, images, labels
    )
    assert result.fooled.all()
    assert (result.l2 >= nearest).all()
    assert not load_attack("hop-skip-jump-l2", eps=0.98 * float(nearest.min()))(
        detector, images, labels
    ).fooled.any()


def test_hop_skip_jump_comes_near_a_linear_boundary_in_linf() -> None:
    detector, images, labels, _ = apart(8, 0.6)
    weight = detector.weight.detach()
    nearest = float((detector.logits(images).detach().abs() / weight.abs().sum() * 255).max())
    assert load_attack("hop-skip-jump-linf", eps=1.3 * nearest)(
        detector, images, labels
    ).fooled.all()


@pytest.mark.parametrize("name", ["hop-skip-jump-l2", "hop-skip-jump-linf"])
@pytest.mark.parametrize("queries", [1, 5, 19, 50, 300])
def test_hop_skip_jump_keeps_its_queries(name: str, queries: int) -> None:
    detector, images, labels, _ = apart(16, 3.0)
    result = load_attack(name, eps=1 if "linf" in name else 0.01, queries=queries)(
        detector, images, labels
    )
    assert not result.fooled.any()
    assert (result.forwards <= queries + 1).all()
    assert (result.forwards > queries + 1 - LEAST_ROUND).all()


@pytest.mark.parametrize("name", ["hop-skip-jump-l2", "hop-skip-jump-linf"])
def test_hop_skip_jump_looks_at_verdicts_only(name: str) -> None:
    detector, images, labels, _ = apart(8, 0.6)
    monitored = detector.logits
    scores = load_attack(name, queries=500)(detector, images, labels)
    detector.logits = lambda images: (monitored(images) > 0).float()  # type: ignore[method-assign]
    verdicts = load_attack(name, queries=500)(detector, images, labels)
    assert torch.equal(scores.images, verdicts.images)
    assert torch.equal(scores.fooled, verdicts.fooled)
