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
    torch.ones(2**26).sum()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc, whose malloc this is about")
def test_memory_that_is_freed_is_not_asked_for_again() -> None:
    """Counted in processes of their own, because the setting stays."""
    pages = 2**26 * 4 // 4096
    runs = [[sys.executable, "-c", FAULTS.format(kept=kept)] for kept in (True, False)]
    kept, anew = (int(subprocess.run(run, capture_output=True, check=True, text=True).stdout) for run in runs)
    assert kept < pages / 100
    assert anew > kept
