"""What to build: a recipe of a `++` set, or of a dataset to make one of, turned into parts, suite
and surrogates.
"""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import pandas as pd
from pydantic import BaseModel, Field

from robustbench_aigi import catalogue
from robustbench_aigi.attacks import Suite, load_suite
from robustbench_aigi.config.units import CountOrNone, PairCount
from robustbench_aigi.data.dataset import Dataset
from robustbench_aigi.data.listing import write_skipped
from robustbench_aigi.data.loading import load_data
from robustbench_aigi.data.plusplus.build import Part
from robustbench_aigi.data.plusplus.surrogates import load_surrogates
from robustbench_aigi.data.recipes import Recipe
from robustbench_aigi.data.sources import Split
from robustbench_aigi.data.suggestions import as_recipe
from robustbench_aigi.detectors import Detector
from robustbench_aigi.errors import DataError
from robustbench_aigi.progress import Progress

SPLITS = ("train", "validation", "test")


class PlusPlus(BaseModel, frozen=True, extra="forbid"):
    """A recipe of kind ``plusplus``: what is built on which dataset, read from ``datasets/*.toml``.

    ``images`` and ``samples`` are counts by split; ``surrogates`` names a checkpoint, or a dataset
    whose weights ship. Images of the splits in ``by_turns`` are each changed in one of the ways,
    those of the others in all of them.
    """

    name: str
    version: int = Field(ge=1)
    kind: Literal["plusplus"]
    licence: str
    base: str
    attacks: str
    images: dict[str, PairCount] = Field(default_factory=dict)
    samples: dict[str, CountOrNone] = Field(default_factory=dict)
    by_turns: tuple[Split, ...] = ()
    surrogates: dict[str, str] = Field(default_factory=dict)


class Kind(BaseModel, extra="ignore"):
    """The one field that tells a recipe of a `++` set from one of a dataset."""

    kind: str


@dataclass(frozen=True, kw_only=True)
class BuildRequest:
    """What is asked of a build.

    Args:
        dataset: a recipe of a `++` set, or of a dataset to make one of.
        source, limit: as in :func:`~robustbench_aigi.data.load_data`.
        attacks: a suite; the recipe's own if None, and ``cifakepp`` for a dataset.
        surrogates: checkpoints of the detectors that the suite's rows name, in the place of the
            recipe's.
        samples: diffusion-generated images to add to each split; the recipe's own counts if None,
            else 100.
        generated: a folder that ``generate`` wrote, to add the images of.
        convert: as in :func:`~robustbench_aigi.data.load_data`.
    """

    dataset: str
    source: str | None = None
    limit: int | None = None
    attacks: str | None = None
    surrogates: Sequence[str] = ()
    samples: int | None = None
    generated: Path | None = None
    convert: bool = False

    def typed(self, out: Path) -> str:
        """What was typed, to type it again."""
        given = {
            "--source": self.source,
            "--limit": self.limit,
            "--attacks": self.attacks,
            "--samples": self.samples,
        }
        words = [
            word
            for name, value in given.items()
            if value is not None
            for word in (name, str(value))
        ]
        words += [word for surrogate in self.surrogates for word in ("--surrogate", surrogate)]
        words += ["--generated", str(self.generated)] if self.generated is not None else []
        words += ["--convert"] * self.convert
        return shlex.join(["robustbench-aigi", "build", self.dataset, *words, "--out", str(out)])

    @property
    def command(self) -> str:
        """What was typed, for a set's card; places on the maker's machine become words."""
        given = {"--source": self.source and "PATH", "--limit": self.limit}
        given |= {"--attacks": self.attacks and Path(self.attacks).name, "--samples": self.samples}
        options = [f"{name} {value}" for name, value in given.items() if value is not None]
        options += ["--surrogate CHECKPOINT"] * len(self.surrogates)
        options += ["--generated FOLDER"] * (self.generated is not None) + [
            "--convert"
        ] * self.convert
        return " ".join(
            ["robustbench-aigi build", Path(self.dataset).name, *options, "--out FOLDER"]
        )


