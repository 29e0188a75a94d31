"""How many images a detector is shown at once: as many as a bound on memory allows, fewer when memory ran out."""

import torch
from torch import Tensor

from robustbench_aigi.detectors import Detector

BOUND = 2 * 2**30
"""Bytes that a worker's passes may keep for the way back: not the machine's, so that every machine finds one size."""
MOST = 128
LARGEST = 16
"""Images of which the largest stands for all."""


def batch_for(detector: Detector, image: Tensor, bound: int = BOUND) -> int:
    """The largest power of two, at most 128, of images like ``(1, 3, H, W)`` whose passes stay in the bound.

    What a pass keeps for the way back is counted, not timed or measured, so that the size is the same again.
    """
    if detector.card.gradient == "none":
        return MOST
    each = max(1, kept_bytes(detector, image.expand(2, -1, -1, -1)) - kept_bytes(detector, image))
    size = MOST
    while size > 1 and size * each > bound:
        size //= 2
    return size


def kept_bytes(detector: Detector, images: Tensor) -> int:
    """Bytes of the tensors that a pass of ``(N, 3, H, W)`` images in [0, 1] keeps for the way back."""
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


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out: Python's, torch's on an accelerator, or torch's on the processor."""
    known = isinstance(error, MemoryError | torch.OutOfMemoryError)
    return known or (isinstance(error, RuntimeError) and "not enough memory" in str(error).lower())
