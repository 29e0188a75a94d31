"""AEROBLADE: how well an autoencoder of latent diffusion gives an image back."""

from collections.abc import Sequence
from typing import cast, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robustbench_aigi.detectors._support.calibrated import Calibrated
from robustbench_aigi.detectors._support.resizing import fit_size
from robustbench_aigi.detectors._support.timm_backbones import timm_backbone
from robustbench_aigi.detectors.base import IMAGENET_MEAN, IMAGENET_STD, Card, Normalise, detectors
from robustbench_aigi.errors import UserError

SMALL, MULTISCALE = "small-autoencoder", "multiscale-l1"


@detectors.add("aeroblade")
@final
class Aeroblade(Calibrated):
    """The smallest distance between an image and its reconstruction by one of several autoencoders,
    negated.

    The published one has the autoencoders ``CompVis/stable-diffusion-v1-1:vae``,
    ``stabilityai/stable-diffusion-2-base:vae`` and Kandinsky 2.1's MoVQ (no AutoencoderKL, so left
    out here), with ``distance="vgg16.tv_in1k"``, ``pretrained=True``, at 512 pixels. A CPU manages
    ``stabilityai/sd-vae-ft-mse``. The latent's mean is decoded where the authors draw one. Source:
    Ricker, Lukovnikov & Fischer, CVPR 2024.

    Args:
        autoencoders: ``small-autoencoder``, hub ids or folders of AutoencoderKL; one name or
            several.
        distance: ``multiscale-l1``, or a timm network with feature maps, whose second map is
            compared as LPIPS does.
        pretrained: fetch that network's weights.
        size: pixels a side; 32 for the small autoencoder and 512 for others if left out.
        false_alarms: share of reals that may be called AI-generated.

    Raises:
        UnavailableError: an autoencoder or the network is not on this machine and no hub can be
            reached.
        UserError: no autoencoder is named, or the size does not suit one.
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
        autoencoders: str | Sequence[str] = SMALL,
        distance: str = MULTISCALE,
        pretrained: bool = False,
        size: int | None = None,
        false_alarms: float = 0.05,
    ) -> None:
        from robustbench_aigi.generators import load_autoencoder

        names = [autoencoders] if isinstance(autoencoders, str) else list(autoencoders)
        config = {
            "autoencoders": names,
            "distance": distance,
            "pretrained": pretrained,
            "size": size,
        }
        super().__init__(false_alarms=false_alarms, **config)
        self.size = size or (32 if names == [SMALL] else 512)
        if not names or self.size % 8:
            raise UserError(
                "aeroblade needs one autoencoder or more and a size that is a multiple of 8, got"
                f" {names} and {self.size}. Write autoencoders='{SMALL}' and size=32."
            )
        self.autoencoders = nn.ModuleList(load_autoencoder(name) for name in names)
        self.distance = (
            MultiscaleL1() if distance == MULTISCALE else FeatureDistance(distance, pretrained)
        )
        self.requires_grad_(False)
        cam = "autoencoders.0.encoder" if names[0] == SMALL else "autoencoders.0.net.encoder"
        self.card = self.card.model_copy(update={"input_size": self.size, "cam": cam})

    def raw(self, images: Tensor) -> Tensor:
        """The smallest distance over the autoencoders, negated: high, a good reconstruction, means
        AI-generated.
        """
        images = fit_size(images, self.size)
        closeness = [
            -cast("Tensor", self.distance(images, coder(images))) for coder in self.autoencoders
        ]
        return torch.stack(closeness).amax(dim=0)


class MultiscaleL1(nn.Module):
    """Mean absolute difference at full, half and quarter size, averaged."""

    def forward(self, images: Tensor, others: Tensor) -> Tensor:
        """Distances ``(N,)`` of two batches ``(N, 3, H, W)`` in [0, 1]."""
        change = images - others
        return torch.stack(
            [F.avg_pool2d(change, k).abs().mean(dim=(1, 2, 3)) for k in (1, 2, 4)]
        ).mean(dim=0)


class FeatureDistance(nn.Module):
    """Mean squared difference of the unit feature vectors of a network's second map, all channels
    weighed alike.

    With VGG-16 that is LPIPS's second layer without its learnt weights. Source: Zhang et al.,
    LPIPS, CVPR 2018.
    """

    def __init__(self, name: str, pretrained: bool) -> None:
        super().__init__()
        self.net = timm_backbone(
            name, pretrained=pretrained, features_only=True, out_indices=(1,)
        ).eval()
        self.normalise = Normalise(IMAGENET_MEAN, IMAGENET_STD)

    def forward(self, images: Tensor, others: Tensor) -> Tensor:
        """Distances ``(N,)`` of two batches ``(N, 3, H, W)`` in [0, 1]."""
        one, two = (
            F.normalize(self.net(self.normalise(batch))[0], dim=1) for batch in (images, others)
        )
        return (one - two).square().sum(dim=1).mean(dim=(1, 2))
