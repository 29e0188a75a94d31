import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource
import torch
from robustbench_aigi.config.process import keep_freed_memory

if {kept}:
    keep_freed_memory()
for _ in range(8):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(2**24).sum()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="needs glibc, whose malloc this is about"
)
def test_memory_that_is_freed_is_not_asked_for_again() -> None:
    """Counted in processes of their own, because the setting stays; where the heap has no room to
    grow, as happens at random now and then, nothing can be kept, so one of three must.
    """
    pages = 2**24 * 4 // 4096

    def faults(kept: bool) -> int:
        script = FAULTS.format(kept=kept)
        return int(
            subprocess.run(
                [sys.executable, "-c", script], capture_output=True, check=True, text=True
            ).stdout
        )

    kept = min(faults(True) for _ in range(3))
    assert kept < pages / 100
    assert faults(False) > kept


BLOCKS = """
import sys
{first}
{second}
from PIL import Image
print(Image.core.get_blocks_max())
"""
IMPORT, TUNE = (
    "import robustbench_aigi.attacks",
    "from robustbench_aigi.config.process import tune_process; tune_process()",
)


@pytest.mark.parametrize(
    ("first", "second", "blocks"),
    [(IMPORT, "", 0), (IMPORT, TUNE, 4), (TUNE, "", 4), (TUNE, IMPORT, 4)],
)
def test_only_the_command_changes_pillows_allocator(first: str, second: str, blocks: int) -> None:
    """C11: importing an attack changed it for the whole process of whoever uses the library."""
    script = BLOCKS.format(first=first, second=second)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, check=True, text=True
    )
    assert int(done.stdout) == blocks
