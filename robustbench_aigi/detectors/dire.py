"""DIRE: what changes when a diffusion model inverts an image to noise and generates it again."""

from itertools import pairwise
from types import MappingProxyType
from typing import cast, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from robustbench_aigi.detectors._support.calibrated import Calibrated
from robustbench_aigi.detectors._support.denoiser import SHIPPED_MODEL, ddim, load_denoiser
from robustbench_aigi.detectors._support.resizing import fit_size
from robustbench_aigi.detectors.base import FRESH_WEIGHTS, Card, Labelled, detectors
from robustbench_aigi.errors import UserError


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
        steps: number of steps of inversion, and as many of generation.
        condition: class that the shipped model is given, such as ``photograph`` or ``cat``.
        head: ``mean``, training-free: a small error means AI-generated, as published; or ``cnn``,
            to be trained.
        false_alarms: share of real images that ``mean`` may call AI-generated, between 0 and 1.

    Raises:
        UnavailableError: the model is not on this machine and no hub can be reached.
        UserError: no such head or condition.
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
        super().__init__(false_alarms)
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
        self.describe(input_size=self.model.size)
        if self.head is not None:
            self.describe(orientation=self.default_card.orientation, weights=FRESH_WEIGHTS)

    def error_map(self, images: Tensor) -> Tensor:
        """Return the absolute difference of images and their reconstructions, held constant.

        Args:
            images: float batch in [0, 1], ``(N, 3, H, W)``.

        Returns:
            Maps ``(N, 3, size, size)``.
        """
        images = fit_size(images, self.model.size)
        with torch.no_grad():
            noise = ddim(self.model, images * 2 - 1, self.path)
            again = (ddim(self.model, noise, self.path[::-1]).clamp(-1, 1) + 1) / 2
        return cast("Tensor", self.error((images - again).abs()))

    def raw(self, images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, " n"]:
        """Return the mean error, negated, for ``images``: a good reconstruction is suspicious."""
        return -self.error_map(images).mean(dim=(1, 2, 3))

    def logits(self, images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, " n"]:
        """Score ``images``, ``(N, 3, H, W)`` in [0, 1]."""
        if self.head is None:
            return super().logits(images)
        return cast("Tensor", self.head(self.error_map(images))).squeeze(1)

    def parts_to_train(self) -> nn.Module:
        """Return the network on the error map, or an empty module."""
        return super().parts_to_train() if self.head is None else self.head

    def prepare(self, train: Labelled, validation: Labelled) -> None:
        """Measure direction and threshold, unless a network learns them.

        Args:
            train: not used.
            validation: images to calibrate on.

        Raises:
            DataError: the validation images are of one class.
            TrainingCollapsedError: the score is the same for all of them.
        """
        if self.head is None:
            super().prepare(train, validation)


def error_network() -> nn.Module:
    """Build three convolutions of stride 2, each normalised, and one logit."""
    widths = (3, 16, 32, 64)
    steps = [
        part
        for inner, outer in pairwise(widths)
        for part in (nn.Conv2d(inner, outer, 3, 2, 1), nn.GroupNorm(8, outer), nn.GELU())
    ]
    return nn.Sequential(*steps, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], 1))
