"""How images are brought to the size a network wants: resized or cropped, always differentiably."""

from torch import Tensor
from torch.nn import functional as F


def fit_size(images: Tensor, size: int) -> Tensor:
    """Resize ``(N, 3, H, W)`` images bilinearly to a square of ``size`` pixels; the same images if
    they fit.
    """
    return resize(images, (size, size), "bilinear")


def resize(images: Tensor, size: tuple[int, int], kernel: str) -> Tensor:
    """Resize ``(N, 3, H, W)`` images in [0, 1] to ``(height, width)`` with Pillow's kernels; the
    same if they fit.

    Args:
        kernel: ``nearest-exact``, ``bilinear``, ``bicubic`` or ``lanczos``; all but the first with
            antialiasing.
    """
    if images.shape[-2:] == size:
        return images
    if kernel == "nearest-exact":
        return F.interpolate(images, size=size, mode=kernel)
    resized = F.interpolate(images, size=size, mode=kernel, antialias=True, align_corners=False)
    return (
        resized if kernel == "bilinear" else resized.clamp(0, 1)
    )  # the others overshoot, and a pixel cannot


def short_side(images: Tensor, size: int) -> tuple[int, int]:
    """Height and width whose smaller one is ``size``, in the images' proportion, rounded down as
    torchvision does.
    """
    height, width = images.shape[-2:]
    return (
        (size, int(size * width / height))
        if height <= width
        else (int(size * height / width), size)
    )


def centre_crop(images: Tensor, size: tuple[int, int], *, down: bool = False) -> Tensor:
    """The middle ``(height, width)`` of ``(N, 3, H, W)`` images; black is added around images that
    are smaller.

    Args:
        down: where half a pixel is left over, begin above it, as transformers does; else at the
            even one, as torchvision does.
    """
    lacks = [max(0, wanted - had) for wanted, had in zip(size, images.shape[-2:], strict=True)]
    below, right = lacks
    images = F.pad(images, (right // 2, right - right // 2, below // 2, below - below // 2))
    left_over = [had - wanted for wanted, had in zip(size, images.shape[-2:], strict=True)]
    top, left = (rest // 2 if down else round(rest / 2) for rest in left_over)
    return images[..., top : top + size[0], left : left + size[1]]
