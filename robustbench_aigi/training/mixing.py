"""What a batch is to be told as: labels, smoothed, or mixed across classes by timm's Mixup and
CutMix.
"""

import numpy as np
import torch
from timm.data import Mixup
from torch import Tensor


def targets_of(
    images: Tensor,
    labels: Tensor,
    rng: torch.Generator,
    *,
    mixup: float,
    cutmix: float,
    smoothing: float,
    categories: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Images, float targets ``(N,)``, and how much of each category they show ``(N, K)``, of a
    batch.

    Args:
        mixup: alpha of a weighted sum of two images. cutmix: alpha of a rectangle of one laid into
            another, which leaves a generator's traces whole. Each is off at 0; of two, each is used
            for half of the batches. A batch of odd size loses nothing by it.
        smoothing: how far targets are moved from 0 and 1 towards the middle, in total.
        categories: ``(N, K)``, one of each row is 1; of one category if None.
    """
    known = (torch.ones(len(labels), 1) if categories is None else categories).to(images)
    kinds = known.shape[1]
    targets = labels * (1 - smoothing) + smoothing / 2
    if not mixup and not cutmix:
        return images, targets, known
    before = np.random.get_state()  # noqa: NPY002
    np.random.seed(int(torch.randint(2**31, (), generator=rng)))  # noqa: NPY002
    try:
        mixer = Mixup(
            mixup_alpha=mixup, cutmix_alpha=cutmix, label_smoothing=smoothing, num_classes=2 * kinds
        )
        even = len(images) // 2 * 2
        mixed, soft = mixer(
            images[:even].clone(),
            (labels.long() + 2 * known.argmax(dim=1).to(labels.device))[:even],
        )
    finally:
        np.random.set_state(before)  # noqa: NPY002
    both = soft.to(images).view(even, kinds, 2)
    targets = torch.cat([both[:, :, 1].sum(dim=1), targets[even:].to(images)])
    return torch.cat([mixed, images[even:]]), targets, torch.cat([both.sum(dim=2), known[even:]])
