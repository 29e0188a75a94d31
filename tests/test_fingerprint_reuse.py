"""Results are reused exactly where fingerprints are equal (case A2 of what people do)."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robustbench_aigi.attacks import Suite
from robustbench_aigi.data import Dataset, load_data
from robustbench_aigi.detectors import Detector, load_detector
from robustbench_aigi.detectors._support.fingerprint import (
    Identities,
    fingerprint,
)
from robustbench_aigi.detectors.base import Card
from robustbench_aigi.pipeline.evaluate import evaluate
from tests.fingerprints import flat, wrapped


class Brightness(Detector):
    """The mean brightness, with an open file beside it where it is asked for."""

    default_card = Card(name="mine", source="tests")

    def __init__(self, level: float, log: io.IOBase | None = None) -> None:
        super().__init__()
        self.level = level
        self.log = log

    def logits(self, images: Tensor) -> Tensor:
        return 8 * (images.mean(dim=(1, 2, 3)) - self.level)

    def __deepcopy__(self, memo: dict[int, object]) -> "Brightness":
        return Brightness(self.level, self.log)

    def __reduce__(self) -> tuple[Any, ...]:
        return Brightness, (self.level,)


PGD_SUITE = Suite.model_validate(
    {
        "name": "s",
        "version": 1,
        "seed": 0,
        "attacks": [
            {
                "id": "pgd",
                "attack": "pgd-linf",
                "with": {"eps": 8, "step": 4, "steps": 2},
                "surrogate": "maker",
            }
        ],
    }
)


@pytest.fixture(scope="module")
def data(tiny_recipe: str) -> Dataset:
    return load_data(tiny_recipe, split="test")


def clean(detector: Detector, data: Dataset, out: Path, **given: Any) -> float:
    matrix = evaluate([detector], PGD_SUITE, data, out, **given)
    return float(matrix.cell(detector.card.name, "clean", "clean")["accuracy"])


def stamps(out: Path) -> dict[str, int]:
    return {p.relative_to(out).as_posix(): p.stat().st_mtime_ns for p in out.rglob("*.parquet")}


def test_the_same_folder_with_a_turned_detector_gives_fresh_numbers(
    data: Dataset, tmp_path: Path
) -> None:
    """A2: fake_index=1, then fake_index=0, in one folder."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 2))
    with torch.no_grad():
        middle = float(wrapped(net).logits(data.arrays()[0].float() / 255).median())
    for index in (1, 0):
        own = wrapped(net, fake_index=index, threshold=middle if index else -middle)
        fresh = clean(own, data, tmp_path / str(index))
        assert clean(own, data, tmp_path / "one") == fresh
    assert fresh == pytest.approx(
        1 - clean(wrapped(net, threshold=middle), data, tmp_path / "one"), abs=0.1
    )


def test_what_did_not_change_is_reused(data: Dataset, tmp_path: Path) -> None:
    maker = {"maker": wrapped(flat(3))}
    clean(wrapped(), data, tmp_path, surrogates=maker)
    before = stamps(tmp_path)
    facts = json.loads((tmp_path / "run.json").read_text())
    assert facts["fingerprints"]["mine"] == fingerprint(wrapped()).digest
    assert set(facts["fingerprints"]) == {"mine", "maker"}
    assert facts["not_reused"] == {}
    clean(wrapped(summary="more words"), data, tmp_path, surrogates={"maker": wrapped(flat(3))})
    after = stamps(tmp_path)
    assert not {name for name in before if before[name] != after[name]}


def test_images_are_made_again_for_another_surrogate(data: Dataset, tmp_path: Path) -> None:
    """A2: the same weights behind another preprocessing made the earlier images."""
    for mean in ((0.0,) * 3, (0.5,) * 3):
        clean(
            wrapped(),
            data,
            tmp_path,
            surrogates={"maker": wrapped(flat(3), mean=mean, std=(0.1, 0.2, 0.3))},
        )
    assert len(list((tmp_path / "plusplus" / "parts").glob("test-pgd-*"))) == 2


def test_what_cannot_be_fingerprinted_is_never_reused_and_says_why(
    data: Dataset, tmp_path: Path
) -> None:
    (tmp_path / "log").write_text("")
    said: list[str] = []
    with (tmp_path / "log").open() as file:
        detector = Brightness(0.5, file)
        clean(detector, data, tmp_path / "run", say=said.append)
        before = stamps(tmp_path / "run" / "cells")
        clean(detector, data, tmp_path / "run", say=said.append)
    after = stamps(tmp_path / "run" / "cells")
    assert all(before[name] != after[name] for name in before)
    assert (
        said
        == [
            "results of mine are not reused from an earlier run, and a stopped run starts again: "
            "an open file in log cannot be fingerprinted"
        ]
        * 2
    )
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    assert facts["not_reused"] == {"mine": ["an open file in log"]}


def test_an_identity_is_one_within_a_run_and_another_in_the_next_where_something_is_unknown() -> (
    None
):
    endpoint = load_detector("http://localhost:1/score")
    known = wrapped()
    one = Identities()
    other = Identities()
    assert one.of(endpoint) == one.of(endpoint) != other.of(endpoint)
    assert one.of(known) == other.of(known) == fingerprint(known).digest
