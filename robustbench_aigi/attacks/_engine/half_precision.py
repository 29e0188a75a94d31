"""Candidates that a half-precision pass has scored, until their true scores are known."""

import torch
from torch import Tensor

from robustbench_aigi.attacks._engine.best_seen import BestSeen


class Unverified:
    """The most promising candidate of each image by half-precision logits.

    Such logits are compared with each other alone, so that an error that they share does no harm.

    Args:
        guesses: where the candidates are kept.
    """

    def __init__(self, guesses: BestSeen) -> None:
        guesses.forget()
        self._guesses = guesses
        self._is_open = torch.zeros(
            len(guesses.logits), dtype=torch.bool, device=guesses.logits.device
        )

    def offer(
        self, candidates: Tensor, logits: Tensor, which: Tensor, allowed: Tensor | None
    ) -> None:
        """Keep candidates that seem better than the best so far.

        Args:
            candidates: ``(M, 3, H, W)`` in grey levels.
            logits: ``(M,)`` of a half-precision pass.
            which: int64 ``(M,)``, the image that each belongs to; an index may repeat.
            allowed: bool ``(M,)``, whether a candidate may be kept; all may if None.
        """
        self._is_open[self._guesses.remember(candidates, logits, which, allowed)] = True

    def open(self) -> Tensor:
        """Return int64 ``(M,)``, the images with a candidate whose true score is unknown."""
        return self._is_open.nonzero().squeeze(1)

    def open_that_fool(self) -> Tensor:
        """Return int64 ``(M,)``, those whose candidate seems to fool the detector."""
        which = self.open()
        return which[self._guesses.fools(which)]

    def take(self, which: Tensor) -> Tensor:
        """Return the candidates ``(M, 3, H, W)`` of images, which are scored now.

        Args:
            which: int64 ``(M,)``, indices of the images.
        """
        self._is_open[which] = False
        return self._guesses.best[which]
