"""How many candidates are scored at once, so that memory does not grow with the image."""

from torch import Tensor

MAX_VALUES = 2**26
"""Values of the candidates that are made at once: 256 MB, 445 images of 224 x 224."""


def candidates_at_once(images: Tensor) -> int:
    """Return the most candidates that fit in :data:`MAX_VALUES`, at least one.

    Args:
        images: ``(N, 3, H, W)``, of the size of a candidate.

    Example:
        >>> import torch
        >>> candidates_at_once(torch.empty(1, 3, 4000, 3000, device="meta"))
        1
    """
    return max(1, MAX_VALUES // images[0].numel())
