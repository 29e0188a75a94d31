"""Images that all detectors are shown: the static set, and those of the transfer matrix."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from robustbench_aigi.attacks import Suite, SuiteRow
from robustbench_aigi.data import Dataset
from robustbench_aigi.data.plusplus.build import build_plusplus, load_plusplus
from robustbench_aigi.data.plusplus.parts import Part
from robustbench_aigi.detectors import Detector
from robustbench_aigi.detectors._support.fingerprint import Identities
from robustbench_aigi.evaluation.cells import capture_failure
from robustbench_aigi.evaluation.run_plan import why_not_made
from robustbench_aigi.executors import Executor
from robustbench_aigi.outcomes import Failed, Unavailable
from robustbench_aigi.progress import Progress

SharedImages = Mapping[str, Dataset | Unavailable | Failed]
"""Images by row id, or why a row has none."""


@dataclass(frozen=True)
class SharedImageBuilder:
    """Builds the images of shared rows; a row that fails does not stop the others.

    Attributes:
        suite: whose rows they are; its seed counts.
        data: the clean images.
        surrogates: the detectors that images are made on, by name.
        progress: called as images are made.
        executor: who makes them.
        identities: fingerprints of the surrogates.
    """

    suite: Suite
    data: Dataset
    surrogates: Mapping[str, Detector]
    progress: Progress
    executor: Executor
    identities: Identities

    def build(self, rows: Sequence[SuiteRow], folder: Path) -> SharedImages:
        """Return the images of every shared row.

        Args:
            rows: of the suite; those that share no images are passed over.
            folder: where they are stored.
        """
        if not rows:
            return {}
        shared = [row for row in rows if row.shared]
        absent: dict[str, Unavailable | Failed] = {}
        for row in shared:
            if (why := why_not_made(row, self.surrogates)) is not None:
                absent[row.id] = why
        possible = [row for row in shared if row.id not in absent]
        shutil.rmtree(folder / "errors", ignore_errors=True)
        if self._built_in_smaller_batches(possible, folder) is not None:
            absent |= self._failures(possible, folder)
        # Without any row this writes the clean images, which the gallery shows.
        self._build([row for row in shared if row.id not in absent], folder)
        return {
            row.id: absent[row.id] if row.id in absent else load_plusplus(folder, "test", row.id)
            for row in shared
        }

    def _build(self, rows: Sequence[SuiteRow], folder: Path) -> None:
        parts = {"test": Part(self.data, all_rows=True, samples=0)}
        suite = self.suite.model_copy(update={"rows": tuple(rows)})
        build_plusplus(
            parts, suite, self.surrogates, folder, self.progress, self.executor, self.identities
        )

    def _built_in_smaller_batches(self, rows: Sequence[SuiteRow], folder: Path) -> Failed | None:
        """Build rows, halving the surrogates' batches as long as memory runs out."""
        while True:
            failure = capture_failure(folder.name, partial(self._build, rows, folder))
            can_shrink = any(detector.at_once > 1 for detector in self.surrogates.values())
            if failure is None or not failure.is_out_of_memory or not can_shrink:
                return failure
            for detector in self.surrogates.values():
                detector.at_once = max(1, detector.at_once // 2)

    def _failures(self, rows: Sequence[SuiteRow], folder: Path) -> dict[str, Failed]:
        """Build rows one at a time, to find those that fail."""
        found: dict[str, Failed] = {}
        for row in rows:
            failure = capture_failure(row.id, partial(self._build, [row], folder))
            if failure is not None:
                failure.write_log(folder / "errors" / f"{row.id}.txt")
                found[row.id] = failure
        return found
