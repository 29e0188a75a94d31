"""How many images per second JPEG, resize and DCT noise change, beside the plain loop.

    OMP_NUM_THREADS=2 python -m tests.benchmarks.perturbations [ROUNDS]

The plain loop uses Pillow and scipy, an image at a time, in Pillow's default settings. Like is
compared with like: uint8 images to uint8 images, and float images in [0, 1] to the same. The two
take turns; each figure is a median.
"""

import io
import statistics
import sys
import time
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from scipy.fft import dctn, idctn
from scipy.ndimage import gaussian_filter

from robustbench_aigi.attacks import Perturbation, load_attack

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]


def plain_jpeg(image: Bytes, quality: int = 75) -> Bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, format="JPEG", quality=quality, subsampling="4:2:0")
    return np.asarray(Image.open(file))


def plain_resize(image: Bytes, scale: float = 0.5, kernel: str = "BILINEAR") -> Bytes:
    pixels, how = Image.fromarray(image), Image.Resampling[kernel]
    small = (max(1, round(pixels.width * scale)), max(1, round(pixels.height * scale)))
    return np.asarray(pixels.resize(small, how).resize(pixels.size, how))


def plain_dct_noise(
    image: Bytes, eps: float, uniform: Callable[[tuple[int, ...]], Floats]
) -> Bytes:
    """``uniform(shape)`` draws from [-1, 1)."""
    height, width, _ = image.shape
    planes = np.pad(
        image.transpose(2, 0, 1), ((0, 0), (0, -height % 8), (0, -width % 8)), mode="symmetric"
    )
    blocks = planes.reshape(3, planes.shape[1] // 8, 8, planes.shape[2] // 8, 8).astype(np.float64)
    coefficients = dctn(blocks, axes=(2, 4), norm="ortho") + eps * uniform(blocks.shape)
    noisy = idctn(coefficients, axes=(2, 4), norm="ortho").reshape(planes.shape)[:, :height, :width]
    changed: Bytes = np.clip(np.rint(noisy), 0, 255).astype(np.uint8).transpose(1, 2, 0)
    return changed


def smooth_images(count: int, size: int) -> Bytes:
    noise = np.random.default_rng(0).normal(size=(count, size, size, 3))
    waves = sum(gaussian_filter(noise, (0, s, s, 0), mode="wrap") * s for s in (1, 2, 4, 8))
    return np.asarray(np.clip(128 + 90 * waves / np.std(waves), 0, 255)).astype(np.uint8)


def seconds(work: Callable[[], object], blocks: int) -> float:
    """Time of some work. Pillow's cache of memory blocks is off in a plain program, and the package
    turns it on.
    """
    Image.core.set_blocks_max(blocks)  # type: ignore[attr-defined]
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def in_floats(
    plain: Callable[[Bytes], Bytes], image: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    changed = plain(np.rint(image * 255).astype(np.uint8).transpose(1, 2, 0))
    return changed.transpose(2, 0, 1).astype(np.float32) / np.float32(255)


def compare(name: str, plain: Callable[[Bytes], Bytes], images: Bytes, rounds: int) -> None:
    attack = load_attack(name)
    assert isinstance(attack, Perturbation)
    whole = torch.from_numpy(images).permute(0, 3, 1, 2)
    floats, ids = whole.contiguous().float() / 255, [str(i) for i in range(len(images))]
    works: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
        "uint8": (lambda: [plain(image) for image in images], lambda: attack.apply(whole, ids)),
        "float": (
            lambda: np.stack([in_floats(plain, image) for image in floats.numpy()]),
            lambda: attack.apply(floats, ids),
        ),
    }
    for kind, (loop, batch) in works.items():
        times = [(seconds(loop, 0), seconds(batch, 4)) for _ in range(rounds)]
        rates = [len(images) / statistics.median(column) for column in zip(*times, strict=True)]
        gain = statistics.median(slow / fast for slow, fast in times)
        sys.stdout.write(
            f"{name:10} {images.shape[1]:4} px {kind}: plain {rates[0]:8.0f} images/s, "
            f"package {rates[1]:8.0f} images/s, {gain:.2f} x\n"
        )


def main(rounds: int) -> None:
    rng = np.random.default_rng(0)
    plain: dict[str, Callable[[Bytes], Bytes]] = {
        "jpeg": plain_jpeg,
        "resize": plain_resize,
        "dct-noise": lambda image: plain_dct_noise(
            image, 5, lambda shape: rng.uniform(-1, 1, shape)
        ),
    }
    for size, count in ((32, 500), (512, 48)):
        images = smooth_images(count, size)
        for name, loop in plain.items():
            compare(name, loop, images, rounds)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 9)
