"""A16, A17: the worst case over what every row met, thresholds frozen on clean reals, attacks at
full strength.
"""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from robustbench_aigi.attacks import Suite
from robustbench_aigi.data import Dataset
from robustbench_aigi.evaluation.metrics import FrozenThresholds, summarise
from robustbench_aigi.pipeline.evaluate import evaluate
from robustbench_aigi.report import Matrix, read_matrix
from robustbench_aigi.report.html.headline import headlines
from robustbench_aigi.report.leaderboard import boards
from tests.test_adequacy import bright
from tests.test_preflight import Scored


def made(label: list[int], logit: list[float]) -> pd.DataFrame:
    """A cell's table of a detector with the threshold 0."""
    table = pd.DataFrame(
        {"id": [str(i) for i in range(len(label))], "label": label, "logit": logit}
    )
    fooled = (table["logit"] > 0) != (table["label"] == 1)
    return table.assign(
        generator="g",
        clean_logit=table["logit"],
        fooled=fooled,
        kept=fooled,
        draws=1,
        wrong=fooled.astype(int),
        wrong_half=0,
        forwards=1,
        backwards=0,
    )


def test_thresholds_are_frozen_on_clean_reals() -> None:
    reals = np.arange(1000) / 1000 - 1
    clean = made([0] * 1000 + [1] * 100, [*reals, *np.full(100, 2.0)])
    frozen = FrozenThresholds.of(clean)
    assert frozen.reals == 1000
    for name, allowed in (("01", 1), ("1", 10), ("5", 50)):
        assert int((reals > frozen.at[name]).sum()) == allowed
    attacked = made([0] * 1000 + [1] * 100, [*(reals + 0.5), *np.linspace(-1.1, 0, 100)])
    both = summarise(attacked, 0.0, ranked=True, frozen=frozen)[-1]
    assert both["frozen_reals"] == 1000
    assert both["fpr_frozen_5"] == pytest.approx(
        0.55, abs=0.002
    )  # the threshold stayed where it was, the reals did not
    assert both["tpr_frozen_5"] == pytest.approx(
        (np.linspace(-1.1, 0, 100) > frozen.at["5"]).mean()
    )
    few = FrozenThresholds.of(made([0] * 50 + [1], [*range(50), 1.0]))
    assert math.isnan(few.at["1"])
    assert few.at["5"] == 47


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return bright(tmp_path_factory.mktemp("images"), least=2, most=30, count=40)


def run(data: Dataset, out: Path, **more: object) -> Matrix:
    rows = [
        {"id": "pgd-4", "attack": "pgd-linf", "with": {"eps": 4, "steps": 4}, **more},
        {"id": "pgd-16", "attack": "pgd-linf", "with": {"eps": 16, "steps": 10}, "limit": 10},
    ]
    suite = Suite.model_validate({"name": "s", "version": 1, "seed": 0, "attacks": rows})
    return evaluate([Scored(lambda seen: seen, name="mine")], suite, data, out)


def test_the_worst_case_is_over_images_that_every_row_met(data: Dataset, tmp_path: Path) -> None:
    matrix = run(data, tmp_path / "runs" / "mine")
    worst, bound, limited = (
        matrix.cell("mine", attack, "white-box")
        for attack in ("worst-case", "worst-case-bound", "pgd-16")
    )
    assert (worst["n"], bound["n"], limited["n"]) == (10, 40, 10)
    assert worst["accuracy"] == limited["accuracy"]
    assert bound["accuracy"] > worst["accuracy"]
    (headline,) = headlines(read_matrix(tmp_path / "runs" / "mine"), {})
    assert headline.worst == f"{100 * worst['accuracy']:.1f}%"
    assert "over the 10 images that every attack met" in headline.bound
    assert f"at most {100 * bound['accuracy']:.1f}%" in headline.bound
    (board,) = boards(tmp_path / "runs")
    assert board.entries[0].worst is not None
    assert board.entries[0].worst.n == 10


def test_without_limits_there_is_one_worst_case(data: Dataset, tmp_path: Path) -> None:
    rows = [{"id": "pgd-4", "attack": "pgd-linf", "with": {"eps": 4, "steps": 4}}]
    suite = Suite.model_validate({"name": "s", "version": 1, "seed": 0, "attacks": rows})
    matrix = evaluate([Scored(lambda seen: seen, name="mine")], suite, data, tmp_path)
    assert "worst-case-bound" not in set(matrix["attack"])
    assert matrix.cell("mine", "worst-case", "white-box")["n"] == 40


def test_full_strength_gives_white_box_cells_their_ranking(data: Dataset, tmp_path: Path) -> None:
    full = run(data, tmp_path / "full", strength="full").cell("mine", "pgd-4", "white-box")
    stopped = run(data, tmp_path / "stopped").cell("mine", "pgd-4", "white-box")
    for metric in ("auc", "ap", "calibration_error", "tpr_frozen_5", "fpr_frozen_5"):
        assert pd.notna(full[metric])
        assert pd.isna(stopped[metric])
    assert full["accuracy"] <= stopped["accuracy"]
    table = pd.concat(
        pd.read_parquet(path)
        for path in (tmp_path / "full/cells/mine/white-box-pgd-4").glob("shard*")
    )
    assert (
        table["linf"].eq(4).all()
    )  # every image at the edge of the ball, those fooled early among them
