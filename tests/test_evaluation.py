import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import logit
from sklearn.metrics import roc_auc_score

from robustbench_aigi.attacks import Suite, load_attack, load_suite
from robustbench_aigi.data import Dataset, load_data
from robustbench_aigi.detectors import Detector, load_detector
from robustbench_aigi.errors import DataError, UserError
from robustbench_aigi.evaluation.intervals import bootstrap, wilson
from robustbench_aigi.evaluation.metrics import summarise
from robustbench_aigi.evaluation.scores import calibration_error
from robustbench_aigi.evaluation.shard_work import attacked
from robustbench_aigi.evaluation.worst_case import worst_case
from robustbench_aigi.outcomes import Unavailable
from robustbench_aigi.pipeline.evaluate import evaluate


@pytest.fixture(scope="module")
def data(tiny_recipe: str) -> Dataset:
    return load_data(tiny_recipe, split="test")


def cnn(seed: int = 0) -> Detector:
    torch.manual_seed(seed)
    return load_detector("cifake-cnn")


def test_summary_keeps_directions_apart() -> None:
    table = pd.DataFrame(
        {
            "id": list("abcdef"),
            "label": [1, 1, 1, 0, 0, 0],
            "generator": ["sd", "sd", "gan", None, None, None],
            "clean_logit": [1.0, 1.0, -1.0, -1.0, -1.0, -1.0],
            "logit": [-1.0, 0.5, -2.0, -0.5, 2.0, -3.0],
            "fooled": [True, False, True, False, True, False],
            "forwards": 3,
            "backwards": 2,
            "draws": 1,
            "wrong": [1, 0, 1, 0, 1, 0],
            "wrong_half": 0,
            "kept": [True, False, True, False, True, False],
        }
    )
    evasion, framing, both = summarise(table, 0.0, ranked=True)
    assert (evasion["n"], evasion["accuracy"], evasion["n_correct_before"]) == (
        3,
        pytest.approx(1 / 3),
        2,
    )
    assert evasion["success_rate"] == 0.5
    assert framing["accuracy"] == pytest.approx(2 / 3)
    assert framing["success_rate"] == pytest.approx(1 / 3)
    assert both["balanced_accuracy"] == pytest.approx(0.5)
    assert both["auc"] == roc_auc_score(table["label"], table["logit"])
    many = summarise(pd.concat([table] * 20), 0.0, ranked=True)[2]
    interval = bootstrap(
        [[*table["label"]] * 20, [*table["logit"]] * 20], roc_auc_score, resamples=1000
    )
    assert (many["auc_low"], many["auc_high"]) == pytest.approx(interval)
    assert interval[0] < roc_auc_score(table["label"], table["logit"]) < interval[1]
    assert "auc" not in summarise(table, 0.0, ranked=False)[2]
    assert (evasion["worst_generator"], evasion["worst_generator_accuracy"]) == ("gan", 0.0)
    assert (evasion["worst_generator_low"], evasion["worst_generator_high"]) == wilson(0, 1)
    assert "worst_generator" not in framing | both
    worst = worst_case(table, [table.iloc[[1]].assign(fooled=True, wrong=1, kept=True)])
    assert worst["fooled"].tolist() == [True, True, True, False, True, False]
    assert worst["forwards"].tolist() == [0, 3, 0, 0, 0, 0]


def test_calibration_error_is_the_gap_between_said_and_true() -> None:
    said = np.array([0.05] * 10 + [0.95] * 30)
    labels = pd.Series([1] * 4 + [0] * 6 + [1] * 30)
    expected = (10 * abs(0.4 - 0.05) + 30 * abs(1 - 0.95)) / 40
    assert calibration_error(labels, pd.Series(logit(said))) == pytest.approx(expected)


def test_matrix_has_every_cell_and_worst_case_is_lowest(
    data: Dataset, tiny_suite: str, tmp_path: Path
) -> None:
    matrix = evaluate([cnn()], tiny_suite, data, tmp_path)
    assert (matrix["status"] == "ok").all()
    suite = load_suite(tiny_suite)
    for direction in ("evasion", "framing", "both"):
        clean = matrix.cell("cifake-cnn", "clean", "clean", direction)
        for mode in ("static", "white-box"):
            worst = matrix.cell("cifake-cnn", "worst-case", mode, direction)
            assert worst["accuracy"] <= clean["accuracy"]
            for row in suite.rows:
                if row.limit is None and not (mode == "white-box" and row.built.access == "none"):
                    assert (
                        worst["accuracy"]
                        <= matrix.cell("cifake-cnn", row.id, mode, direction)["accuracy"]
                    )
    assert matrix.cell("cifake-cnn", "one-pixel", "white-box")["n"] == 4
    with pytest.raises(DataError, match="There are: cifake-cnn/clean/clean"):
        matrix.cell("cifake-cnn", "magic", "static")


