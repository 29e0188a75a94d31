"""What makes all numbers of a detector meaningless is said before the run, and flagged on
each row.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from robustbench_aigi.attacks import Suite
from robustbench_aigi.data import Dataset
from robustbench_aigi.detectors import Card, Detector, wrap
from robustbench_aigi.evaluation import evaluate
from robustbench_aigi.evaluation.adequacy.judge import read_flags
from robustbench_aigi.evaluation.adequacy.preflight import examine
from robustbench_aigi.pipeline.evaluate import evaluate_loaded
from robustbench_aigi.report import read_runs
from robustbench_aigi.report.gate import Policy, judge, verdict
from tests.test_adequacy import bright, brightness

ROWS: list[dict[str, Any]] = [
    {"id": "pgd-8", "attack": "pgd-linf", "with": {"eps": 8, "steps": 10}},
    {"id": "square-8", "attack": "square-linf", "with": {"eps": 8, "queries": 80}},
    {"id": "jpeg", "attack": "jpeg", "with": {"quality": 90}},
]


def suite(*rows: dict[str, Any]) -> Suite:
    return Suite.model_validate(
        {"name": "s", "version": 1, "seed": 0, "attacks": [*(rows or ROWS)]}
    )


class Scored(Detector):
    """A detector of one function of the brightness above 128."""

    default_card = Card(name="made", source="tests", weights="none")

    def __init__(self, function: Callable[[Tensor], Tensor], **card: object) -> None:
        super().__init__()
        self.function = function
        self.describe(**card)

    def logits(self, images: Tensor) -> Tensor:
        return self.function(brightness(images))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return bright(tmp_path_factory.mktemp("images"), least=2, most=30, count=40)


def evaluated(
    detector: Detector, data: Dataset, out: Path, *rows: dict[str, Any]
) -> tuple[pd.DataFrame, set[str]]:
    """The matrix, and the kinds of the flags."""
    matrix = evaluate_loaded({"made": detector}, suite(*rows), data, out)
    return matrix, {flag.kind for flag in read_flags(out) or []}


def everywhere(matrix: pd.DataFrame, kind: str) -> bool:
    """Whether a flag stands on each row."""
    return bool(matrix["flags"].fillna("").str.split(",").map(lambda kinds: kind in kinds).all())


@pytest.mark.parametrize(
    ("function", "kind"),
    [
        (lambda seen: torch.sigmoid(seen), "probabilities"),  # A6
        (lambda seen: torch.sigmoid(seen), "constant-verdict"),
        (lambda seen: -seen, "orientation"),  # A12
        (lambda seen: seen - 100, "constant-verdict"),
        (lambda seen: torch.sin(1000 * seen), "chance-level"),
    ],
)
def test_a_meaningless_detector_is_flagged_everywhere(
    function: Callable[[Tensor], Tensor], kind: str, data: Dataset, tmp_path: Path
) -> None:
    matrix, kinds = evaluated(Scored(function), data, tmp_path)
    assert kind in kinds
    assert everywhere(matrix, kind)
    page, table = (tmp_path / "report.html").read_text(), (tmp_path / "matrix.md").read_text()
    assert page.index('class="fail">warning') < page.index("<h2>Matrix")
    assert table.index("Before any number below") < table.index("| detector |")
    rule = {"metric": "accuracy", "attack": "clean", "mode": "clean", "at_least": 0.0}
    policy = Policy.model_validate({"name": "p", "version": 1, "rules": [rule]})
    assert verdict(judge(policy, read_runs([tmp_path]))) == "undecided"


class Softmax(nn.Module):
    """Two probabilities, where logits are expected; their difference has the right sign, on the
    wrong scale.
    """

    def forward(self, images: Tensor) -> Tensor:
        seen = brightness(images)
        return torch.stack([-seen, seen], dim=1).softmax(dim=1)


def test_two_probabilities_are_seen(data: Dataset, tmp_path: Path) -> None:
    """A6: a softmax at the end, whose verdicts are right and whose logits are not."""
    wrong, right = (
        wrap(Softmax(), input_size=8, name="made", scale=scale)
        for scale in ("logit", "probability")
    )
    matrix, kinds = evaluated(wrong, data, tmp_path / "wrong")
    assert "probabilities" in kinds
    assert everywhere(matrix, "probabilities")
    assert any("sum to 1" in line for line in examine(wrong, data).warnings)
    assert examine(right, data).warnings == ()


def test_a_good_detector_is_not(data: Dataset, tmp_path: Path) -> None:
    matrix, kinds = evaluated(Scored(lambda seen: seen), data, tmp_path)
    assert kinds == set()
    assert matrix["flags"].isna().all()
    assert examine(Scored(lambda seen: seen), data).warnings == ()


def test_fresh_weights_are_marked(data: Dataset, tmp_path: Path) -> None:  # A5
    matrix, kinds = evaluated(Scored(lambda seen: seen, weights="fresh"), data, tmp_path)
    assert kinds == {"fresh-weights"}
    assert everywhere(matrix, "fresh-weights")


def test_warnings_come_before_the_run(data: Dataset, tmp_path: Path) -> None:
    said: list[str] = []

    def listening(line: str) -> None:
        assert not (tmp_path / "cells").exists()
        said.append(line)

    evaluate({"made": Scored(torch.sigmoid)}, suite(), data, tmp_path, say=listening)
    assert any("lie between 0 and 1" in line and "scale='probability'" in line for line in said)
    assert any("are called AI-generated" in line for line in said)


def test_a_detector_that_raises_says_so_before_the_run(data: Dataset, tmp_path: Path) -> None:
    def broken(seen: Tensor) -> Tensor:
        raise RuntimeError("no such layer")

    detector = Scored(broken)
    assert "no such layer" in examine(detector, data).warnings[0]
    matrix = evaluate_loaded({"made": detector}, suite(), data, tmp_path)
    assert matrix["accuracy"].isna().all()
    assert matrix["status"].iloc[0] == "error: clean: RuntimeError: no such layer"


class Batchwise(Detector):
    """Its logit moves with the mean of the batch, as that of a network in dynamic 8-bit integers
    does.
    """

    default_card = Card(name="made", source="tests", weights="none")

    def logits(self, images: Tensor) -> Tensor:
        seen = brightness(images)
        return seen + 0.3 * (seen.mean() - seen)


def test_a_score_that_depends_on_the_batch_is_evaluated_alone(
    data: Dataset, tmp_path: Path
) -> None:  # A13
    detector = Batchwise()
    matrix, kinds = evaluated(detector, data, tmp_path)
    assert detector.at_once == 1
    assert "batch-dependent" in kinds
    assert everywhere(matrix, "batch-dependent")
    clean = pd.concat(
        pd.read_parquet(path) for path in (tmp_path / "cells/made/clean-clean").glob("*.parquet")
    )
    with torch.no_grad():
        alone = [float(detector.logits(image[None].float() / 255)) for image in data.pixels()]
    assert clean["logit"].tolist() == pytest.approx(alone, abs=1e-4)


def rounded(digits: int) -> Callable[[Tensor], Tensor]:
    """Logits of a probability with so many digits."""

    def function(seen: Tensor) -> Tensor:
        return (
            torch.round(torch.sigmoid(seen / 8).double(), decimals=digits)
            .clamp(1e-6, 1 - 1e-6)
            .logit()
            .float()
        )

    return function


@pytest.mark.parametrize(
    ("digits", "coarse", "by_verdicts"), [(1, True, True), (2, True, False), (4, False, False)]
)
def test_coarse_scores_are_flagged_and_the_coarsest_attacked_by_verdicts(
    digits: int, coarse: bool, by_verdicts: bool, data: Dataset, tmp_path: Path
) -> None:  # A9
    detector = Scored(rounded(digits), gradient="none")
    matrix, kinds = evaluated(detector, data, tmp_path)
    row = matrix[(matrix["attack"] == "square-8") & (matrix["direction"] == "both")].iloc[0]
    assert ("coarse-score" in kinds) == coarse
    assert detector.card.score_step == pytest.approx(10**-digits)
    assert (row["replaced_by"] == "hop-skip-jump-linf") == by_verdicts
    assert ("coarse-score" in str(row["flags"])) == coarse
    pgd = matrix[(matrix["attack"] == "pgd-8")].iloc[0]
    assert pgd["status"] == "unavailable: pgd-linf needs gradients, and made has none (a black box)"


def test_an_attack_that_changed_no_image_cannot_pass(data: Dataset, tmp_path: Path) -> None:  # A1
    rows: list[dict[str, Any]] = [
        {"id": "nothing", "attack": "pgd-linf", "with": {"eps": 0, "steps": 2}},
        {"id": "same", "attack": "resize", "with": {"scale": 1.0}},
        ROWS[0],
    ]
    matrix, kinds = evaluated(Scored(lambda seen: seen), data, tmp_path, *rows)
    assert "unchanged" in kinds
    flagged = matrix[matrix["flags"].fillna("").str.contains("unchanged")]
    assert {("white-box", "nothing"), ("static", "same")} <= set(
        zip(flagged["mode"], flagged["attack"], strict=True)
    )
    assert "pgd-8" not in set(flagged["attack"])
    rule = {"metric": "accuracy", "attack": "nothing", "mode": "white-box", "at_least": 0.5}
    policy = Policy.model_validate({"name": "p", "version": 1, "rules": [rule]})
    assert verdict(judge(policy, read_runs([tmp_path]))) == "undecided"
