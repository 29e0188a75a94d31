"""The view of a detector that attacks get: counted, on the grid, remembering the best image
seen.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Self

import torch
from torch import Tensor

from robustbench_aigi.detectors import Detector
from robustbench_aigi.detectors._support.folding import folded
from robustbench_aigi.detectors._support.placement import on_device
from robustbench_aigi.errors import LogitsError
from robustbench_aigi.imaging.norms import Distance
from robustbench_aigi.imaging.pixels import LEVELS


@contextmanager
def frozen(detector: Detector) -> Iterator[None]:
    """Evaluation mode, and no gradients of the parameters."""
    flags = [(parameter, parameter.requires_grad) for parameter in detector.parameters()]
    modes = [(module, module.training) for module in detector.modules()]
    detector.eval().requires_grad_(False)
    try:
        yield
    finally:
        for parameter, flag in flags:
            parameter.requires_grad_(flag)
        for module, mode in modes:
            module.training = mode


class QueryBudgetSpentError(Exception):
    """The next look would cost an image more than its query budget."""


def chosen(mask: Tensor, *rows: Tensor) -> tuple[Tensor, ...]:
    """The rows of each tensor where the mask holds; no copy where it holds everywhere."""
    return rows if bool(mask.all()) else tuple(tensor[mask] for tensor in rows)


class Oracle:
    """Scores candidates for a batch of images and keeps, for each image, the candidate that fools
    best.

    Candidates are in grey levels, whole numbers in [0, 255]. A *margin* is how far the detector is
    from being fooled: positive while it is right. Used as a context, it turns the parameters'
    gradients off, puts the detector into evaluation mode and folds its batch norms, and restores
    all three.

    Args:
        images: clean images in grey levels, ``(N, 3, H, W)``.
        labels: ``(N,)``, 1 = AI-generated.
        full: attack every image to the end; otherwise an image leaves the active set once the
            detector is wrong on it.
        distance: for an attack that seeks the smallest change: among candidates that fool, the
            nearest is kept, and every image the detector was right on stays active.
        queries: the most evaluations of an image; the look that would exceed it raises
            :class:`QueryBudgetSpentError`.
        slopes: take the slopes of the clean images along with their logits, for an attack that
            begins with them.
        clean_logits: ``(N,)`` where they are known; without ``gradients`` they are not asked again,
            but they do count.
        batch: most images in one forward pass; the detector's own number if None.
        draws: scores averaged for each candidate of a detector that scores at random; each of them
            counts as a pass.
    """

    def __init__(
        self,
        detector: Detector,
        images: Tensor,
        labels: Tensor,
        *,
        full: bool,
        distance: Distance | None = None,
        queries: int | None = None,
        gradients: bool = False,
        clean_logits: Tensor | None = None,
        batch: int | None = None,
        draws: int = 1,
    ) -> None:
        self.images = images
        self.labels = labels
        self.forwards = torch.zeros(len(labels), dtype=torch.int64)
        self.backwards = torch.zeros(len(labels), dtype=torch.int64)
        self.detector = detector
        self.full = full
        self._distance = distance
        self._queries = queries
        self._slopes = gradients
        self._known = clean_logits
        self._clean_slopes: Tensor | None = None
        self._batch = batch or detector.at_once
        self._draws = draws

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(self._still())
            if self._slopes:
                self.clean_logits, self._clean_slopes = self._sloped(self.images)
                self.backwards += 1
            else:
                self.clean_logits = (
                    self.logits_of(self.images) if self._known is None else self._known
                )
            self._stack = stack.pop_all()
        self.forwards += self._draws
        self.best = self.images.clone()
        self.logits = self.clean_logits.clone()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    @contextmanager
    def _still(self) -> Iterator[None]:
        with frozen(self.detector), folded(self.detector, self.images[:4] / LEVELS):
            yield

    @torch.no_grad()
    def fresh_logits(self, draws: int) -> Tensor:
        """Logits ``(draws, N)`` of the best images, each drawn anew; not counted, as no attacker
        asks for them.
        """
        with self._still():
            parts = [[self._logits(part) for part in self._parts(self.best)] for _ in range(draws)]
        return torch.stack([torch.cat(own) for own in parts])

    def active(self) -> Tensor:
        """Indices of the images still to be attacked."""
        if self._distance is not None:
            return (~self.wrong(self.clean_logits)).nonzero().squeeze(1)
        if self.full:
            return torch.arange(len(self.labels))
        return (~self.fooled).nonzero().squeeze(1)

    def remaining(self, which: Tensor, *rows: Tensor) -> tuple[Tensor, ...]:
        """The images ``which`` that are still active, and their rows of other tensors."""
        return chosen(torch.isin(which, self.active()), which, *rows)

    @property
    def fooled(self) -> Tensor:
        """``(N,)`` whether the detector is wrong on the best image seen."""
        return self.wrong(self.logits)

    def margins(self, logits: Tensor, which: Tensor) -> Tensor:
        """Distance of logits from the wrong side of the threshold, for the images ``which``."""
        return (logits - self.detector.threshold) * (2 * self.labels[which] - 1)

    @torch.no_grad()
    def logits_of(self, candidates: Tensor) -> Tensor:
        """Logits ``(M,)`` of candidates that the attack may come to; they count when :meth:`submit`
        is given them.
        """
        seen = [
            torch.cat([self._logits(part) for part in self._parts(candidates)])
            for _ in range(self._draws)
        ]
        return seen[0] if self._draws == 1 else torch.stack(seen).mean(dim=0)

    def submit(
        self,
        candidates: Tensor,
        which: Tensor,
        kept: Tensor | None = None,
        logits: Tensor | None = None,
    ) -> Tensor:
        """Margins ``(M,)`` of ``M`` candidates for the images ``which`` ``(M,)``, which may repeat.

        Args:
            kept: ``(M,)`` the candidates inside the threat model, which alone may be kept; all if
                None.
            logits: what :meth:`logits_of` gave for them, if it was asked.
        """
        counts = self._charge(which)
        logits = self.logits_of(candidates) if logits is None else logits
        self.forwards += counts
        self._remember(candidates, logits, which, kept)
        return self.margins(logits, which)

    def submit_with_gradient(
        self, candidates: Tensor, which: Tensor, kept: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Margins of candidates, and the direction in which each falls fastest: one forward, one
        backward pass.
        """
        sign = (1 - 2 * self.labels[which]).view(-1, 1, 1, 1)
        if self._clean_slopes is not None:
            known, self._clean_slopes = self._clean_slopes, None
            if torch.equal(candidates, self.images[which]):
                return self.margins(self.clean_logits[which], which), known[which] * sign
        counts = self._charge(which)
        scores, gradients = self._sloped(candidates)
        self.forwards += counts
        self.backwards += counts
        self._remember(candidates, scores, which, kept)
        return self.margins(scores, which), gradients * sign

    def _sloped(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits ``(M,)`` and their slopes ``(M, 3, H, W)``."""
        logits, gradients = [], []
        for part in self._parts(images):
            leaf = part.detach().requires_grad_(True)
            scored = self._logits(leaf)
            gradient = (
                torch.autograd.grad(scored.sum(), leaf, allow_unused=True)[0]
                if scored.requires_grad
                else None
            )
            if gradient is None:
                raise LogitsError(
                    f"{self.detector.card.name} has no gradient from its logit to its image. Attack"
                    " it by its scores (square-linf, one-pixel), or let its preprocessing happen"
                    " inside torch's graph."
                )
            if not bool(gradient.isfinite().all()):
                raise LogitsError(
                    f"{self.detector.card.name} has a gradient that is no number. Look for a square"
                    " root or a logarithm of zero in it, or attack it by its scores (square-linf,"
                    " one-pixel)."
                )
            logits.append(scored.detach())
            gradients.append(gradient)
        return torch.cat(logits), torch.cat(gradients)

    @torch.no_grad()
    def replace(self, images: Tensor) -> None:
        """Put ``(N, 3, H, W)`` images in the place of the best, better or not: what a model-free
        change does.
        """
        self.logits = torch.cat([self._logits(part) for part in self._parts(images)])
        self.forwards += 1
        self.best = images

    def _parts(self, images: Tensor) -> tuple[Tensor, ...]:
        """Parts of nearly one size, because a small rest costs more an image."""
        return images.chunk(max(1, -(-len(images) // self._batch)))

    def _charge(self, which: Tensor) -> Tensor:
        counts = self._draws * torch.bincount(which, minlength=len(self.labels))
        if self._queries is not None and bool(
            (self.forwards - self._draws + counts > self._queries).any()
        ):
            raise QueryBudgetSpentError
        return counts

    def _logits(self, levels: Tensor) -> Tensor:
        logits = on_device(self.detector, levels / LEVELS).to(levels.device)
        if logits.shape != levels.shape[:1]:
            raise LogitsError(
                f"{self.detector.card.name} must give one logit an image, shape ({len(levels)},),"
                f" got {tuple(logits.shape)}. Wrap it: rb.wrap(module, input_size=...)."
            )
        if not bool(logits.isfinite().all()):
            wrong = logits[~logits.isfinite()]
            raise LogitsError(
                f"{self.detector.card.name} gave a logit of {wrong[0].item()} for {len(wrong)} of"
                f" {len(logits)} images. Look for an overflow or a division by zero in it; its"
                " numbers would mean nothing."
            )
        return logits

    def wrong(self, logits: Tensor) -> Tensor:
        """Whether the detector is wrong where it gives these logits ``(N,)`` for the images."""
        return (logits > self.detector.threshold) != (self.labels == 1)

    def _remember(
        self, candidates: Tensor, logits: Tensor, which: Tensor, kept: Tensor | None
    ) -> None:
        """Keep the best candidate of each image, if it beats the best so far."""
        if kept is not None:
            candidates, logits, which = candidates[kept], logits[kept], which[kept]
        costs = self._costs(candidates, logits, which)
        order = costs.argsort(stable=True)
        order = order[which[order].argsort(stable=True)]
        first = torch.ones(len(order), dtype=torch.bool)
        first[1:] = which[order][1:] != which[order][:-1]
        winners = order[first]
        places = which[winners]
        better = costs[winners] < self._costs(self.best[places], self.logits[places], places)
        if not self.full and self._distance is None:
            better &= ~self.fooled[places]
        self.best[places[better]] = candidates[winners[better]].detach()
        self.logits[places[better]] = logits[winners[better]]

    def _costs(self, candidates: Tensor, logits: Tensor, which: Tensor) -> Tensor:
        """What the best has least of: the margin, or the distance among those that fool, who beat
        all that do not.
        """
        margins = self.margins(logits, which)
        if self._distance is None:
            return margins
        fools = (logits > self.detector.threshold) != (self.labels[which] == 1)
        near = self._distance(candidates, self.images[which]).to(margins)
        return torch.where(fools, near, torch.inf)
