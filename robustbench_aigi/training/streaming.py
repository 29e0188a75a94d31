"""Training images that stay on disk: decoded by workers, cut to one size, read block by block."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, final

import numpy as np
import pandas as pd
import torch
from jaxtyping import Int, UInt8
from numpy.typing import NDArray
from torch import Tensor

from robustbench_aigi.data.dataset import Dataset
from robustbench_aigi.data.reading import Reader
from robustbench_aigi.executors.pool import PoolExecutor
from robustbench_aigi.io.hashing import digest, rng_for, weights_digest
from robustbench_aigi.training.image_policy import ImagePolicy

SHUFFLE_WINDOW = 4096
"""Images among which the blocks of files are shuffled."""
ABSENT_ROW = -1
"""Stands for an image of a batch that another process reads."""


class BatchRequest(NamedTuple):
    """What a worker reads at once.

    Attributes:
        rows: of the manifest; :data:`ABSENT_ROW` gives a black image.
        seed: of the random views; None for middle views.
    """

    rows: Sequence[int]
    seed: str | None


@dataclass(frozen=True)
class BatchDecoder:
    """Decodes batches, in this process or in a worker.

    Attributes:
        reader: of the manifest's images.
        policy: how images get their size.
    """

    reader: Reader
    policy: ImagePolicy

    def __call__(self, request: BatchRequest) -> NDArray[np.uint8]:
        """Return the images of a ``request``, ``(N, 3, size, size)``."""
        size = self.policy.size
        images = torch.zeros(len(request.rows), 3, size, size, dtype=torch.uint8)
        for place, row in enumerate(request.rows):
            if row != ABSENT_ROW:
                images[place] = self._view(row, request.seed)
        array: NDArray[np.uint8] = images.numpy()
        return array

    def _view(self, row: int, seed: str | None) -> Tensor:
        image = self.reader.rows(row)
        if seed is None:
            return self.policy.middle_view(image)
        return self.policy.training_view(image, rng_for(seed, row))


@final
class StreamedImages:
    """Images of a manifest as if they were one tensor uint8 ``(N, 3, size, size)``.

    An index gives fewer images, and reads nothing; :meth:`split` and :meth:`read` decode.

    Args:
        reader: of the manifest's images.
        policy: how images get their size.
        workers: processes that decode; 0 decodes in this one.
        key: hash of the manifest's images.
    """

    def __init__(self, reader: Reader, policy: ImagePolicy, workers: int, key: str) -> None:
        self.reader = reader
        self.policy = policy
        self.workers = workers
        self._key = key
        self.rows = torch.arange(len(reader))

    @classmethod
    def of(
        cls, manifest: pd.DataFrame, policy: ImagePolicy, workers: int | None = None
    ) -> "StreamedImages":
        """Return the images of a manifest.

        Args:
            manifest: one row per image.
            policy: how images get their size.
            workers: processes that decode; None uses all cores but one.
        """
        if workers is None:
            workers = (os.cpu_count() or 1) - 1
        return cls(Reader.of(manifest), policy, workers, Dataset("", manifest).key)

    @property
    def shape(self) -> torch.Size:
        """``(N, 3, size, size)``."""
        return torch.Size((len(self), 3, self.policy.size, self.policy.size))

    @property
    def key(self) -> str:
        """Hash of the images, their order and their views."""
        return digest(self._key, self.policy.model_dump(), weights_digest({"rows": self.rows}))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Any) -> "StreamedImages":
        fewer = StreamedImages(self.reader, self.policy, self.workers, self._key)
        fewer.rows = self.rows[index]
        return fewer

    def joined(self, other: "StreamedImages") -> "StreamedImages":
        """Return these images and then those of ``other``, all by this policy."""
        key = digest(self._key, other._key)
        both = StreamedImages(self.reader.joined(other.reader), self.policy, self.workers, key)
        both.rows = torch.cat([self.rows, other.rows + len(self.reader)])
        return both

    def split(self, size: int) -> Iterator[UInt8[Tensor, "n 3 size size"]]:
        """Yield middle views in parts of ``size`` images, in order."""
        yield from self.read(BatchRequest(rows.tolist(), None) for rows in self.rows.split(size))

    def read(self, requests: Iterable[BatchRequest]) -> Iterator[UInt8[Tensor, "n 3 size size"]]:
        """Yield batches in the order of the requests; workers decode a few ahead.

        Args:
            requests: of rows of the manifest.

        Raises:
            DataError: an image is missing, or is not what was listed.
            WorkersLostError: a batch killed its worker again and again.
        """
        decoder = BatchDecoder(self.reader, self.policy)
        if self.workers:
            batches = PoolExecutor(self.workers).map_ordered(decoder, requests)
        else:
            batches = map(decoder, requests)
        for batch in batches:
            yield torch.from_numpy(batch)

    def order(self, groups: Int[Tensor, " n"], rng: torch.Generator) -> Int[Tensor, " n"]:
        """Return a random order of all images that reads each block of a file once, or nearly so.

        Blocks come in random order, and their images are shuffled within windows of
        :data:`SHUFFLE_WINDOW`. An image file is a block of its own, so files are shuffled fully.

        Args:
            groups: images of one group stay side by side.
            rng: CPU generator of the order.
        """
        blocks = self.reader.blocks[self.rows]
        place = torch.randperm(int(blocks.max()) + 1, generator=rng)
        within = torch.rand(len(blocks), generator=rng, dtype=torch.float64)
        by_block = (place[blocks] + within).argsort()
        windows = by_block.split(SHUFFLE_WINDOW)
        order = torch.cat([part[torch.randperm(len(part), generator=rng)] for part in windows])
        return _side_by_side(order, groups)


def _side_by_side(order: Tensor, groups: Tensor) -> Tensor:
    """Move the images of a group to the place of its first one."""
    kinds, which = groups.unique(return_inverse=True)
    if len(kinds) == len(groups):
        return order
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order))
    first = torch.full((len(kinds),), len(order)).scatter_reduce(0, which, place, "amin")
    return (first[which] * len(order) + place).argsort()
