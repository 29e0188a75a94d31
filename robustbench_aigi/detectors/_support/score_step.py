"""The step of a score: how finely a detector rounds its answers, estimated from the answers.

A service that answers with one digit hides most changes of its score from a score attack, so that
the attack understates. Values are taken to be rounded where exact ones are very unlikely to lie on
the same lattice.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from robustbench_aigi.detectors.external.outputs import PROBABILITY_CLIP

CLIP_NOISE = 2e-2
"""How far float32 moves the logit of a clipped probability."""
FLOAT_NOISE = 6e-8
"""How far float32 moves a number near 1."""
CHANCE_LIMIT = 1e-6
"""Probability of lying on a lattice by chance below which values are taken to be rounded."""
MIN_EVIDENCE = 3
"""Distinct values, apart from zero and saturated ones, below which no step is reported."""
MIN_VALUES = 16
"""Values below which two distinct ones do not show that a detector answers with labels alone."""
MIN_DISTINCT = 8
"""Distinct values below which a step of 0.5 may be one of 0.1 whose other values did not occur."""
COARSER_FACTORS = (5.0, 2.5, 2.0)
"""Steps that are multiples of a power of ten."""
SCORE_STEPS = (1.0, 1e-1, 1e-2, 1 / 255, 1 / 256, 1e-3, 1e-4, 1e-5, 1e-6)
"""Steps that are looked for in scores, coarsest first; those of a byte are among them."""
LOGIT_STEPS = (10.0, 1.0, 1e-1, 1e-2, 1e-3, 1e-4)
"""Steps that are looked for in logits."""


def score_step(values: Sequence[float]) -> float:
    """Return the largest step of which all values are multiples.

    Args:
        values: scores as the detector gave them, probabilities or others; equal ones may repeat.

    Returns:
        The step: 1, 0.5, 0.1, 0.05, ... 1e-6, or 1/255 or 1/256. 1.0 also for labels alone: 16
        values or more, all of them 0 or 1, and both occur. 0.0 where no step is seen, or where
        there are too few values.

    Example:
        >>> score_step([0.93, 0.07, 0.51])
        0.01
        >>> score_step([0.931211893, 0.070185473, 0.510427719])
        0.0
    """
    distinct = sorted(set(values))
    if distinct == [0.0, 1.0] and len(values) >= MIN_VALUES:
        return 1.0
    noisy = [(value, FLOAT_NOISE * (1 + abs(value))) for value in distinct if value != 1.0]
    return _step_of(noisy, SCORE_STEPS)


def step_of_logits(logits: Float[Tensor, " n"]) -> float:
    """Return the step of the scores behind logits, on the probability scale.

    The probabilities ``sigmoid(logits)`` are tried on a lattice first, then the logits themselves.
    Logits clipped at those of probabilities of 1e-6 and 1 - 1e-6 stand for 0 and 1, which are on
    every lattice and show nothing. Other logits of that size come from no rounded probability, so
    the probabilities are not tried where there are any.

    Args:
        logits: ``(N,)``, of images of both classes; equal ones may repeat.

    Returns:
        The step; of logits that are rounded themselves, a quarter of their step, which is its size
        in probability where it is largest. 1.0 for labels alone: 16 logits or more with two values,
        one of each sign, that are not the clipped ones. 0.0 where no step is seen.

    Example:
        >>> step_of_logits(torch.tensor([0.9, 0.2, 0.6]).logit())
        0.1
        >>> step_of_logits(torch.tensor([1.0, -1.0]).repeat(8))
        1.0
        >>> step_of_logits(torch.tensor([12.31, -14.62, 17.28, -16.94]))
        0.0025
    """
    found = logits.detach().flatten().double()
    found = found[found.isfinite()]
    distinct = found.unique()
    inner = distinct[
        (distinct.abs() - math.log((1 - PROBABILITY_CLIP) / PROBABILITY_CLIP)).abs() > CLIP_NOISE
    ]
    if len(distinct) == len(inner) == 2 and len(found) >= MIN_VALUES and float(inner.prod()) < 0:
        return 1.0
    odds = torch.sigmoid(inner)
    noise = FLOAT_NOISE * (1 + 2 * odds * (1 - odds) * (1 + inner.abs()))
    saturated = bool(((odds <= noise) | (odds >= 1 - noise)).any())
    pairs = list(zip(odds.tolist(), noise.tolist(), strict=True))
    if not saturated and (step := _step_of(pairs, SCORE_STEPS[:-1], strict=True)):
        return step
    noisy = [(logit, 4 * FLOAT_NOISE * (1 + abs(logit))) for logit in inner.tolist()]
    return _step_of(noisy, LOGIT_STEPS) / 4


def _step_of(
    values: list[tuple[float, float]], steps: Sequence[float], *, strict: bool = False
) -> float:
    """Return the first step of which all values are multiples within their noise; 0.0 for none.

    Where there are enough values, multiples of that step are tried as well, and the coarsest wins.

    Args:
        values: distinct values, each with its noise.
        steps: the steps to try, coarsest first.
        strict: reject a step at which a probability near 0 or 1 would be 0 or 1, which its logit
            shows that it is not.
    """
    for step in steps:
        if not _fits(values, step, strict=strict):
            continue
        factors = COARSER_FACTORS if len(values) >= MIN_DISTINCT else ()
        coarser = [step * factor for factor in factors]
        return next((coarse for coarse in coarser if _fits(values, coarse, strict=strict)), step)
    return 0.0


def _fits(values: list[tuple[float, float]], step: float, *, strict: bool) -> bool:
    """Return whether all values are multiples of a step, and would hardly be so by chance."""
    chances = []
    for value, noise in values:
        point = round(value / step) * step
        if abs(value - point) > noise or (strict and not 0 < point < 1):
            return False
        if point:
            chances.append(math.log(min(1.0, 2 * noise / step)))
    return len(chances) >= MIN_EVIDENCE and sum(chances) < math.log(CHANCE_LIMIT)
