"""What to build: a request, turned into parts, suite and surrogates."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from robustbench_aigi.attacks import Suite, load_suite
from robustbench_aigi.data.dataset import Dataset
from robustbench_aigi.data.listing import read_skipped, write_skipped
from robustbench_aigi.data.loading import load_data
from robustbench_aigi.data.plusplus.parts import Part
from robustbench_aigi.data.plusplus.surrogates import load_surrogates
from robustbench_aigi.data.recipes import (
    AnyRecipe,
    DatasetRecipe,
    PlusPlusRecipe,
    read_recipe,
)
from robustbench_aigi.data.sources.entry import Skipped
from robustbench_aigi.data.sources.splits import SPLIT_ORDER
from robustbench_aigi.data.suggestions import check_recipe_name, load_recipe
from robustbench_aigi.detectors import Detector
from robustbench_aigi.errors import DataError
from robustbench_aigi.progress import Progress

DEFAULT_SUITE = "cifakepp"
"""Suite for the recipe of a dataset, which names none."""
DEFAULT_SAMPLES = 100
"""Diffusion samples per split for the recipe of a dataset."""


@dataclass(frozen=True, kw_only=True)
class BuildRequest:
    """What is asked of a build.

    Attributes:
        dataset: recipe of a ``++`` set, or of a dataset to make one of: a name, a path, or the
            recipe itself.
        source: as in :func:`~robustbench_aigi.data.loading.load_data`.
        limit: as in :func:`~robustbench_aigi.data.loading.load_data`.
        attacks: a suite; the recipe's own if None, or :data:`DEFAULT_SUITE`.
        surrogates: checkpoints of the detectors that the suite's rows name, instead of the
            recipe's.
        samples: diffusion-generated images to add to each split; the recipe's own numbers if None,
            or :data:`DEFAULT_SAMPLES`.
        generated: a folder that ``generate`` wrote, to add the images of.
        convert: as in :func:`~robustbench_aigi.data.loading.load_data`.
        shards: ``parquet`` or ``webdataset`` to write archives of many images; None writes one file
            per image.
    """

    dataset: str | AnyRecipe
    source: str | None = None
    limit: int | None = None
    attacks: str | None = None
    surrogates: Sequence[str] = ()
    samples: int | None = None
    generated: Path | None = None
    convert: bool = False
    shards: str | None = None

    @property
    def dataset_name(self) -> str:
        """The recipe's name, or what was given for it."""
        return self.dataset if isinstance(self.dataset, str) else self.dataset.name

    def command_line(self, out: Path) -> str:
        """Return the command that was typed, to type it again.

        Args:
            out: folder of the set.
        """
        given = {
            "--source": self.source,
            "--limit": self.limit,
            "--attacks": self.attacks,
            "--samples": self.samples,
            "--shards": self.shards,
        }
        words: list[str] = []
        for option, value in given.items():
            if value is not None:
                words += [option, str(value)]
        for surrogate in self.surrogates:
            words += ["--surrogate", surrogate]
        if self.generated is not None:
            words += ["--generated", str(self.generated)]
        if self.convert:
            words.append("--convert")
        return shlex.join(
            ["robustbench-aigi", "build", self.dataset_name, *words, "--out", str(out)]
        )

    @property
    def public_command(self) -> str:
        """The command for a set's card, in which paths of the maker's machine are words."""
        given = {
            "--source": self.source and "PATH",
            "--limit": self.limit,
            "--attacks": self.attacks and Path(self.attacks).name,
            "--samples": self.samples,
            "--shards": self.shards,
        }
        options = [f"{option} {value}" for option, value in given.items() if value is not None]
        options += ["--surrogate CHECKPOINT"] * len(self.surrogates)
        if self.generated is not None:
            options.append("--generated FOLDER")
        if self.convert:
            options.append("--convert")
        return " ".join(
            ["robustbench-aigi build", Path(self.dataset_name).name, *options, "--out FOLDER"]
        )


class BuildPlan(NamedTuple):
    """All that ``build_plusplus`` takes, and the dataset and recipe behind it."""

    recipe: DatasetRecipe
    data: Dataset
    parts: Mapping[str, Part]
    suite: Suite
    surrogates: Mapping[str, Detector]


