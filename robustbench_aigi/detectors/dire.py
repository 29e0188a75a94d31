"""DIRE: what a diffusion model changes in an image when it is inverted to noise and generated
again.
"""

from collections.abc import Sequence
from itertools import pairwise
from types import MappingProxyType
from typing import Any, cast, final

import torch
from torch import Tensor, nn

from robustbench_aigi.detectors._support.calibrated import Calibrated
from robustbench_aigi.detectors._support.resizing import fit_size
from robustbench_aigi.detectors.base import FRESH, Card, Labelled, detectors
from robustbench_aigi.errors import UnavailableError, UserError

SHIPPED_MODEL = "mini-diffusion"


@detectors.add("dire")
@final
class Dire(Calibrated):
    """The error map of DDIM inversion and generation: its mean, or a small network on it.

    The published detector has ADM at 256, 20 steps each way and a ResNet-50;
    ``google/ddpm-cifar10-32`` is a public model for a CPU. The default is the shipped diffusion
    model of `mini`. Source: Wang et al., ICCV 2023.

    Args:
        model: ``mini-diffusion``, or a hub id or folder of an unconditional diffusers pipeline in
            pixels.
        steps: of inversion, and as many of generation.
        condition: class the shipped model is told, such as ``photograph`` or ``cat``.
        head: ``mean``, training-free: a small error means AI-generated, as published; or ``cnn``,
            to be trained.
        false_alarms: share of reals that may be called AI-generated, for ``mean``.

    Raises:
        UserError: no such head or condition. UnavailableError: the model is not on this machine and
            no hub can be reached.
    """

    default_card = Card(
        name="dire",
        source="Wang et al., DIRE for Diffusion-Generated Image Detection, ICCV 2023",
        summary=(
            "DDIM reconstruction error (default: of mini's own diffusion model, few steps, mean"
            " error); the gradient takes the reconstruction as constant"
        ),
        code_licence="MIT; own implementation",
        weights_licence="MIT (mini-diffusion)",
        base_licence="as of the diffusion model, if one is asked for",
        commercial=True,
        gradient="bpda",
        cam="error",
        published=(
            "AIGCDetectBenchmark average 71.53; CIFAKE 57.40 (CIFAKE++ study); fakes re-saved as"
            " JPEG 95 pass as real with the authors' weights, which learnt PNG against JPEG"
        ),
    )
    small = MappingProxyType({"steps": 1})

    def __init__(
        self,
        model: str = SHIPPED_MODEL,
        steps: int = 4,
        condition: str = "photograph",
        head: str = "mean",
        false_alarms: float = 0.05,
    ) -> None:
        super().__init__(false_alarms, model=model, steps=steps, condition=condition, head=head)
        if head not in ("mean", "cnn"):
            raise UserError(
                f"head must be mean or cnn, got {head!r}. Write head='mean', which needs no"
                " training."
            )
        self.model = load_denoiser(model, condition).requires_grad_(False)
        last = len(self.model.signal) - 1
        self.path = [round(last * step / steps) for step in range(steps + 1)]
        self.error = nn.Identity()
        self.head = error_network() if head == "cnn" else None
        size = {"input_size": self.model.size}
        update = (
            size
            if self.head is None
            else size | {"orientation": type(self).default_card.orientation} | {"weights": FRESH}
        )
        self.card = self.card.model_copy(update=update)

    def error_map(self, images: Tensor) -> Tensor:
        """Absolute difference ``(N, 3, size, size)`` of images in [0, 1] and their reconstructions,
        held constant.
        """
        images = fit_size(images, self.model.size)
        with torch.no_grad():
            noise = ddim(self.model, images * 2 - 1, self.path)
            again = (ddim(self.model, noise, self.path[::-1]).clamp(-1, 1) + 1) / 2
        return cast("Tensor", self.error((images - again).abs()))

    def raw(self, images: Tensor) -> Tensor:
        """The mean error, negated: high, a good reconstruction, means AI-generated."""
        return -self.error_map(images).mean(dim=(1, 2, 3))

    def logits(self, images: Tensor) -> Tensor:
        """Score ``(N, 3, H, W)`` images in [0, 1]."""
        if self.head is None:
            return super().logits(images)
        return cast("Tensor", self.head(self.error_map(images))).squeeze(1)

    def parts_to_train(self) -> nn.Module:
        """The network on the error map, if there is one."""
        return super().parts_to_train() if self.head is None else self.head

    def prepare(self, train: Labelled, validation: Labelled) -> None:
        """Measure direction and threshold, unless a network learns them."""
        if self.head is None:
            super().prepare(train, validation)


