"""What processes of this package take: CPU time, memory, and the start of a new one."""

import os
import subprocess
import sys
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

MEMORY_STATUS = Path("/proc/self/status")
MEMORY_RESET = Path("/proc/self/clear_refs")


def follow_peak() -> None:
    """Let :func:`peak_memory` count from now on."""
    with suppress(OSError):
        MEMORY_RESET.write_text("5")


def peak_memory() -> int:
    """Return the most bytes of physical memory that this process held; 0 where Linux's ``/proc`` is
    missing.

    It is the peak of what ``top`` calls RES. Source: proc(5), ``VmHWM``.
    """
    if not MEMORY_STATUS.is_file():
        return 0
    lines = MEMORY_STATUS.read_text().splitlines()
    kilobytes = next((line.split()[1] for line in lines if line.startswith("VmHWM")), "0")
    return 1024 * int(kilobytes)


def start_seconds(*modules: str) -> float:
    """Return the CPU seconds that a new process takes to import modules and to end, measured.

    Args:
        modules: full names; those that are not installed are left out.
    """
    found = [name for name in modules if find_spec(name) is not None]
    before = os.times()
    subprocess.run([sys.executable, "-c", f"import {', '.join(found)}"], check=True)
    after = os.times()
    user = after.children_user - before.children_user
    return user + after.children_system - before.children_system


class CpuTimer:
    """CPU seconds of all threads of this process since the timer was made."""

    def __init__(self) -> None:
        self._began = time.process_time()

    @property
    def seconds(self) -> float:
        """Seconds so far."""
        return time.process_time() - self._began
