"""Batches of a training: drawn in random order, augmented, transformed and mixed."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from torch import Tensor

from robustbench_aigi.imaging.pixels import from_bytes
from robustbench_aigi.io.hashing import digest
from robustbench_aigi.training.arrays import TrainingImages, batch_at, batch_count, shuffled
from robustbench_aigi.training.augment import augment
from robustbench_aigi.training.config import TrainConfig
from robustbench_aigi.training.mixing import mix_batch
from robustbench_aigi.training.objectives.base import TrainingBatch
from robustbench_aigi.training.streaming import ABSENT_ROW, BatchRequest, StreamedImages
from robustbench_aigi.training.transforms import transform_some


class BatchSource:
    """Makes the batches of a training.

    Args:
        train: training images.
        config: of the training.
        accelerator: names the device, and this process's share of a batch.
    """

    def __init__(
        self, train: TrainingImages, config: TrainConfig, accelerator: Accelerator
    ) -> None:
        self._train = train
        self._config = config
        self._accelerator = accelerator
        self._categories = known_categories(train, config)
        self._stream: _Stream | None = None
        count = len(train.labels)
        self._groups = torch.arange(count) if train.groups is None else train.groups
        self.per_epoch = batch_count(count, config.batch)

    def shuffle(self, rng: torch.Generator) -> Tensor:
        """Return the order of an epoch: indices of all images, drawn with ``rng``."""
        if isinstance(self._train.images, StreamedImages):
            return self._train.images.order(self._groups, rng)
        return shuffled(self._groups, rng)

    def draw(self, order: Tensor, step: int, rng: torch.Generator) -> tuple[TrainingBatch, int]:
        """Return this process's share of a batch, and the size of the whole batch.

        All processes draw and change the whole batch alike.

        Args:
            order: of the epoch.
            step: of the training, counted from 0.
            rng: CPU generator of all draws.
        """
        config = self._config
        index = batch_at(order, config.batch, step % self.per_epoch)
        labels = self._train.labels[index]
        images = augment(
            from_bytes(self._pixels(index, order, step).to(self._accelerator.device)),
            labels,
            rng,
            self._groups[index],
            shift=config.shift,
            intra_class_mixup=config.intra_class_mixup,
            colour=config.colour,
        )
        images, changed = self._transformed(images, index, rng)
        mixed = mix_batch(
            images,
            labels,
            rng,
            mixup=config.mixup,
            cutmix=config.cutmix,
            smoothing=config.smoothing,
            categories=None if self._categories is None else self._categories[index],
        )
        batch = TrainingBatch(
            self._own_share(mixed.images),
            self._own_share(labels),
            self._own_share(mixed.targets),
            step,
            self._own_share(mixed.categories),
            None if changed is None else changed[self._own_slice()],
        )
        return batch, len(index)

    def _pixels(self, index: Tensor, order: Tensor, step: int) -> Tensor:
        images = self._train.images
        if isinstance(images, Tensor):
            return images[index]
        begins = step % self.per_epoch == 0
        if self._stream is None or begins or self._stream.step != step:
            requests = self._requests(images, order, step)
            self._stream = _Stream(images.read(requests), step)
        return self._stream.take()

    def _requests(self, images: StreamedImages, order: Tensor, step: int) -> Iterator[BatchRequest]:
        """Yield the batches of the rest of an epoch.

        Where images of a batch are mixed with each other, each process reads all of it.
        """
        config = self._config
        seed = digest(config.seed, "views", step // self.per_epoch)
        is_mixed = config.mixup or config.cutmix or config.intra_class_mixup
        for number in range(step % self.per_epoch, self.per_epoch):
            rows = images.rows[batch_at(order, config.batch, number)]
            if not is_mixed:
                own = torch.full_like(rows, ABSENT_ROW)
                own[self._own_slice()] = rows[self._own_slice()]
                rows = own
            yield BatchRequest(rows.tolist(), seed)

    def _transformed(
        self, images: Tensor, index: Tensor, rng: torch.Generator
    ) -> tuple[Tensor, Tensor | None]:
        """Return the images and which of them are changed, now or before; None if none is."""
        before = None if self._train.changed is None else self._train.changed[index]
        if not self._config.transform_share:
            return images, before
        if before is None:
            before = torch.zeros(len(index), dtype=torch.bool)
        places = (~before).nonzero().squeeze(1)
        images, now = transform_some(images, places, self._config.transform_share, rng)
        return images, before | now

    def _own_slice(self) -> slice:
        return slice(self._accelerator.process_index, None, self._accelerator.num_processes)

    def _own_share(self, tensor: Tensor) -> Tensor:
        return tensor[self._own_slice()].to(self._accelerator.device)


@dataclass
class _Stream:
    """Batches that are read ahead.

    Attributes:
        batches: the rest of an epoch.
        step: of the next batch.
    """

    batches: Iterator[Tensor]
    step: int

    def take(self) -> Tensor:
        self.step += 1
        return next(self.batches)


def known_categories(train: TrainingImages, config: TrainConfig) -> Tensor | None:
    """Return one-hot categories ``(N, K)``; None where they are unknown or not used.

    Args:
        train: training images.
        config: of the training.
    """
    if not config.aux_class_weight or train.categories is None:
        return None
    return torch.eye(int(train.categories.max()) + 1)[train.categories]
