import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from robustbench_aigi.detectors._support.resizing import centre_crop, resize, short_side
from robustbench_aigi.detectors.external.hf.processing import PILLOW_KERNELS


@pytest.mark.parametrize("kernel", sorted(PILLOW_KERNELS))
@pytest.mark.parametrize("size", [(17, 40), (64, 50)])
def test_resize_is_that_of_pillow(kernel: int, size: tuple[int, int], images: Tensor) -> None:
    ours = resize(images, size, PILLOW_KERNELS[kernel])
    for plane, expected in zip(ours.flatten(0, 1), images.flatten(0, 1), strict=True):
        theirs = Image.fromarray(expected.numpy()).resize(size[::-1], Image.Resampling(kernel))
        near = np.isclose(plane.numpy(), np.asarray(theirs).clip(0, 1), atol=1e-4)
        assert (
            near.mean() > 0.9 if kernel == 0 else near.all()
        )  # the nearest of two that are equally near is open


def test_centre_crop_cuts_and_pads() -> None:
    images = torch.arange(1.0, 26).view(1, 1, 5, 5)
    assert centre_crop(images, (1, 3)).tolist() == [[[[12, 13, 14]]]]
    wide = centre_crop(images, (5, 9))
    assert wide.shape == (1, 1, 5, 9)
    assert torch.equal(wide[..., 2:7], images)
    assert wide.sum() == images.sum()


@pytest.mark.parametrize("size", [(32, 32), (20, 40), (33, 31), (45, 61), (31, 300)])
def test_centre_crop_is_torchvisions(size: tuple[int, int]) -> None:
    functional = pytest.importorskip("torchvision.transforms.functional")
    images = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0))
    assert torch.equal(centre_crop(images, (32, 32)), functional.center_crop(images, [32, 32]))


@pytest.mark.parametrize("size", [(64, 96), (20, 10), (32, 50), (40, 56), (75, 33)])
def test_the_short_side_is_torchvisions(size: tuple[int, int]) -> None:
    functional = pytest.importorskip("torchvision.transforms.functional")
    images = torch.rand(2, 3, *size)
    assert short_side(images, 32) == functional.resize(images, 32).shape[-2:]
