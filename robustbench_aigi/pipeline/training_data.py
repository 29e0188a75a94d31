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
from robustbench_aigi.training import TrainConfig, TrainingJob
from robustbench_aigi.training.arrays import Arrays, StreamedArrays, TrainingImages
from robustbench_aigi.training.image_policy import ImagePolicy
from robustbench_aigi.training.replay import add_replay
from robustbench_aigi.training.streaming import StreamedImages

MAX_IN_MEMORY = 2**31
"""Bytes of pixels that are held in memory; more stay on disk."""
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
        policy: how images become one size; they then stay on disk. None keeps them in memory.
        workers: processes that decode images on disk; None uses all cores but one.
    """

    key: str
    name: str
    load_splits: Callable[[], list[Dataset]]
    seen: tuple[str, ...] = ()
    replayed: "TrainingData | None" = None
    policy: ImagePolicy | None = None
    workers: int | None = None

    def cut_for(self, job: TrainingJob, input_size: int) -> "TrainingData":
        """Return the images as a training wants them: in memory, or cut to one size on disk.

        Args:
            job: its numbers may say how images are cut.
            input_size: side of what the detector sees, in pixels: that of the cut where images
                have different sizes or do not fit in memory.

        Raises:
            ConfigError: a number of the job is out of its range.
        """
        config = TrainConfig.from_numbers({"epochs": job.epochs, **job.numbers})
        policy = config.image_policy(input_size)
        sizes = {data.size_in_memory for data in (self, self.replayed) if data}
        if policy is None and (None in sizes or len(sizes) > 1):
            policy = ImagePolicy(size=input_size)
        if policy is None:
            return self
        workers = config.workers
        old = self.replayed and replace(self.replayed, policy=policy, workers=workers)
        return replace(self, policy=policy, workers=workers, replayed=old)

    @cached_property
    def size_in_memory(self) -> tuple[int, int] | None:
        """Height and width of all images; None if they differ or exceed :data:`MAX_IN_MEMORY`."""
        images = 0
        sizes = set()
        for data in self.load_splits():
            images += len(data)
            sizes |= {data.one_size()}
        size = sizes.pop() if len(sizes) == 1 else None
        fits = size is not None and 3 * images * size[0] * size[1] <= MAX_IN_MEMORY
        return size if fits else None

    @cached_property
    def train(self) -> TrainingImages:
        """Training images, with the replayed ones."""
        new, _ = self._new
        if self.replayed is None:
            return new
        return add_replay(new, self.replayed.train, self.replayed.strata())

    @property
    def validation(self) -> TrainingImages:
        """Validation images."""
        _, validation = self._new
        return validation

    @property
    def replay_validation(self) -> TrainingImages | None:
        """Validation images of what the detector was trained on before."""
        return None if self.replayed is None else self.replayed.validation

    @cached_property
    def _new(self) -> tuple[TrainingImages, TrainingImages]:
        train, validation = self.load_splits()
        policy = self.policy
        workers = self.workers
        return arrays_of(train, policy, workers), arrays_of(validation, policy, workers)

    def strata(self) -> Tensor:
        """Return the stratum of each training image, by class and generator, int64 ``(N,)``."""
        manifest = self.load_splits()[0].manifest
        groups = manifest.groupby(["label", "generator"], dropna=False)
        return torch.tensor(groups.ngroup().to_numpy())

    def with_replay_of(self, old: "TrainingData") -> "TrainingData":
        """Return these images with some of an ``old`` training's."""
        return replace(self, name=f"{self.name} with {old.name} rehearsed", replayed=old)


def arrays_of(
    data: Dataset, policy: ImagePolicy | None = None, workers: int | None = None
) -> TrainingImages:
    """Return the labelled images of a dataset; those of unknown category share one of their own.

    Args:
        data: a split.
        policy: how images become one size; they then stay on disk. None loads them into memory.
        workers: processes that decode images on disk; None uses all cores but one.
    """
    codes, _ = pd.factorize(data.manifest["category"], sort=True, use_na_sentinel=False)
    attack = data.manifest.get("attack")
    changed = None if attack is None else torch.tensor((attack != "clean").to_numpy())
    rest = (data.groups(), torch.tensor(codes), changed)
    if policy is None:
        return Arrays(*data.arrays(), *rest)
    labels = torch.tensor(data.manifest["label"].to_numpy())
    return StreamedArrays(StreamedImages.of(data.manifest, policy, workers), labels, *rest)


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
        key = file_digest(manifest)
        return TrainingData(key, "++ set", lambda: splits, seen)
    data = load_data(dataset, source, TRAINING_SPLITS, limit, skipped, progress, convert)
    say(describe_counts(data, skipped))
    return recipe_data(data)
