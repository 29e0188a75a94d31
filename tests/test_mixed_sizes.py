"""One image of a size that no other has, in a training and in an evaluation."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from robustbench_aigi.data import load_data
from robustbench_aigi.detectors import load_detector
from robustbench_aigi.executors import IN_PROCESS, Executor, PoolExecutor
from robustbench_aigi.pipeline.evaluate import evaluate
from robustbench_aigi.pipeline.train import train
from tests.conftest import TINY_SUITE

WIDE = (20_000, 40)
"""Width and height in pixels."""
LARGE = (20_000, 20_000)
"""More than is decoded."""


def write_images(root: Path, count: int = 6) -> None:
    """Small images of two classes, and in the middle of one class a wide one."""
    rng = np.random.default_rng(0)
    for label in ("REAL", "FAKE"):
        folder = root / "test" / label
        folder.mkdir(parents=True)
        for number in range(count):
            is_wide = label == "REAL" and number == count // 2
            width, height = WIDE if is_wide else (32, 32)
            brightest = 255 if label == "REAL" else 80
            pixels = rng.integers(0, brightest, (height, width, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{number}.png")


def write_header(path: Path) -> None:
    """A PNG file of which only the header says how large it is."""
    Image.new("L", LARGE).save(path)


@pytest.mark.parametrize("executor", [IN_PROCESS, PoolExecutor(2)], ids=["local", "pool"])
def test_every_row_holds_a_wide_image_too(tmp_path: Path, executor: Executor) -> None:
    write_images(tmp_path / "images")
    suite = tmp_path / "suite.toml"
    suite.write_text(TINY_SUITE)
    data = load_data("folder", str(tmp_path / "images"), split="test")
    detector = load_detector("cifake-cnn", "cifake")
    matrix = evaluate([detector], str(suite), data, tmp_path / "run", executor=executor)
    rows = pd.DataFrame(matrix)
    assert (rows["status"] == "ok").all()
    limited = rows["attack"].isin(["one-pixel", "worst-case"])
    assert set(rows[~limited & (rows["direction"] == "both")]["n"]) == {12}


def test_too_large_an_image_is_left_out_and_named(tmp_path: Path) -> None:
    write_images(tmp_path / "images")
    write_header(tmp_path / "images" / "test" / "FAKE" / "huge.png")
    skipped = tmp_path / "skipped.csv"
    data = load_data("folder", str(tmp_path / "images"), split="test", skipped=skipped)
    assert len(data) == 12
    table = pd.read_csv(skipped)
    assert "huge" in table["id"].item()
    assert "more than 67108864 pixels; reduce it first" in table["reason"].item()


def test_streamed_training_cuts_a_wide_image(tmp_path: Path) -> None:
    write_images(tmp_path / "images")
    write_images(tmp_path / "more")
    (tmp_path / "more" / "test").rename(tmp_path / "images" / "train")
    write_images(tmp_path / "last")
    (tmp_path / "last" / "test").rename(tmp_path / "images" / "validation")
    out = tmp_path / "cnn.safetensors"
    train(
        "cifake-cnn",
        "folder",
        out,
        source=str(tmp_path / "images"),
        epochs=8,
        numbers={"size": 32, "batch": 4},
    )
    assert (
        load_detector("cifake-cnn", str(out)).card.weights
        != load_detector("cifake-cnn").card.weights
    )
