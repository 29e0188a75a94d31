"""Images as they reach a reader: some of a batch are saved again as JPEG, or reduced and
enlarged.
"""

import torch
from torch import Tensor

from robustbench_aigi.attacks.corruptions.jpeg import JPEG
from robustbench_aigi.attacks.corruptions.resize import Resize
from robustbench_aigi.imaging.pixels import snap

DELIVERIES = ("jpeg", "resize")
"""What :func:`delivered` shows, for the card."""
QUALITIES, SCALES = (30, 95), (0.5, 0.6, 0.75)


def delivered(
    images: Tensor, places: Tensor, share: float, rng: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Save one half of a share again, and resize the other half. Returns the images, and where they
    were changed.

    Quality and scale are drawn once a call. Source of the idea: Wang et al., CNN-generated images
    are surprisingly easy to spot, CVPR 2020.

    Args:
        images: ``(N, 3, H, W)`` in [0, 1]. places: int64 indices of those that may be chosen.
            share: of them.
    """
    chosen = places[torch.randperm(len(places), generator=rng)[: round(share * len(places))]]
    quality = int(torch.randint(QUALITIES[0], QUALITIES[1] + 1, (), generator=rng))
    scale = SCALES[int(torch.randint(len(SCALES), (), generator=rng))]
    images, where = images.clone(), torch.zeros(len(images), dtype=torch.bool)
    for way, part in ((JPEG(quality=quality), chosen[::2]), (Resize(scale=scale), chosen[1::2])):
        if len(part):
            shown = way.apply(snap(images[part]).cpu(), [str(int(place)) for place in part])
            images[part], where[part] = shown.to(images), True
    return images, where
