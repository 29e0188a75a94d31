"""The gate: every kind of rule passes, fails and cannot be judged; comparison with an earlier
run.
"""

import json
import re
import shutil
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

from robustbench_aigi import catalogue
from robustbench_aigi.attacks import load_suite
from robustbench_aigi.cli.main import app
from robustbench_aigi.data import load_data
from robustbench_aigi.errors import ConfigError, DataError, UnknownNameError
from robustbench_aigi.evaluation.adequacy.flags import Flag
from robustbench_aigi.evaluation.adequacy.judge import write_flags
from robustbench_aigi.evaluation.intervals import holm, images_for, mcnemar
from robustbench_aigi.evaluation.matrix import MatrixFrame
from robustbench_aigi.outcomes import Unavailable
from robustbench_aigi.pipeline.evaluate import evaluate_loaded
from robustbench_aigi.report import read_matrix, read_runs
from robustbench_aigi.report.compare import compare, to_markdown
from robustbench_aigi.report.gate import EXIT_CODES, Policy, judge, load_policy, verdict
from robustbench_aigi.report.junit import to_junit
from robustbench_aigi.report.rules import Judgement
from tests.finished_run import SUITE, detector, finished


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory, tiny_recipe: str) -> Path:
    return finished(tmp_path_factory.mktemp("good"), tiny_recipe, detector("good"))


@pytest.fixture(scope="module")
def fakes_only(tmp_path_factory: pytest.TempPathFactory, tiny_recipe: str) -> Path:
    return finished(tmp_path_factory.mktemp("fakes"), tiny_recipe, detector("good", -1e6))


@pytest.fixture(scope="module")
def reals_only(tmp_path_factory: pytest.TempPathFactory, tiny_recipe: str) -> Path:
    return finished(tmp_path_factory.mktemp("reals"), tiny_recipe, detector("good", 1e6))


def judged(
    run: Path, matrix: MatrixFrame | None = None, base: Path | None = None, **rule: Any
) -> list[Judgement]:
    policy = Policy.model_validate({"name": "test", "version": 1, "rules": [rule]})
    whole = read_runs([run])
    return judge(policy, whole if matrix is None else replace(whole, matrix=matrix), base)


def only(
    run: Path, matrix: MatrixFrame | None = None, base: Path | None = None, **rule: Any
) -> str:
    (judgement,) = judged(run, matrix, base, **rule)
    return judgement.verdict


def compared(run: Path, base: Path) -> pd.DataFrame:
    return compare(read_runs([run]), read_runs([base]))


CLEAN: dict[str, Any] = {"metric": "accuracy", "attack": "clean", "mode": "clean"}


def test_bounds_pass_fail_and_cannot_be_judged(good: Path) -> None:
    flagged = read_matrix(good)
    matrix = MatrixFrame(flagged.assign(flags=None))
    row = matrix.cell("good", "clean", "clean")
    assert (
        only(good, at_least=row["accuracy"] - 0.01, **CLEAN) == "undecided"
    )  # no better than chance
    assert only(good, matrix, at_least=row["accuracy"] - 0.01, **CLEAN) == "pass"
    assert only(good, matrix, at_least=row["accuracy"] + 0.01, **CLEAN) == "fail"
    assert only(good, matrix, at_least=row["accuracy"] - 0.001, bound="worse", **CLEAN) == "fail"
    assert only(good, matrix, at_least=row["low"] - 0.001, bound="worse", **CLEAN) == "pass"
    assert only(good, matrix, at_most=row["accuracy"] + 0.001, bound="worse", **CLEAN) == "fail"
    assert only(good, matrix, at_most=row["high"] + 0.001, bound="worse", **CLEAN) == "pass"
    attack: dict[str, Any] = {
        "metric": "accuracy",
        "attack": "jpeg-50",
        "mode": "white-box",
        "at_least": 0.1,
    }
    assert judged(good, **attack)[0] == Judgement(
        "accuracy on jpeg-50, white-box: at least 0.1", "good", "undecided", "no such cell"
    )


