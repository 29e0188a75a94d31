"""TinyViT in three widths, at native 32 x 32 or at the sizes it was published for."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, final

from jaxtyping import Float
from torch import Tensor, nn

from robustbench_aigi.detectors._support.backbone import Backbone
from robustbench_aigi.detectors._support.resizing import resize
from robustbench_aigi.detectors._support.timm_backbones import timm_backbone
from robustbench_aigi.detectors.base import NO_WEIGHTS, Card, TrainingDefaults, detectors
from robustbench_aigi.errors import UserError

NATIVE_SIZE = 32
"""Side in pixels of the images of CIFAKE."""
PUBLISHED_WINDOWS = {224: (7, 7, 14, 7), 384: (12, 12, 24, 12), 512: (16, 16, 32, 16)}
"""Window sizes of the four stages, for each published size."""
PUBLISHED_RESULTS = (
    "21 M parameters on CIFAKE: 98.67, static adversarial set 92.87; adversarially fine-tuned 98.67"
    " and 98.61 (CIFAKE++ study)"
)


class TinyViT(Backbone):
    """TinyViT with one logit.

    Checkpoints of the same width, ours and timm's, load at any size and stride; a fresh head, to be
    trained, replaces timm's 1000 classes. Source: Wu et al., TinyViT, ECCV 2022.

    Args:
        stem_stride: 4 as published (an 8 x 8 map after the stem at size 32), or 2 for a finer map
            at about a third of the speed.
        drop_path: share of residual branches dropped in training; 0.2 as published for 21 M
            parameters.
        size: side in pixels that images are resized to: 32, with windows that fit, or 224, 384 or
            512, with the published windows.
        pretrained: start from ImageNet weights, from a hub.
        fake_index: output of a two-class checkpoint that means AI-generated.
        dims: channels of the four stages, multiples of 32; the published ones if None.

    Attributes:
        width: millions of parameters, as in timm's names.

    Raises:
        UnavailableError: the weights are not on this machine and no hub can be reached.
        UserError: another stride or size.
    """

    training_defaults = TrainingDefaults(keeps_batch_statistics=True)
    head: ClassVar[str] = "head.fc"
    width: ClassVar[str]
    small = MappingProxyType({"dims": [32, 32, 64, 64]})

    def __init__(
        self,
        stem_stride: int = 4,
        drop_path: float = 0.0,
        size: int = 32,
        pretrained: bool = False,
        fake_index: int = 1,
        dims: Sequence[int] | None = None,
    ) -> None:
        _check_stem_stride(stem_stride)
        net = timm_backbone(
            self._timm_name(size),
            pretrained=pretrained,
            num_classes=1,
            window_sizes=_window_sizes(size, stem_stride),
            drop_path_rate=drop_path,
            **({} if dims is None else _shape(dims)),
        )
        if stem_stride == 2:
            net.get_submodule("patch_embed.conv2.conv").stride = (1, 1)  # type: ignore[assignment]
        super().__init__(
            net,
            size=size,
            cam=f"net.stages.{_last_visible_stage(size // stem_stride)}",
            channels_last=True,
            fake_index=fake_index,
        )
        self.register_load_state_dict_pre_hook(_fit_biases)  # type: ignore[no-untyped-call]
        if size != NATIVE_SIZE:
            self.describe(resize="bicubic with antialiasing to the input size, inside the detector")

    def _timm_name(self, size: int) -> str:
        """Return the name in timm; only the widest one is published above 224."""
        published = size if self.width == "21m" and size > 224 else 224
        return f"tiny_vit_{self.width}_{published}.dist_in22k_ft_in1k"

    def fitted(self, images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 height width"]:
        """Resize images, bilinearly to 32 x 32 and bicubically to the published sizes.

        Args:
            images: ``(N, 3, H, W)``.
        """
        kernel = "bilinear" if self.size == NATIVE_SIZE else "bicubic"
        return resize(images, (self.size, self.size), kernel)

    def renamed(self, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Return ``tensors``, by timm's names, without those that follow from the windows."""
        return {
            name: value
            for name, value in tensors.items()
            if not name.endswith("attention_bias_idxs")
        }


