"""Adequacy: which cells and probes of a detector are held against each other, and where the flags
are kept.
"""

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path

from pydantic import TypeAdapter

from robustbench_aigi.attacks import Attack, Suite, SuiteRow
from robustbench_aigi.attacks._engine.norm_balls import Ball
from robustbench_aigi.attacks.gradient.pgd import PGDLinf
from robustbench_aigi.evaluation.adequacy.detector_flags import DETECTOR_FLAGS, of_clean
from robustbench_aigi.evaluation.adequacy.flags import (
    Flag,
    crashed,
    eps_zero_not_clean,
    huge_eps_not_zero,
    kept_not_fresh,
    not_converged,
    unchanged,
    weaker,
    zero_gradient,
)
from robustbench_aigi.evaluation.adequacy.probes import describe, probed, probes
from robustbench_aigi.evaluation.aimed import CONTROL_SUFFIX
from robustbench_aigi.evaluation.cell_runner import CellRunner
from robustbench_aigi.evaluation.cells import CellKey, CellTable
from robustbench_aigi.evaluation.metrics import (
    RANK_COLUMNS,
    SUMMARY_COLUMNS,
    FrozenThresholds,
    rank_metrics,
    summarise,
)
from robustbench_aigi.evaluation.stored_cells import CellOutcome, NumberTables, StoredCell
from robustbench_aigi.io.files import describe_read_errors, write_text
from robustbench_aigi.outcomes import Absent

Cells = Mapping[CellKey, CellTable]
"""By mode and attack."""
FLAG_COLUMNS = ("id", "fooled", "kept", "linf", "draws", "wrong")
"""Columns that flags of cells need."""
WORST_CASES = ("worst-case", "worst-case-bound")


def check(
    bench: CellRunner,
    suite: Suite,
    stored: Mapping[CellKey, CellOutcome],
    probed_cells: Mapping[str, CellOutcome],
) -> list[Flag]:
    """All flags of a detector, sorted. ``probed_cells``: its probes by name, see
    :func:`probe_jobs`.
    """
    found = _of_clean(bench, stored["clean", "clean"])
    if isinstance(stored["clean", "clean"], Absent):
        return found
    cells = NumberTables(stored, FLAG_COLUMNS)
    found += [
        flag
        for row in suite.rows
        for flag in _of_cells(bench.name, row, suite, cells)
        if flag is not None
    ]
    if probed_cells:
        clean = NumberTables(stored, ("id", "logit"))["clean", "clean"]
        tables = {
            name: cell.numbers() if isinstance(cell, StoredCell) else cell
            for name, cell in probed_cells.items()
        }
        flags = _of_probes(bench, clean, tables, *probed(suite))
        found += [flag for flag in flags if flag is not None]
    return sorted(set(found))


def _of_clean(bench: CellRunner, cell: CellOutcome) -> list[Flag]:
    if isinstance(cell, Absent):
        return [Flag(bench.name, "", "crashed", str(cell))]
    summary = summarise(cell.numbers(SUMMARY_COLUMNS), bench.detector.threshold, ranked=False)
    clean = cell.numbers(RANK_COLUMNS)
    summary[-1] |= rank_metrics(clean, FrozenThresholds.of(clean))
    return of_clean(bench.name, bench.detector.threshold, clean, summary)


def names(flags: Sequence[Flag], mode: str, attack: str, access: str) -> str | None:
    """Kinds of the flags that concern a row, joined by a comma; the worst case of attacks on itself
    bears them all.

    Args:
        access: of the row's attack; "" for the clean row and the worst cases.
    """

    def concerns(flag: Flag) -> bool:
        if flag.kind in DETECTOR_FLAGS:
            return True
        if flag.mode or mode != "white-box":
            return flag.mode == mode and (flag.attack == attack or attack in WORST_CASES)
        if not flag.attack:
            return (
                access == ("scores" if flag.kind == "coarse-score" else "gradients")
                or attack in WORST_CASES
            )
        return attack in WORST_CASES or flag.attack == attack

    return ",".join(sorted({flag.kind for flag in flags if concerns(flag)})) or None


