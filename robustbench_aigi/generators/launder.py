"""Laundering: pass an image through a generator, whose traces replace those of the image.

A laundered real is a photograph that a generator has processed, not one that it generated: the
label stays that of the source, and such a part of a dataset is called ``laundered-...``.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from threading import Lock

import torch
from jaxtyping import Num
from torch import Tensor
from torch.nn import functional as F

from robustbench_aigi.errors import UserError
from robustbench_aigi.generators import (
    CLASS_NAMES,
    DIFFUSION_NAME,
    SHIPPED_DIFFUSION,
    SMALL_AUTOENCODER,
    PixelDiffusion,
    SmallAutoencoder,
    load_autoencoder,
)
from robustbench_aigi.generators.autoencoder import HubAutoencoder
from robustbench_aigi.imaging.pixels import from_bytes, snap, to_bytes

SCHEDULE_STEPS = 20
"""Denoising steps of the whole schedule; a strength of 0.2 takes the last fifth of them."""
WINDOW_STRIDE = 24
"""Pixels from one window of the diffusion model to the next; windows are 32 wide."""
_LOADING = Lock()
SIDE_MULTIPLE = 8
"""Sides of images must be multiples of this for autoencoders, in pixels."""


def launder(
    images: Num[Tensor, "n 3 h w"],
    by: str,
    strength: float,
    rngs: Sequence[torch.Generator],
    *,
    condition: str = "photograph",
) -> Num[Tensor, "n 3 h w"]:
    """Pass images of any size through a generator; labels stay those of the sources.

    The diffusion model adds noise and removes it, in windows that overlap and are averaged at every
    step, so that no seam shows. An autoencoder encodes and decodes the whole image, with noise on
    the latent. Images are processed one by one, by shipped models in double precision, so that
    grey levels do not depend on batches, threads or machines. Sources: Meng et al., SDEdit, ICLR
    2022; Bar-Tal et al., MultiDiffusion, ICML 2023; Zhao et al., NeurIPS 2024.

    Args:
        images: ``(N, 3, H, W)``, uint8 grey levels or floats in [0, 1]; the result is of the same
            kind, on the grid.
        by: ``mini-diffusion``, ``small-autoencoder``, or a hub id or folder of AutoencoderKL
            (``ID:vae``).
        strength: for the diffusion model, share of the noise schedule, above 0 and at most 1; for
            an autoencoder, noise on each channel of the latent, in its own standard deviations, 0
            or more.
        rngs: one CPU generator per image.
        condition: class for the diffusion model, such as ``cat``.

    Raises:
        UserError: no such condition, a strength out of range, or too few generators.
        UnavailableError: the autoencoder is not on this machine, and no hub can be reached.
    """
    _check(images, by, strength, rngs, condition)
    _load_once(by)
    is_uint8 = images.dtype == torch.uint8
    out = torch.empty_like(images)
    with torch.no_grad():
        for i, rng in enumerate(rngs):
            image = images[i : i + 1]
            image = (from_bytes(image) if is_uint8 else image).cpu()
            if by == DIFFUSION_NAME:
                new = _diffused(image, condition, strength, rng)
            else:
                new = _coded(image, by, strength, rng)
            out[i] = to_bytes(new)[0] if is_uint8 else snap(new)[0]
    return out


def _check(
    images: Tensor, by: str, strength: float, rngs: Sequence[torch.Generator], condition: str
) -> None:
    if len(rngs) != len(images):
        raise UserError(f"{len(images)} images need as many random generators, got {len(rngs)}.")
    if condition not in CLASS_NAMES:
        raise UserError(
            f"no condition called {condition!r}. Write one of {', '.join(CLASS_NAMES)}."
        )
    is_in_range = 0 < strength <= 1 if by == DIFFUSION_NAME else 0 <= strength < math.inf
    if not is_in_range:
        raise UserError(
            f"{by} cannot launder with strength {strength!r}. Write 0.2 for a mild change."
        )


def _load_once(by: str) -> None:
    """Load a model in one thread: diffusers cannot be imported by two at the same time."""
    with _LOADING:
        if by == DIFFUSION_NAME:
            _diffusion()
        else:
            _autoencoder(by)


@lru_cache(maxsize=1)
def _diffusion() -> PixelDiffusion:
    """Load the diffusion model, with its steps set once: threads share the schedule."""
    model = PixelDiffusion.load(SHIPPED_DIFFUSION).double()
    model.scheduler.set_timesteps(SCHEDULE_STEPS)
    return model


@lru_cache(maxsize=1)
def _autoencoder(name: str) -> SmallAutoencoder | HubAutoencoder:
    model = load_autoencoder(name)
    return model.double() if name == SMALL_AUTOENCODER else model


def _diffused(image: Tensor, condition: str, strength: float, rng: torch.Generator) -> Tensor:
    model = _diffusion()
    height, width = image.shape[2:]
    side = model.config.size
    clean = _padded(image.double(), max(side, height), max(side, width)) * 2 - 1
    timesteps = model.scheduler.timesteps[-max(1, round(strength * SCHEDULE_STEPS)) :]
    noise = torch.randn(clean.shape[1:], generator=rng, dtype=torch.float64)[None]
    noisy = model.scheduler.add_noise(clean, noise, timesteps[:1])
    for step in timesteps:
        predicted = _predicted(model, noisy, step, CLASS_NAMES.index(condition))
        noisy = model.scheduler.step(predicted, int(step), noisy).prev_sample
    again: Tensor = (noisy.clamp(-1, 1) + 1) / 2
    return again[..., :height, :width]


def _predicted(model: PixelDiffusion, noisy: Tensor, step: Tensor, condition: int) -> Tensor:
    """Predict v for ``(1, 3, H, W)``: the mean over windows, weighted towards their centres."""
    side = model.config.size
    ramp = torch.arange(1, side + 1, dtype=noisy.dtype)
    triangle = torch.minimum(ramp, ramp.flip(0))
    weight = triangle[:, None] * triangle
    total = torch.zeros_like(noisy)
    weights = torch.zeros_like(noisy)
    columns = _starts(noisy.shape[3], side)
    for top in _starts(noisy.shape[2], side):
        rows = slice(top, top + side)
        windows = torch.cat([noisy[..., rows, left : left + side] for left in columns])
        answers = model(windows, step.expand(len(windows)), torch.full((len(windows),), condition))
        for left, answer in zip(columns, answers, strict=True):
            total[..., rows, left : left + side] += weight * answer
            weights[..., rows, left : left + side] += weight
    return total / weights


def _starts(length: int, side: int) -> list[int]:
    """Return where windows begin: evenly, the first and the last at the edges."""
    count = -(-(length - side) // WINDOW_STRIDE) + 1
    return [round(i * (length - side) / max(1, count - 1)) for i in range(count)]


def _coded(image: Tensor, name: str, strength: float, rng: torch.Generator) -> Tensor:
    model = _autoencoder(name)
    height, width = image.shape[2:]
    padded = _padded(
        image.to(next(model.parameters()).dtype), _rounded_up(height), _rounded_up(width)
    )
    latent = _encode(model, padded * 2 - 1)
    noise = torch.randn(latent.shape[1:], generator=rng, dtype=torch.float64)[None].to(latent)
    latent = latent + strength * latent.std(dim=(2, 3), keepdim=True, unbiased=False) * noise
    decoded = _decode(model, latent)
    return ((decoded + 1) / 2)[..., :height, :width]


def _rounded_up(side: int) -> int:
    return -(-side // SIDE_MULTIPLE) * SIDE_MULTIPLE


def _encode(model: SmallAutoencoder | HubAutoencoder, images: Tensor) -> Tensor:
    """Return the latent of images in [-1, 1], of a hub's model its mean."""
    if isinstance(model, HubAutoencoder):
        mean: Tensor = model.net.encode(images).latent_dist.mean
        return mean
    latent: Tensor = model.encoder(images)
    return latent


def _decode(model: SmallAutoencoder | HubAutoencoder, latent: Tensor) -> Tensor:
    """Return images in [-1, 1]."""
    if isinstance(model, HubAutoencoder):
        sample: Tensor = model.net.decode(latent).sample
        return sample
    images: Tensor = model.decoder(latent)
    return images


def _padded(image: Tensor, height: int, width: int) -> Tensor:
    """Repeat the edge to the right and below."""
    return F.pad(image, (0, width - image.shape[3], 0, height - image.shape[2]), mode="replicate")