def error_network() -> nn.Module:
    """Three convolutions of stride 2, each normalised, and one logit."""
    widths = (3, 16, 32, 64)
    steps = [
        part
        for inner, outer in pairwise(widths)
        for part in (nn.Conv2d(inner, outer, 3, 2, 1), nn.GroupNorm(8, outer), nn.GELU())
    ]
    return nn.Sequential(*steps, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], 1))


class Denoiser(nn.Module):
    """A diffusion model seen as two predictions at a time step: the clean image, and the noise in
    it.

    Args:
        net: called with images in [-1, 1], time steps ``(N,)`` and ``more``.
        signal: share of the clean image's variance that is left at each time step.
        predicts: ``epsilon``, ``v_prediction`` or ``sample``, as diffusers calls them.
    """

    signal: Tensor

    def __init__(
        self, net: nn.Module, signal: Tensor, predicts: str, size: int, condition: int | None = None
    ) -> None:
        super().__init__()
        self.net, self.predicts, self.size, self.condition = net, predicts, size, condition
        self.register_buffer("signal", signal.clone(), persistent=False)

    def forward(self, noisy: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """Clean image in [-1, 1] and noise, each ``(N, 3, size, size)``, for a noisy image at a
        time step.
        """
        steps = torch.full((len(noisy),), step, device=noisy.device)
        more = () if self.condition is None else (torch.full_like(steps, self.condition),)
        answer = self.net(noisy, steps, *more)
        output = answer if isinstance(answer, Tensor) else answer.sample
        kept, added = self.signal[step].sqrt(), (1 - self.signal[step]).sqrt()
        if self.predicts == "epsilon":
            clean, noise = (noisy - added * output) / kept, output
        elif self.predicts == "v_prediction":
            clean, noise = kept * noisy - added * output, kept * output + added * noisy
        else:
            clean, noise = output, (noisy - kept * output) / added
        return clean.clamp(-1, 1), noise


def ddim(model: nn.Module, images: Tensor, path: Sequence[int]) -> Tensor:
    """Move images along time steps without drawing noise: upwards inverts, downwards generates.

    Source: Song, Meng & Ermon, Denoising Diffusion Implicit Models, ICLR 2021.
    """
    signal = cast("Tensor", model.signal)
    for now, after in pairwise(path):
        clean, noise = model(images, now)
        images = signal[after].sqrt() * clean + (1 - signal[after]).sqrt() * noise
    return images


def load_denoiser(name: str, condition: str) -> Denoiser:
    """The shipped diffusion model under a condition, or an unconditional one of diffusers."""
    from robustbench_aigi.generators import CLASSES, SHIPPED, PixelDiffusion

    if name == SHIPPED_MODEL:
        if condition not in CLASSES:
            raise UserError(
                f"no condition called {condition!r}. Write one of {', '.join(CLASSES)}."
            )
        own = PixelDiffusion.load(SHIPPED)
        return Denoiser(
            own,
            own.scheduler.alphas_cumprod,
            "v_prediction",
            own.config.size,
            CLASSES.index(condition),
        )
    from diffusers import DDPMPipeline

    try:
        pipeline: Any = DDPMPipeline.from_pretrained(name, low_cpu_mem_usage=False)
    except (OSError, ValueError) as error:
        raise UnavailableError(
            f"diffusers cannot load a pixel diffusion pipeline from {name!r}:"
            f" {str(error).splitlines()[0]}. Reach the hub once so that HF_HOME holds it, give a"
            f" local folder, or write model='{SHIPPED_MODEL}', which is shipped."
        ) from error
    net, scheduler = pipeline.unet.eval(), pipeline.scheduler
    return Denoiser(
        net,
        scheduler.alphas_cumprod,
        scheduler.config["prediction_type"],
        net.config["sample_size"],
    )
