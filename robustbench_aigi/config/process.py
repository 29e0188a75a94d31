"""Settings of the whole process, for speed: the command and its workers use them, importing the
library does not.
"""

import ctypes
import os
import sys
from typing import Any

TRIM_THRESHOLD, MMAP_MAX = -1, -4
PILLOW_BLOCKS = 4
"""Blocks of 16 MB that Pillow keeps for the next image: to get an image's memory afresh costs a
fifth of the time.
"""


def tune_process() -> None:
    """Let malloc and Pillow keep the memory that they free. It stays so until the process ends; no
    number changes.
    """
    keep_freed_memory()
    keep_image_memory()


def keep_image_memory() -> None:
    """Let Pillow keep image memory that is freed, unless the user has set how much. Source: Pillow,
    Block Allocator.
    """
    image: Any = sys.modules.get("PIL.Image")
    if image is None:  # Pillow reads it when it is imported
        os.environ.setdefault("PILLOW_BLOCKS_MAX", str(PILLOW_BLOCKS))
    elif not image.core.get_blocks_max():
        image.core.set_blocks_max(PILLOW_BLOCKS)


def keep_freed_memory() -> None:
    """Let this process keep what it frees, for the next batch: a tenth to a third of a pass goes
    into getting it anew.

    What a pass holds at its peak stays with the process. Without effect where the C library is not
    glibc. Source: mallopt(3).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(MMAP_MAX, 0)
        mallopt(TRIM_THRESHOLD, 2**31 - 1)
