"""The best candidate seen of each image, and how candidates compare."""

import torch
from torch import Tensor

from robustbench_aigi.detectors import Detector
from robustbench_aigi.imaging.norms import Distance


def select_rows(mask: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
    """Return the rows of each tensor where the mask is true, without a copy where it is all true.

    Args:
        mask: bool ``(M,)``.
        tensors: each with M rows.

    Example:
        >>> select_rows(torch.tensor([True, False]), torch.tensor([5, 7]))
        (tensor([5]),)
    """
    return tensors if bool(mask.all()) else tuple(tensor[mask] for tensor in tensors)


class BestSeen:
    """The candidate of each image that fools best; at first, the clean image.

    Args:
        detector: whose threshold is meant.
        images: clean images in grey levels, ``(N, 3, H, W)``.
        labels: ``(N,)``, 1 = AI-generated.
        clean_logits: ``(N,)``, those of the clean images.
        full: replace a candidate that fools by one that fools more.
        distance: for a minimum-norm attack: among candidates that fool, the nearest is kept.

    Attributes:
        best: ``(N, 3, H, W)`` in grey levels.
        logits: ``(N,)``, those of ``best``.
    """

    def __init__(
        self,
        detector: Detector,
        images: Tensor,
        labels: Tensor,
        clean_logits: Tensor,
        *,
        full: bool,
        distance: Distance | None,
    ) -> None:
        self.best = images.clone()
        self.logits = clean_logits.clone()
        self._images = images
        self._labels = labels
        self._detector = detector
        self._full = full
        self._distance = distance

    def remember(
        self, candidates: Tensor, logits: Tensor, which: Tensor, allowed: Tensor | None
    ) -> Tensor:
        """Keep the best candidate of each image, if it beats the best so far.

        Args:
            candidates: ``(M, 3, H, W)`` in grey levels.
            logits: ``(M,)``, those of the candidates.
            which: int64 ``(M,)``, the image that each belongs to; an index may repeat.
            allowed: bool ``(M,)``, whether a candidate may be kept; all may if None.

        Returns:
            int64, the images whose best was replaced.
        """
        if allowed is not None:
            candidates = candidates[allowed]
            logits = logits[allowed]
            which = which[allowed]
        costs = self._costs(candidates, logits, which)
        order = costs.argsort(stable=True)
        order = order[which[order].argsort(stable=True)]
        first = torch.ones_like(order, dtype=torch.bool)
        first[1:] = which[order][1:] != which[order][:-1]
        winners = order[first]
        owners = which[winners]
        better = costs[winners] < self._costs(self.best[owners], self.logits[owners], owners)
        if not self._full and self._distance is None:
            better &= ~self._fools(self.logits[owners], owners)
        replaced = owners[better]
        self.best[replaced] = candidates[winners[better]].detach()
        self.logits[replaced] = logits[winners[better]]
        return replaced

    def fools(self, which: Tensor) -> Tensor:
        """Return bool ``(M,)``, whether the detector is wrong on the best candidates of images.

        Args:
            which: int64 ``(M,)``, indices of the images.
        """
        return self._fools(self.logits[which], which)

    def forget(self) -> None:
        """Hold nothing: any candidate is better."""
        self.logits = torch.where(self._labels == 1, torch.inf, -torch.inf).to(self.logits)

    def _costs(self, candidates: Tensor, logits: Tensor, which: Tensor) -> Tensor:
        """Return what the best image has least of.

        That is the margin; for a minimum-norm attack the distance of those that fool, and infinity
        for those that do not.
        """
        margins = (logits - self._detector.threshold) * (2 * self._labels[which] - 1)
        if self._distance is None:
            return margins
        near = self._distance(candidates, self._images[which]).to(margins)
        return torch.where(self._fools(logits, which), near, torch.inf)

    def _fools(self, logits: Tensor, which: Tensor) -> Tensor:
        """Return bool ``(M,)``, whether the detector is wrong where it gives these logits."""
        return (logits > self._detector.threshold) != (self._labels[which] == 1)
