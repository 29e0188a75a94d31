"""Learning a new generator without forgetting the old ones: some of what a detector knows is shown
again.
"""

import torch
from torch import Tensor

from robustbench_aigi.detectors import Detector
from robustbench_aigi.io.hashing import rng_for
from robustbench_aigi.training.arrays import Arrays, balanced_accuracy

RATIO = 8
"""New images to each rehearsed one. Source: the ConvNeXtV2 detector's card."""


def rehearsed(new: Arrays, old: Arrays, strata: Tensor, seed: int = 0) -> Arrays:
    """The new images, and for every :data:`RATIO` of them one old, each stratum by its share of the
    old.

    Args:
        strata: int64 ``(N,)``, the stratum of each old image, such as class and generator.
    """
    wanted, rng = max(1, len(new.labels) // RATIO), rng_for(seed, "rehearsal")
    kinds, counts = strata.unique(return_counts=True)
    chosen = []
    for kind, count in zip(kinds.tolist(), counts.tolist(), strict=True):
        places = (strata == kind).nonzero().squeeze(1)
        few = min(count, max(1, round(wanted * count / len(strata))))
        chosen.append(places[torch.randperm(count, generator=rng)[:few]])
    again = torch.cat(chosen)
    groups = None
    if new.groups is not None and old.groups is not None:
        groups = torch.cat([new.groups, old.groups[again] + int(new.groups.max()) + 1])
    return Arrays(
        torch.cat([new.images, old.images[again]]),
        torch.cat([new.labels, old.labels[again]]),
        groups,
    )


class Both:
    """Scores a detector on new images and on old ones: the mean of the two balanced accuracies."""

    def __init__(self, old: Arrays) -> None:
        self._old = old

    def __call__(self, detector: Detector, data: Arrays) -> dict[str, float]:
        """Measure both."""
        new, old = balanced_accuracy(detector, data), balanced_accuracy(detector, self._old)
        return {"score": (new + old) / 2, "new": new, "old": old}
