"""The perturbations of the suite ``standard`` as plain loops: Pillow, scipy and numpy, one image.

Each function takes uint8 grey levels ``(H, W, 3)`` and returns the same, in the default settings
of its library: what one would write first. ``rng`` draws what is random.
"""

import io
from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy.fft import dctn, idctn, irfft2, rfft2
from scipy.ndimage import affine_transform, convolve, gaussian_filter, shift

from robustbench_aigi.attacks.corruptions.camera import Camera
from robustbench_aigi.attacks.corruptions.colour import Contrast, Saturation
from robustbench_aigi.attacks.corruptions.crop import Crop
from robustbench_aigi.attacks.corruptions.recompression import Recompression
from robustbench_aigi.attacks.corruptions.screenshot import Screenshot
from robustbench_aigi.attacks.corruptions.spectrum import SpectrumMatch

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]
Loop = Callable[..., Bytes]
"""From an image, the attack whose numbers are used, and a numpy generator to the changed image."""


def levels(values: Floats) -> Bytes:
    changed: Bytes = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return changed


def saved(image: Bytes, **settings: object) -> Bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, **settings)  # type: ignore[arg-type]
    return np.asarray(Image.open(file))


def resized(image: Bytes, size: tuple[int, int], kernel: str) -> Bytes:
    how = Image.Resampling[kernel.upper()]
    return np.asarray(Image.fromarray(image).resize((size[1], size[0]), how))


def plain_jpeg(image: Bytes, quality: int) -> Bytes:
    return saved(image, format="JPEG", quality=quality, subsampling="4:2:0")


def plain_resize(image: Bytes, scale: float, kernel: str = "bilinear") -> Bytes:
    height, width, _ = image.shape
    small = (max(1, round(height * scale)), max(1, round(width * scale)))
    return resized(resized(image, small, kernel), (height, width), kernel)


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
    return levels(noisy).transpose(1, 2, 0)


def plain_crop(image: Bytes, attack: Crop, rng: np.random.Generator) -> Bytes:
    height, width, _ = image.shape
    rows, columns = round(height * (1 - attack.cut)), round(width * (1 - attack.cut))
    top, left = rng.integers(height - rows + 1), rng.integers(width - columns + 1)
    window = image[top : top + rows, left : left + columns]
    if attack.fill == "stretch":
        return resized(window, (height, width), "bicubic")
    above, before = (height - rows) // 2, (width - columns) // 2
    frame = ((above, height - rows - above), (before, width - columns - before), (0, 0))
    return np.pad(window, frame)


def plain_blur(image: Bytes, sigma: float) -> Bytes:
    return levels(gaussian_filter(image.astype(np.float64), (sigma, sigma, 0)))


def plain_impulse_noise(image: Bytes, share: float, rng: np.random.Generator) -> Bytes:
    changed, draws = image.copy(), rng.random(image.shape)
    changed[draws < share / 2] = 0
    changed[draws >= 1 - share / 2] = 255
    return changed


def plain_contrast(image: Bytes, attack: Contrast) -> Bytes:
    mean = image.mean(axis=(0, 1))
    return levels(mean + attack.factor * (image - mean))


def plain_saturation(image: Bytes, attack: Saturation) -> Bytes:
    grey = (image @ np.array([0.299, 0.587, 0.114]))[..., None]
    return levels(grey + attack.factor * (image - grey))


def plain_spectrum(image: Bytes, attack: SpectrumMatch) -> Bytes:
    height, width, _ = image.shape
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    rings = np.rint(frequency * max(height, width)).astype(int)
    line = -attack.alpha * np.log(np.maximum(np.arange(rings.max() + 1), 1))
    changed = image.astype(np.float64)
    for k in range(3):
        channel, spectrum = changed[..., k].copy(), rfft2(changed[..., k])
        logs = np.log(np.maximum(np.abs(spectrum), (channel.size / 12) ** 0.5))
        heights = np.bincount(rings.ravel(), logs.ravel()) / np.bincount(rings.ravel())
        gains = np.exp(line - heights - (line - heights).max())
        gains[0] = 0
        shape = irfft2(spectrum * gains[rings], s=channel.shape)
        matched = channel.mean() + shape * channel.std() / shape.std()
        changed[..., k] += attack.strength * (matched - channel)
    return levels(changed)


