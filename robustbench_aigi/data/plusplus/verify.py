"""Is a built `++` set what its manifest says? Every file is read again, every number is measured
again.
"""

import hashlib
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple, final

import pyarrow.compute as pc
from torch import Tensor

from robustbench_aigi.attacks import Suite
from robustbench_aigi.attacks.base import Budget
from robustbench_aigi.data.decoding import ImageError, decode
from robustbench_aigi.data.plusplus.budgets import budgets
from robustbench_aigi.data.plusplus.reader import SUITE, Built, ManifestRow, json_line, misplaced
from robustbench_aigi.errors import DataError, UserError
from robustbench_aigi.imaging.norms import norms
from robustbench_aigi.imaging.pixels import LEVELS
from robustbench_aigi.imaging.quality import psnr
from robustbench_aigi.progress import Progress, silent

OWN = frozenset(
    {
        "manifest.parquet",
        "manifest.jsonl",
        SUITE,
        "README.md",
        "skipped.csv",
        "data.parquet",
        "plan.csv",
    }
)
"""Files that a build may leave at the top of the folder."""
OWN_FOLDERS = frozenset({"parts", "pictures", "audit"})
METADATA = "metadata.jsonl"
EIGHT_BIT_RGB = b"\x08\x02"
"""Bit depth and colour type in a PNG's header."""
TOLERANCE = {"linf": 0.0, "l0": 0.0, "l2": 1e-6, "psnr": 1e-3}


class Offender(NamedTuple):
    """A file, or an entry of the manifest, and what is wrong with it."""

    path: str
    reason: str


def verify(built: Path, progress: Progress = silent) -> list[Offender]:
    """Everything in a built set that is not as its manifest says; an empty list if all is well.

    Read again are: every file's bytes (SHA-256), pixels and format; the change of each perturbed
    image against its clean source and against the attack's budget; labels, splits, parents, ids;
    and files that nobody knows of. Images are in memory one at a time, of the manifest only the ids
    and paths.

    Raises:
        DataError: ``built`` holds no whole manifest.
    """
    the_set = Built(built)
    total, offenders = len(the_set), _suite_faults(the_set)
    suite = None if offenders else the_set.suite()
    checker = Checker.of(the_set, suite)
    for done, row in enumerate(the_set.rows()):
        if done % 100 == 0:
            progress("verifying", done, total)
        offenders += [Offender(row["path"], reason) for reason in checker.faults(row)]
    progress("verifying", total, total)
    return [*offenders, *_table_faults(the_set), *_strangers(the_set)]


class Source(NamedTuple):
    """A clean image, as the manifest has it."""

    path: str
    label: int
    split: str
    sha256: str


