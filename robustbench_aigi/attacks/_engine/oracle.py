"""The view of a detector that attacks get: counted, on the grid, with the best image seen."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Self

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from robustbench_aigi.attacks._engine.best_seen import BestSeen, select_rows
from robustbench_aigi.attacks._engine.half_precision import Unverified
from robustbench_aigi.attacks._engine.scoring import Scorer
from robustbench_aigi.detectors import Detector
from robustbench_aigi.detectors._support.folding import folded
from robustbench_aigi.detectors._support.freezing import frozen
from robustbench_aigi.imaging.norms import Distance
from robustbench_aigi.imaging.pixels import MAX_LEVEL


class QueryBudgetSpentError(Exception):
    """The next evaluation would exceed the query budget of an image."""


class Oracle:
    """Scores candidates for a batch of images and keeps the candidate of each that fools best.

    Candidates are in grey levels, whole numbers in [0, 255]. A *margin* is how far the detector is
    from being fooled: positive while it is right. Used as a context, it turns the parameters'
    gradients off, puts the detector into evaluation mode and folds its batch norms, and restores
    all three.

    Args:
        detector: whom to ask.
        images: clean images in grey levels, ``(N, 3, H, W)``.
        labels: ``(N,)``, 1 = AI-generated.
        full: attack every image to the end; otherwise an image leaves the active set once the
            detector is wrong on it.
        distance: for a minimum-norm attack: among candidates that fool, the nearest is kept, and
            every image the detector was right on stays active.
        queries: maximum number of evaluations per image; the one that would exceed it raises
            :class:`QueryBudgetSpentError`.
        gradients: compute the gradients of the clean images along with their logits, for an attack
            that begins with them.
        clean_logits: ``(N,)`` where they are known; without ``gradients`` they are not computed
            again, but they do count.
        batch: most images in one forward pass; the detector's own number if None.
        draws: scores averaged per candidate of a detector that scores at random; each of them
            counts as a pass.

    Attributes:
        forwards: int64 ``(N,)``, forward passes so far.
        backwards: int64 ``(N,)``, backward passes so far.
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
        self.forwards = torch.zeros_like(labels)
        self.backwards = torch.zeros_like(labels)
        self.detector = detector
        self.full = full
        # See Attack.allows_half_gradients.
        self._is_half = detector.half_gradients and distance is None
        self._scorer = Scorer(detector, batch, half_gradients=self._is_half)
        self._distance = distance
        self._queries = queries
        self._wants_gradients = gradients
        self._known_logits = clean_logits
        self._clean_gradients: Tensor | None = None
        self._draws = draws

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(self._folded())
            self.clean_logits = self._score_clean_images()
            self._stack = stack.pop_all()
        self.forwards += self._draws
        self._seen = self._best_seen(full=self.full)
        self._unverified = Unverified(self._best_seen(full=True)) if self._is_half else None
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        with self._stack:
            if self._unverified is not None and kind in (None, QueryBudgetSpentError):
                self._verify(self._unverified, self._unverified.open())

    def _best_seen(self, *, full: bool) -> BestSeen:
        return BestSeen(
            self.detector,
            self.images,
            self.labels,
            self.clean_logits,
            full=full,
            distance=self._distance,
        )

    def _score_clean_images(self) -> Tensor:
        if self._wants_gradients and not self._is_half:
            logits, self._clean_gradients = self._scorer.logits_and_gradients(self.images)
            self.backwards += 1
            return logits
        return self.logits_of(self.images) if self._known_logits is None else self._known_logits

    @contextmanager
    def _folded(self) -> Iterator[None]:
        with frozen(self.detector), folded(self.detector, self.images[:4] / MAX_LEVEL):
            yield

    @torch.no_grad()
    def fresh_logits(self, draws: int) -> Float[Tensor, "draws n"]:
        """Return new logits ``(draws, N)`` of the best images; no attacker asks, so none count.

        Args:
            draws: how often each image is scored.
        """
        with self._folded():
            return torch.stack([self._scorer.logits(self.best) for _ in range(draws)])

    def active(self) -> Int[Tensor, " m"]:
        """Return the indices of the images still to be attacked."""
        if self._distance is not None:
            return (~self.wrong(self.clean_logits)).nonzero().squeeze(1)
        if self.full:
            return torch.arange(len(self.labels), device=self.labels.device)
        return (~self.fooled).nonzero().squeeze(1)

    def is_active(self, which: Int[Tensor, " m"]) -> Bool[Tensor, " m"]:
        """Return bool ``(M,)``, whether each of some images is still to be attacked.

        Args:
            which: int64 ``(M,)``, indices of images.
        """
        return torch.isin(which, self.active())

    def remaining(self, which: Tensor, *rows: Tensor) -> tuple[Tensor, ...]:
        """Return the images that are still active, and their rows of other tensors.

        Args:
            which: int64 ``(M,)``, indices of images.
            rows: tensors with one row per index.
        """
        return select_rows(self.is_active(which), which, *rows)

    @property
    def best(self) -> Tensor:
        """The best image seen of each, ``(N, 3, H, W)`` in grey levels."""
        return self._seen.best

    @property
    def logits(self) -> Tensor:
        """Those of the best images, ``(N,)``."""
        return self._seen.logits

    @property
    def fooled(self) -> Bool[Tensor, " n"]:
        """Bool ``(N,)``, whether the detector is wrong on the best image seen."""
        return self.wrong(self.logits)

    def wrong(self, logits: Float[Tensor, " n"]) -> Bool[Tensor, " n"]:
        """Return bool ``(N,)``, whether the detector is wrong where it gives these logits.

        Args:
            logits: ``(N,)``, one per image of the batch.
        """
        return (logits > self.detector.threshold) != (self.labels == 1)

    def margins(self, logits: Float[Tensor, " m"], which: Int[Tensor, " m"]) -> Float[Tensor, " m"]:
        """Return the margins ``(M,)`` of logits: their distance from the threshold.

        Args:
            logits: ``(M,)``.
            which: int64 ``(M,)``, the image that each belongs to.
        """
        return (logits - self.detector.threshold) * (2 * self.labels[which] - 1)

    def raw_logits(self, levels: Float[Tensor, "m 3 h w"]) -> Float[Tensor, " m"]:
        """Return the logits ``(M,)`` of one batch with their graph, neither counted nor averaged.

        Args:
            levels: ``(M, 3, H, W)`` in grey levels, not necessarily whole.
        """
        return self._scorer.logits_of_batch(levels)

    @torch.no_grad()
    def logits_of(self, candidates: Float[Tensor, "m 3 h w"]) -> Float[Tensor, " m"]:
        """Return the logits ``(M,)`` of candidates; they count once :meth:`submit` gets them.

        Args:
            candidates: ``(M, 3, H, W)`` in grey levels, which the attack may come to.
        """
        if self._draws == 1:
            return self._scorer.logits(candidates)
        scores = [self._scorer.logits(candidates) for _ in range(self._draws)]
        return torch.stack(scores).mean(dim=0)

    def submit(
        self,
        candidates: Float[Tensor, "m 3 h w"],
        which: Int[Tensor, " m"],
        allowed: Bool[Tensor, " m"] | None = None,
        logits: Float[Tensor, " m"] | None = None,
    ) -> Float[Tensor, " m"]:
        """Score candidates, keep the best of each image, and return their margins ``(M,)``.

        Args:
            candidates: ``(M, 3, H, W)`` in grey levels.
            which: int64 ``(M,)``, the image that each belongs to; an index may repeat.
            allowed: bool ``(M,)``, whether a candidate is inside the threat model, so that it may
                be kept; all are if None.
            logits: ``(M,)``, what :meth:`logits_of` returned for them, if it was called.

        Raises:
            QueryBudgetSpentError: an image would exceed its query budget.
        """
        counts = self._charge(which)
        logits = self.logits_of(candidates) if logits is None else logits
        self.forwards += counts
        self._seen.remember(candidates, logits, which, allowed)
        return self.margins(logits, which)

    def submit_with_gradient(
        self,
        candidates: Float[Tensor, "m 3 h w"],
        which: Int[Tensor, " m"],
        allowed: Bool[Tensor, " m"] | None = None,
    ) -> tuple[Float[Tensor, " m"], Float[Tensor, "m 3 h w"]]:
        """Score candidates and return their margins and the direction in which each falls fastest.

        This takes one forward and one backward pass.

        Args:
            candidates: ``(M, 3, H, W)`` in grey levels.
            which: int64 ``(M,)``, the image that each belongs to; an index may repeat.
            allowed: bool ``(M,)``, whether a candidate may be kept; all may if None.

        Returns:
            Margins ``(M,)`` and directions ``(M, 3, H, W)``, the fall per grey level.

        Raises:
            QueryBudgetSpentError: an image would exceed its query budget.
        """
        sign = (1 - 2 * self.labels[which]).view(-1, 1, 1, 1)
        if self._clean_gradients is not None:
            known = self._clean_gradients
            self._clean_gradients = None
            if torch.equal(candidates, self.images[which]):
                return self.margins(self.clean_logits[which], which), known[which] * sign
        counts = self._charge(which)
        scores, gradients = self._scorer.logits_and_gradients(candidates)
        self.forwards += counts
        self.backwards += counts
        if self._unverified is None:
            self._seen.remember(candidates, scores, which, allowed)
        else:
            self._unverified.offer(candidates, scores, which, allowed)
            if not self.full:
                self._verify(self._unverified, self._unverified.open_that_fool())
        return self.margins(scores, which), gradients.mul_(sign)

    @torch.no_grad()
    def _verify(self, unverified: Unverified, which: Tensor) -> None:
        """Score the candidates of images in the detector's own precision, and keep the best."""
        if len(which):
            candidates = unverified.take(which)
            self.forwards[which] += 1
            self._seen.remember(candidates, self._scorer.logits(candidates), which, None)

    @torch.no_grad()
    def replace(self, images: Float[Tensor, "n 3 h w"]) -> None:
        """Put images in place of the best ones, better or not, as a perturbation does.

        Args:
            images: ``(N, 3, H, W)`` in grey levels.
        """
        self._seen.logits = self._scorer.logits(images)
        self._seen.best = images
        self.forwards += 1

    def _charge(self, which: Tensor) -> Tensor:
        """Return the passes per image ``(N,)`` that one evaluation of each index costs."""
        counts = self._draws * torch.bincount(which, minlength=len(self.labels))
        if self._queries is not None:
            spent = self.forwards - self._draws + counts
            if bool((spent > self._queries).any()):
                raise QueryBudgetSpentError
        return counts
