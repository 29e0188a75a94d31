"""Batches of a training: drawn in random order, augmented, transformed and mixed."""

import torch
from accelerate import Accelerator
from torch import Tensor

from robustbench_aigi.imaging.pixels import from_bytes
from robustbench_aigi.training.arrays import Arrays, batches, shuffled
from robustbench_aigi.training.augment import augment
from robustbench_aigi.training.config import TrainConfig
from robustbench_aigi.training.mixing import mix_batch
from robustbench_aigi.training.objectives.base import TrainingBatch
from robustbench_aigi.training.transforms import transform_some


class BatchSource:
    """Makes the batches of a training.

    Args:
        train: training images.
        config: of the training.
        accelerator: names the device, and this process's share of a batch.
    """

    def __init__(self, train: Arrays, config: TrainConfig, accelerator: Accelerator) -> None:
        self._train = train
        self._config = config
        self._accelerator = accelerator
        self._categories = known_categories(train, config)
        images = torch.arange(len(train.labels))
        self._groups = images if train.groups is None else train.groups
        self.per_epoch = len(batches(images, config.batch))

    def shuffle(self, rng: torch.Generator) -> Tensor:
        """Return the order of an epoch: indices of all images, drawn with ``rng``."""
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
        index = batches(order, config.batch)[step % self.per_epoch]
        labels = self._train.labels[index]
        images = augment(
            from_bytes(self._train.images[index].to(self._accelerator.device)),
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


def known_categories(train: Arrays, config: TrainConfig) -> Tensor | None:
    """Return one-hot categories ``(N, K)``; None where they are unknown or not used.

    Args:
        train: training images.
        config: of the training.
    """
    if not config.aux_class_weight or train.categories is None:
        return None
    return torch.eye(int(train.categories.max()) + 1)[train.categories]
