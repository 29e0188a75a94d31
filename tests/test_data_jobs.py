"""The jobs about datasets as a whole: locks, and odd names from listing to contact sheets."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from robustbench_aigi.data.plusplus.request import BuildRequest
from robustbench_aigi.io.locks import exclusive_lock
from robustbench_aigi.pipeline import datasets as data_pipeline
from tests.test_sources import files


def test_audit_and_generate_hold_their_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Case C5."""
    held: list[Path] = []

    @contextmanager
    def noted(place: Path) -> Iterator[None]:
        held.append(place)
        with exclusive_lock(place):
            yield

    monkeypatch.setattr(data_pipeline, "exclusive_lock", noted)
    root = files(tmp_path / "set", "real", "fake", count=6)
    data_pipeline.audit("folder", tmp_path / "audit", source=str(root))
    monkeypatch.setattr(data_pipeline, "make_samples", lambda *given: pd.DataFrame())
    data_pipeline.generate("mini", tmp_path / "drawn")
    assert held == [tmp_path / "audit", tmp_path / "drawn"]
    assert (tmp_path / "drawn" / ".lock").exists()


def test_names_of_several_lines_are_built_and_shown(tmp_path: Path) -> None:
    """Case B12: a newline in a file name ended a build at its contact sheets."""
    root = files(
        tmp_path / "set", "test/real", "test/fake", names=("a\nb.png", "c\td.png", "e\x1b[31m.png")
    )
    suite = tmp_path / "suite.toml"
    suite.write_text(
        'name = "t"\nversion = 1\nseed = 0\n[[attacks]]\nid = "jpeg-75"\nattack = "jpeg"\n'
    )
    from robustbench_aigi.data.plusplus.verify import verify
    from robustbench_aigi.executors import InProcessExecutor

    order = BuildRequest(dataset="folder", source=str(root), attacks=str(suite), samples=0)
    rows = data_pipeline.build(order, tmp_path / "built", executor=InProcessExecutor(1))
    assert {f"test/real/{name}" for name in ("a\nb", "c\td", "e\x1b[31m")} <= set(rows["source"])
    assert all(path.isprintable() for path in rows["path"])
    assert rows["path"].is_unique
    assert verify(tmp_path / "built") == []
    with Image.open(tmp_path / "built" / "pictures" / "test-jpeg-75.png") as sheet:
        assert np.asarray(sheet).std() > 0
