"""Images to train on, loaded when they are first used."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from robustbench_aigi.data import Dataset, describe_counts, load_data
from robustbench_aigi.data.plusplus.build import load_plusplus
from robustbench_aigi.io.hashing import file_digest
from robustbench_aigi.progress import Progress, Say
from robustbench_aigi.training.arrays import Arrays
from robustbench_aigi.training.replay import add_replay

TRAINING_SPLITS = ("train", "validation")
"""Splits that a training uses."""


@dataclass(frozen=True)
class TrainingData:
    """Images to train on and to pick the best epoch by, loaded when they are first used.

    Attributes:
        key: hash of the images.
        name: of the images, for a detector's card.
        load_splits: returns the training and the validation images.
        seen: attacks among the images.
        replayed: what the detector was trained on before; some of it is added to the training
            images. None if there is no replay.
    """

    key: str
    name: str
    load_splits: Callable[[], list[Dataset]]
    seen: tuple[str, ...] = ()
    replayed: "TrainingData | None" = None

    @cached_property
    def train(self) -> Arrays:
        """Training images, with the replayed ones."""
        new, _ = self._new
        if self.replayed is None:
            return new
        return add_replay(new, self.replayed.train, self.replayed.strata())

    @property
    def validation(self) -> Arrays:
        """Validation images."""
        _, validation = self._new
        return validation

    @property
    def replay_validation(self) -> Arrays | None:
        """Validation images of what the detector was trained on before."""
        return None if self.replayed is None else self.replayed.validation

    @cached_property
    def _new(self) -> tuple[Arrays, Arrays]:
        train, validation = self.load_splits()
        return arrays_of(train), arrays_of(validation)

    def strata(self) -> Tensor:
        """Return the stratum of each training image, by class and generator, int64 ``(N,)``."""
        manifest = self.load_splits()[0].manifest
        groups = manifest.groupby(["label", "generator"], dropna=False)
        return torch.tensor(groups.ngroup().to_numpy())

    def with_replay_of(self, old: "TrainingData") -> "TrainingData":
        """Return these images with some of an ``old`` training's."""
        return replace(self, name=f"{self.name} with {old.name} rehearsed", replayed=old)


def arrays_of(data: Dataset) -> Arrays:
    """Load a dataset into memory; images of unknown category get a category of their own."""
    codes, _ = pd.factorize(data.manifest["category"], sort=True, use_na_sentinel=False)
    attack = data.manifest.get("attack")
    changed = None if attack is None else torch.tensor((attack != "clean").to_numpy())
    return Arrays(*data.arrays(), data.groups(), torch.tensor(codes), changed)


def training_splits(data: Dataset) -> list[Dataset]:
    """Return the training and the validation images of a dataset."""
    return [data.split(split) for split in TRAINING_SPLITS]


def recipe_data(data: Dataset) -> TrainingData:
    """Return the images of a dataset for training."""
    return TrainingData(data.key, data.name, lambda: training_splits(data))


def load_training_data(
    dataset: str,
    source: str | None,
    limit: int | None,
    skipped: Path,
    progress: Progress,
    say: Say,
    convert: bool = False,
) -> TrainingData:
    """Load the images of a recipe, or the `++` set in a folder that ``build`` wrote.

    Args:
        dataset: name or path of a recipe, or the folder.
        source: where the images are; None where the recipe says.
        limit: maximum number of images per split.
        skipped: CSV file for the files that are left out.
        progress: called after each image.
        say: called with the counts of the images.
        convert: as in :func:`~robustbench_aigi.data.load_data`.

    Raises:
        DataError: the images cannot be read.
    """
    manifest = Path(dataset, "manifest.parquet")
    if manifest.is_file():
        attacks = set(pd.read_parquet(manifest, columns=["attack"])["attack"])
        splits = [load_plusplus(Path(dataset), split) for split in TRAINING_SPLITS]
        seen = tuple(sorted(attacks - {"clean"}))
        return TrainingData(file_digest(manifest), "++ set", lambda: splits, seen)
    data = load_data(dataset, source, TRAINING_SPLITS, limit, skipped, progress, convert)
    say(describe_counts(data, skipped))
    return recipe_data(data)
