"""A detector as a classifier of two classes, for attacks written elsewhere."""

import torch
from torch import Tensor, nn

from robustbench_aigi.attacks._engine.oracle import Oracle
from robustbench_aigi.imaging.pixels import LEVELS


class TwoLogits(nn.Module):
    """Class 0 is real and class 1 is AI-generated; counts the passes asked of it.

    With ``s`` for how far the detector's logit is above its threshold, the two logits are ``[-s /
    2, s / 2]``. Their difference, softmax, cross-entropy and largest are those of ``[0, s]``, but
    the slope survives: with ``[0, s]`` the cross-entropy of a fake has none in float32 once ``s``
    is beyond 17, which would pass for robustness.

    Attributes:
        forwards, backwards: passes of single images since it was made.
    """

    def __init__(self, oracle: Oracle) -> None:
        super().__init__()
        self.detector = oracle.detector
        self.anchor = nn.Parameter(
            torch.zeros((), device=oracle.images.device), requires_grad=False
        )
        """Tells libraries the device where the detector has no parameter."""
        self.forwards = self.backwards = 0
        self._score = oracle._logits
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Two logits ``(M, 2)`` for images ``(M, 3, H, W)`` in [0, 1]. Raises ``LogitsError`` as
        the oracle does, and ``FloatingPointError`` if an image is no number.
        """
        if not bool(images.isfinite().all()):
            raise FloatingPointError(
                "an image it made is no number, after a division by zero of its own"
            )
        levels = images.float() * LEVELS
        if levels.requires_grad:
            levels.register_hook(Tensor.contiguous)  # some take the slope apart with view()
        half = (self._score(levels) - self.detector.threshold) / 2
        logits = torch.stack([-half, half], dim=1)
        self.forwards += len(images)
        if logits.requires_grad:
            logits.register_hook(self._count)
        return logits

    def _count(self, gradient: Tensor) -> None:
        self.backwards += len(gradient)
