"""What a batch is to be told as: labels, smoothed, or mixed across classes by timm's Mixup and CutMix."""

import numpy as np
import torch
from timm.data import Mixup
from torch import Tensor


def targets_of(
    images: Tensor, labels: Tensor, rng: torch.Generator, *, mixup: float, cutmix: float, smoothing: float
) -> tuple[Tensor, Tensor]:
    """Images and float targets ``(N,)`` of a batch.

    Args:
        mixup: alpha of a weighted sum of two images. cutmix: alpha of a rectangle of one laid into another, which
            leaves a generator's traces whole. Each is off at 0; of two, each is used for half of the batches. A batch
            of odd size loses nothing by it.
        smoothing: how far targets are moved from 0 and 1 towards the middle, in total.
    """
    if not mixup and not cutmix:
        return images, labels * (1 - smoothing) + smoothing / 2
    before = np.random.get_state()  # noqa: NPY002  timm draws from numpy's own state
    np.random.seed(int(torch.randint(2**31, (), generator=rng)))  # noqa: NPY002
    try:
        mixer = Mixup(mixup_alpha=mixup, cutmix_alpha=cutmix, label_smoothing=smoothing, num_classes=2)
        even = len(images) // 2 * 2
        mixed, soft = mixer(images[:even].clone(), labels[:even])
    finally:
        np.random.set_state(before)  # noqa: NPY002
    rest = labels[even:] * (1 - smoothing) + smoothing / 2
    return torch.cat([mixed, images[even:]]), torch.cat([soft[:, 1].to(images), rest.to(images)])