def test_accuracy_from_the_saved_images_is_the_cell(
    data: Dataset, tiny_suite: str, tmp_path: Path
) -> None:
    from tests.recount import recount

    matrix = evaluate([cnn()], tiny_suite, data, tmp_path)
    counted = recount(tmp_path, "cifake-cnn", cnn())
    assert len(counted) == 6
    for (mode, attack), accuracy in counted.items():
        assert accuracy == matrix.cell("cifake-cnn", attack, mode)["accuracy"], (mode, attack)


def test_an_attack_takes_the_clean_logits_of_the_clean_cell(data: Dataset) -> None:
    """Told that the detector is wrong on every clean image, it attacks none."""
    rows = data.manifest
    message = [-1.0 if label else 1.0 for label in rows["label"]]
    work = attacked(cnn(), load_attack("pgd-linf"), 0, keep_images=False)
    tables = [work(data, message), work(data)]
    assert (tables[0]["forwards"] == 1).all()
    assert tables[0]["clean_logit"].tolist() == message
    assert (tables[1]["forwards"] > 1).any()


def test_finished_shards_are_kept_and_others_made_anew(
    data: Dataset, tiny_suite: str, tmp_path: Path
) -> None:
    evaluate([cnn()], tiny_suite, data, tmp_path)
    first = (tmp_path / "matrix.csv").read_bytes()
    shards = sorted((tmp_path / "cells").rglob("*.parquet"))
    times = {path: path.stat().st_mtime_ns for path in shards}
    shards[0].unlink()
    evaluate([cnn()], tiny_suite, data, tmp_path)
    assert (tmp_path / "matrix.csv").read_bytes() == first
    assert {p for p in shards[1:] if p.stat().st_mtime_ns != times[p]} == set()
    evaluate([cnn(seed=1)], tiny_suite, data, tmp_path)
    assert all(
        path.stat().st_mtime_ns != times[path] for path in shards if "clean" in path.parent.name
    )


def test_unavailable_detectors_and_surrogates_keep_their_rows(
    data: Dataset, tiny_suite: str, tmp_path: Path
) -> None:
    from robustbench_aigi.evaluation import evaluate

    suite = load_suite(tiny_suite)
    detectors: dict[str, Any] = {
        "far": Unavailable("no hub"),
        "resnet18-c32": load_detector("resnet18-c32"),
    }
    table = evaluate(detectors, suite, data, tmp_path)
    assert table.loc[table["detector"] == "far", "status"].tolist() == ["unavailable: no hub"]
    lost = table[(table["attack"] == "pgd-linf-8") & (table["mode"] == "static")]
    assert lost["status"].str.contains("the surrogate cifake-cnn was not given").all()
    assert len(lost) == 1


def test_a_surrogate_need_not_be_among_the_detectors(
    data: Dataset, tiny_suite: str, tmp_path: Path
) -> None:
    maker, other = cnn(), load_detector("resnet18-c32")
    evaluate([maker, other], tiny_suite, data, tmp_path / "together")
    given = evaluate(
        [other], tiny_suite, data, tmp_path / "given", surrogates={"cifake-cnn": maker}
    )
    header, *rows = (tmp_path / "together" / "matrix.csv").read_text().splitlines()
    own = [row for row in rows if row.startswith("resnet18-c32,")]
    assert (tmp_path / "given" / "matrix.csv").read_text().splitlines() == [header, *own]
    assert given.cell("resnet18-c32", "pgd-linf-8", "static")["status"] == "ok"
    assert list(json.loads((tmp_path / "given" / "run.json").read_text())["surrogates"]) == [
        "cifake-cnn"
    ]


def test_what_seeks_the_smallest_change_is_no_part_of_the_worst_case(
    data: Dataset, tmp_path: Path
) -> None:
    seeking = {"id": "smallest", "attack": "fmn-linf", "with": {"steps": 60}}
    held = {"id": "weak", "attack": "pgd-linf", "with": {"eps": 1, "step": 1, "steps": 1}}
    suite = Suite.model_validate({"name": "s", "version": 1, "seed": 0, "attacks": [seeking, held]})
    matrix = evaluate([cnn()], suite, data, tmp_path / "both")
    smallest, weak, worst = (
        matrix.cell("cifake-cnn", attack, "white-box")["accuracy"]
        for attack in ("smallest", "weak", "worst-case")
    )
    assert smallest < weak == worst
    alone = evaluate(
        [cnn()], suite.model_copy(update={"rows": suite.rows[:1]}), data, tmp_path / "alone"
    )
    assert set(alone["attack"]) == {"clean", "smallest"}


def test_two_detectors_of_one_name_are_refused(
    data: Dataset, tiny_suite: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="two detectors are called cifake-cnn"):
        evaluate([cnn(), cnn(1)], tiny_suite, data, tmp_path)