class _ResolvedRecipe(NamedTuple):
    """The recipe of a set, and that of its dataset."""

    plusplus: PlusPlusRecipe
    base: DatasetRecipe


def plan_build(request: BuildRequest, skipped: Path, progress: Progress) -> BuildPlan:
    """Read the dataset of a request and load its surrogates.

    Args:
        request: what is asked.
        skipped: CSV file to list in what is left out.
        progress: called while images are read.

    Raises:
        UserError: as :func:`~robustbench_aigi.data.loading.load_data` and
            :func:`~robustbench_aigi.data.plusplus.surrogates.load_surrogates`.
    """
    recipe, base = resolve_recipe(request.dataset)
    suite = load_suite(request.attacks or recipe.attacks)
    suite = suite.model_copy(update={"rows": tuple(row for row in suite.rows if row.shared)})
    surrogates = load_surrogates(suite, request.surrogates, recipe.surrogates)
    data = load_data(
        base,
        request.source,
        limit=request.limit,
        skipped=skipped,
        progress=progress,
        convert=request.convert,
    )
    data = drop_repeated_files(data, skipped)
    parts: dict[str, Part] = {
        split: _part(data.split(split), split, recipe, request)
        for split in SPLIT_ORDER
        if (data.manifest["split"] == split).any()
    }
    return BuildPlan(base, data, parts, suite, surrogates)


def resolve_recipe(dataset: str | AnyRecipe) -> _ResolvedRecipe:
    """Return the recipe of a ``++`` set and that of its dataset.

    The recipe of a dataset becomes a set with :data:`DEFAULT_SUITE` and :data:`DEFAULT_SAMPLES`.

    Args:
        dataset: a name, a path or a recipe.

    Raises:
        UnknownNameError: there is no such recipe.
        ConfigError: it does not fit.
    """
    if isinstance(dataset, str):
        check_recipe_name(dataset)
        recipe = read_recipe(dataset)
    else:
        recipe = dataset
    if isinstance(recipe, PlusPlusRecipe):
        return _ResolvedRecipe(recipe, load_recipe(recipe.base))
    plusplus = PlusPlusRecipe(
        name=f"{recipe.name}++",
        version=recipe.version,
        kind="plusplus",
        licence=recipe.licence,
        base=dataset if isinstance(dataset, str) else recipe.name,
        attacks=DEFAULT_SUITE,
        samples=dict.fromkeys(SPLIT_ORDER, DEFAULT_SAMPLES),
    )
    return _ResolvedRecipe(plusplus, recipe)


def drop_repeated_files(data: Dataset, skipped: Path) -> Dataset:
    """Return a dataset without the images whose file is in a later split too.

    Args:
        data: all its splits.
        skipped: CSV file that those images are added to.
    """
    rows = data.manifest
    number = rows["split"].map(SPLIT_ORDER.index)
    last = number.groupby(rows["sha256"]).transform("max").map(dict(enumerate(SPLIT_ORDER)))
    is_repeated = rows["split"] != last
    if not is_repeated.any():
        return data
    found = [
        Skipped(identity, f"the same file is in {split}")
        for identity, split in zip(rows["id"][is_repeated], last[is_repeated], strict=True)
    ]
    write_skipped(skipped, [*read_skipped(skipped), *found])
    return Dataset(data.name, rows[~is_repeated].reset_index(drop=True))


def _part(data: Dataset, split: str, recipe: PlusPlusRecipe, request: BuildRequest) -> Part:
    samples = request.samples
    if samples is None:
        samples = recipe.samples.get(split, 0)
    return Part(
        data.limit(recipe.images.get(split)),
        all_rows=split not in recipe.by_turns,
        samples=samples,
        generated=_generated(request.generated, split),
    )


def _generated(folder: Path | None, split: str) -> Dataset | None:
    """Return the images of one split that ``generate`` wrote into a folder; None without any."""
    if folder is None:
        return None
    manifest = folder / "manifest.parquet"
    if not manifest.is_file():
        raise DataError(
            f"{folder} has no manifest.parquet. Give a folder that `robustbench-aigi generate`"
            " wrote."
        )
    rows = pd.read_parquet(manifest, filters=[("split", "==", split)])
    if rows.empty:
        return None
    return Dataset("generated", rows.assign(path=[str(folder / path) for path in rows["path"]]))
