"""Settings of the whole process, for speed: set by the commands, not by importing the library."""

import ctypes
import os
import sys
from typing import Any

TRIM_THRESHOLD = -1
"""Option of mallopt: how much free memory stays with the process, in bytes."""
MMAP_MAX = -4
"""Option of mallopt: how many allocations may be mapped on their own."""
MMAP_THRESHOLD = -3
"""Option of mallopt: from how many bytes on an allocation is mapped on its own."""
LARGE_BYTES = 2**25
"""Bytes of a large tensor, such as a photograph of 3 megapixels; glibc's largest threshold."""
MAX_MAPPED = 2**16
"""Allocations that are mapped on their own at most, glibc's default."""
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
    mallopt = _glibc("mallopt")
    if mallopt is not None:
        mallopt(MMAP_MAX, 0)
        mallopt(TRIM_THRESHOLD, MAX_TRIM)


def give_large_memory_back() -> None:
    """Give freed memory back to the system, and tensors of :data:`LARGE_BYTES` always from now on.

    Large photographs differ in size, and what is kept of one lies in pieces that the next does not
    fit into. Without effect where the C library is not glibc. Source: mallopt(3), malloc_trim(3).
    """
    mallopt = _glibc("mallopt")
    trim = _glibc("malloc_trim")
    if mallopt is not None and trim is not None:
        mallopt(MMAP_THRESHOLD, LARGE_BYTES)
        mallopt(MMAP_MAX, MAX_MAPPED)
        trim(0)


def _glibc(name: str) -> Any:
    """Return a function of the C library; None where that is not glibc."""
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
