"""Targets of a batch: labels, smoothed, or mixed across classes by timm's Mixup and CutMix."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Num
from torch import Tensor


class MixedBatch(NamedTuple):
    """A batch of images with its targets.

    Attributes:
        images: ``(N, 3, H, W)``.
        targets: float ``(N,)``, 0 = real to 1 = AI-generated.
        categories: float ``(N, K)``, the share of each category in an image.
    """

    images: Tensor
    targets: Tensor
    categories: Tensor


def mix_batch(
    images: Float[Tensor, "n 3 h w"],
    labels: Num[Tensor, " n"],
    rng: torch.Generator,
    *,
    mixup: float,
    cutmix: float,
    smoothing: float,
    categories: Tensor | None = None,
) -> MixedBatch:
    """Mix the images of a batch across classes, and return the targets that fit them.

    Where both kinds of mixing are on, each is used for half of the batches. The last image of a
    batch of odd size is not mixed.

    Args:
        images: ``(N, 3, H, W)``.
        labels: ``(N,)``, 1 = AI-generated.
        rng: CPU generator of all draws.
        mixup: alpha of a weighted sum of two images; 0 switches it off.
        cutmix: alpha of pasting a rectangle of one image into another, which leaves a generator's
            traces intact; 0 switches it off.
        smoothing: how far targets move from 0 and 1 towards the middle, in total.
        categories: one-hot ``(N, K)``; None if all images are of one category.
    """
    known = (torch.ones(len(labels), 1) if categories is None else categories).to(images)
    targets = labels * (1 - smoothing) + smoothing / 2
    if not mixup and not cutmix:
        return MixedBatch(images, targets, known)
    from timm.data import Mixup  # takes seconds

    kinds = known.shape[1]
    even = len(images) // 2 * 2
    classes = labels.long() + 2 * known.argmax(dim=1).to(labels.device)
    with _numpy_seed(int(torch.randint(2**31, (), generator=rng))):
        mixer = Mixup(
            mixup_alpha=mixup, cutmix_alpha=cutmix, label_smoothing=smoothing, num_classes=2 * kinds
        )
        mixed, soft = mixer(images[:even].clone(), classes[:even])
    shares = soft.to(images).view(even, kinds, 2)
    return MixedBatch(
        torch.cat([mixed, images[even:]]),
        torch.cat([shares[:, :, 1].sum(dim=1), targets[even:].to(images)]),
        torch.cat([shares.sum(dim=2), known[even:]]),
    )


@contextmanager
def _numpy_seed(seed: int) -> Iterator[None]:
    """Seed NumPy's global generator, which timm's Mixup draws from, and restore it afterwards."""
    before = np.random.get_state()  # noqa: NPY002
    np.random.seed(seed)  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(before)  # noqa: NPY002
