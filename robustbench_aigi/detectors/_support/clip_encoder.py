"""CLIP models of open_clip, their image encoders, and what detectors need of them."""

from typing import Any, NamedTuple, cast

import torch
from torch import nn

from robustbench_aigi.catalogue import WEIGHTS_FOLDER
from robustbench_aigi.detectors._support.fetching import is_fetching_weights
from robustbench_aigi.errors import UnavailableError, UserError

TINY_CLIP = "tiny-clip"
"""Name of the shipped CLIP model."""
CAPTION_TEMPLATES = (
    ("a photo of a {}", "an AI-generated image of a {}"),
    ("a real photo of the {}", "a synthetic picture of the {}"),
    ("a small photograph of one {}", "one {} drawn by stable diffusion"),
)
"""Pairs of captions, of a real and of an AI-generated image."""


class ImageEncoder(NamedTuple):
    """The image encoder of a CLIP model.

    Attributes:
        net: maps normalised images ``(N, 3, size, size)`` to embeddings ``(N, width)``.
        size: side of the input in pixels.
        width: dimensions of the embedding.
    """

    net: nn.Module
    size: int
    width: int


def load_tiny_clip(*, pretrained: bool = True) -> nn.Module:
    """Load the shipped tiny CLIP, image and text encoder.

    It stands in for OpenAI's CLIP where no hub can be reached; results on it say nothing about
    OpenAI's.

    Args:
        pretrained: load the shipped weights; False leaves fresh ones.
    """
    import open_clip

    open_clip.add_model_config(WEIGHTS_FOLDER / f"{TINY_CLIP}.json")
    weights = str(WEIGHTS_FOLDER / f"{TINY_CLIP}.safetensors") if pretrained else None
    model = open_clip.create_model(TINY_CLIP, pretrained=weights, load_weights=pretrained)
    return cast("nn.Module", model.to(memory_format=torch.channels_last))


def load_clip(model: str, pretrained: str | None, *, quick_gelu: bool = False) -> Any:
    """Load a model of open_clip, image and text encoder.

    Args:
        model: ``tiny-clip``, or an open_clip name such as ``ViT-B-32-quickgelu``,
            ``hf-hub:chs20/fare4-clip`` or ``local-dir:FOLDER``.
        pretrained: open_clip's tag, such as ``openai``; None for ``tiny-clip``, ``hf-hub:`` and
            ``local-dir:`` names.
        quick_gelu: use QuickGELU, whatever the model's own configuration has.

    Raises:
        UnavailableError: the weights are not on this machine and no hub can be reached.
        UserError: the weights were trained with QuickGELU, and the named network has another GELU.
    """
    import open_clip

    if model == TINY_CLIP:
        return load_tiny_clip()
    tag = open_clip.get_pretrained_cfg(model, pretrained) if pretrained else {}
    if tag.get("quick_gelu") and not (quick_gelu or model.endswith("-quickgelu")):
        raise UserError(
            f"{pretrained} weights of {model} were trained with QuickGELU, which {model} does not"
            f" have, so its features would be wrong. Write model='{model}-quickgelu'."
        )
    weights: dict[str, Any] = {"pretrained": pretrained, "require_pretrained": ":" in model}
    if not is_fetching_weights():
        weights = {"load_weights": False}
    try:
        return open_clip.create_model(model, force_quick_gelu=quick_gelu, **weights)
    except (OSError, RuntimeError) as error:
        raise UnavailableError(
            f"open_clip cannot load {model!r} ({pretrained or 'no tag'}): {error}. Reach the hub"
            f" once so that HF_HOME holds it, or write model='{TINY_CLIP}', which is shipped."
        ) from error


def load_image_encoder(
    model: str, pretrained: str | None, *, quick_gelu: bool = False
) -> ImageEncoder:
    """Load the image encoder of a model of open_clip.

    Args:
        model: as in :func:`load_clip`.
        pretrained: as in :func:`load_clip`.
        quick_gelu: as in :func:`load_clip`.

    Raises:
        UnavailableError: as :func:`load_clip`.
        UserError: as :func:`load_clip`.
    """
    encoder = load_clip(model, pretrained, quick_gelu=quick_gelu).visual
    size = encoder.image_size
    return ImageEncoder(
        encoder, size if isinstance(size, int) else size[0], width=encoder.output_dim
    )


def grad_cam_layer(net: nn.Module) -> str:
    """Return the dotted name of the module whose feature map Grad-CAM weighs.

    Args:
        net: a vision transformer or a convolutional network.

    Returns:
        The norm before the last attention, or the last convolution where there is no such norm.
    """
    norms: list[str] = [
        name for name, _ in net.named_modules() if name.endswith((".ln_1", ".norm1"))
    ]
    convolutions = [name for name, part in net.named_modules() if isinstance(part, nn.Conv2d)]
    return (norms or convolutions)[-1]
