"""Run a detector on an accelerator or on the CPU, wherever its images are."""

from itertools import chain

import torch
from jaxtyping import Float
from torch import Tensor

from robustbench_aigi.detectors.base import Detector
from robustbench_aigi.errors import LogitsError


def device_of(detector: Detector) -> torch.device:
    """Return the device of a ``detector``: that of its weights, or the processor if it has none."""
    tensors = chain(detector.parameters(), detector.buffers())
    return next((tensor.device for tensor in tensors), torch.device("cpu"))


def on_device(detector: Detector, images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, " n"]:
    """Score images from any device on the detector's device; gradients flow back.

    On an accelerator a batch is padded to one of few sizes, because a convolution is planned again
    for each size it meets: seconds for a network, and an attack whose images leave it one by one
    meets them all.

    Args:
        detector: the detector.
        images: float batch in [0, 1], ``(N, 3, H, W)``, on any device.

    Returns:
        Logits ``(N,)`` on the detector's device.

    Raises:
        LogitsError: the detector returned labels instead of logits.
    """
    images = images.to(next(chain(detector.parameters(), detector.buffers()), images).device)
    count = len(images)
    size = count
    if images.device.type != "cpu":
        size = max(count, min(next_batch_size(count), detector.at_once))
    if size == count:
        return _one_per_image(detector.logits(images), images, detector.card.name)
    padded = torch.cat([images, images[:1].detach().expand(size - count, -1, -1, -1)])
    return _one_per_image(detector.logits(padded), padded, detector.card.name)[:count]


def _one_per_image(logits: Tensor, images: Tensor, who: str) -> Tensor:
    """Return logits ``(N,)`` in the images' dtype, also where an axis is missing or superfluous."""
    if not isinstance(logits, Tensor) or not logits.is_floating_point():
        kind = logits.dtype if isinstance(logits, Tensor) else type(logits).__name__
        raise LogitsError(
            f"{who} gave {kind}, and a detector gives a floating-point tensor of logits, no labels."
            " Return the network's output before any threshold or argmax."
        )
    return logits.to(images.dtype).reshape(len(images)) if logits.numel() == len(images) else logits


def next_batch_size(count: int) -> int:
    """Return the next of 0, 1, 2, 3, 4, 6, 8, 12, 16, 24, ..., which is at most half more.

    Args:
        count: number of images.

    Example:
        >>> [next_batch_size(count) for count in (1, 5, 7, 17)]
        [1, 6, 8, 24]
    """
    if count < 2:
        return count
    power = 1 << (count - 1).bit_length()
    between = power * 3 // 4
    return between if between >= count else power


def placed(detector: Detector) -> Detector:
    """Move a detector to this process's accelerator, if torch sees one.

    Args:
        detector: moved in place.
    """
    device = torch.accelerator.current_accelerator(check_available=True)
    return detector if device is None else detector.to(device)
