"""What reports are made of: one run, or several of the same images."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from robustbench_aigi.errors import DataError
from robustbench_aigi.evaluation.adequacy.flags import Flag
from robustbench_aigi.evaluation.adequacy.judge import read_flags
from robustbench_aigi.evaluation.matrix import MatrixFrame
from robustbench_aigi.evaluation.run_plan import read_run_plan
from robustbench_aigi.evaluation.run_state import Tables, read_cells, unfinished_matrix
from robustbench_aigi.io.files import describe_read_errors
from robustbench_aigi.report.matrix_file import read_csv
from robustbench_aigi.report.schema import Facts


@dataclass(frozen=True)
class RunFolder:
    """A folder that ``run`` or ``evaluate`` wrote, and what its detectors are called here."""

    folder: Path
    names: Mapping[str, str]

    def called(self, name: str) -> str:
        """A detector's name here."""
        return self.names.get(name, name)


@dataclass(frozen=True)
class RunResults:
    """The matrix with all that stands behind it.

    Attributes:
        facts: what ``run.json`` says. flags: None where they were not looked for, as in a run that
            was stopped.
    """

    matrix: MatrixFrame
    facts: dict[str, Any] = field(default_factory=dict)
    flags: list[Flag] | None = None
    runs: tuple[RunFolder, ...] = ()

    @classmethod
    def of(cls, folder: Path, matrix: MatrixFrame) -> "RunResults":
        """One run, whose matrix is at hand."""
        return cls(matrix, facts_of(folder), read_flags(folder), (RunFolder(folder, {}),))

    @cached_property
    def cells(self) -> Tables:
        """What is finished, of all runs."""
        runs = (read_cells(run.folder).renamed(run.called) for run in self.runs)
        return Tables({key: reader for run in runs for key, reader in run.items()})


def read_matrix(out: Path) -> MatrixFrame:
    """Return the matrix of a run; of one that was stopped, what is finished and what is missing.

    Args:
        out: folder of the run.

    Raises:
        DataError: the folder is no run, or its matrix is damaged.
    """
    path = out / "matrix.csv"
    plan = read_run_plan(out)
    flags = read_flags(out)
    if plan is not None and (flags is None or not path.is_file()):
        return MatrixFrame(unfinished_matrix(plan, out, flags or ()))
    if not path.is_file():
        raise DataError(f"{out} holds no matrix.csv. Give the --out folder of `run` or `evaluate`.")
    return read_csv(path)


def facts_of(run: Path) -> dict[str, Any]:
    """What ``run.json`` says of a run; nothing if it has none."""
    path = run / "run.json"
    if not path.is_file():
        return {}
    with describe_read_errors(path):
        found = dict(json.loads(path.read_text()))
        Facts.model_validate(found)
        return found


def read_runs(folders: Sequence[Path]) -> RunResults:
    """One run, or several as one. A detector that two runs have under one name gets its run's name
    beside its own.

    Raises ``DataError`` for a folder that is no run, and for runs that cannot stand in one matrix.
    """
    matrices = [read_matrix(folder) for folder in folders]
    facts = [facts_of(folder) for folder in folders]
    known = [str(name) for matrix in matrices for name in matrix["detector"].unique()]
    runs = [
        RunFolder(
            folder,
            {n: f"{n} ({folder.name})" for n in matrix["detector"].unique() if known.count(n) > 1},
        )
        for folder, matrix in zip(folders, matrices, strict=True)
    ]
    if len(runs) > 1:
        _comparable(folders, facts)
    called = pd.concat(
        [m.replace({"detector": dict(run.names)}) for run, m in zip(runs, matrices, strict=True)]
    )
    if called["detector"].nunique() < len(known):
        raise DataError(
            "two of these runs share a detector and the name of their folder. Give the folders two"
            " names."
        )
    flags = [flag for run in runs for flag in _flags(run) or ()]
    looked = all(_flags(run) is not None for run in runs)
    return RunResults(
        MatrixFrame(called), _joined(runs, facts), flags if looked else None, tuple(runs)
    )


def _flags(run: RunFolder) -> list[Flag] | None:
    found = read_flags(run.folder)
    return (
        None
        if found is None
        else [replace(flag, detector=run.called(flag.detector)) for flag in found]
    )


def _comparable(folders: Sequence[Path], facts: Sequence[dict[str, Any]]) -> None:
    """Raise ``DataError`` unless the runs attack the same images, and mean the same by the same
    attack.
    """
    rows: dict[str, dict[str, Any]] = {}
    for folder, own in zip(folders, facts, strict=True):
        if not own:
            raise DataError(
                f"{folder} holds no run.json, so what it was run on is unknown. Evaluate it again."
            )
        if own["data"]["key"] != facts[0]["data"]["key"]:
            raise DataError(
                f"{folder} and {folders[0]} are of other images, so their numbers cannot stand in"
                " one matrix. Use `leaderboard`, which keeps them apart."
            )
        for row in own["suite"]["attacks"]:
            if rows.setdefault(row["id"], row) != row:
                raise DataError(
                    f"{folder} means something else by {row['id']} than an earlier run does."
                    " Evaluate both with one suite."
                )


def _joined(runs: Sequence[RunFolder], facts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The facts of several runs in the form of one's; each whole under ``runs``."""
    if len(runs) == 1:
        return facts[0]
    suites = {own["suite"]["name"]: own["suite"] for own in facts}
    attacks = {row["id"]: row for own in facts for row in own["suite"]["attacks"]}
    whole = {
        "name": " and ".join(suites),
        "version": max(suite["version"] for suite in suites.values()),
    }
    pairs = list(zip(runs, facts, strict=True))
    return facts[0] | {
        "suite": whole | {"attacks": list(attacks.values())},
        "detectors": {
            run.called(name): card for run, own in pairs for name, card in own["detectors"].items()
        },
        "runs": {run.folder.name: own for run, own in pairs},
    }
