"""How the C library's malloc treats memory that is freed."""

import ctypes
import sys

TRIM_THRESHOLD, MMAP_MAX = -1, -4


def keep_freed_memory() -> None:
    """Let this process keep what it frees, for the next batch: a tenth to a third of a pass goes into getting it anew.

    What a pass holds at its peak stays with the process. Without effect where the C library is not glibc. Source:
    mallopt(3).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(MMAP_MAX, 0)
        mallopt(TRIM_THRESHOLD, 2**31 - 1)
