"""A detector as a classifier of two classes, for attacks written elsewhere."""

import torch
from torch import Tensor, nn

from robustbench_aigi.attacks._engine.oracle import Oracle
from robustbench_aigi.imaging.pixels import MAX_LEVEL


class TwoLogits(nn.Module):
    """A detector as a classifier: class 0 is real, class 1 AI-generated; counts its passes.

    With ``s`` for how far the detector's logit is above its threshold, the two logits are ``[-s /
    2, s / 2]``. Their difference, softmax, cross-entropy and largest are those of ``[0, s]``, but
    the gradient survives: with ``[0, s]`` the cross-entropy of a fake has none in float32 once
    ``s`` is beyond 17, which would pass for robustness.

    Args:
        oracle: what checks the logits; its own counts stay as they are.

    Attributes:
        forwards: forward passes of single images so far.
        backwards: backward passes of single images so far.
    """

    def __init__(self, oracle: Oracle) -> None:
        super().__init__()
        self.detector = oracle.detector
        # Libraries find the device by a parameter, and the detector may have none.
        self.anchor = nn.Parameter(
            torch.zeros((), device=oracle.images.device), requires_grad=False
        )
        self.forwards = 0
        self.backwards = 0
        self._raw_logits = oracle.raw_logits
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Return two logits ``(M, 2)``.

        Args:
            images: ``(M, 3, H, W)`` in [0, 1].

        Raises:
            LogitsError: the detector's logits are of another shape, or not finite.
            FloatingPointError: an image has NaN or infinite values.
        """
        if not bool(images.isfinite().all()):
            raise FloatingPointError(
                "an image it made has NaN or infinite values, after a division by zero of its own"
            )
        levels = images.float() * MAX_LEVEL
        if levels.requires_grad:
            # Some libraries take the gradient apart with view(), which wants contiguous memory.
            levels.register_hook(Tensor.contiguous)
        half = (self._raw_logits(levels) - self.detector.threshold) / 2
        logits = torch.stack([-half, half], dim=1)
        self.forwards += len(images)
        if logits.requires_grad:
            logits.register_hook(self._count)
        return logits

    def _count(self, gradient: Tensor) -> None:
        self.backwards += len(gradient)
