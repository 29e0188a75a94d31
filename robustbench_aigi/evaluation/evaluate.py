"""The grid: every detector under every attack of a suite, static beside white-box."""

from collections.abc import Callable, Mapping, Set
from pathlib import Path

import pandas as pd

from robustbench_aigi.attacks import Row, Suite
from robustbench_aigi.data import Dataset
from robustbench_aigi.data.builder import Part, build_plusplus, plusplus
from robustbench_aigi.data.dataset import choose
from robustbench_aigi.detectors import Detector
from robustbench_aigi.evaluation.cells import Cell, attacked, fill, scored
from robustbench_aigi.evaluation.metrics import COLUMNS, COUNTS, summarise, worst_case
from robustbench_aigi.hashing import digest, weights_digest

Progress = Callable[[str, int, int], None]


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

    Args:
        detectors: by name in the matrix. A text in a detector's place says why it is unavailable, and becomes its row.
        data: test images.
        surrogates: makers of the static set; the detectors of those names if None. A static cell whose surrogate is
            missing is ``unavailable``.
        keep_images: store every white-box image in its cell as PNG.
    """
    ready = {name: d for name, d in detectors.items() if isinstance(d, Detector)}
    makers = surrogates if surrogates is not None else {d.card.name: d for d in ready.values()}
    makers = {row.surrogate: makers[row.surrogate] for row in suite.rows if row.surrogate and row.surrogate in makers}
    possible = [row for row in suite.rows if row.surrogate is None or row.surrogate in makers]
    folder = out / "plusplus"
    static_suite = suite.model_copy(update={"rows": tuple(possible)})
    build_plusplus({"test": Part(data, all_rows=True, samples=0)}, static_suite, makers, folder, progress)
    rows: list[dict[str, object]] = []
    for name, detector in detectors.items():
        if isinstance(detector, str):
            rows.append({"detector": name, "status": f"unavailable: {detector}"})
            continue
        rows += _of_detector(name, detector, suite, data, {row.id for row in possible}, out, keep_images, progress)
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(dict.fromkeys(COUNTS, "Int64"))


def _of_detector(
    name: str,
    detector: Detector,
    suite: Suite,
    data: Dataset,
    static: Set[str],
    out: Path,
    keep_images: bool,
    progress: Progress,
) -> list[dict[str, object]]:
    identity = digest(weights_digest(detector.state_dict()), detector.card.model_dump(exclude={"weights"}))
    clean = fill(Cell(name, "clean", "clean"), identity, data, scored(detector, None), out, progress)
    originals = dict(zip(clean["id"], clean["clean_logit"], strict=True))
    rows = _rows(name, "clean", "clean", clean, detector.threshold, ranked=True)
    met: dict[str, list[pd.DataFrame]] = {"static": [], "white-box": []}
    for row in suite.rows:
        if row.id in static:
            images = plusplus(out / "plusplus", "test", row.id)
            key = digest(identity, images.key)
            table = fill(Cell(name, "static", row.id), key, images, scored(detector, originals), out, progress)
            rows += _rows(name, "static", row.id, table, detector.threshold, ranked=True)
            met["static"].append(table)
        else:
            reason = f"unavailable: the surrogate {row.surrogate} was not given"
            rows.append({"detector": name, "mode": "static", "attack": row.id, "status": reason})
        if row.built.access == "none":
            met["white-box"].append(table)
            continue
        work = attacked(detector, row, suite.seed, keep_images)
        key = digest(identity, row.model_dump(), suite.seed, keep_images)
        table = fill(Cell(name, "white-box", row.id), key, limited(data, row), work, out, progress)
        rows += _rows(name, "white-box", row.id, table, detector.threshold, ranked=False)
        met["white-box"].append(table)
    for mode, tables in met.items():
        rows += _rows(name, mode, "worst-case", worst_case(clean, tables), detector.threshold, ranked=False)
    return rows


def limited(data: Dataset, row: Row) -> Dataset:
    """The images a row attacks: all, or its ``limit`` with classes balanced."""
    return data if row.limit is None else Dataset(data.name, choose(data.manifest, row.limit))


def _rows(
    name: str, mode: str, attack: str, table: pd.DataFrame, threshold: float, *, ranked: bool
) -> list[dict[str, object]]:
    head = {"detector": name, "mode": mode, "attack": attack, "status": "ok"}
    return [head | row for row in summarise(table, threshold, ranked)]
