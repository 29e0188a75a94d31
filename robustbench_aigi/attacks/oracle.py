"""The view of a detector that attacks get: counted, on the grid, remembering the best image seen."""

from types import TracebackType
from typing import Self

import torch
from torch import Tensor

from robustbench_aigi.detectors import Detector
from robustbench_aigi.grid import LEVELS


class Oracle:
    """Scores candidates for a batch of images and keeps, for each image, the candidate that fools best.

    Candidates are in grey levels, whole numbers in [0, 255]. A *margin* is how far the detector is from being fooled:
    positive while it is right. Used as a context, it turns the parameters' gradients off and puts the detector into
    evaluation mode, and restores both.

    Args:
        images: clean images in grey levels, ``(N, 3, H, W)``.
        labels: ``(N,)``, 1 = AI-generated.
        full: attack every image to the end; otherwise an image leaves the active set once the detector is wrong on it.
        batch: most images in one forward pass.
    """

    def __init__(self, detector: Detector, images: Tensor, labels: Tensor, *, full: bool, batch: int = 512) -> None:
        self.images = images
        self.labels = labels
        self.forwards = torch.zeros(len(labels), dtype=torch.int64)
        self.backwards = torch.zeros(len(labels), dtype=torch.int64)
        self._detector = detector
        self._full = full
        self._batch = batch

    def __enter__(self) -> Self:
        self._flags = [(p, p.requires_grad) for p in self._detector.parameters()]
        self._mode = self._detector.training
        self._detector.eval().requires_grad_(False)
        with torch.no_grad():
            self.clean_logits = torch.cat([self._logits(part) for part in self.images.split(self._batch)])
        self.forwards += 1
        self.best = self.images.clone()
        self.logits = self.clean_logits.clone()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for parameter, flag in self._flags:
            parameter.requires_grad_(flag)
        self._detector.train(self._mode)

    def active(self) -> Tensor:
        """Indices of the images still to be attacked."""
        if self._full:
            return torch.arange(len(self.labels))
        return (~self.fooled).nonzero().squeeze(1)

    @property
    def fooled(self) -> Tensor:
        """``(N,)`` whether the detector is wrong on the best image seen."""
        return (self.logits > self._detector.threshold) != (self.labels == 1)

    def margins(self, logits: Tensor, which: Tensor) -> Tensor:
        """Distance of logits from the wrong side of the threshold, for the images ``which``."""
        return (logits - self._detector.threshold) * (2 * self.labels[which] - 1)

    @torch.no_grad()
    def score(self, candidates: Tensor, which: Tensor) -> Tensor:
        """Margins ``(M,)`` of ``M`` candidates for the images ``which`` ``(M,)``, which may repeat."""
        logits = torch.cat([self._logits(part) for part in candidates.split(self._batch)])
        self.forwards += torch.bincount(which, minlength=len(self.labels))
        self._remember(candidates, logits, which)
        return self.margins(logits, which)

    def ascend(self, candidates: Tensor, which: Tensor) -> tuple[Tensor, Tensor]:
        """Margins of candidates, and the direction in which each falls fastest: one forward, one backward pass."""
        logits, slopes = [], []
        for part in candidates.split(self._batch):
            leaf = part.detach().requires_grad_(True)
            scored = self._logits(leaf)
            (slope,) = torch.autograd.grad(scored.sum(), leaf)
            logits.append(scored.detach())
            slopes.append(slope)
        counts = torch.bincount(which, minlength=len(self.labels))
        self.forwards += counts
        self.backwards += counts
        scores = torch.cat(logits)
        self._remember(candidates, scores, which)
        sign = (1 - 2 * self.labels[which]).view(-1, 1, 1, 1)
        return self.margins(scores, which), torch.cat(slopes) * sign

    @torch.no_grad()
    def replace(self, images: Tensor) -> None:
        """Put ``(N, 3, H, W)`` images in the place of the best, better or not: what a model-free change does."""
        self.logits = torch.cat([self._logits(part) for part in images.split(self._batch)])
        self.forwards += 1
        self.best = images

    def _logits(self, levels: Tensor) -> Tensor:
        return self._detector.logits(levels / LEVELS)

    def _remember(self, candidates: Tensor, logits: Tensor, which: Tensor) -> None:
        """Keep the candidate with the lowest margin of each image, if it beats the best so far."""
        margins = self.margins(logits, which)
        order = margins.argsort(stable=True)
        order = order[which[order].argsort(stable=True)]
        first = torch.ones(len(order), dtype=torch.bool)
        first[1:] = which[order][1:] != which[order][:-1]
        winners = order[first]
        places = which[winners]
        better = margins[winners] < self.margins(self.logits[places], places)
        if not self._full:
            better &= ~self.fooled[places]
        self.best[places[better]] = candidates[winners[better]].detach()
        self.logits[places[better]] = logits[winners[better]]