@final
@dataclass(frozen=True)
class Checker:
    """What one row is checked against. ``sources`` are the clean images by id, ``eps`` is by attack
    as in the suite.
    """

    built: Built
    sources: Mapping[str, Source]
    budgets: Mapping[str, Budget]
    eps: Mapping[str, float | None]

    @classmethod
    def of(cls, built: Built, suite: Suite | None) -> "Checker":
        """Read the clean images' rows, and the budgets of the attacks if there is a suite."""
        clean = (
            row
            for row in _columns(built, "id", *Source._fields, "attack")
            if row["attack"] == "clean"
        )
        sources = {row["id"]: Source(*(row[name] for name in Source._fields)) for row in clean}
        rows = suite.rows if suite else ()
        limits = budgets(suite) if suite else {}
        return cls(built, sources, limits, {row.id: row.numbers.get("eps") for row in rows})

    def faults(self, row: ManifestRow) -> Iterator[str]:
        """Yield the reasons why a row and its file are not in order."""
        if reason := misplaced(row):
            yield reason
        try:
            content = self.built.place(row["path"]).read_bytes()
        except FileNotFoundError:
            yield "is missing"
            return
        except (OSError, DataError) as error:
            yield f"cannot be read: {error.strerror if isinstance(error, OSError) else error}"
            return
        if (sha256 := hashlib.sha256(content).hexdigest()) != row["sha256"]:
            yield f"its SHA-256 is {sha256[:12]}..., the manifest says {row['sha256'][:12]}..."
        try:
            image = decode(content)
        except ImageError as reason:
            yield f"is no readable image: {reason}"
            return
        if row["attack"] == "clean":
            return
        if row["attack"] in self.eps or row["source"] in self.sources:
            yield from self._attack_faults(row, content, image)
        elif row["label"] != 1:
            yield f"was generated, so its label is 1, and the manifest says {row['label']}"

    def _attack_faults(self, row: ManifestRow, content: bytes, image: Tensor) -> Iterator[str]:
        if not content.startswith(b"\x89PNG\r\n\x1a\n") or content[24:26] != EIGHT_BIT_RGB:
            yield "is perturbed, and no 8-bit RGB PNG"
        source = self.sources.get(row["source"])
        if source is None:
            yield f"its source {row['source']} is not among the clean images"
            return
        if row["id"] != f"{row['source']}#{row['attack']}":
            yield f"its id is {row['id']}, and {row['source']}#{row['attack']} is expected"
        for name in ("label", "split"):
            if row[name] != getattr(source, name):
                yield f"its {name} is {row[name]}, and its source's is {getattr(source, name)}"
        if row.get("parent_sha256", source.sha256) != source.sha256:
            yield (
                f"its source's SHA-256 is not {row['parent_sha256'][:12]}..., as the manifest says"
            )
        try:
            clean = decode(self.built.place(source.path).read_bytes())
        except (OSError, ImageError, DataError):
            yield f"its source {source.path} cannot be read, so its budget is not checked"
            return
        if clean.shape != image.shape:
            yield f"is {tuple(image.shape[1:])} pixels, and its source {tuple(clean.shape[1:])}"
            return
        yield from self._budget_faults(row, image, clean)

    def _budget_faults(self, row: ManifestRow, image: Tensor, clean: Tensor) -> Iterator[str]:
        levels, before = image[None].int(), clean[None].int()
        found = {
            name: float(value[0])
            for name, value in zip(("linf", "l2", "l0"), norms(levels, before), strict=True)
        }
        found["psnr"] = float(psnr(levels, before)[0])
        for name, value in found.items():
            if not _same(value, row.get(name, value), TOLERANCE[name]):
                yield f"its {name} is {value:g}, and the manifest says {row[name]}"
        budget = self.budgets.get(row["attack"], Budget())
        for name, most in (("linf", budget.linf), ("l2", budget.l2), ("l0", budget.l0)):
            if most is not None and found[name] > most + (1e-6 / LEVELS if name == "l2" else 0):
                yield f"its {name} is {found[name]:g}, over the budget of {most:g}"
        stated = self.eps.get(row["attack"], row.get("eps"))
        if not _same(stated, row.get("eps", stated), 0):
            yield f"its eps is {row['eps']}, and the suite says {stated}"


def _same(one: float | None, other: float | None, tolerance: float) -> bool:
    """Whether two numbers agree; none and not a number are the same."""
    if one is None or other is None or math.isnan(one) or math.isnan(other):
        return (one is None or math.isnan(one)) and (other is None or math.isnan(other))
    return math.isclose(one, other, rel_tol=0, abs_tol=tolerance)


def _columns(built: Built, *names: str) -> Iterator[ManifestRow]:
    for batch in built.table(*names).to_batches():
        yield from batch.to_pylist()


def _suite_faults(built: Built) -> list[Offender]:
    try:
        budgets(built.suite())
    except UserError as error:
        return [Offender(SUITE, f"budgets are not checked: {error}")]
    return []


def _table_faults(built: Built) -> Iterator[Offender]:
    """Faults of the manifest as a whole."""
    for name in ("id", "path"):
        counts = built.table(name).group_by(name).aggregate([(name, "count")])
        for row in counts.filter(pc.greater(counts.column(f"{name}_count"), 1)).to_pylist():
            yield Offender(
                "manifest.parquet", f"the {name} {row[name]} is there {row[f'{name}_count']} times"
            )
    sides = built.table("parent", "split").group_by("parent").aggregate([("split", "distinct")])
    both = sides.filter(pc.greater(pc.list_value_length(sides.column("split_distinct")), 1))
    for row in both.to_pylist():
        yield Offender(
            "manifest.parquet",
            f"the parent {row['parent']} is in {' and '.join(row['split_distinct'])}",
        )
    lines = built.folder / "manifest.jsonl"
    if lines.is_file():
        with lines.open(encoding="utf-8") as file:
            if any(line != told for line, told in zip_longest(file, map(json_line, built.rows()))):
                yield Offender("manifest.jsonl", "differs from manifest.parquet")


def _strangers(built: Built) -> Iterator[Offender]:
    """Files that the manifest does not know; hidden ones and a killed run's half-written ones are
    read by nobody.
    """
    known = set(built.table("path").column("path").to_pylist())
    known |= OWN | {f"{split}/{METADATA}" for split in built.counts()}
    for folder, folders, files in os.walk(built.folder):
        own = OWN_FOLDERS if Path(folder) == built.folder else frozenset()
        folders[:] = [name for name in folders if name not in own and not name.startswith(".")]
        linked = [name for name in folders if Path(folder, name).is_symlink()]
        for name in sorted(files + linked):
            path = Path(folder, name).relative_to(built.folder).as_posix()
            if path not in known and not name.startswith(".") and not name.endswith(".tmp"):
                yield Offender(path, "is not in the manifest")
