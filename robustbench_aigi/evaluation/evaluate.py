"""The grid: every detector under every attack of a suite, static beside white-box."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import pandas as pd

from robustbench_aigi.attacks import Row, Suite
from robustbench_aigi.attacks.suites import FROM
from robustbench_aigi.data import Dataset
from robustbench_aigi.data.builder import Part, build_plusplus, plusplus
from robustbench_aigi.data.dataset import choose
from robustbench_aigi.detectors import Detector
from robustbench_aigi.evaluation.adequacy import Cells, check, names, write_flags
from robustbench_aigi.evaluation.attention import write_maps
from robustbench_aigi.evaluation.cells import Bench, Cell, Progress, Table, attacked, attempt, scored
from robustbench_aigi.evaluation.families import met
from robustbench_aigi.evaluation.flags import Flag
from robustbench_aigi.evaluation.metrics import COLUMNS, TYPES, summarise, worst_case
from robustbench_aigi.evaluation.probes import run_probes

MODES = ("static", "white-box")


def evaluate(
    detectors: Mapping[str, Detector | str],
    suite: Suite,
    data: Dataset,
    out: Path,
    *,
    surrogates: Mapping[str, Detector] | None = None,
    keep_images: bool = True,
    progress: Progress = lambda task, done, total: None,
) -> pd.DataFrame:
    """Return the matrix in long form, a row per detector, mode, attack and direction; cells are kept under ``out``.

    A cell that raises becomes a row with the status ``error: ...`` and no numbers, and the run goes on; its traceback
    is in its folder. What speaks against trusting the numbers is written to ``adequacy.json``.

    Args:
        detectors: by name in the matrix. A text in a detector's place says why it is unavailable, and becomes its row.
        data: test images.
        surrogates: makers of the static set; the detectors of those names if None. A static cell whose surrogate is
            missing is ``unavailable``.
        keep_images: store every white-box image in its cell as PNG.
    """
    ready = {d.card.name: d for d in detectors.values() if isinstance(d, Detector)}
    static = _static(suite.rows, suite, data, ready if surrogates is None else surrogates, out / "plusplus", progress)
    crossed = [row.made_on(name) for row in suite.rows if row.transfer for name in ready if len(ready) > 1]
    transfer = _static(crossed, suite, data, ready, out / "transfer", progress)
    rows: list[dict[str, object]] = []
    flags: list[Flag] = []
    for name, detector in detectors.items():
        if isinstance(detector, str):
            rows.append({"detector": name, "status": f"unavailable: {detector}"})
            continue
        bench = Bench(name, detector, out, progress)
        cells = _cells(bench, suite, data, static, transfer, keep_images)
        broken = isinstance(cells["clean", "clean"], str)
        found = check(bench, suite, cells, {} if broken else run_probes(bench, suite, data))
        rows += _rows(bench, suite, cells, found)
        flags += found
    write_flags(flags, out)
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(TYPES)


def limited(data: Dataset, row: Row) -> Dataset:
    """The images a row attacks: all, or its ``limit`` with classes balanced."""
    return data if row.limit is None else Dataset(data.name, choose(data.manifest, row.limit))


def _static(
    rows: Sequence[Row],
    suite: Suite,
    data: Dataset,
    makers: Mapping[str, Detector],
    folder: Path,
    progress: Progress,
) -> dict[str, Dataset | str]:
    """The shared images of every row, or the status of a row that has none."""

    def build(rows: Sequence[Row]) -> None:
        part = Part(data, all_rows=True, samples=0)
        build_plusplus({"test": part}, suite.model_copy(update={"rows": tuple(rows)}), makers, folder, progress)

    lost: dict[str, str] = {}
    shared = [row for row in rows if row.shared]
    for row in shared:
        if row.surrogate is not None and row.surrogate not in makers:
            lost[row.id] = f"unavailable: the surrogate {row.surrogate} was not given"
        elif status := attempt(row.id, partial(build, [row]), folder / "errors" / f"{row.id}.txt"):
            lost[row.id] = status
    if made := [row for row in shared if row.id not in lost]:
        build(made)
    return {row.id: lost.get(row.id) or plusplus(folder, "test", row.id) for row in shared}


def _modes(row: Row) -> list[str]:
    """Shared images are scored by every detector; an attack that asks the detector is aimed at each."""
    return ["static"] * row.shared + ["white-box"] * (row.built.access != "none")


def _cells(
    bench: Bench,
    suite: Suite,
    data: Dataset,
    static: Mapping[str, Dataset | str],
    transfer: Mapping[str, Dataset | str],
    keep_images: bool,
) -> dict[tuple[str, str], Table]:
    """Every cell of a detector by mode and attack; a change that asks no detector has no white-box cell of its own."""
    clean = bench.table("clean", "clean", data, scored(bench.detector, None))
    cells: dict[tuple[str, str], Table] = {("clean", "clean"): clean}
    shared = {("static", name): images for name, images in static.items()}
    shared |= {("transfer", name): images for name, images in transfer.items()}
    asked = [row for row in suite.rows if "white-box" in _modes(row)]
    if isinstance(clean, str):
        keys = [*shared, *(("white-box", row.id) for row in asked)]
        because = "not tried, because the clean images could not be scored"
        return cells | {(mode, name): f"error: {name}: {because}" for mode, name in keys}
    originals = dict(zip(clean["id"], clean["logit"], strict=True))
    for (mode, name), images in shared.items():
        work = scored(bench.detector, originals)
        cells[mode, name] = images if isinstance(images, str) else bench.table(mode, name, images, work, images.key)
    for row in asked:
        work = attacked(bench.detector, row.built, suite.seed, originals, keep_images=keep_images)
        key = (row.model_dump(), suite.seed, keep_images)
        images = limited(data, row)
        cells["white-box", row.id] = bench.table("white-box", row.id, images, work, *key)
        folder = Cell(bench.name, "white-box", row.id).folder(bench.out)
        if keep_images and not isinstance(cells["white-box", row.id], str):
            attempt(row.id, partial(write_maps, bench.detector, images, folder), folder / "maps-error.txt")
    return cells


def _rows(bench: Bench, suite: Suite, cells: Cells, flags: Sequence[Flag]) -> list[dict[str, object]]:
    """The detector's part of the matrix; numbers stay empty where a cell has none."""
    rows: list[dict[str, object]] = []
    built = {row.id: row.built for row in suite.rows}
    gradients = {name for name, attack in built.items() if attack.access == "gradients"}
    tables = {key: ("ok", table) for key, table in cells.items()}
    there = [mode for mode in MODES if any((mode, row.id) in cells for row in suite.rows)]
    tables |= {(mode, "worst-case"): _worst(suite, cells, mode) for mode in there}
    for (mode, attack), (status, table) in tables.items():
        head: dict[str, object] = {"detector": bench.name, "mode": mode, "attack": attack, "status": status}
        if (own := attack.partition(FROM)[0]) in built:
            head["seen"] = met(built[own], bench.detector.card.seen)
        if mode == "white-box":
            head["flags"] = names(flags, attack, attack in gradients)
        if isinstance(table, str):
            rows.append(head | {"status": table})
            continue
        ranked = mode != "white-box" and attack != "worst-case"
        rows += [head | row for row in summarise(table, bench.detector.threshold, ranked)]
    return rows


def _worst(suite: Suite, cells: Cells, mode: str) -> tuple[str, Table]:
    """Status and table of the adversary who has every attack of a mode that could be measured."""
    clean = cells["clean", "clean"]
    met = {row.id: cells.get((mode, row.id), cells.get(("static", row.id))) for row in suite.rows}
    there = [table for table in met.values() if isinstance(table, pd.DataFrame)]
    lost = [
        f"{name} {'failed' if table.startswith('error') else 'unavailable'}"
        for name, table in met.items()
        if isinstance(table, str)
    ]
    status = f"incomplete: {', '.join(lost)}" if lost else "ok"
    return (status, worst_case(clean, there)) if there and isinstance(clean, pd.DataFrame) else (status, status)