def plain_camera(image: Bytes, attack: Camera, rng: np.random.Generator) -> Bytes:
    values = image / 255
    light = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    centre = (np.array(image.shape[:2]) - 1) / 2
    for k, larger in ((0, 1 + attack.aberration), (2, 1 - attack.aberration)):
        start = centre * (1 - 1 / larger)
        light[..., k] = affine_transform(
            light[..., k], [1 / larger] * 2, start, order=1, mode="nearest"
        )
    rows, columns = np.ogrid[: image.shape[0], : image.shape[1]]
    square = (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2
    light *= (1 - attack.vignette * square / square.max())[..., None]
    place = rows % 2 + columns % 2
    charge = attack.electrons * np.choose(place, light.transpose(2, 0, 1))
    noisy = charge + np.sqrt(charge + attack.read**2) * rng.normal(size=charge.shape)
    kernel = np.array([[0.25, 0.5, 0.25], [0.5, 1, 0.5], [0.25, 0.5, 0.25]])
    for k in range(3):
        seen = (place == k).astype(np.float64)
        total = convolve(noisy / attack.electrons * seen, kernel, mode="constant")
        light[..., k] = total / convolve(seen, kernel, mode="constant")
    light = light.clip(0, 1)
    dark = light <= 0.0031308
    return levels(255 * np.where(dark, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055))


def plain_screenshot(image: Bytes, attack: Screenshot, rng: np.random.Generator) -> Bytes:
    height, width, _ = image.shape
    screen = (round(height * attack.zoom), round(width * attack.zoom))
    shown = resized(image, screen, "bicubic") / 255
    offsets = attack.offset * rng.uniform(-1, 1, 2)
    moved = shift(shown, (*offsets, 0), order=1, mode="nearest")
    tint = np.array([1 + attack.warmth, 1, 1 - attack.warmth])
    captured = levels(255 * tint * moved**attack.gamma)
    return plain_jpeg(resized(captured, (height, width), "bicubic"), attack.quality)


def plain_recompression(image: Bytes, attack: Recompression, rng: np.random.Generator) -> Bytes:
    height, width, _ = image.shape
    for _ in range(attack.rounds):
        scale, quality = rng.uniform(attack.scale, 1), attack.quality + rng.integers(-10, 11)
        above, before = rng.integers(8, size=2)
        posted = resized(image, (round(height * scale), round(width * scale)), "lanczos")
        framed = np.pad(posted, ((above, 0), (before, 0), (0, 0)), mode="edge")
        image = plain_jpeg(framed, int(quality))[above:, before:]
    return resized(image, (height, width), "lanczos")


LOOPS: Mapping[str, Loop] = {
    "jpeg": lambda image, attack, rng: plain_jpeg(image, attack.quality),
    "webp": lambda image, attack, rng: saved(image, format="WEBP", quality=attack.quality),
    "resize": lambda image, attack, rng: plain_resize(image, attack.scale, attack.filter),
    "crop": plain_crop,
    "gaussian-blur": lambda image, attack, rng: plain_blur(image, attack.sigma),
    "gaussian-noise": lambda image, attack, rng: levels(
        image + rng.normal(0, attack.sigma, image.shape)
    ),
    "brightness": lambda image, attack, rng: levels(image * attack.factor),
    "contrast": lambda image, attack, rng: plain_contrast(image, attack),
    "saturation": lambda image, attack, rng: plain_saturation(image, attack),
    "dct-noise": lambda image, attack, rng: plain_dct_noise(
        image, attack.eps, lambda shape: rng.uniform(-1, 1, shape)
    ),
    "spectrum-match": lambda image, attack, rng: plain_spectrum(image, attack),
    "camera": plain_camera,
    "screenshot": plain_screenshot,
    "recompression": plain_recompression,
    "impulse-noise": lambda image, attack, rng: plain_impulse_noise(image, attack.share, rng),
}
"""Name of a perturbation to its loop."""
