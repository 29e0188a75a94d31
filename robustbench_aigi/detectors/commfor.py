"""The detectors of Community Forensics: a ViT-S/16 on the centre of the image."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import final

from jaxtyping import Float
from torch import Tensor

from robustbench_aigi.detectors._support.backbone import Backbone
from robustbench_aigi.detectors._support.resizing import centre_crop, resize, short_side
from robustbench_aigi.detectors._support.vit_backbone import vit_backbone
from robustbench_aigi.detectors.base import Card, detectors
from robustbench_aigi.errors import UserError

PUBLISHED_RESULTS = (
    "GenImage 84, Chameleon 77.5, ForenSynths 92.3, own evaluation 86.8, SynthBuster 87, UniFD's"
    " set 94"
)
FIRST_TENSOR = "patch_embed.proj.weight"
"""Name in timm of the first layer's weights."""


class CommFor(Backbone):
    """A ViT-S/16 on the centre square of an image whose short side is resized first.

    Args:
        size: side of the square in pixels.
        short_side: what the image's short side is resized to, in pixels.
        patch: side of a patch in pixels.
        width: dimensions of a token.
        depth: number of blocks.
        heads: number of attention heads of a block.
        pretrained: start from ImageNet weights, from a hub.

    Raises:
        UserError: the square is larger than the short side.
    """

    def __init__(
        self,
        *,
        size: int,
        short_side: int,
        patch: int,
        width: int,
        depth: int,
        heads: int,
        pretrained: bool,
    ) -> None:
        if short_side < size:
            raise UserError(
                f"short_side must be at least size, {size}, got {short_side}. Write"
                f" short_side={size}."
            )
        model = f"vit_small_patch16_{384 if size > 224 else 224}.augreg_in21k_ft_in1k"
        net = vit_backbone(
            model, pretrained, 1, size=size, patch=patch, width=width, depth=depth, heads=heads
        )
        super().__init__(net, size=size, cam=f"net.blocks.{depth - 1}.norm1")
        self.short_side = short_side

    def fitted(self, images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 height width"]:
        """Resize images so that their short side fits, up or down, and crop the centre.

        Args:
            images: ``(N, 3, H, W)``.

        Returns:
            Images ``(N, 3, size, size)``.
        """
        resized = resize(images, short_side(images, self.short_side), "bilinear")
        return centre_crop(resized, (self.size, self.size))

    def renamed(self, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Return tensors under timm's names, without the prefix that the authors' wrapper added.

        Args:
            tensors: tensors under their authors' names.
        """
        first = next((name for name in tensors if name.endswith(FIRST_TENSOR)), FIRST_TENSOR)
        prefix = first.removesuffix(FIRST_TENSOR)
        return {name.removeprefix(prefix): value for name, value in tensors.items()}


@detectors.add("commfor-224")
@final
class CommFor224(CommFor):
    """Community Forensics at 224.

    The file of ``OwensLab/commfor-model-224`` loads with ``weights=PATH``.
    Source: Park & Owens, Community Forensics, CVPR 2025.

    Args:
        size: side of the square in pixels.
        short_side: what the image's short side is resized to, in pixels.
        patch: side of a patch in pixels.
        width: dimensions of a token.
        depth: number of blocks.
        heads: number of attention heads of a block.
        pretrained: start from ImageNet weights, from a hub, as the authors did.

    Raises:
        UnavailableError: the weights are not on this machine and no hub can be reached.
        UserError: the square is larger than the short side.
    """

    default_card = Card(
        name="commfor-224",
        source="Park & Owens, Community Forensics, CVPR 2025; network from timm",
        summary=(
            "ViT-S/16 on the centre at 224, 21.7 M parameters, trained by its authors on 4803"
            " generators"
        ),
        code_licence="timm Apache-2.0; this class MIT",
        weights_licence="MIT (OwensLab/commfor-model-224)",
        base_licence="Apache-2.0 (ImageNet-21k, augreg), if pretrained",
        commercial=True,
        input_size=224,
        resize="bilinear to a short side of 256, then the centre 224 x 224, inside the detector",
        cam="net.blocks.11.norm1",
        published=PUBLISHED_RESULTS,
    )
    small = MappingProxyType(
        {"size": 32, "short_side": 36, "patch": 8, "width": 48, "depth": 2, "heads": 3}
    )

    def __init__(
        self,
        size: int = 224,
        short_side: int = 256,
        patch: int = 16,
        width: int = 384,
        depth: int = 12,
        heads: int = 6,
        pretrained: bool = False,
    ) -> None:
        super().__init__(
            size=size,
            short_side=short_side,
            patch=patch,
            width=width,
            depth=depth,
            heads=heads,
            pretrained=pretrained,
        )


@detectors.add("commfor-384")
@final
class CommFor384(CommFor):
    """Community Forensics at 384.

    The file of ``OwensLab/commfor-model-384`` loads with ``weights=PATH``. The authors decide at a
    probability of 0.5; some deployments decide at 0.65.
    Source: Park & Owens, Community Forensics, CVPR 2025.

    Args:
        size: side of the square in pixels.
        short_side: what the image's short side is resized to, in pixels.
        patch: side of a patch in pixels.
        width: dimensions of a token.
        depth: number of blocks.
        heads: number of attention heads of a block.
        pretrained: start from ImageNet weights, from a hub, as the authors did.

    Raises:
        UnavailableError: the weights are not on this machine and no hub can be reached.
        UserError: the square is larger than the short side.
    """

    default_card = CommFor224.default_card.model_copy(
        update={
            "name": "commfor-384",
            "summary": (
                "ViT-S/16 on the centre at 384, 21.8 M parameters, trained by its authors on 4803"
                " generators"
            ),
            "weights_licence": "MIT (OwensLab/commfor-model-384)",
            "input_size": 384,
            "resize": (
                "bilinear to a short side of 440, then the centre 384 x 384, inside the detector"
            ),
        }
    )
    small = CommFor224.small

    def __init__(
        self,
        size: int = 384,
        short_side: int = 440,
        patch: int = 16,
        width: int = 384,
        depth: int = 12,
        heads: int = 6,
        pretrained: bool = False,
    ) -> None:
        super().__init__(
            size=size,
            short_side=short_side,
            patch=patch,
            width=width,
            depth=depth,
            heads=heads,
            pretrained=pretrained,
        )
