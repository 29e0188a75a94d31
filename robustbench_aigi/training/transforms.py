"""Everyday transforms of training images: saved again as JPEG, or reduced and enlarged."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from robustbench_aigi.attacks.corruptions.jpeg import JPEG
from robustbench_aigi.attacks.corruptions.resize import Resize
from robustbench_aigi.imaging.pixels import snap

TRANSFORM_NAMES = ("jpeg", "resize")
"""Registered names of the transforms, for a detector's card."""
JPEG_QUALITIES = (30, 95)
"""Lowest and highest JPEG quality."""
RESIZE_SCALES = (0.5, 0.6, 0.75)
"""Factors by which sides are reduced."""


def transform_some(
    images: Float[Tensor, "n 3 h w"], places: Int[Tensor, " k"], share: float, rng: torch.Generator
) -> tuple[Float[Tensor, "n 3 h w"], Bool[Tensor, " n"]]:
    """Save half of a share of the images again, and resize the other half.

    Quality and scale are drawn once per call. Source of the idea: Wang et al., CNN-generated images
    are surprisingly easy to spot, CVPR 2020.

    Args:
        images: ``(N, 3, H, W)`` in [0, 1].
        places: int64, indices of the images that may be chosen.
        share: of ``places`` that is chosen, 0 to 1.
        rng: CPU generator of all draws.

    Returns:
        The images, and a bool mask ``(N,)`` of those that were transformed.
    """
    chosen = places[torch.randperm(len(places), generator=rng)[: round(share * len(places))]]
    lowest, highest = JPEG_QUALITIES
    quality = int(torch.randint(lowest, highest + 1, (), generator=rng))
    scale = RESIZE_SCALES[int(torch.randint(len(RESIZE_SCALES), (), generator=rng))]
    images = images.clone()
    is_transformed = torch.zeros(len(images), dtype=torch.bool)
    halves = ((JPEG(quality=quality), chosen[::2]), (Resize(scale=scale), chosen[1::2]))
    for transform, part in halves:
        if len(part):
            ids = [str(int(place)) for place in part]
            images[part] = transform.apply(snap(images[part]).cpu(), ids).to(images)
            is_transformed[part] = True
    return images, is_transformed
