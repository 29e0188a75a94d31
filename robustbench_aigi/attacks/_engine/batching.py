"""A batch cut into parts that the processor's cores share."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from robustbench_aigi.imaging.pixels import LEVELS

Array = npt.NDArray[Any]
Bytes = npt.NDArray[np.uint8]
Change = Callable[[Tensor, Iterator[torch.Generator], Tensor], Tensor]
"""uint8 grey levels ``(n, 3, H, W)`` and a generator an image to new grey levels, rounded or not,
of the same shape.

The third argument is uint8 memory of that shape, for a change that can write its result to where it
is wanted.
"""

PART = 2**17
"""Most values in a part of several images: what it needs meanwhile stays in a core's cache."""


def changed(change: Change, images: Tensor, white: int, rngs: Sequence[torch.Generator]) -> Tensor:
    """Change a batch part by part, on as many threads as torch has.

    numpy does the conversions, because torch would start threads of its own inside each thread.

    Args:
        images: ``(N, 3, H, W)`` on the 8-bit grid, from 0 to ``white``: uint8, or float with
            ``white`` 1 or 255.
        rngs: one an image; made only where ``change`` asks for it.
    """
    clean: Array = images.detach().cpu().numpy()
    whole = clean.dtype == np.uint8
    out: Array = np.empty_like(clean) if whole else np.empty(clean.shape, np.float32)
    threads, scale = torch.get_num_threads(), np.float32(LEVELS / white)
    size = max(1, min(PART // max(1, clean[:1].size), -(-len(clean) // threads)))

    def work(start: int) -> None:
        part = range(start, min(start + size, len(clean)))
        given, target = clean[start : part.stop], out[start : part.stop]
        levels = given if whole else _levels(given, scale)
        room = target if whole else _pixelwise(given.shape, np.uint8)
        new = change(
            torch.from_numpy(levels), (rngs[i] for i in part), torch.from_numpy(room)
        ).numpy()
        if new.dtype != np.uint8:
            new = _levels(new, np.float32(1))
        if not whole:
            np.divide(new, scale, out=target, dtype=np.float32)
        elif (new.ctypes.data, new.strides) != (target.ctypes.data, target.strides):
            target[:] = new

    starts = range(0, len(clean), size)
    if threads == 1 or len(starts) <= 1:
        for start in starts:
            work(start)
    else:
        with ThreadPoolExecutor(min(threads, len(starts))) as pool:
            list(pool.map(work, starts))
    return torch.from_numpy(out).to(images.device)


def interleaved(image: Bytes) -> Bytes:
    """The pixels of ``(3, H, W)`` grey levels as codecs want them, ``(H, W, 3)`` contiguous; a copy
    only if need be.
    """
    pixels = image.transpose(1, 2, 0)
    if pixels.strides == (3 * image.shape[2], 3, 1):
        return pixels
    return np.stack(list(image), axis=-1, out=np.empty(pixels.shape, np.uint8))


def _levels(values: Array, scale: np.float32) -> Bytes:
    """Nearest grey levels of ``(n, 3, H, W)`` values times ``scale``, pixel by pixel in memory as
    codecs want them.

    One channel at a time, because a fresh large array costs the machine more than the sums in it.
    """
    levels = _pixelwise(values.shape, np.uint8)
    room = np.empty(values[:, 0].shape, np.result_type(values, scale))
    for channel in range(values.shape[1]):
        np.multiply(values[:, channel], scale, out=room)
        levels[:, channel] = np.clip(np.rint(room, out=room), 0, LEVELS, out=room)
    return levels


def _pixelwise(shape: tuple[int, ...], dtype: npt.DTypeLike) -> Array:
    """An empty ``(n, C, H, W)`` array whose memory goes pixel by pixel."""
    count, channels, height, width = shape
    return np.empty((count, height, width, channels), dtype).transpose(0, 3, 1, 2)
