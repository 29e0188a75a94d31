"""Reasons to distrust every number of a detector: untrained, one verdict for all images, an output
read wrongly.
"""

import math
from collections.abc import Mapping, Sequence

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from robustbench_aigi.detectors import Detector
from robustbench_aigi.evaluation.adequacy.flags import Flag

DETECTOR_FLAGS = frozenset(
    {
        "fresh-weights",
        "constant-verdict",
        "probabilities",
        "orientation",
        "chance-level",
        "batch-dependent",
    }
)
"""Kinds that concern every row of a detector, its clean one among them."""
COARSE_STEP = 0.005
"""Least step of a score, as a probability, that raises a flag."""
VERDICT_STEP = 0.05
"""Least step of a score at which an attack by verdicts replaces one by scores: scores of two digits
still lead a search further than verdicts do, scores of one digit do not.
"""
LEAST_IMAGES = 8
"""Fewer images tell nothing about a detector as a whole."""
NEAR_CHANCE = 0.6
"""Accuracy above which a wide interval is put down to few images, not to chance."""


def of_detector(name: str, detector: Detector, batch_shift: float, softmax: str) -> list[Flag]:
    """What is known before any image is attacked: ``fresh-weights``, ``batch-dependent``,
    ``coarse-score``.

    ``probabilities`` too, where ``softmax``, what :func:`sums_to_one` found, says so.
    """
    found = [Flag(name, "", "probabilities", softmax)] if softmax else []
    if detector.card.weights == "fresh":
        message = (
            "Its weights are fresh: it was never trained, and its numbers say nothing about a"
            " trained one."
        )
        found.append(Flag(name, "", "fresh-weights", message))
    if batch_shift:
        message = (
            f"The logit of an image moves by up to {batch_shift:.2g} with the other images in its"
            " batch. Every image was evaluated alone."
        )
        found.append(Flag(name, "", "batch-dependent", message, {"most": batch_shift}))
    return [*found, *filter(None, [coarse_score(name, detector.card.score_step)])]


def coarse_score(detector: str, step: float) -> Flag | None:
    """``coarse-score``: scores come in steps so large that a search by scores sees little of
    them.
    """
    if step < COARSE_STEP:
        return None
    words = f"Scores come in steps of {step:g} (on the scale of probabilities)"
    if step >= 1:
        words = "Only verdicts are given"
    effect = "attacks by scores see little of a change, so accuracy under them is too high."
    if step >= VERDICT_STEP:
        effect = "attacks by verdicts replace those by scores, which would see little of a change."
    message = f"{words}: {effect}"
    return Flag(detector, "", "coarse-score", message, {"step": step})


def constant_verdict(
    logits: Float[Tensor, " n"], labels: Int[Tensor, " n"], threshold: float
) -> str:
    """A sentence if every verdict on images of both classes is the same; else empty."""
    fake = logits > threshold
    if len(logits) < LEAST_IMAGES or len(labels.unique()) < 2 or len(fake.unique()) > 1:
        return ""
    which = "AI-generated" if bool(fake[0]) else "real"
    return (
        f"All of {len(logits)} images, of both classes, are called {which}: logits lie between"
        f" {logits.min():.3g} and {logits.max():.3g}, all on one side of the threshold"
        f" {threshold:g}. Check scale, preprocessing and threshold."
    )


def within_unit_interval(logits: Float[Tensor, " n"], threshold: float) -> str:
    """A sentence if all outputs lie in [0, 1], as probabilities do; else empty."""
    if len(logits) < LEAST_IMAGES or not bool(((logits >= 0) & (logits <= 1)).all()):
        return ""
    return (
        f"All of {len(logits)} outputs lie between 0 and 1 ({logits.min():.3g} to"
        f" {logits.max():.3g}), and are taken for logits with the threshold {threshold:g}. If they"
        " are probabilities, write scale='probability'."
    )


def sums_to_one(outputs: Sequence[Tensor]) -> str:
    """A sentence if two or more outputs of each image ``(N, K)`` are shares of one, as a softmax
    gives; else empty.
    """
    rows = [part for part in outputs if part.ndim == 2 and part.shape[1] > 1]
    found = torch.cat([part.double().cpu() for part in rows]) if rows else torch.zeros(0, 2)
    shares = bool(((found >= 0) & (found <= 1)).all()) and bool(
        ((found.sum(dim=1) - 1).abs() < 1e-2).all()
    )
    if len(found) < LEAST_IMAGES or not shares:
        return ""
    return (
        f"The outputs of all {len(found)} images lie between 0 and 1 and sum to 1, as a softmax"
        " gives, and are taken for logits. If they are probabilities, write scale='probability'."
    )


def of_clean(
    detector: str, threshold: float, clean: pd.DataFrame, rows: Sequence[Mapping[str, object]]
) -> list[Flag]:
    """What the clean images tell: ``constant-verdict``, ``probabilities``, ``orientation``,
    ``chance-level``.

    Args:
        rows: the clean cell's rows of the matrix, that of both directions last.
    """
    logits = torch.tensor(clean["logit"].to_numpy())
    labels = torch.tensor(clean["label"].to_numpy())
    found = []
    if message := constant_verdict(logits, labels, threshold):
        found.append(Flag(detector, "", "constant-verdict", message, {"images": len(clean)}))
    if message := within_unit_interval(logits, threshold):
        found.append(Flag(detector, "", "probabilities", message, {"images": len(clean)}))
    both = {key: value for key, value in rows[-1].items() if isinstance(value, int | float)}
    auc, auc_high, accuracy, low = (
        float(both.get(n, math.nan)) for n in ("auc", "auc_high", "accuracy", "low")
    )
    evidence = {"images": len(clean), "accuracy": accuracy, "auc": auc}
    if len(clean) < LEAST_IMAGES:
        return found
    if auc_high < 0.5:
        message = (
            f"On clean images the AUC is {auc:.3f}, below 0.5: reals get higher scores than"
            " AI-generated images. The orientation is probably wrong; try the other fake_index."
        )
        found.append(Flag(detector, "", "orientation", message, evidence))
    elif auc < 0.5 or (low <= 0.5 and accuracy <= NEAR_CHANCE):
        message = (
            f"On {len(clean)} clean images the accuracy is {accuracy:.1%} and the AUC {auc:.3f}, no"
            " better than chance: numbers under attack say nothing about such a detector."
        )
        found.append(Flag(detector, "", "chance-level", message, evidence))
    return found