def test_a_doubtful_number_can_fail_but_not_pass(good: Path) -> None:
    matrix = read_matrix(good)
    own = (matrix["attack"] == "pgd-2") & (matrix["mode"] == "white-box")
    matrix["flags"] = matrix["flags"].astype(object).where(~own, "zero-gradient")
    rule: dict[str, Any] = {"metric": "accuracy", "attack": "pgd-2", "mode": "white-box"}
    assert only(good, matrix, at_least=0.0, **rule) == "undecided"
    assert only(good, matrix, at_least=1.0, **rule) == "fail"
    failed = read_matrix(good)
    failed.loc[own, "status"] = "error: pgd-2: out of memory"
    failed.loc[own, ["accuracy", "low", "high"]] = float("nan")
    assert judged(good, failed, at_least=0.0, **rule)[0].evidence == "error: pgd-2: out of memory"
    assert only(good, failed, no="missing") == "fail"
    assert only(good, no="missing") == "pass"


def test_flags(good: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(good, run)
    write_flags([], run)
    assert only(run, no="flags") == "pass"
    write_flags([Flag("good", "pgd-2", "not-converged", "still rising")], run)
    assert judged(run, no="flags")[0].evidence == "not-converged (pgd-2)"
    assert only(run, no="flags") == "fail"
    (run / "adequacy.json").unlink()
    assert only(run, no="flags") == "undecided"


def test_regressions_are_found_and_tested_as_many(
    good: Path, fakes_only: Path, reals_only: Path, tmp_path: Path
) -> None:
    assert only(good, no="regression", base=good) == "pass"
    assert only(reals_only, no="regression", base=fakes_only) == "fail"
    assert only(good, no="regression") == "undecided"
    fewer = tmp_path / "fewer"
    shutil.copytree(good, fewer)
    shutil.rmtree(fewer / "cells" / "good" / "static-jpeg-50")
    assert only(fewer, no="regression", base=good) == "undecided"
    changes = compared(reals_only, fakes_only)
    row = changes[(changes["attack"] == "clean") & (changes["direction"] == "evasion")].iloc[0]
    old, new = (
        pd.read_parquet(run / "cells/good/clean-clean/shard-0000.parquet")
        for run in (fakes_only, reals_only)
    )
    fakes = old["label"] == 1
    change = mcnemar(~old["fooled"][fakes], ~new["fooled"][fakes])
    assert (row["lost"], row["won"], row["p"], row["n"]) == (*change, int(fakes.sum()))
    assert row["verdict"] == "regression"
    assert holm(changes["p"].tolist()) == pytest.approx(changes["p_holm"].tolist())
    framing = changes[(changes["attack"] == "clean") & (changes["direction"] == "framing")].iloc[0]
    assert framing["verdict"] == "improvement"
    assert "| good | clean | clean | evasion |" in to_markdown(changes)
    assert (
        to_markdown(compared(good, good))
        == f"0 regression, 0 improvement, {len(compared(good, good))} same, 0 new, 0 gone"
    )
    assert set(compared(fewer, good)["verdict"]) == {"same", "gone"}
    with pytest.raises(DataError, match="holds no matrix"):
        compared(tmp_path, good)


def test_one_detector_under_two_names_is_compared(
    good: Path, tiny_recipe: str, tmp_path: Path
) -> None:
    later = finished(tmp_path / "later", tiny_recipe, detector("better"))
    changes = compared(later, good)
    clean = changes[changes["attack"] == "clean"]
    assert set(clean["detector"]) == {"better"}
    assert set(clean["verdict"]) == {"same"}
    two = finished(tmp_path / "two", tiny_recipe, detector("better"), detector("best"))
    with pytest.raises(
        DataError, match=r"two \(of better, best\) and .* \(of good\) have no .* NEW=CHECKPOINT"
    ):
        compared(two, good)


def test_policies_that_cannot_be_meant_are_told(good: Path) -> None:
    rules: list[tuple[dict[str, Any], str]] = [
        (
            {**CLEAN, "at_least": 0.9, "metric": "acuracy"},
            "no metric called 'acuracy'. Did you mean accuracy",
        ),
        ({**CLEAN}, "at_least or at_most"),
        ({**CLEAN, "at_least": 0.9, "at_most": 0.9}, "one of them"),
        ({**CLEAN, "metric": "ap", "at_least": 0.9, "bound": "worse"}, "ap has no interval"),
        ({"no": "worries"}, "regression"),
    ]
    for rule, message in rules:
        with pytest.raises(ValueError, match=message):
            judged(good, **rule)
    with pytest.raises(ConfigError, match=r"no attack called 'pgd-3'. Did you mean pgd-2"):
        judged(good, metric="accuracy", attack="pgd-3", mode="white-box", at_least=0.5)
    with pytest.raises(ConfigError, match=r"no detector called 'god'. Did you mean good"):
        judged(good, at_least=0.5, detector="god", **CLEAN)
    with pytest.raises(UnknownNameError, match=r"no policy called 'relase'. Did you mean release"):
        load_policy("relase")


def test_ready_policies_name_what_their_suites_have() -> None:
    assert catalogue.names("policies") == ["no-regression", "quick", "release"]
    for name, suite in (("quick", "quick"), ("release", "standard")):
        there = {row.id for row in load_suite(suite).rows} | {"clean", "worst-case"}
        assert load_policy(name).attacks() <= there
        assert load_suite(suite).policy == name
    assert load_policy("no-regression").rules


def test_a_suites_own_policy_speaks_first_on_the_page(tiny_recipe: str, tmp_path: Path) -> None:
    data, own = load_data(tiny_recipe, split="test"), SUITE.model_copy(update={"policy": "quick"})
    for name, given, suite, said in (
        ("asked", detector("good"), own, "quick: fail"),
        ("not-asked", detector("good"), SUITE, None),
        ("nothing-to-judge", Unavailable("far away"), own, None),
    ):
        evaluate_loaded({"good": given}, suite, data, tmp_path / name)
        found = re.search(
            r'class="verdict \w+">([^<]*)<', (tmp_path / name / "report.html").read_text()
        )
        assert (found and found[1]) == said


def test_exit_codes_are_in_the_help() -> None:
    """C8: exit code 2 meant wrong usage, an error, and a gate that is undecided."""
    assert dict(EXIT_CODES) == {"pass": 0, "fail": 1, "undecided": 3}
    text = " ".join(CliRunner().invoke(app, ["gate", "--help"]).stdout.split())
    for words in (
        "0: passed",
        "1: failed",
        "2: the command, the policy or the run is wrong",
        "3: undecided",
    ):
        assert words in text


def test_one_failure_decides_then_one_doubt() -> None:
    made = [Judgement("rule", "x", word, "") for word in ("pass", "undecided", "fail")]
    assert verdict(made) == "fail"
    assert verdict(made[:2]) == "undecided"
    assert verdict(made[:1]) == "pass"


def test_junit_counts_what_failed(good: Path) -> None:
    text = to_junit(
        "odd <policy>",
        [
            *judged(good, no="missing"),
            *judged(good, at_most=0.0, **CLEAN),
            *judged(good, no="regression"),
        ],
    )
    suite = ET.fromstring(text)[0]
    counts = {key: suite.attrib[key] for key in ("name", "tests", "failures", "errors")}
    assert counts == {"name": "odd <policy>", "tests": "3", "failures": "1", "errors": "1"}
    assert [child.tag for child in suite] == [
        "properties",
        *["testcase"] * 3,
        "system-out",
        "system-err",
    ]
    assert [[kind.tag for kind in case] for case in suite.iter("testcase")] == [
        [],
        ["failure"],
        ["error"],
    ]


def test_the_command_says_each_rule_and_ends_by_the_verdict(
    good: Path, fakes_only: Path, reals_only: Path, tmp_path: Path
) -> None:
    from tests.test_cli import command_here

    done = command_here("gate", "no-regression", str(good), "--base", str(good))
    assert done.returncode == 0, done.stderr
    assert "pass       good: no regression at p < 0.01: none" in done.stdout
    done = command_here(
        "gate",
        "no-regression",
        str(reals_only),
        "--base",
        str(fakes_only),
        "--json",
        "--junit",
        str(tmp_path / "j.xml"),
    )
    assert done.returncode == 1
    assert json.loads(done.stdout)["verdict"] == "fail"
    assert ET.parse(tmp_path / "j.xml").getroot().tag == "testsuites"
    done = command_here("gate", "no-regression", str(good))
    assert done.returncode == 3  # C8: undecided, apart from a request that cannot be met
    assert command_here("gate", "relase", str(good)).returncode == 2
    assert "undecided" in done.stdout
    assert "--base RUN" in done.stdout
    n = images_for(0.02)
    done = command_here("report", str(reals_only), "--compare", str(fakes_only))
    assert "regression" in done.stdout
    assert (
        command_here("plan", "--width", "2%").stdout
        == f"{n} images in each direction: --limit {2 * n}\n"
    )
    assert "--width must be more than 0%" in command_here("plan", "--width", "wide").stderr