def write_flags(flags: Sequence[Flag], out: Path) -> None:
    """Write ``adequacy.json`` to a run's folder."""
    rows = [
        asdict(flag) | {"evidence": {k: float(f"{v:.6g}") for k, v in flag.evidence.items()}}
        for flag in flags
    ]
    write_text(out / "adequacy.json", json.dumps({"schema": 1, "flags": rows}, indent=1))


def read_flags(out: Path) -> list[Flag] | None:
    """Read ``adequacy.json`` of a run; None if it has none."""
    path = out / "adequacy.json"
    if not path.is_file():
        return None
    with describe_read_errors(path):
        return TypeAdapter(list[Flag]).validate_python(json.loads(path.read_text())["flags"])


def _of_cells(detector: str, row: SuiteRow, suite: Suite, cells: Cells) -> Iterator[Flag | None]:
    static, own = (cells.get((mode, row.id)) for mode in ("static", "white-box"))
    if static is not None:
        yield unchanged(detector, row.id, static, "static")
    if own is None:
        yield crashed(detector, row.id, {row.id: cells["static", row.id]})
        return
    yield crashed(detector, row.id, {row.id: own})
    yield unchanged(detector, row.id, own)
    yield kept_not_fresh(
        detector, row.id, own, cells.get(("white-box", f"{row.id}{CONTROL_SUFFIX}"))
    )
    through = "its gradients" if row.built.access == "gradients" else "its scores"
    mine = (f"{row.id} through {through}", own)
    if static is not None:
        yield weaker(
            detector,
            row.id,
            "weaker-than-transfer",
            mine,
            (f"{row.id} made on {row.surrogate}", static),
        )
    for other in suite.rows:
        kind = _must_beat(row.built, other.built)
        if kind:
            yield weaker(detector, row.id, kind, mine, (other.id, cells["white-box", other.id]))


def _must_beat(own: Attack, other: Attack) -> str | None:
    """The kind of flag to raise if an attack by gradients falls behind another; None if it may."""
    if own.access != "gradients" or not isinstance(own, Ball):
        return None
    # One that cannot reach the whole ball may fall behind one that can.
    comparable = own.covers_whole_ball and isinstance(other, Ball)
    rivals = comparable and own.budget() == replace(other.budget(), queries=None)
    if rivals and other.access == "scores":
        return "weaker-than-black-box"
    if rivals and other.is_single_step and not own.is_single_step:
        return "steps-not-monotone"
    mine = {field.name: getattr(own, field.name) for field in fields(own)}
    others = {field.name: getattr(other, field.name) for field in fields(other)}
    if type(own) is not type(other) or any(
        mine[k] != others[k] for k in mine.keys() - {"eps", "step", "steps"}
    ):
        return None
    if others["eps"] < mine["eps"]:
        return "eps-not-monotone"
    fewer = others.get("steps", 1) < mine.get("steps", 1)
    return "steps-not-monotone" if fewer and mine["eps"] == others["eps"] else None


def _of_probes(
    bench: CellRunner,
    clean: CellTable,
    probe_tables: Mapping[str, CellTable],
    row: str,
    attack: PGDLinf,
) -> list[Flag | None]:
    sizes = ("eps-half", "own", "eps-double", "eps-huge")
    named = {name: (describe(probe), probe_tables[name]) for name, probe in probes(attack).items()}
    pairs = [("eps-not-monotone", large, small) for small, large in itertools.pairwise(sizes)]
    pairs += [
        ("steps-not-monotone", "own", "steps-one"),
        ("steps-not-monotone", "steps-double", "own"),
    ]
    pairs += [("weaker-than-noise", "own", "noise")]
    return [
        crashed(bench.name, "", probe_tables),
        zero_gradient(bench.name, probe_tables["gradient"]),
        eps_zero_not_clean(bench.name, clean, probe_tables["eps-zero"]),
        huge_eps_not_zero(bench.name, [probe_tables[name] for name in sizes]),
        not_converged(
            bench.name,
            row,
            bench.detector.threshold,
            attack.steps,
            probe_tables["own"],
            probe_tables["steps-double"],
        ),
        *(weaker(bench.name, row, kind, named[own], named[other]) for kind, own, other in pairs),
    ]
