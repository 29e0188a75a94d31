"""Batch sizes: as many images as a bound on memory allows, fewer when memory runs out."""

import itertools
from collections.abc import Iterable
from contextlib import suppress

import torch
from torch import Tensor

from robustbench_aigi.data import Dataset
from robustbench_aigi.detectors import Detector
from robustbench_aigi.imaging.pixels import from_bytes

MEMORY_BOUND = 2 * 2**30
"""Bytes of activations per worker. Fixed, so that batch sizes do not depend on the machine."""
MAX_BATCH = 128
SAMPLE_IMAGES = 16
"""Images of which the largest stands for all."""


def set_batches(detectors: Iterable[Detector], data: Dataset) -> list[int]:
    """Set ``at_once`` of each detector; return the bytes that a pass of so many images keeps.

    A detector that raises gets the largest batch and 0 bytes: its evaluation reports the error.

    Args:
        detectors: to set.
        data: its first images stand for all.
    """
    sample = itertools.islice(data.pixels(), SAMPLE_IMAGES)
    largest = from_bytes(max(sample, key=Tensor.numel)[None])
    kept = []
    for detector in detectors:
        each = 0
        with suppress(Exception):
            each = bytes_per_image(detector.eval(), largest)
        detector.at_once = batch_for(each)
        kept.append(each * min(detector.at_once, len(data)))
    return kept


def batch_for(each: int, bound: int = MEMORY_BOUND) -> int:
    """Return the largest power of two, at most 128, of images that stay within a bound.

    Args:
        each: bytes per image.
        bound: bytes in all.

    Example:
        >>> batch_for(3, bound=100), batch_for(0), batch_for(1000, bound=100)
        (32, 128, 1)
    """
    size = MAX_BATCH
    while size > 1 and size * each > bound:
        size //= 2
    return size


def bytes_per_image(detector: Detector, image: Tensor) -> int:
    """Return the bytes that a pass keeps for the backward pass of one image.

    They are counted, not measured, so the number is the same every time. It is 0 for a black box,
    which is not queried.

    Args:
        detector: to count for.
        image: ``(1, 3, H, W)`` in [0, 1].
    """
    if detector.card.gradient == "none":
        return 0
    return kept_bytes(detector, image.expand(2, -1, -1, -1)) - kept_bytes(detector, image)


def kept_bytes(detector: Detector, images: Tensor) -> int:
    """Return the bytes of the tensors that a forward pass keeps for the backward pass.

    Args:
        detector: to count for.
        images: ``(N, 3, H, W)`` in [0, 1].
    """
    sizes: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        sizes[storage.data_ptr()] = storage.nbytes()
        return tensor.detach()  # the tensor itself would hold its graph, which holds it

    device = next((tensor.device for tensor in detector.parameters()), images.device)
    kept: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor), torch.enable_grad():
        kept.append(detector.logits(images.to(device).clone().requires_grad_(True)))
    return sum(sizes.values())


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether memory ran out, on the processor or on an accelerator.

    Args:
        error: of Python or torch.
    """
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and "not enough memory" in str(error).lower()