def _check_stem_stride(stem_stride: int) -> None:
    if stem_stride not in (2, 4):
        raise UserError(
            f"stem_stride must be 2 or 4, got {stem_stride}. Write stem_stride=4 for the"
            " published stem."
        )


def _window_sizes(size: int, stem_stride: int) -> tuple[int, int, int, int]:
    """Return the window sizes of the four stages."""
    side = size // stem_stride
    fitting = (side, side // 2, side // 4, side // 8)
    windows = {NATIVE_SIZE: fitting, **PUBLISHED_WINDOWS}
    if size not in windows:
        raise UserError(
            f"size must be 32, 224, 384 or 512, got {size}. Write size=224 for the published"
            " windows."
        )
    return windows[size]


def _shape(dims: Sequence[int]) -> dict[str, Any]:
    return {"embed_dims": tuple(dims), "num_heads": tuple(dim // 32 for dim in dims)}


def _last_visible_stage(side: int) -> int:
    """Return the last stage whose map has a side of at least 4, for maps of ``side`` at first."""
    return max(stage for stage in range(4) if stage == 0 or side >> stage >= 4)


def _fit_biases(detector: nn.Module, state: dict[str, Tensor], prefix: str, *_: object) -> None:
    """Resize attention biases of other windows before they are loaded, as timm does."""
    from timm.layers import resize_rel_pos_bias_table_levit

    for name, own in detector.named_parameters(prefix=prefix.removesuffix(".")):
        if name.endswith("attention_biases") and name in state and len(own) == len(state[name]):
            state[name] = resize_rel_pos_bias_table_levit(state[name].T, own.T.shape).T


@detectors.add("tinyvit-5m")
@final
class TinyViT5M(TinyViT):
    """TinyViT with 5 M parameters; the arguments are those of :class:`TinyViT`."""

    width = "5m"
    default_card = Card(
        name="tinyvit-5m",
        source="Wu et al., TinyViT, ECCV 2022; network from timm",
        summary="TinyViT-5M, 5.1 M parameters, at 32 x 32 by default",
        code_licence="MIT; timm Apache-2.0",
        weights_licence=NO_WEIGHTS,
        base_licence="MIT (TinyViT, distilled on ImageNet-22k), if pretrained; else none",
        commercial=True,
        cam="net.stages.3",
        published=PUBLISHED_RESULTS,
    )


@detectors.add("tinyvit-11m")
@final
class TinyViT11M(TinyViT):
    """TinyViT with 11 M parameters; the arguments are those of :class:`TinyViT`."""

    width = "11m"
    default_card = Card(
        name="tinyvit-11m",
        source="Wu et al., TinyViT, ECCV 2022; network from timm",
        summary="TinyViT-11M, 10.6 M parameters, at 32 x 32 by default",
        code_licence="MIT; timm Apache-2.0",
        weights_licence=NO_WEIGHTS,
        base_licence="MIT (TinyViT, distilled on ImageNet-22k), if pretrained; else none",
        commercial=True,
        cam="net.stages.3",
        published=PUBLISHED_RESULTS,
    )


@detectors.add("tinyvit-21m")
@final
class TinyViT21M(TinyViT):
    """TinyViT with 21 M parameters; the arguments are those of :class:`TinyViT`."""

    width = "21m"
    default_card = Card(
        name="tinyvit-21m",
        source="Wu et al., TinyViT, ECCV 2022; network from timm",
        summary="TinyViT-21M, 20.6 M parameters, at 32 x 32 by default",
        code_licence="MIT; timm Apache-2.0",
        weights_licence=NO_WEIGHTS,
        base_licence="MIT (TinyViT, distilled on ImageNet-22k), if pretrained; else none",
        commercial=True,
        cam="net.stages.3",
        published=f"{PUBLISHED_RESULTS}; ImageNet-1k top-1 84.8",
    )
