"""A14: sizes per pixel hold at any image size."""

import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from robustbench_aigi.attacks import load_attack, load_suite
from robustbench_aigi.attacks._engine.norm_balls import is_longer, length
from robustbench_aigi.attacks.base import Attack, Budget
from robustbench_aigi.config.relative_size import RMS_LEVELS, RelativeSize
from robustbench_aigi.data import load_data
from robustbench_aigi.data.plusplus.build import build_plusplus
from robustbench_aigi.data.plusplus.card import write_card
from robustbench_aigi.data.plusplus.parts import Part
from robustbench_aigi.data.plusplus.verify import verify
from robustbench_aigi.data.recipes import Recipe
from robustbench_aigi.detectors import Detector, load_detector
from robustbench_aigi.errors import BrokenBudgetError, ConfigError
from robustbench_aigi.evaluation.adequacy.judge import _must_beat
from robustbench_aigi.executors import InProcessExecutor
from robustbench_aigi.progress import silent
from robustbench_aigi.testing.probe import probe_images


@pytest.fixture(scope="module")
def detector() -> Detector:
    torch.manual_seed(0)
    return load_detector("cifake-cnn")


@pytest.mark.parametrize("side", [16, 64])
@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("pgd-l2", {"eps": "4 rms", "step": "1 rms", "steps": 3}),
        ("apgd-l2", {"eps": "4 rms", "steps": 3}),
        ("square-l2", {"eps": "4 rms", "queries": 20}),
        ("dct-pgd", {"eps": "4 rms", "step": "1 rms", "steps": 3}),
        ("hop-skip-jump-l2", {"eps": "4 rms", "queries": 60}),
    ],
)
def test_an_rms_is_the_norm_of_that_image_size(
    detector: Detector, name: str, numbers: dict[str, Any], side: int
) -> None:
    images, labels = probe_images(side)
    relative = load_attack(name, **numbers)
    norm = 4 / 255 * math.sqrt(3 * side * side)
    result = relative(detector, images, labels, full=True)
    assert float(result.l2.max()) <= norm + 1e-6
    steps = {"step": norm / 4} if "step" in numbers else {}
    absolute = load_attack(name, **numbers | {"eps": norm} | steps)
    assert torch.equal(absolute(detector, images, labels, full=True).images, result.images)


@pytest.mark.parametrize(("side", "pixels"), [(8, 1), (64, 41)])
@pytest.mark.parametrize("name", ["pgd-l0", "k-pixel"])
def test_a_share_is_a_number_of_pixels(
    detector: Detector, name: str, side: int, pixels: int
) -> None:
    attack = load_attack(name, pixels="1%")
    assert attack.at_size(side, side) == load_attack(name, pixels=pixels)
    images, labels = probe_images(side)
    few: dict[str, Any] = {"steps": 4} if name == "pgd-l0" else {"population": 4, "generations": 2}
    result = load_attack(name, pixels="1%", **few)(detector, images, labels)
    assert int(result.l0.max()) <= pixels


def test_an_attack_that_leaves_its_relative_budget_is_found(detector: Detector) -> None:
    images, labels = probe_images(16)
    result = load_attack("pgd-l2", eps=2.0, steps=3)(detector, images, labels, full=True)
    with pytest.raises(BrokenBudgetError, match="L2 budget"):
        Budget(l2=RelativeSize(4, RMS_LEVELS)).at_size(16, 16).check("pgd-l2", result)


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("eot", {"attack": "pgd-l2", "numbers": {"eps": "4 rms", "steps": 2}, "draws": 2}),
        ("art:ProjectedGradientDescentPyTorch", {"norm": "l2", "eps": "4 rms", "max_iter": 2}),
        ("torchattacks:PGDL2", {"eps": "4 rms", "steps": 2}),
    ],
)
def test_wrapped_attacks_know_the_size(
    detector: Detector, name: str, numbers: dict[str, Any]
) -> None:
    attack = load_attack(name, **numbers)
    images, labels = probe_images(16)
    result = attack(detector, images, labels, full=True)
    assert float(result.l2.max()) <= 4 / 255 * math.sqrt(3 * 16 * 16) + 1e-6


