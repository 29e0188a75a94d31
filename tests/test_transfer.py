"""The transfer matrix, and the marks of attacks that a detector met in training."""

from pathlib import Path

import pandas as pd
import pytest
import torch
from pydantic import ValidationError

from robustbench_aigi.attacks import Suite, attacks, load_attack
from robustbench_aigi.data import load_data
from robustbench_aigi.data.plusplus.build import load_plusplus
from robustbench_aigi.detectors import Detector, load_detector
from robustbench_aigi.evaluation.adequacy.families import family, met
from robustbench_aigi.pipeline.evaluate import evaluate
from robustbench_aigi.report import read_matrix
from robustbench_aigi.report.tables import transfer_tables
from robustbench_aigi.training.arrays import predict
from robustbench_aigi.training.methods import methods


def named(name: str, seed: int, seen: tuple[str, ...] = ()) -> Detector:
    torch.manual_seed(seed)
    detector = load_detector("cifake-cnn").eval()
    detector.describe(name=name, seen=seen)
    return detector


def suite(**row: object) -> Suite:
    numbers = {"eps": 8, "step": 2, "steps": 4}
    rows = [
        {"id": "pgd-8", "attack": "pgd-linf", "with": numbers, **row},
        {"id": "jpeg-50", "attack": "jpeg", "with": {"quality": 50}},
    ]
    return Suite.model_validate({"name": "crossed", "version": 1, "seed": 0, "attacks": rows})


def test_every_detector_judges_the_images_made_on_each(tiny_recipe: str, tmp_path: Path) -> None:
    data = load_data(tiny_recipe, split="test")
    pair = [named("one", 1, ("pgd-linf",)), named("two", 2)]
    matrix = evaluate(pair, suite(transfer=True), data, tmp_path)
    (table,) = transfer_tables(matrix).values()
    assert list(table.index) == list(table.columns) == ["one", "two"]
    for judge in pair:
        for maker in pair:
            made = load_plusplus(tmp_path / "transfer", "test", f"pgd-8 from {maker.card.name}")
            images, labels = made.arrays()
            right = (predict(judge, images) > 0) == (labels == 1)
            assert table.loc[judge.card.name, maker.card.name] == pytest.approx(
                float(right.float().mean())
            )
    white_box = [matrix.cell(name, "pgd-8", "white-box")["accuracy"] for name in ("one", "two")]
    assert [table.loc[name, name] for name in ("one", "two")] == white_box
    assert matrix.cell("one", "worst-case", "white-box")["accuracy"] <= min(white_box[0], 1)
    again = read_matrix(tmp_path)
    seen = again[again["seen"].fillna(False).astype(bool)]
    assert set(seen["detector"]) == {"one"}
    assert set(seen["attack"]) == {"pgd-8", "pgd-8 from one", "pgd-8 from two"}
    assert "seen)" in (tmp_path / "matrix.md").read_text()
    assert "made on two" in (tmp_path / "matrix.md").read_text()
    assert "Transfer of pgd-8" in (tmp_path / "report.html").read_text()
    assert "met in training" in (tmp_path / "report.html").read_text()


def test_one_detector_alone_has_no_transfer(tiny_recipe: str, tmp_path: Path) -> None:
    matrix = evaluate(
        [named("one", 1)], suite(transfer=True), load_data(tiny_recipe, split="test"), tmp_path
    )
    assert "transfer" not in set(matrix["mode"])
    assert transfer_tables(pd.DataFrame(matrix)) == {}


def test_what_asks_no_detector_does_not_transfer() -> None:
    with pytest.raises(ValidationError, match="asks no detector, so nothing transfers"):
        Suite.model_validate(
            {
                "name": "x",
                "version": 1,
                "seed": 0,
                "attacks": [
                    {"id": "a", "attack": "jpeg", "with": {"quality": 50}, "transfer": True}
                ],
            }
        )


def test_an_attack_is_seen_if_one_in_its_ball_was() -> None:
    apgd, l2, jpeg = (
        load_attack("apgd-linf", eps=8),
        load_attack("pgd-l2", eps=1),
        load_attack("jpeg", quality=50),
    )
    assert family(apgd) == "L-inf"
    assert met(apgd, ("pgd-linf",))
    assert met(apgd, ("pgd-linf-16", "dct-noise-5"))  # rows of a suite that a `++` set was built by
    assert met(jpeg, ("jpeg-50",))
    assert not met(l2, ("pgd-linf",))
    assert not met(jpeg, ("diffusion", "resize-50"))
    assert {name for method in methods.names() for name in methods.get(method).seen_attacks} <= set(
        attacks.names()
    )
