"""Replay: train on new images with some old ones, so that the old ones are not forgotten."""

import torch
from torch import Tensor

from robustbench_aigi.detectors import Detector
from robustbench_aigi.errors import DataError
from robustbench_aigi.io.hashing import rng_for
from robustbench_aigi.training.arrays import (
    Arrays,
    StreamedArrays,
    TrainingImages,
    balanced_accuracy,
)

NEW_PER_REPLAYED = 8
"""New images per replayed image. Source: the card of the ConvNeXtV2 detector."""


def add_replay(
    new: TrainingImages, old: TrainingImages, strata: Tensor, seed: int = 0
) -> TrainingImages:
    """Add one old image for every :data:`NEW_PER_REPLAYED` new ones, in proportion to the strata.

    Args:
        new: images to learn.
        old: images that the detector was trained on before.
        strata: int64 ``(N,)``, stratum of each old image, such as class and generator.
        seed: of the draw.
    """
    chosen = _draw_by_stratum(strata, max(1, len(new.labels) // NEW_PER_REPLAYED), seed)
    groups = None
    if new.groups is not None and old.groups is not None:
        groups = torch.cat([new.groups, old.groups[chosen] + int(new.groups.max()) + 1])
    labels = torch.cat([new.labels, old.labels[chosen]])
    if isinstance(new, Arrays) and isinstance(old, Arrays):
        return Arrays(torch.cat([new.images, old.images[chosen]]), labels, groups)
    if isinstance(new, StreamedArrays) and isinstance(old, StreamedArrays):
        return StreamedArrays(new.images.joined(old.images[chosen]), labels, groups)
    raise DataError(
        "the new images and the rehearsed ones have different sizes, or do not fit in memory."
        " Write --config size=SIDE, so that both are cut to one size."
    )


def _draw_by_stratum(strata: Tensor, wanted: int, seed: int) -> Tensor:
    """Draw indices, at least one of each stratum."""
    rng = rng_for(seed, "rehearsal")
    kinds, counts = strata.unique(return_counts=True)
    chosen = []
    for kind, count in zip(kinds.tolist(), counts.tolist(), strict=True):
        places = (strata == kind).nonzero().squeeze(1)
        share = min(count, max(1, round(wanted * count / len(strata))))
        chosen.append(places[torch.randperm(count, generator=rng)[:share]])
    return torch.cat(chosen)


class ReplayScore:
    """Mean of the balanced accuracies on new and on old validation images.

    Args:
        old: validation images of what the detector was trained on before.
    """

    def __init__(self, old: TrainingImages) -> None:
        self._old = old

    def __call__(self, detector: Detector, data: TrainingImages) -> dict[str, float]:
        """Return the score and both accuracies.

        Args:
            detector: in evaluation mode.
            data: new validation images.
        """
        new = balanced_accuracy(detector, data)
        old = balanced_accuracy(detector, self._old)
        return {"score": (new + old) / 2, "new": new, "old": old}
