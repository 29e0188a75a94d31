"""The detectors of Community Forensics: a ViT-S/16 on the centre of the image."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, final

from torch import Tensor

from robustbench_aigi.detectors._support.backbone import Backbone
from robustbench_aigi.detectors._support.resizing import centre_crop, resize, short_side
from robustbench_aigi.detectors.base import Card, detectors
from robustbench_aigi.detectors.vit import vit_trunk
from robustbench_aigi.errors import UserError

PUBLISHED = (
    "GenImage 84, Chameleon 77.5, ForenSynths 92.3, own evaluation 86.8, SynthBuster 87, UniFD's"
    " set 94"
)
FIRST = "patch_embed.proj.weight"


class CommFor(Backbone):
    """A ViT-S/16 on the centre square of an image whose short side is first brought to
    ``short_side``.

    Raises:
        UserError: the square is larger than the short side.
    """

    def __init__(
        self,
        config: dict[str, Any],
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
        net = vit_trunk(
            model, pretrained, 1, size=size, patch=patch, width=width, depth=depth, heads=heads
        )
        super().__init__(net, config, size=size, cam=f"net.blocks.{depth - 1}.norm1")
        self.short_side = short_side

    def fitted(self, images: Tensor) -> Tensor:
        """Resize ``(N, 3, H, W)`` images to the short side, up or down, and keep the centre ``(N,
        3, size, size)``.
        """
        resized = resize(images, short_side(images, self.short_side), "bilinear")
        return centre_crop(resized, (self.size, self.size))

    def renamed(self, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """From timm's names, below whatever name the authors' wrapper gave the ViT."""
        prefix = next((name.removesuffix(FIRST) for name in tensors if name.endswith(FIRST)), "")
        return {name.removeprefix(prefix): value for name, value in tensors.items()}


@detectors.add("commfor-224")
@final
class CommFor224(CommFor):
    """Community Forensics at 224. Source: Park & Owens, Community Forensics, CVPR 2025.

    The file of ``OwensLab/commfor-model-224`` loads with ``weights=PATH``.

    Args:
        size: side of the square. short_side: what the image's short side is resized to.
        patch: side of a patch. width, depth, heads: of the tokens, the blocks and their attention.
        pretrained: begin with ImageNet's weights, from a hub, as the authors did.
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
        published=PUBLISHED,
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
        config: dict[str, Any] = {
            "size": size,
            "short_side": short_side,
            "patch": patch,
            "width": width,
        }
        config |= {"depth": depth, "heads": heads, "pretrained": pretrained}
        super().__init__(config, **config)


@detectors.add("commfor-384")
@final
class CommFor384(CommFor):
    """Community Forensics at 384. Source: Park & Owens, Community Forensics, CVPR 2025.

    The file of ``OwensLab/commfor-model-384`` loads with ``weights=PATH``. The authors decide at a
    probability of 0.5; deployments are known that decide at 0.65.

    Args:
        size: side of the square. short_side: what the image's short side is resized to.
        patch: side of a patch. width, depth, heads: of the tokens, the blocks and their attention.
        pretrained: begin with ImageNet's weights, from a hub, as the authors did.
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
        config: dict[str, Any] = {
            "size": size,
            "short_side": short_side,
            "patch": patch,
            "width": width,
        }
        config |= {"depth": depth, "heads": heads, "pretrained": pretrained}
        super().__init__(config, **config)
