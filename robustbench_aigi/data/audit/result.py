"""The result of an audit."""

from dataclasses import dataclass
from typing import Literal

import pandas as pd


@dataclass(frozen=True)
class Finding:
    """One result.

    Attributes:
        level: ``cheat`` if a classifier could succeed by it; ``note`` if it is worth knowing.
        check: what was looked at.
        message: what was found, in sentences.
    """

    level: Literal["cheat", "note"]
    check: str
    message: str


@dataclass(frozen=True)
class Audit:
    """What was found in a dataset.

    Attributes:
        name: of the dataset.
        findings: cheats first.
        tables: ``statistics``, ``baselines``, ``twins`` and ``unreadable``.
        measurements: statistics of every readable image.
        rows: the manifest of the readable images, row for row with ``measurements``.
    """

    name: str
    findings: tuple[Finding, ...]
    tables: dict[str, pd.DataFrame]
    measurements: pd.DataFrame
    rows: pd.DataFrame

    @property
    def images(self) -> int:
        """Number of readable images."""
        return len(self.measurements)

    @property
    def passed(self) -> bool:
        """Whether nothing was found that a classifier could cheat by."""
        return all(finding.level != "cheat" for finding in self.findings)
