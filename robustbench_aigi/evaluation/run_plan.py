"""The plan of a run: the one list of its cells, for running, costing, status and reports.

It is written before the first cell is computed, so that a killed run differs from a finished one
and what it lacks can be named.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from pydantic import BaseModel, Field

from robustbench_aigi.attacks import Suite, SuiteRow
from robustbench_aigi.data import Dataset
from robustbench_aigi.detectors import Detector
from robustbench_aigi.detectors._support.fingerprint import Identities
from robustbench_aigi.evaluation.aimed import aimed, controls, not_aimed, replaced_by
from robustbench_aigi.evaluation.speedups import gradient_format, layout_key
from robustbench_aigi.io.files import describe_read_errors, write_text
from robustbench_aigi.io.hashing import digest
from robustbench_aigi.outcomes import Unavailable

PLAN_FILE = "plan.json"
RESULT_FILES = (
    "matrix.csv",
    "matrix.json",
    "matrix.md",
    "generators.csv",
    "adequacy.json",
    "report.html",
)
"""Written from finished cells; deleted when another plan begins, because they describe the old."""
Mode = Literal["clean", "static", "transfer", "white-box"]


class DetectorSpec(BaseModel, frozen=True, extra="forbid"):
    """A detector of a run: what its numbers need besides its cells, or why it is unavailable.

    Attributes:
        threshold: its operating threshold, a logit.
        at_once: images per pass; results differ a little between batch sizes.
        fingerprint: of the detector; empty in plans of earlier versions.
        channels_last: whether its passes run in another memory format than it was given in.
        half_gradients: whether white-box attacks may take gradients in bfloat16.
        seen: attacks that it met in training.
        replaced: row ids to the attack that replaces the row's own.
        notes: warnings of the preflight.
        unavailable: why it is not evaluated.
    """

    threshold: float = 0.0
    at_once: int = 0
    fingerprint: str = ""
    channels_last: bool = False
    half_gradients: bool = False
    seen: tuple[str, ...] = ()
    replaced: dict[str, str] = Field(default_factory=dict)
    notes: tuple[str, ...] = ()
    unavailable: str | None = None


class CellSpec(BaseModel, frozen=True, extra="forbid"):
    """A cell of a run: one detector under one attack in one mode.

    Attributes:
        detector: its name in the matrix.
        mode: whose gradients or scores the attack uses.
        attack: id of the suite's row; ``clean`` for none.
        images: how many images it has.
        fingerprint: hash of all that its results depend on.
        unavailable: why it cannot be computed, if so.
        row: the suite's row, aimed as this cell needs it; not stored.
    """

    detector: str
    mode: Mode
    attack: str
    images: int
    fingerprint: str
    unavailable: str | None = None
    row: SuiteRow | None = Field(default=None, exclude=True, repr=False)

    @property
    def key(self) -> tuple[str, str]:
        """Mode and attack."""
        return self.mode, self.attack


class RunPlan(BaseModel, frozen=True, extra="forbid"):
    """Detectors by name, the suite, and every cell, in the order of the matrix."""

    suite: Suite
    detectors: dict[str, DetectorSpec]
    cells: tuple[CellSpec, ...]

    def cells_of(self, detector: str) -> list[CellSpec]:
        """Return the cells of one detector."""
        return [cell for cell in self.cells if cell.detector == detector]


def plan_run(
    detectors: Mapping[str, Detector | Unavailable],
    suite: Suite,
    data: Dataset,
    surrogates: Mapping[str, Detector],
    identities: Identities,
    notes: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> RunPlan:
    """List the cells of a run.

    Args:
        detectors: by name in the matrix.
        suite: the rows.
        data: the clean images.
        surrogates: detectors by name that shared images may be made on, those evaluated included.
        identities: fingerprints of all of them.
        notes: warnings of the preflight, by detector.
    """
    ready = {name: d for name, d in detectors.items() if isinstance(d, Detector)}
    cells = _Cells(suite, data, ready, surrogates, identities)
    return RunPlan(
        suite=suite,
        detectors={
            name: _detector_spec(detector, suite, notes.get(name, ()), identities)
            for name, detector in detectors.items()
        },
        cells=tuple(cell for name in ready for cell in cells.of(name)),
    )


@dataclass
class _Cells:
    """Lists cells; holds what those of all detectors share."""

    suite: Suite
    data: Dataset
    detectors: Mapping[str, Detector]
    surrogates: Mapping[str, Detector]
    identities: Identities

    def of(self, name: str) -> Iterator[CellSpec]:
        """Yield the cells of a detector in the order of the matrix."""
        detector = self.detectors[name]
        yield self._cell(name, "clean", None)
        for row in self.suite.rows:
            if row.shared:
                yield self._static(name, row)
        for row in transfer_rows(self.suite, {d.card.name: d for d in self.detectors.values()}):
            yield self._cell(name, "transfer", row, self._fingerprint(row.surrogate))
        replaced = replaced_by(self.suite, detector)
        for row in aimed_rows(self.suite):
            lost = not_aimed(row, detector)
            yield self._cell(name, "white-box", row, replaced.get(row.id), lost)
        for row in controls(self.suite, detector):
            yield self._cell(name, "white-box", row)

    def _static(self, name: str, row: SuiteRow) -> CellSpec:
        lost = why_not_made(row, self.surrogates)
        return self._cell(name, "static", row, self._fingerprint(row.surrogate), lost)

    def _cell(
        self,
        name: str,
        mode: Mode,
        row: SuiteRow | None,
        made_by: str | None = None,
        lost: Unavailable | None = None,
    ) -> CellSpec:
        detector = self.detectors[name]
        depends_on = (self.identities.of(detector), detector.at_once, self.data.key)
        gradients = None
        if mode == "white-box" and row is not None:
            gradients = gradient_format(detector, aimed(row, detector))
        passes = layout_key(detector) + (() if gradients is None else (gradients,))
        how = (self.suite.seed, mode, row and row.content(by_alias=True), made_by)
        return CellSpec(
            detector=name,
            mode=mode,
            attack="clean" if row is None else row.id,
            images=len(self.data if row is None else limited(self.data, row)),
            fingerprint=digest(*depends_on, *how, *passes),
            unavailable=None if lost is None else lost.reason,
            row=row,
        )

    def _fingerprint(self, surrogate: str | None) -> str | None:
        """Return the fingerprint of a surrogate; None for one that is not there."""
        if surrogate is None or surrogate not in self.surrogates:
            return None
        return self.identities.of(self.surrogates[surrogate])


def _detector_spec(
    detector: Detector | Unavailable,
    suite: Suite,
    notes: Sequence[str],
    identities: Identities,
) -> DetectorSpec:
    if isinstance(detector, Unavailable):
        return DetectorSpec(unavailable=detector.reason)
    return DetectorSpec(
        threshold=detector.threshold,
        at_once=detector.at_once,
        fingerprint=identities.of(detector),
        channels_last=detector.channels_last,
        half_gradients=detector.half_gradients,
        seen=detector.card.seen,
        replaced=replaced_by(suite, detector),
        notes=tuple(notes),
    )


def limited(data: Dataset, row: SuiteRow) -> Dataset:
    """Return the images that a row attacks: all, or its ``limit`` with classes balanced."""
    return data.limit(row.limit)


def why_not_made(row: SuiteRow, surrogates: Mapping[str, Detector]) -> Unavailable | None:
    """Return why the images of a shared row cannot be made; None if they can.

    Args:
        row: of a suite.
        surrogates: the detectors that images can be made on, by name.
    """
    if row.surrogate is None:
        return None
    if row.surrogate not in surrogates:
        hint = "Add --surrogate CHECKPOINT"
        return Unavailable(f"the surrogate {row.surrogate} was not given. {hint}")
    return not_aimed(row, surrogates[row.surrogate])


def aimed_rows(suite: Suite) -> list[SuiteRow]:
    """Return the rows that attack a detector: all but the corruptions."""
    return [row for row in suite.rows if row.built.access != "none"]


def transfer_rows(suite: Suite, detectors: Mapping[str, Detector]) -> list[SuiteRow]:
    """Return the rows of the transfer matrix.

    These are the rows with ``transfer = true``, each made on every detector that it can attack;
    none for a single detector.

    Args:
        suite: the rows.
        detectors: by the name on their card.
    """
    if len(detectors) < 2:
        return []
    return [
        row.made_on(name)
        for row in suite.rows
        if row.transfer
        for name, detector in detectors.items()
        if not_aimed(row, detector) is None
    ]


def write_run_plan(plan: RunPlan, out: Path) -> None:
    """Write ``plan.json``. Results of another plan are deleted, its finished shards are not."""
    text = plan.model_dump_json(by_alias=True, indent=1)
    path = out / PLAN_FILE
    if path.is_file() and path.read_text() == text:
        return
    for name in RESULT_FILES:
        (out / name).unlink(missing_ok=True)
    write_text(path, text)


def read_run_plan(out: Path) -> RunPlan | None:
    """Return the plan of a run; None if it has none."""
    path = out / PLAN_FILE
    if not path.is_file():
        return None
    with describe_read_errors(path):
        return RunPlan.model_validate_json(path.read_bytes())
