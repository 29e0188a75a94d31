"""RIGID: how far the features of an image move when a little noise is added."""

from typing import Any, cast, final

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from robustbench_aigi.detectors._support.calibrated import Calibrated
from robustbench_aigi.detectors._support.clip_encoder import (
    TINY_CLIP,
    grad_cam_layer,
    load_image_encoder,
)
from robustbench_aigi.detectors._support.resizing import centre_crop, resize, short_side
from robustbench_aigi.detectors._support.timm_backbones import timm_backbone
from robustbench_aigi.detectors.base import (
    CLIP_MEAN,
    CLIP_STD,
    OWN_CODE,
    Card,
    Normalise,
    detectors,
)


@detectors.add("rigid")
@final
class Rigid(Calibrated):
    """Distance between the features of an image and of the same image with Gaussian noise.

    The distance is one minus the cosine similarity. The published detector has
    ``backbone="vit_large_patch14_dinov2.lvd142m"`` and ``pretrained=True``;
    ``vit_small_patch14_dinov2.lvd142m`` suits a CPU. The default is the shipped tiny CLIP, which
    needs no hub. The noise comes from a fixed seed and is the same for every image, so attacks know
    it. Source: He et al., RIGID, arXiv 2405.20112.

    Args:
        backbone: ``tiny-clip``, or the name of a timm model.
        pretrained: fetch timm's weights, from a hub.
        size: side in pixels of the input of a timm model; tiny CLIP has 32.
        noise: standard deviation of the noise, on pixels in [0, 1].
        draws: number of draws of the noise to average over.
        seed: seed of the noise.
        false_alarms: share of real images that may be called AI-generated, between 0 and 1.

    Raises:
        UnavailableError: the weights are not on this machine and no hub can be reached.
    """

    config_first = ("false_alarms", "draws", "seed")
    noise: Tensor
    default_card = Card(
        name="rigid",
        source="He et al., RIGID: A Training-Free and Model-Agnostic Framework, arXiv 2405.20112",
        summary=(
            "training-free: features' answer to noise (default: of tiny CLIP, ours; published:"
            " DINOv2 ViT-L/14)"
        ),
        code_licence=OWN_CODE,
        weights_licence="MIT (tiny-clip, trained on CIFAKE)",
        base_licence="Apache-2.0 (DINOv2, if asked for)",
        commercial=True,
        resize=(
            "bilinear with antialiasing until the short side fits, then a centre crop, inside the"
            " detector"
        ),
        published=(
            "CIFAKE 46.34 (CIFAKE++ study): below chance, so the direction is measured here, never"
            " assumed; it turns with the noise level and the generator (arXiv 2606.20488)"
        ),
    )

    def __init__(
        self,
        backbone: str = TINY_CLIP,
        pretrained: bool = False,
        size: int = 224,
        noise: float = 0.05,
        draws: int = 1,
        seed: int = 0,
        false_alarms: float = 0.05,
    ) -> None:
        super().__init__(false_alarms)
        if backbone == TINY_CLIP:
            self.backbone, self.size, _ = load_image_encoder(TINY_CLIP, None)
            self.normalise = Normalise(CLIP_MEAN, CLIP_STD)
        else:
            numbers: dict[str, Any] = {"img_size": size} if backbone.startswith("vit_") else {}
            self.size = size
            self.backbone = timm_backbone(backbone, pretrained=pretrained, num_classes=0, **numbers)
            stats = cast("dict[str, Any]", self.backbone.pretrained_cfg)
            self.normalise = Normalise(stats["mean"], stats["std"])
        self.backbone.requires_grad_(False)
        rng = torch.Generator().manual_seed(seed)
        drawn = noise * torch.randn(draws, 3, self.size, self.size, generator=rng)
        self.register_buffer("noise", drawn, persistent=False)
        self.describe(input_size=self.size, cam=f"backbone.{grad_cam_layer(self.backbone)}")

    def features(self, images: Tensor) -> Tensor:
        """Return the unit feature vectors of images.

        Args:
            images: float batch in [0, 1] at the backbone's size, ``(N, 3, size, size)``.

        Returns:
            Features ``(N, D)`` of length 1.
        """
        return F.normalize(cast("Tensor", self.backbone(self.normalise(images))), dim=1)

    def raw(self, images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, " n"]:
        """Return the distance, averaged over the draws; high means AI-generated, as published.

        Args:
            images: float batch in [0, 1], ``(N, 3, H, W)``.

        Returns:
            Raw scores ``(N,)``.
        """
        images = centre_crop(
            resize(images, short_side(images, self.size), "bilinear"), (self.size, self.size)
        )
        clean = self.features(images)
        # Half the squared distance of unit vectors is one minus their cosine, and is more precise
        # near zero.
        moved = [
            (self.features(images + noise) - clean).square().sum(dim=1) / 2 for noise in self.noise
        ]
        return torch.stack(moved).mean(dim=0)
