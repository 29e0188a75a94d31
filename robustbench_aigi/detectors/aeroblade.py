"""AEROBLADE: how well an autoencoder of latent diffusion reconstructs an image."""

from collections.abc import Sequence
from typing import cast, final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from robustbench_aigi.detectors._support.calibrated import Calibrated
from robustbench_aigi.detectors._support.resizing import fit_size
from robustbench_aigi.detectors._support.timm_backbones import timm_backbone
from robustbench_aigi.detectors.base import IMAGENET_MEAN, IMAGENET_STD, Card, Normalise, detectors
from robustbench_aigi.errors import UserError

SHIPPED_AUTOENCODER = "small-autoencoder"
DEFAULT_DISTANCE = "multiscale-l1"
SCALE_STEPS = (1, 2, 4)
"""Factors by which :class:`MultiscaleL1` shrinks an image."""


@detectors.add("aeroblade")
@final
class Aeroblade(Calibrated):
    """The smallest distance between an image and its reconstructions by autoencoders, negated.

    The published one has the autoencoders ``CompVis/stable-diffusion-v1-1:vae``,
    ``stabilityai/stable-diffusion-2-base:vae`` and Kandinsky 2.1's MoVQ (no AutoencoderKL, so left
    out here), with ``distance="vgg16.tv_in1k"``, ``pretrained=True``, at 512 pixels. A CPU manages
    ``stabilityai/sd-vae-ft-mse``. The latent's mean is decoded where the authors draw one. Source:
    Ricker, Lukovnikov & Fischer, CVPR 2024.

    Args:
        autoencoders: ``small-autoencoder``, hub ids or folders of AutoencoderKL; one name or
            several.
        distance: ``multiscale-l1``, or the name of a timm network with feature maps, whose second
            map is compared as LPIPS does.
        pretrained: fetch that network's weights, from a hub.
        size: side in pixels that images are resized to, a multiple of 8; None takes 32 for the
            small autoencoder and 512 for others.
        false_alarms: share of real images that may be called AI-generated, between 0 and 1.

    Raises:
        UnavailableError: an autoencoder or the network is not on this machine and no hub can be
            reached.
        UserError: no autoencoder is named, or the size is no multiple of 8.
    """

    default_card = Card(
        name="aeroblade",
        source="Ricker, Lukovnikov & Fischer, AEROBLADE, CVPR 2024",
        summary=(
            "training-free: an autoencoder's reconstruction error (default: ours, small, fitted to"
            " the fakes of CIFAKE and mini; it stands in for a generator's own, and is none)"
        ),
        code_licence="MIT; own implementation",
        weights_licence="MIT (small-autoencoder, trained on fakes of CIFAKE and mini)",
        base_licence="CreativeML OpenRAIL (Stable Diffusion's autoencoders), if asked for",
        commercial=True,
        published=(
            "mean AP 0.992 over seven latent-diffusion generators at 512; CIFAKE 53.81 (CIFAKE++"
            " study)"
        ),
    )

    def __init__(
        self,
        autoencoders: str | Sequence[str] = SHIPPED_AUTOENCODER,
        distance: str = DEFAULT_DISTANCE,
        pretrained: bool = False,
        size: int | None = None,
        false_alarms: float = 0.05,
    ) -> None:
        from robustbench_aigi.generators import load_autoencoder

        names = [autoencoders] if isinstance(autoencoders, str) else list(autoencoders)
        super().__init__(false_alarms)
        self.config["autoencoders"] = names
        self.size = size or (32 if names == [SHIPPED_AUTOENCODER] else 512)
        if not names or self.size % 8:
            raise UserError(
                "aeroblade needs one autoencoder or more and a size that is a multiple of 8, got"
                f" {names} and {self.size}. Write autoencoders='{SHIPPED_AUTOENCODER}' and size=32."
            )
        self.autoencoders = nn.ModuleList(load_autoencoder(name) for name in names)
        self.distance = (
            MultiscaleL1()
            if distance == DEFAULT_DISTANCE
            else FeatureDistance(distance, pretrained)
        )
        self.requires_grad_(False)
        is_shipped = names[0] == SHIPPED_AUTOENCODER
        cam = "autoencoders.0.encoder" if is_shipped else "autoencoders.0.net.encoder"
        self.describe(input_size=self.size, cam=cam)

    def raw(self, images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, " n"]:
        """Return the smallest distance over the autoencoders, negated; high means AI-generated.

        Args:
            images: float batch in [0, 1], ``(N, 3, H, W)``.

        Returns:
            Raw scores, ``(N,)``.
        """
        images = fit_size(images, self.size)
        closeness = [
            -cast("Tensor", self.distance(images, coder(images))) for coder in self.autoencoders
        ]
        return torch.stack(closeness).amax(dim=0)


class MultiscaleL1(nn.Module):
    """Mean absolute difference at full, half and quarter size, averaged."""

    def forward(self, images: Tensor, others: Tensor) -> Tensor:
        """Return the distances of two batches, image by image.

        Args:
            images: in [0, 1], ``(N, 3, H, W)``.
            others: of the same shape.

        Returns:
            Distances, ``(N,)``.
        """
        change = images - others
        scales = [F.avg_pool2d(change, step).abs().mean(dim=(1, 2, 3)) for step in SCALE_STEPS]
        return torch.stack(scales).mean(dim=0)


class FeatureDistance(nn.Module):
    """Mean squared difference of the unit feature vectors of a network's second map.

    With VGG-16 that is LPIPS's second layer without its learnt weights of the channels.
    Source: Zhang et al., LPIPS, CVPR 2018.

    Args:
        name: name of a timm network with feature maps.
        pretrained: load its weights, from a hub.
    """

    def __init__(self, name: str, pretrained: bool) -> None:
        super().__init__()
        self.net = timm_backbone(
            name, pretrained=pretrained, features_only=True, out_indices=(1,)
        ).eval()
        self.normalise = Normalise(IMAGENET_MEAN, IMAGENET_STD)

    def forward(self, images: Tensor, others: Tensor) -> Tensor:
        """Return the distances of two batches, image by image.

        Args:
            images: in [0, 1], ``(N, 3, H, W)``.
            others: of the same shape.

        Returns:
            Distances, ``(N,)``.
        """
        one, two = (
            F.normalize(self.net(self.normalise(batch))[0], dim=1) for batch in (images, others)
        )
        return (one - two).square().sum(dim=1).mean(dim=(1, 2))