class BuildPlan(NamedTuple):
    """All that ``build_plusplus`` takes, and the dataset and recipe behind it."""

    recipe: Recipe
    data: Dataset
    parts: Mapping[str, Part]
    suite: Suite
    surrogates: Mapping[str, Detector]


def plan_build(order: BuildRequest, skipped: Path, progress: Progress) -> BuildPlan:
    """Read the dataset, list in ``skipped`` what is left out, and load the surrogates."""
    recipe = recipe_of(as_recipe(order.dataset))
    suite = load_suite(order.attacks or recipe.attacks)
    suite = suite.model_copy(update={"rows": tuple(row for row in suite.rows if row.shared)})
    makers = load_surrogates(suite, order.surrogates, recipe.surrogates)
    data = load_data(
        recipe.base,
        order.source,
        limit=order.limit,
        skipped=skipped,
        progress=progress,
        convert=order.convert,
    )
    data = apart(data, skipped)
    parts = {}
    for split in SPLITS:
        if (data.manifest["split"] == split).any():
            images = data.split(split).limit(recipe.images.get(split))
            made = order.samples if order.samples is not None else recipe.samples.get(split, 0)
            every, generated = split not in recipe.by_turns, _generated(order.generated, split)
            parts[split] = Part(images, all_rows=every, samples=made, generated=generated)
    return BuildPlan(catalogue.read("datasets", recipe.base, Recipe), data, parts, suite, makers)


def apart(data: Dataset, skipped: Path) -> Dataset:
    """A dataset without the images whose file is in a later split too; they are added to the list
    ``skipped``.
    """
    rows = data.manifest
    last = (
        rows["split"]
        .map(SPLITS.index)
        .groupby(rows["sha256"])
        .transform("max")
        .map(dict(enumerate(SPLITS)))
    )
    twin = rows["split"] != last
    if not twin.any():
        return data
    known = pd.read_csv(skipped, dtype=str).itertuples(index=False, name=None)
    found = [
        (identity, f"the same file is in {split}")
        for identity, split in zip(rows["id"][twin], last[twin], strict=True)
    ]
    write_skipped(skipped, [*known, *found])
    return Dataset(data.name, rows[~twin].reset_index(drop=True))


def _generated(folder: Path | None, split: str) -> Dataset | None:
    """The images of one split that ``generate`` wrote into a folder; None if there are none."""
    if folder is None:
        return None
    place = folder / "manifest.parquet"
    if not place.is_file():
        raise DataError(
            f"{folder} has no manifest.parquet. Give a folder that `robustbench-aigi generate`"
            " wrote."
        )
    rows = pd.read_parquet(place, filters=[("split", "==", split)])
    return (
        Dataset("generated", rows.assign(path=[str(folder / path) for path in rows["path"]]))
        if len(rows)
        else None
    )


def recipe_of(dataset: str) -> PlusPlus:
    """The recipe of a `++` set; for one of a dataset, that set with the suite ``cifakepp`` and 100
    samples a split.
    """
    if catalogue.read("datasets", dataset, Kind).kind == "plusplus":
        return catalogue.read("datasets", dataset, PlusPlus)
    own = catalogue.read("datasets", dataset, Recipe)
    about = {
        "name": f"{own.name}++",
        "version": own.version,
        "kind": "plusplus",
        "licence": own.licence,
    }
    about |= {"base": dataset, "attacks": "cifakepp", "samples": dict.fromkeys(SPLITS, 100)}
    return PlusPlus.model_validate(about)


def planned(expected: pd.DataFrame, workers: int) -> str:
    """A plan as text, and its sums."""
    images, passes, seconds, size = (
        expected[name].sum() for name in ("images", "passes", "seconds", "megabytes")
    )
    shown = expected.round({"seconds": 0, "megabytes": 1}).to_string(index=False)
    about = (
        f"{images:.0f} images, {passes:.2g} model passes, about {seconds / 60:.0f} min with"
        f" {workers} workers"
    )
    return f"{shown}\nto do: {about}, {size:.0f} MB"
