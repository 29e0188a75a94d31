import io
import math
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from skimage import data
from torch import Tensor

from robustbench_aigi.attacks import Perturbation, attacks, load_attack
from robustbench_aigi.attacks.corruptions.resize import PILLOW_FILTERS, resized
from robustbench_aigi.errors import ConfigError, UserError
from robustbench_aigi.imaging.pixels import on_grid
from robustbench_aigi.io.hashing import rng_for
from tests.benchmarks.plain_loops import plain_dct_noise, plain_jpeg, plain_resize

Bytes = npt.NDArray[np.uint8]
SLOW_CHANGES = {"launder-diffusion"}  # the same laws hold in test_launder, at small sizes
CHANGE_NAMES = [
    n for n in attacks.names() if issubclass(attacks.get(n), Perturbation) and n not in SLOW_CHANGES
]
IMAGE_SIZES = [(1, 1), (1, 9), (13, 1), (13, 21), (32, 32), (70, 40), (150, 90)]


def changed(name: str, images: Tensor, **numbers: Any) -> Tensor:
    attack = load_attack(name, **numbers)
    assert isinstance(attack, Perturbation)
    return attack.apply(images, [str(i) for i in range(len(images))], seed=3)


def photographs(height: int, width: int, count: int = 4) -> Tensor:
    """Different crops of a photograph, reduced: uint8 ``(N, 3, H, W)``."""
    pixels = data.astronaut().transpose(2, 0, 1)
    crops = [pixels[None, :, 9 * i : 9 * i + 400, 9 * i : 9 * i + 400] for i in range(count)]
    return torch.from_numpy(
        np.concatenate([resized(crop, [(height, width)], "lanczos") for crop in crops])
    )


def one_by_one(plain: Callable[[Bytes], Bytes], images: Tensor) -> Tensor:
    pixels = np.stack([plain(image) for image in images.permute(0, 2, 3, 1).numpy()])
    return torch.from_numpy(pixels).permute(0, 3, 1, 2)


def distance(a: Tensor, b: Tensor) -> float:
    return float((a.double() - b.double()).abs().mean())


@pytest.mark.parametrize("name", CHANGE_NAMES)
def test_memory_that_goes_pixel_by_pixel_gives_the_same_and_is_left_alone(name: str) -> None:
    images = photographs(40, 24)
    interleaved = images.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    assert torch.equal(changed(name, interleaved), changed(name, images))
    assert torch.equal(interleaved, images)


@pytest.mark.parametrize("size", IMAGE_SIZES)
@pytest.mark.parametrize("quality", [1, 50, 75, 95, 100])
def test_jpeg_is_pillows(size: tuple[int, int], quality: int) -> None:
    images = photographs(*size)
    images[0] = torch.randint(0, 256, images.shape[1:], dtype=torch.uint8)
    assert torch.equal(
        changed("jpeg", images, quality=quality),
        one_by_one(lambda i: plain_jpeg(np.ascontiguousarray(i), quality), images),
    )


@pytest.mark.parametrize("size", IMAGE_SIZES)
@pytest.mark.parametrize("kernel", sorted(PILLOW_FILTERS))
@pytest.mark.parametrize("scale", [0.01, 0.37, 0.5, 1])
def test_resize_is_pillows(size: tuple[int, int], kernel: str, scale: float) -> None:
    images = photographs(*size)
    noise = torch.Generator().manual_seed(0)
    images[0] = torch.randint(0, 256, images.shape[1:], generator=noise, dtype=torch.uint8)
    plain = one_by_one(lambda image: plain_resize(image, scale, kernel.upper()), images)
    assert torch.equal(changed("resize", images, scale=scale, filter=kernel), plain)


