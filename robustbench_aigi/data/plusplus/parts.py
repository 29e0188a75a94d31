"""What a ``++`` set is made of: clean, perturbed and generated images, in shards."""

import functools
import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pandas as pd

from robustbench_aigi.attacks import Suite, SuiteRow
from robustbench_aigi.data.dataset import Dataset
from robustbench_aigi.data.plusplus.making import (
    Surrogate,
    copy_images,
    generate_samples,
    perturb_images,
)
from robustbench_aigi.data.plusplus.storage import MadeShard
from robustbench_aigi.detectors import Detector
from robustbench_aigi.errors import DataError
from robustbench_aigi.generators import SHIPPED_DIFFUSION
from robustbench_aigi.io.hashing import digest, file_digest, weights_digest

SHARD_IMAGES = 250
"""Images per unit of work: the same shard gives the same bytes, whoever makes it."""


@dataclass(frozen=True)
class Part:
    """One split of the set.

    Attributes:
        data: its clean images.
        all_rows: whether every image is perturbed in every way; else each in one way in turn.
        samples: number of images of the shipped diffusion model.
        generated: images that other models made; None if there are none.
    """

    data: Dataset
    all_rows: bool
    samples: int
    generated: Dataset | None = None


@dataclass(frozen=True)
class PartBuilder:
    """Images of one attack in one split.

    Attributes:
        attack: row of the suite; also ``clean``, ``generated`` and ``diffusion``.
        split: of the images.
        data: their sources.
        key: hash of all that they depend on.
        make: turns a shard of sources into rows of the manifest and image files.
    """

    attack: str
    split: str
    data: Dataset
    key: str
    make: Callable[[Dataset], MadeShard]

    def places(self) -> Iterator[tuple[Dataset, Path]]:
        """Yield the shards, each with the path of its table relative to the set."""
        for index, shard in enumerate(self.data.slices(SHARD_IMAGES)):
            name = f"{self.split}-{self.attack}-{index:04d}-{self.key[:12]}.parquet"
            yield shard, Path("parts") / name


def part_builders(
    split: str,
    part: Part,
    suite: Suite,
    surrogates: Mapping[str, Detector],
    identities: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[PartBuilder]:
    """Yield all that one split is made of.

    Args:
        split: its name.
        part: its images.
        suite: what is done to them.
        surrogates: detectors by name.
        identities: surrogate to its fingerprint: shards that were made on another one are not
            reused.

    Raises:
        DataError: a row names a surrogate that was not given.
    """
    yield _copying(split, "clean", part.data)
    if part.generated is not None:
        yield _copying(split, "generated", part.generated)
    known = {
        name: Surrogate(detector, weights_digest(detector.state_dict()))
        for name, detector in surrogates.items()
        if name in suite.surrogates
    }
    for number, row in enumerate(suite.rows):
        surrogate = _surrogate_of(row, suite, known)
        data = _share(part, row, number, len(suite.rows))
        sha256 = surrogate.sha256 if surrogate else ""
        identity = identities.get(row.surrogate or "", "")
        key = digest(data.key, row.content(), suite.seed, sha256, identity)
        make = functools.partial(
            perturb_images, split=split, row=row, seed=suite.seed, surrogate=surrogate
        )
        yield PartBuilder(row.id, split, data, key, make)
    if part.samples:
        yield _sampling(split, part, suite.seed)


def _copying(split: str, attack: str, data: Dataset) -> PartBuilder:
    make = functools.partial(copy_images, split=split, attack=attack)
    return PartBuilder(attack, split, data, data.key, make)


def _sampling(split: str, part: Part, seed: int) -> PartBuilder:
    ids = [f"{split}/diffusion-{number:05d}" for number in range(part.samples)]
    rows = pd.DataFrame({"id": ids, "label": 1, "split": split, "sha256": ""})
    example = next(part.data.files())
    key = digest(
        part.samples, seed, file_digest(SHIPPED_DIFFUSION), hashlib.sha256(example).hexdigest()
    )
    make = functools.partial(generate_samples, split=split, seed=seed, example=example)
    return PartBuilder("diffusion", split, Dataset("diffusion", rows), key, make)


def _surrogate_of(row: SuiteRow, suite: Suite, known: Mapping[str, Surrogate]) -> Surrogate | None:
    if row.surrogate is None:
        return None
    if row.surrogate not in known:
        raise DataError(
            f"row {row.id} of suite {suite.name} needs the surrogate {row.surrogate}. Train it"
            f" with `robustbench-aigi train {row.surrogate} --out {row.surrogate}.safetensors`,"
            f" and give it: --surrogate {row.surrogate}.safetensors."
        )
    return known[row.surrogate]


def _share(part: Part, row: SuiteRow, number: int, rows: int) -> Dataset:
    """Return the images that a row perturbs: all of them, or those whose turn it is."""
    data = part.data
    if not part.all_rows:
        ids = data.rows.values("id")
        turns = np.array([int(digest("turn", identity)[:8], 16) % rows for identity in ids])
        data = Dataset(data.name, data.rows.take(np.flatnonzero(turns == number)))
    return data.limit(row.limit)
