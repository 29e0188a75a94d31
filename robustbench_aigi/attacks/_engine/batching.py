"""A batch cut into parts that the processor's cores share."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from robustbench_aigi.imaging.arrays import rounded, row_parts
from robustbench_aigi.imaging.pixels import MAX_LEVEL

Array = npt.NDArray[Any]
Bytes = npt.NDArray[np.uint8]
Change = Callable[[Tensor, Iterator[torch.Generator], Tensor], Tensor]
"""Function from uint8 grey levels ``(n, 3, H, W)``, one generator per image and uint8 memory of the
same shape to new grey levels, rounded or not, of that shape. It may write its result to the memory.
"""

MAX_PART_VALUES = 2**17
"""Most values in a part of several images, so that its intermediate arrays stay in a core's cache.
"""


def changed(change: Change, images: Tensor, white: int, rngs: Sequence[torch.Generator]) -> Tensor:
    """Change a batch part by part, on as many threads as torch has.

    numpy does the conversions, because torch would start threads of its own inside each thread.

    Args:
        change: what is done to each part.
        images: ``(N, 3, H, W)`` on the 8-bit grid, from 0 to ``white``: uint8, or float with
            ``white`` 1 or 255.
        white: value of a white pixel in float images.
        rngs: one generator per image, made only if ``change`` uses it.

    Returns:
        The changed images: uint8 for uint8, float32 with the same ``white`` for floats.
    """
    clean: Array = images.detach().cpu().numpy()
    is_bytes = clean.dtype == np.uint8
    out: Array = np.empty_like(clean) if is_bytes else np.empty(clean.shape, np.float32)
    worker = PartWorker(change, clean, out, np.float32(MAX_LEVEL / white), rngs)
    threads = torch.get_num_threads()
    size = max(1, min(MAX_PART_VALUES // max(1, clean[:1].size), -(-len(clean) // threads)))
    parts = [range(start, min(start + size, len(clean))) for start in range(0, len(clean), size)]
    if threads == 1 or len(parts) <= 1:
        for part in parts:
            worker.run(part)
    else:
        with ThreadPoolExecutor(min(threads, len(parts))) as pool:
            list(pool.map(worker.run, parts))
    return torch.from_numpy(out).to(images.device)


@dataclass(frozen=True)
class PartWorker:
    """Changes parts of a batch and writes them to the output.

    Attributes:
        change: what is done to each part.
        clean: the batch, ``(N, 3, H, W)``.
        out: where the result goes, of the same shape.
        scale: grey levels per unit of a float batch.
        rngs: one generator per image.
    """

    change: Change
    clean: Array
    out: Array
    scale: np.float32
    rngs: Sequence[torch.Generator]

    def run(self, part: range) -> None:
        """Change the images at the indices of ``part``."""
        given = self.clean[part.start : part.stop]
        target = self.out[part.start : part.stop]
        is_bytes = given.dtype == np.uint8
        levels = given if is_bytes else _levels(given, self.scale)
        room = target if is_bytes else _pixelwise(given.shape, np.uint8)
        rngs = (self.rngs[i] for i in part)
        new = self.change(torch.from_numpy(levels), rngs, torch.from_numpy(room)).numpy()
        if new.dtype != np.uint8:
            new = _levels(new, np.float32(1))
        if not is_bytes:
            np.divide(new, self.scale, out=target, dtype=np.float32)
        elif (new.ctypes.data, new.strides) != (target.ctypes.data, target.strides):
            target[:] = new


def interleaved(image: Bytes) -> Bytes:
    """Return the pixels of ``(3, H, W)`` grey levels as codecs want them: contiguous ``(H, W, 3)``.

    Args:
        image: uint8; it is copied only if its memory does not go pixel by pixel.
    """
    pixels = image.transpose(1, 2, 0)
    if pixels.strides == (3 * image.shape[2], 3, 1):
        return pixels
    return np.stack(list(image), axis=-1, out=np.empty(pixels.shape, np.uint8))


def _levels(values: Array, scale: np.float32) -> Bytes:
    """Return the nearest grey levels of ``(n, 3, H, W)`` values times ``scale``.

    Memory goes pixel by pixel, as codecs want it.
    """
    levels = _pixelwise(values.shape, np.uint8)
    for image, target in zip(values, levels, strict=True):
        for rows in row_parts(*image.shape[1:]):
            for channel, own in zip(image[:, rows], target[:, rows], strict=True):
                own[:] = rounded(channel * scale)
    return levels


def _pixelwise(shape: tuple[int, ...], dtype: npt.DTypeLike) -> Array:
    """Return an empty ``(n, C, H, W)`` array whose memory goes pixel by pixel."""
    count, channels, height, width = shape
    return np.empty((count, height, width, channels), dtype).transpose(0, 3, 1, 2)
