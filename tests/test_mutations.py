"""Mutated files are read or rejected in one message. The long run: ``python -m
tests.benchmarks.mutations``.
"""

import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.mutations import CASES, mutated, outcome


@pytest.mark.parametrize("name", CASES)
def test_a_mutated_file_is_read_or_refused(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    (tmp_path / "made").mkdir()
    case.make(tmp_path / "made")
    whole = (tmp_path / "made" / case.target).read_bytes()

    @settings(
        max_examples=4, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
    )
    @given(st.data())
    def one(data: st.DataObject) -> None:
        folder = tmp_path / "root" / "work"
        shutil.rmtree(folder.parent, ignore_errors=True)
        shutil.copytree(tmp_path / "made", folder)
        assert outcome(case, folder, data.draw(mutated(whole)))

    one()
