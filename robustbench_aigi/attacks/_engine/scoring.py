"""Logits and gradients of a detector, in batches that fit, checked to be finite."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from jaxtyping import Float
from torch import Tensor

from robustbench_aigi.detectors import Detector
from robustbench_aigi.detectors._support.placement import device_of, on_device
from robustbench_aigi.errors import LogitsError
from robustbench_aigi.imaging.pixels import MAX_LEVEL, PART_VALUES


class Scorer:
    """A detector that takes grey levels, in any number of images, and gives checked logits.

    Args:
        detector: whom to ask.
        batch: most images in one forward pass; the detector's own number if None.
        half_gradients: compute gradients, and the logits that come with them, in bfloat16.
    """

    def __init__(
        self, detector: Detector, batch: int | None = None, *, half_gradients: bool = False
    ) -> None:
        self.detector = detector
        self._half_gradients = half_gradients
        self._batch = batch or detector.at_once

    def logits(self, levels: Float[Tensor, "m 3 h w"]) -> Float[Tensor, " m"]:
        """Return the logits ``(M,)`` of images.

        Args:
            levels: ``(M, 3, H, W)`` in grey levels.
        """
        return joined([self.logits_of_batch(part) for part in self._parts(levels)])

    def logits_and_gradients(
        self, levels: Float[Tensor, "m 3 h w"]
    ) -> tuple[Float[Tensor, " m"], Float[Tensor, "m 3 h w"]]:
        """Return logits ``(M,)`` and their gradients ``(M, 3, H, W)``, in one forward pass.

        With ``half_gradients`` both are approximate.

        Args:
            levels: ``(M, 3, H, W)`` in grey levels.

        Raises:
            LogitsError: a logit or a gradient is not finite, or there is no gradient.
        """
        logits = []
        gradients = []
        for part in self._parts(levels):
            leaf = part.detach().requires_grad_(True)
            with self._gradient_precision():
                scored = self.logits_of_batch(leaf)
            gradients.append(self._gradient(scored, leaf))
            logits.append(scored.detach())
        return joined(logits), joined(gradients)

    def logits_of_batch(self, levels: Float[Tensor, "m 3 h w"]) -> Float[Tensor, " m"]:
        """Return the logits ``(M,)`` of images that fit one forward pass, with their graph.

        Args:
            levels: ``(M, 3, H, W)`` in grey levels.

        Raises:
            LogitsError: the logits are of another shape, or not finite.
        """
        logits = on_device(self.detector, levels / MAX_LEVEL).to(levels.device)
        if logits.shape != levels.shape[:1]:
            raise LogitsError(
                f"{self.detector.card.name} must give one logit per image, shape ({len(levels)},),"
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

    def _gradient_precision(self) -> AbstractContextManager[object]:
        if not self._half_gradients:
            return nullcontext()
        return torch.autocast(device_of(self.detector).type, torch.bfloat16)

    def _gradient(self, logits: Tensor, leaf: Tensor) -> Tensor:
        gradient = None
        if logits.requires_grad:
            (gradient,) = torch.autograd.grad(logits.sum(), leaf, allow_unused=True)
        if gradient is None:
            raise LogitsError(
                f"{self.detector.card.name} has no gradient from its logit to its image. Attack"
                " it by its scores (square-linf, one-pixel), or let its preprocessing happen"
                " inside torch's graph."
            )
        if not is_finite(gradient):
            raise LogitsError(
                f"{self.detector.card.name} returned a NaN or infinite gradient. Look for a square"
                " root or a logarithm of zero in it, or attack it by its scores (square-linf,"
                " one-pixel)."
            )
        return gradient

    def _parts(self, levels: Tensor) -> tuple[Tensor, ...]:
        """Cut a batch into parts of nearly one size; a small rest would cost more per image."""
        return levels.chunk(max(1, -(-len(levels) // self._batch)))


def joined(parts: Sequence[Tensor]) -> Tensor:
    """Return tensors one after the other; a single one is not copied.

    Args:
        parts: at least one, of the same shape but for the first axis.
    """
    return parts[0] if len(parts) == 1 else torch.cat(tuple(parts))


def is_finite(values: Tensor) -> bool:
    """Return whether no value is NaN or infinite; large batches are checked plane by plane.

    Args:
        values: ``(M, 3, H, W)``.
    """
    is_large = values.numel() > PART_VALUES
    parts = (plane for image in values for plane in image) if is_large else (values,)
    return all(bool(part.isfinite().all()) for part in parts)
