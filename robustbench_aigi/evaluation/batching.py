"""How many images a detector is shown at once: as many as a bound on memory allows, fewer when
memory ran out.
"""

from collections.abc import Iterable
from contextlib import suppress

import torch
from torch import Tensor

from robustbench_aigi.data import Dataset
from robustbench_aigi.detectors import Detector
from robustbench_aigi.imaging.pixels import from_bytes

BOUND = 2 * 2**30
"""Bytes that a worker's passes may keep for the way back: not the machine's, so that every machine
finds one size.
"""
MOST = 128
LARGEST = 16
"""Images of which the largest stands for all."""


def set_batches(detectors: Iterable[Detector], data: Dataset) -> list[int]:
    """Set ``at_once`` of each detector for the largest of these images; returns the bytes that such
    a pass keeps.

    A detector that raises gets the most, and 0 bytes: what it raises is told when it is evaluated.
    """
    some = [image[None] for image, _ in zip(data.pixels(), range(LARGEST), strict=False)]
    largest, kept = from_bytes(max(some, key=Tensor.numel)), []
    for detector in detectors:
        each = 0
        with suppress(Exception):
            each = bytes_an_image(detector.eval(), largest)
        detector.at_once = batch_for(each)
        kept.append(each * min(detector.at_once, len(data)))
    return kept


def batch_for(each: int, bound: int = BOUND) -> int:
    """The largest power of two, at most 128, of images of ``each`` bytes that stay in the bound."""
    size = MOST
    while size > 1 and size * each > bound:
        size //= 2
    return size


def bytes_an_image(detector: Detector, image: Tensor) -> int:
    """Bytes that a pass keeps for the way back of an image like ``(1, 3, H, W)``; 0 of a black box,
    which is not asked.

    They are counted, not timed or measured, so that the number is the same again.
    """
    if detector.card.gradient == "none":
        return 0
    return kept_bytes(detector, image.expand(2, -1, -1, -1)) - kept_bytes(detector, image)


def kept_bytes(detector: Detector, images: Tensor) -> int:
    """Bytes of the tensors that a pass of ``(N, 3, H, W)`` images in [0, 1] keeps for the way
    back.
    """
    sizes: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    device = next((tensor.device for tensor in detector.parameters()), images.device)
    kept: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor), torch.enable_grad():
        kept.append(detector.logits(images.to(device).clone().requires_grad_(True)))
    return sum(sizes.values())


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out: Python's, torch's on an accelerator, or torch's on
    the processor.
    """
    known = isinstance(error, MemoryError | torch.OutOfMemoryError)
    return known or (isinstance(error, RuntimeError) and "not enough memory" in str(error).lower())
