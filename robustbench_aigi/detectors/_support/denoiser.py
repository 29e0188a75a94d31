"""Diffusion models in pixels: their predictions, DDIM, and where to load them from."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor, nn

from robustbench_aigi.errors import UnavailableError, UserError

SHIPPED_MODEL = "mini-diffusion"
"""Name of the shipped diffusion model."""


class Denoiser(nn.Module):
    """A diffusion model that predicts the clean image, and the noise in it.

    Args:
        net: called with images in [-1, 1], time steps ``(N,)`` and, if ``condition`` is given,
            classes ``(N,)``.
        signal: share of the clean image's variance that is left at each time step, ``(T,)``.
        predicts: ``epsilon``, ``v_prediction`` or ``sample``, as diffusers calls them.
        size: side of an image in pixels.
        condition: class that the model is given; None for an unconditional model.
    """

    signal: Tensor

    def __init__(
        self, net: nn.Module, signal: Tensor, predicts: str, size: int, condition: int | None = None
    ) -> None:
        super().__init__()
        self.net = net
        self.predicts = predicts
        self.size = size
        self.condition = condition
        self.register_buffer("signal", signal.clone(), persistent=False)

    def forward(self, noisy: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """Predict the clean image and the noise.

        Args:
            noisy: images in [-1, 1] with noise, ``(N, 3, size, size)``.
            step: time step.

        Returns:
            Clean images in [-1, 1] and noise, each of the shape of ``noisy``.
        """
        steps = torch.full((len(noisy),), step, device=noisy.device)
        more = () if self.condition is None else (torch.full_like(steps, self.condition),)
        answer = self.net(noisy, steps, *more)
        output = answer if isinstance(answer, Tensor) else answer.sample
        kept = self.signal[step].sqrt()
        added = (1 - self.signal[step]).sqrt()
        if self.predicts == "epsilon":
            noise = output
            clean = (noisy - added * output) / kept
        elif self.predicts == "v_prediction":
            noise = kept * output + added * noisy
            clean = kept * noisy - added * output
        else:
            noise = (noisy - kept * output) / added
            clean = output
        return clean.clamp(-1, 1), noise


def ddim(model: nn.Module, images: Tensor, path: Sequence[int]) -> Tensor:
    """Move images along time steps without drawing noise.

    Source: Song, Meng & Ermon, Denoising Diffusion Implicit Models, ICLR 2021.

    Args:
        model: a :class:`Denoiser`.
        images: in [-1, 1], ``(N, 3, size, size)``, at the first time step.
        path: time steps; rising ones invert, falling ones generate.

    Returns:
        The images at the last time step.
    """
    signal = cast("Tensor", model.signal)
    for now, after in pairwise(path):
        clean, noise = model(images, now)
        images = signal[after].sqrt() * clean + (1 - signal[after]).sqrt() * noise
    return images


def load_denoiser(name: str, condition: str) -> Denoiser:
    """Load the shipped diffusion model, or an unconditional one of diffusers.

    Args:
        name: ``mini-diffusion``, or a hub id or folder of a diffusers pipeline in pixels.
        condition: class that the shipped model is given.

    Raises:
        UnavailableError: the model is not on this machine and no hub can be reached.
        UserError: the shipped model has no such class.
    """
    return _shipped_denoiser(condition) if name == SHIPPED_MODEL else _hub_denoiser(name)


def _shipped_denoiser(condition: str) -> Denoiser:
    from robustbench_aigi.generators import CLASS_NAMES, SHIPPED_DIFFUSION, PixelDiffusion

    if condition not in CLASS_NAMES:
        raise UserError(
            f"no condition called {condition!r}. Write one of {', '.join(CLASS_NAMES)}."
        )
    model = PixelDiffusion.load(SHIPPED_DIFFUSION)
    return Denoiser(
        model,
        model.scheduler.alphas_cumprod,
        "v_prediction",
        model.config.size,
        CLASS_NAMES.index(condition),
    )


def _hub_denoiser(name: str) -> Denoiser:
    from diffusers import DDPMPipeline

    try:
        pipeline: Any = DDPMPipeline.from_pretrained(name, low_cpu_mem_usage=False)
    except (OSError, ValueError) as error:
        raise UnavailableError(
            f"diffusers cannot load a pixel diffusion pipeline from {name!r}:"
            f" {str(error).splitlines()[0]}. Reach the hub once so that HF_HOME holds it, give a"
            f" local folder, or write model='{SHIPPED_MODEL}', which is shipped."
        ) from error
    net = pipeline.unet.eval()
    scheduler = pipeline.scheduler
    return Denoiser(
        net,
        scheduler.alphas_cumprod,
        scheduler.config["prediction_type"],
        net.config["sample_size"],
    )