def test_an_attack_survives_a_pickle() -> None:
    for name in ("pgd-l2", "torchattacks:PGDL2"):
        attack = load_attack(name, eps="4 rms")
        assert pickle.loads(pickle.dumps(attack)).at_size(8, 8) == attack.at_size(8, 8)


def test_a_size_per_pixel_has_no_number_of_its_own() -> None:
    size = RelativeSize(4, RMS_LEVELS)
    for use in (float, int):
        with pytest.raises(ConfigError, match=r"4 rms depends on the size of the image.*at_size"):
            use(size)


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("eps", "300 rms", r"pgd-l2 wants eps of .* got '300 rms'"),
        ("eps", "0 rms", r'Write a number, or text such as eps = "8/255", or .* eps = \'?"?4 rms'),
        ("eps", "0.1%", "pgd-l2 wants eps of"),
        ("step", "-1 rms", "pgd-l2 wants step of"),
    ],
)
def test_other_texts_are_rejected(name: str, given: str, message: str) -> None:
    numbers: dict[str, Any] = {name: given}
    with pytest.raises(ConfigError, match=message):
        load_attack("pgd-l2", **numbers)


def test_a_size_that_changes_nothing_is_rejected_where_the_image_is_known() -> None:
    attack: Attack = load_attack("pgd-l2", eps="0.001 rms")
    with pytest.raises(ConfigError, match="cannot change one value by one grey level"):
        attack.at_size(8, 8)


SUITE_TEXT = """
name = "sizes"
version = 1
seed = 0

[[attacks]]
id = "rms"
attack = "pgd-l2"
with = { eps = "4 rms", step = "2 rms", steps = 2 }
surrogate = "cifake-cnn"

[[attacks]]
id = "rms-large"
attack = "pgd-l2"
with = { eps = "8 rms", step = "2 rms", steps = 2 }
"""


def test_a_set_of_mixed_sizes_keeps_its_budgets_and_verifies(
    tmp_path: Path, detector: Detector
) -> None:
    rng = np.random.default_rng(0)
    for label in ("REAL", "FAKE"):
        folder = tmp_path / "source" / "test" / label
        folder.mkdir(parents=True)
        for side in (24, 48):
            pixels = rng.integers(0, 256, (side, side, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{side}.png")
    suite_file = tmp_path / "sizes.toml"
    suite_file.write_text(SUITE_TEXT)
    suite = load_suite(str(suite_file))
    shared = suite.model_copy(update={"rows": suite.rows[:1]})
    data = load_data("cifake", str(tmp_path / "source"), split="test")
    built = tmp_path / "built"
    surrogates = {"cifake-cnn": detector}
    build_plusplus(
        {"test": Part(data, True, 0)}, shared, surrogates, built, silent, InProcessExecutor(1)
    )
    assert verify(built) == []
    rows = pd.read_parquet(built / "manifest.parquet")
    rms = rows[rows["attack"] == "rms"]
    expected = [4 / 255 * math.sqrt(3 * side * side) for side in (24, 48)]
    assert sorted(rms["eps"].unique()) == pytest.approx(expected)
    write_card(built, Recipe(name="cifake", version=1, licence="mit"), "build")
    card = (built / "README.md").read_text()
    assert "L2 of 4 grey levels RMS" in card
    assert "mean RMS" in card


def test_a_larger_size_per_pixel_must_not_fool_fewer(tmp_path: Path) -> None:
    suite_file = tmp_path / "sizes.toml"
    suite_file.write_text(SUITE_TEXT)
    small, large = (row.built for row in load_suite(str(suite_file)).rows)
    assert _must_beat(large, small) == "eps-not-monotone"
    assert _must_beat(small, large) is None
    assert _must_beat(load_attack("pgd-l2", eps=1.0, step="2 rms", steps=2), small) is None


def test_norms_of_large_images_are_exact() -> None:
    """In float32 the norm of twelve megapixels was half a percent off, and L2 attacks broke it."""
    rng = torch.Generator().manual_seed(0)
    change = (4 * torch.randn(1, 3, 2000, 2000, generator=rng)).round()
    exact = math.sqrt(int(change.long().square().sum()))
    assert float(length(change)) == pytest.approx(exact, rel=1e-7)
    assert not is_longer(change, exact * (1 + 1e-9)).item()
    assert is_longer(change, exact * (1 - 1e-9)).item()
