"""Examples in docstrings run as they stand."""

import doctest
import importlib
from pathlib import Path

import pytest

import robustbench_aigi as rb

PACKAGE = Path(rb.__file__).parent
WITH_EXAMPLES = sorted(
    ".".join(("robustbench_aigi", *path.relative_to(PACKAGE).with_suffix("").parts))
    for path in PACKAGE.rglob("*.py")
    if ">>>" in path.read_text(encoding="utf-8")
)


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_examples_in_docstrings(name: str) -> None:
    found = doctest.testmod(importlib.import_module(name.removesuffix(".__init__")))
    assert found.attempted
    assert found.failed == 0
