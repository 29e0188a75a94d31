"""What one image of a built ``++`` set is checked against."""

import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple, final

from torch import Tensor

from robustbench_aigi.attacks import Suite, SuiteRow
from robustbench_aigi.attacks.base import Budget
from robustbench_aigi.data.decoding import ImageError, decode
from robustbench_aigi.data.plusplus.budgets import budgets
from robustbench_aigi.data.plusplus.reader import BuiltDataset, Record, misplaced_reason
from robustbench_aigi.errors import DataError
from robustbench_aigi.imaging.norms import norms
from robustbench_aigi.imaging.pixels import MAX_LEVEL
from robustbench_aigi.imaging.png import PNG_SIGNATURE
from robustbench_aigi.imaging.quality import psnr

EIGHT_BIT_RGB = b"\x08\x02"
"""Bit depth and colour type in a PNG's header."""
MAX_DIFFERENCES = {"linf": 0.0, "l0": 0.0, "l2": 1e-6, "psnr": 1e-3}
"""Column to the difference that is allowed between the manifest and what is measured."""
L2_SLACK = 1e-6 / MAX_LEVEL
"""What rounding may add to an L2 norm at the budget."""


class Source(NamedTuple):
    """A clean image, as the manifest has it."""

    path: str
    label: int
    split: str
    sha256: str
    archive: str | None = None
    row: int = -1


@final
@dataclass(frozen=True)
class Checker:
    """Checks one row at a time.

    Attributes:
        built: the set.
        sources: the clean images by id.
        budgets: by attack.
        rows: of the suite, by id.
    """

    built: BuiltDataset
    sources: Mapping[str, Source]
    budgets: Mapping[str, Budget]
    rows: Mapping[str, SuiteRow]

    @classmethod
    def of(cls, built: BuiltDataset, suite: Suite | None) -> "Checker":
        """Read the clean images' rows.

        Args:
            built: the set.
            suite: with the attacks' budgets; without it they are not checked.
        """
        sources = {}
        for batch in built.table("id", *Source._fields, "attack").to_batches():
            for row in batch.to_pylist():
                if row["attack"] == "clean":
                    sources[row["id"]] = Source(
                        **{name: row[name] for name in Source._fields if name in row}
                    )
        if suite is None:
            return cls(built, sources, {}, {})
        return cls(built, sources, budgets(suite), {row.id: row for row in suite.rows})

    def faults(self, row: Record) -> Iterator[str]:
        """Yield what is wrong with a row and its file."""
        reason = misplaced_reason(row)
        if reason is not None:
            yield reason
        try:
            content = self.built.content(row)
        except ImageError as error:
            is_missing = isinstance(error.__cause__, FileNotFoundError)
            yield "is missing" if is_missing else str(error)
            return
        except DataError as error:
            yield f"cannot be read: {error}"
            return
        sha256 = hashlib.sha256(content).hexdigest()
        if sha256 != row["sha256"]:
            yield f"its SHA-256 is {sha256[:12]}..., the manifest says {row['sha256'][:12]}..."
        try:
            image = decode(content)
        except ImageError as error:
            yield f"is no readable image: {error}"
            return
        if row["attack"] == "clean":
            return
        if row["attack"] in self.rows or row["source"] in self.sources:
            yield from self._attack_faults(row, content, image)
        elif row["label"] != 1:
            yield f"was generated, so its label is 1, and the manifest says {row['label']}"

    def _attack_faults(self, row: Record, content: bytes, image: Tensor) -> Iterator[str]:
        if not content.startswith(PNG_SIGNATURE) or content[24:26] != EIGHT_BIT_RGB:
            yield "is perturbed, and no 8-bit RGB PNG"
        source = self.sources.get(row["source"])
        if source is None:
            yield f"its source {row['source']} is not among the clean images"
            return
        yield from _source_faults(row, source)
        try:
            clean = decode(self.built.content(source._asdict()))
        except (ImageError, DataError):
            yield f"its source {source.path} cannot be read, so its budget is not checked"
            return
        if clean.shape != image.shape:
            yield f"is {tuple(image.shape[1:])} pixels, and its source {tuple(clean.shape[1:])}"
            return
        yield from self._budget_faults(row, image, clean)

    def _budget_faults(self, row: Record, image: Tensor, clean: Tensor) -> Iterator[str]:
        found = _distances(image, clean)
        for name, value in found.items():
            if not _agree(value, row.get(name, value), MAX_DIFFERENCES[name]):
                yield f"its {name} is {value:g}, and the manifest says {row[name]}"
        budget = self.budgets.get(row["attack"], Budget()).at_size(*image.shape[1:])
        limits = {"linf": budget.linf, "l2": budget.l2, "l0": budget.l0}
        for name, limit in limits.items():
            slack = L2_SLACK if name == "l2" else 0
            if limit is not None and found[name] > float(limit) + slack:
                yield f"its {name} is {found[name]:g}, over the budget of {float(limit):g}"
        known = self.rows.get(row["attack"])
        stated = row.get("eps") if known is None else known.eps_at(*image.shape[1:])
        if not _agree(stated, row.get("eps", stated), 0):
            yield f"its eps is {row['eps']}, and the suite says {stated}"


def _source_faults(row: Record, source: Source) -> Iterator[str]:
    expected = f"{row['source']}#{row['attack']}"
    if row["id"] != expected:
        yield f"its id is {row['id']}, and {expected} is expected"
    for name in ("label", "split"):
        if row[name] != getattr(source, name):
            yield f"its {name} is {row[name]}, and its source's is {getattr(source, name)}"
    if row.get("parent_sha256", source.sha256) != source.sha256:
        yield f"its source's SHA-256 is not {row['parent_sha256'][:12]}..., as the manifest says"


def _distances(image: Tensor, clean: Tensor) -> dict[str, float]:
    levels = image[None].int()
    before = clean[None].int()
    linf, l2, l0 = norms(levels, before)
    return {
        "linf": float(linf[0]),
        "l2": float(l2[0]),
        "l0": float(l0[0]),
        "psnr": float(psnr(levels, before)[0]),
    }


def _agree(one: float | None, other: float | None, tolerance: float) -> bool:
    """Return whether two numbers agree; None and NaN are the same."""
    is_one_absent = one is None or math.isnan(one)
    is_other_absent = other is None or math.isnan(other)
    if one is None or other is None or is_one_absent or is_other_absent:
        return is_one_absent and is_other_absent
    return math.isclose(one, other, rel_tol=0, abs_tol=tolerance)
