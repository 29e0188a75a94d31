"""What processes of this package take: CPU time, memory, and the start of a new one."""

import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

MEMORY_STATUS = Path("/proc/self/status")
MEMORY_RESET = Path("/proc/self/clear_refs")
START_PROGRAM = "import time, {module}; print(time.process_time())"


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


def start_seconds(module: str) -> float:
    """Return the CPU seconds that a new process takes to import a module, measured on one.

    Args:
        module: its full name.
    """
    command = [sys.executable, "-c", START_PROGRAM.format(module=module)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout)


class CpuTimer:
    """CPU seconds of all threads of this process since the timer was made."""

    def __init__(self) -> None:
        self._began = time.process_time()

    @property
    def seconds(self) -> float:
        """Seconds so far."""
        return time.process_time() - self._began
