"""A9: the step of a score is measured, and exact scores are not taken for rounded ones."""

import doctest

import pytest
import torch
from torch import Tensor

from robustbench_aigi.detectors._support import score_step as module
from robustbench_aigi.detectors._support.score_step import score_step, step_of_logits
from robustbench_aigi.detectors.external.outputs import to_binary_logit


def drawn(count: int, spread: float, seed: int = 0) -> Tensor:
    """Exact probabilities ``(N,)``, float64."""
    return torch.sigmoid(
        spread
        * torch.randn(count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    )


@pytest.mark.parametrize("digits", [1, 2, 3, 4])
@pytest.mark.parametrize("count", [12, 200])
def test_rounded_scores_have_a_step(digits: int, count: int) -> None:
    rounded = (drawn(count, 3) * 10**digits).round() / 10**digits
    assert score_step(rounded.tolist()) == pytest.approx(10.0**-digits)
    for kind in (torch.float64, torch.float32):  # as an address gives them, and as a network does
        logits = to_binary_logit(rounded.to(kind), 1, "probability", "it").float()
        assert step_of_logits(logits) == pytest.approx(10.0**-digits)
        two = torch.stack([1 - rounded, rounded], dim=1).to(kind)
        assert step_of_logits(
            to_binary_logit(two, 0, "probability", "it").float()
        ) == pytest.approx(10.0**-digits)


@pytest.mark.parametrize("spread", [0.1, 1, 5, 20, 100])
def test_exact_scores_have_none_however_saturated(spread: float) -> None:
    for seed in range(50):
        scores = drawn(40, spread, seed)
        assert step_of_logits(scores.clamp(1e-9, 1 - 1e-9).logit().float()) == 0
        assert step_of_logits(to_binary_logit(scores.float(), 1, "probability", "it")) == 0
        assert score_step(scores.tolist()) == 0


def test_bytes_votes_and_halves() -> None:
    assert score_step([k / 255 for k in (0, 13, 77, 101, 254)]) == pytest.approx(1 / 255)
    assert step_of_logits(
        torch.tensor([k / 255 for k in (13, 77, 101, 254)]).logit()
    ) == pytest.approx(1 / 255)
    assert score_step([k / 20 for k in range(1, 20)]) == pytest.approx(0.05)


def test_rounded_logits_have_a_quarter_of_their_step() -> None:
    logits = (torch.randn(50, generator=torch.Generator().manual_seed(0)) * 8 * 10).round() / 10
    assert step_of_logits(logits) == pytest.approx(0.025)


def test_labels_alone_have_a_step_of_one_and_little_data_none() -> None:
    assert score_step([0.0, 1.0] * 8) == step_of_logits(torch.tensor([-1.0, 1.0]).repeat(8)) == 1.0
    assert score_step([0.0, 1.0] * 7) == step_of_logits(torch.tensor([-1.0, 1.0]).repeat(7)) == 0.0
    clipped = to_binary_logit(torch.tensor([0.0, 1.0]).repeat(20), 1, "probability", "it")
    assert step_of_logits(clipped) == 0.0  # rounded, or saturated: both look the same
    for nothing in ([], [0.0] * 50, [2.0] * 50, [0.5, float("nan"), float("inf")]):
        assert step_of_logits(torch.tensor(nothing)) == 0.0
    assert score_step([]) == score_step([0.5, 0.5]) == 0.0


def test_its_examples() -> None:
    assert doctest.testmod(module).failed == 0
