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


def rows_at(which: Tensor, tensor: Tensor) -> Tensor:
    """Return the rows at ascending indices; the tensor itself, not a copy, where they are all.

    Args:
        which: int64 ``(M,)``, ascending and without repetition.
        tensor: with N rows.

    Example:
        >>> rows_at(torch.tensor([0, 2]), torch.tensor([5, 6, 7]))
        tensor([5, 7])
    """
    return tensor if len(which) == len(tensor) else tensor[which]


def replaced_rows(mask: Tensor, new: Tensor, old: Tensor) -> Tensor:
    """Return the rows of one tensor where a mask is true, else those of another.

    Args:
        mask: bool ``(M,)``.
        new: with M rows; returned itself where the mask is all true.
        old: the same shape; returned itself where the mask is all false.

    Example:
        >>> replaced_rows(torch.tensor([True, False]), torch.zeros(2), torch.ones(2))
        tensor([0., 1.])
    """
    if bool(mask.all()):
        return new
    if not bool(mask.any()):
        return old
    return torch.where(mask.view(-1, *[1] * (new.ndim - 1)), new, old)


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
        self._distances = torch.zeros_like(self.logits)

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
        better = costs[winners] < self._held_costs(owners)
        if not self._full and self._distance is None:
            better &= ~self._fools(self.logits[owners], owners)
        replaced = owners[better]
        chosen = winners[better]
        if len(chosen) == 1:  # a photograph is copied once, not twice
            self.best[int(replaced)].copy_(candidates[int(chosen)].detach())
        else:
            self.best[replaced] = candidates[chosen].detach()
        self.logits[replaced] = logits[chosen]
        self._distances[replaced] = costs[chosen]
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

    def _held_costs(self, which: Tensor) -> Tensor:
        """Return the costs of the best candidates of images; their distances are known."""
        if self._distance is None:
            return self._costs(self.best, self.logits[which], which)
        return torch.where(self.fools(which), self._distances[which], torch.inf)

    def _costs(self, candidates: Tensor, logits: Tensor, which: Tensor) -> Tensor:
        """Return what the best image has least of.

        That is the margin, for which no image is looked at; for a minimum-norm attack the distance
        of those that fool, and infinity for those that do not.
        """
        margins = (logits - self._detector.threshold) * (2 * self._labels[which] - 1)
        if self._distance is None:
            return margins
        near = self._distance(candidates, self._images[which]).to(margins)
        return torch.where(self._fools(logits, which), near, torch.inf)

    def _fools(self, logits: Tensor, which: Tensor) -> Tensor:
        """Return bool ``(M,)``, whether the detector is wrong where it gives these logits."""
        return (logits > self._detector.threshold) != (self._labels[which] == 1)
