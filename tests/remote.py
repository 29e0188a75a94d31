"""What tests of places at URLs share: what is there, commands as they are typed, and another
machine.
"""

import sys
from pathlib import Path

import pytest

from robustbench_aigi.cli.main import main

fsspec = pytest.importorskip("fsspec")


def there(url: str) -> dict[str, bytes]:
    fs, root = fsspec.url_to_fs(url)
    fs.invalidate_cache()
    return {name[len(root) + 1 :]: fs.cat_file(name) for name in fs.find(root)}


def typed(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["robustbench-aigi", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0


def elsewhere(here: Path, monkeypatch: pytest.MonkeyPatch, name: str = "other") -> None:
    """From now on this is another machine: it has a mirror of its own."""
    monkeypatch.setenv("ROBUSTBENCH_AIGI_CACHE", str(here / name))
