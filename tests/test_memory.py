import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource
import torch
from robustbench_aigi.memory import keep_freed_memory

if {kept}:
    keep_freed_memory()
for _ in range(8):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(2**24).sum()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc, whose malloc this is about")
def test_memory_that_is_freed_is_not_asked_for_again() -> None:
    """Counted in processes of their own, because the setting stays; where the heap has no room to grow, as chance will
    have it now and then, nothing can be kept, so one of three must.
    """
    pages = 2**24 * 4 // 4096

    def faults(kept: bool) -> int:
        script = FAULTS.format(kept=kept)
        return int(subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, text=True).stdout)

    kept = min(faults(True) for _ in range(3))
    assert kept < pages / 100
    assert faults(False) > kept