@pytest.mark.parametrize("size", IMAGE_SIZES)
@pytest.mark.parametrize("eps", [0, 5, 30])
def test_dct_noise_is_scipys(size: tuple[int, int], eps: float) -> None:
    images = photographs(*size)
    rngs = iter([rng_for(3, "dct-noise", str(i)) for i in range(len(images))])

    def uniform(shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
        draws: npt.NDArray[np.float64] = torch.rand(
            shape, generator=next(rngs), dtype=torch.float64
        ).numpy()
        return draws * 2 - 1

    plain = one_by_one(lambda image: plain_dct_noise(image, eps, uniform), images)
    assert torch.equal(changed("dct-noise", images, eps=eps), plain)


@pytest.mark.parametrize("quality", [20, 75])
def test_webp_is_pillows(quality: int) -> None:
    def plain(image: Bytes) -> Bytes:
        file = io.BytesIO()
        Image.fromarray(image).save(file, format="WEBP", quality=quality)
        return np.asarray(Image.open(file))

    images = photographs(32, 21)
    assert torch.equal(changed("webp", images, quality=quality), one_by_one(plain, images))


@pytest.mark.parametrize("name", CHANGE_NAMES)
def test_content_depends_on_neither_batch_nor_order_nor_threads_nor_type(name: str) -> None:
    images = photographs(24, 20, count=9)
    ids = list("abcdefghi")
    threads = torch.get_num_threads()
    attack = load_attack(name)
    assert isinstance(attack, Perturbation)
    try:
        torch.set_num_threads(1)
        whole = attack.apply(images, ids)
        torch.set_num_threads(3)
        assert torch.equal(attack.apply(images, ids), whole)
        assert torch.equal(attack.apply(images.flip(0), ids[::-1]).flip(0), whole)
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(
        torch.cat([attack.apply(image[None], [i]) for image, i in zip(images, ids, strict=True)]),
        whole,
    )
    interleaved = images.contiguous(memory_format=torch.channels_last)
    assert torch.equal(attack.apply(interleaved, ids), whole)
    floats = attack.apply(images.float() / 255, ids)
    assert on_grid(floats)
    assert torch.equal(floats, whole.float() / 255)


@pytest.mark.parametrize("name", CHANGE_NAMES)
@pytest.mark.parametrize("size", [*IMAGE_SIZES, (2, 300)])
def test_any_size_will_do(name: str, size: tuple[int, int]) -> None:
    images = photographs(*size)
    cls = attacks.get(name)
    assert issubclass(cls, Perturbation)
    for severity in (None, 1, 5) if cls.severities else (None,):
        new = changed(name, images, severity=severity)
        assert new.shape == images.shape
        assert new.dtype == torch.uint8


@pytest.mark.parametrize("name", [name for name in CHANGE_NAMES if fields(attacks.get(name))])
@pytest.mark.parametrize("side", [32, 128])
def test_severities_rise(name: str, side: int) -> None:
    cls = attacks.get(name)
    assert issubclass(cls, Perturbation)
    assert cls.severities, "a perturbation that has numbers has five severities of one of them"
    assert all(len(values) == 5 for values in cls.severities.values())
    images = photographs(side, side, count=12)
    changes = [
        distance(changed(name, images, severity=severity), images) for severity in range(1, 6)
    ]
    assert changes == sorted(changes)
    assert 0 < changes[0] < changes[4]


def test_severity_fills_in_numbers_and_numbers_given_win() -> None:
    assert load_attack("jpeg", severity=3) == load_attack("jpeg", quality=60)
    assert load_attack("camera", severity=1, read=9) == load_attack(
        "camera", aberration=0.001, vignette=0.1, electrons=8000, read=9
    )
    for wrong in (0, 6, 2.0, "3", True):
        with pytest.raises(
            ConfigError,
            match=r"jpeg wants a severity of 1 .mildest. to 5, got .*Write severity = 3",
        ):
            load_attack("jpeg", severity=wrong)  # type: ignore[arg-type]
    with pytest.raises(
        ConfigError, match=r"pgd-linf has no severities, got severity 2\. Give its own parameters"
    ):
        load_attack("pgd-linf", severity=2)


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("jpeg", {"quality": 0}),
        ("jpeg", {"quality": 101}),
        ("jpeg", {"quality": 75.5}),
        ("webp", {"quality": -1}),
        ("resize", {"scale": 0}),
        ("resize", {"filter": "sinc"}),
        ("crop", {"cut": 1.0}),
        ("crop", {"fill": "pink"}),
        ("gaussian-blur", {"sigma": -0.1}),
        ("gaussian-noise", {"sigma": math.nan}),
        ("impulse-noise", {"share": 1.1}),
        ("contrast", {"factor": -1}),
        ("dct-noise", {"eps": -1}),
        ("spectrum-match", {"strength": 1.5}),
        ("camera", {"electrons": 0}),
        ("screenshot", {"zoom": 0}),
        ("recompression", {"rounds": 0}),
    ],
)
def test_numbers_out_of_range_are_refused(name: str, numbers: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=name):
        load_attack(name, **numbers)


def test_each_image_needs_an_id_and_no_images_are_fine() -> None:
    attack = load_attack("jpeg")
    assert isinstance(attack, Perturbation)
    assert attack.apply(torch.empty(0, 3, 8, 8), []).shape == (0, 3, 8, 8)
    with pytest.raises(UserError, match="4 images need as many ids, got 2"):
        attack.apply(photographs(8, 8), ["a", "b"])


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("resize", {"scale": 1.0}),
        ("crop", {"cut": 0.0}),
        ("crop", {"cut": 0.0, "fill": "mirror"}),
        ("crop", {"cut": 0.0, "fill": "stretch"}),
        ("gaussian-blur", {"sigma": 0.0}),
        ("gaussian-noise", {"sigma": 0.0}),
        ("impulse-noise", {"share": 0.0}),
        ("brightness", {"factor": 1.0}),
        ("contrast", {"factor": 1.0}),
        ("saturation", {"factor": 1.0}),
        ("dct-noise", {"eps": 0.0}),
        ("spectrum-match", {"strength": 0.0}),
        ("screenshot", {"zoom": 1.0, "offset": 0.0, "gamma": 1.0, "warmth": 0.0, "quality": 0}),
    ],
)
def test_neutral_numbers_change_nothing(name: str, numbers: dict[str, Any]) -> None:
    images = photographs(33, 47)
    assert torch.equal(changed(name, images, **numbers), images)
