"""An MLP on the image embedding of a CLIP tower, and what every detector on such a tower shares."""

from functools import partial
from typing import Any, Self, cast, final

import torch
from torch import Tensor, nn

from robustbench_aigi.catalogue import WEIGHTS
from robustbench_aigi.detectors._support.fetching import is_fetching_weights
from robustbench_aigi.detectors._support.resizing import fit_size
from robustbench_aigi.detectors.base import (
    CLIP_MEAN,
    CLIP_STD,
    OWN_CODE,
    Card,
    Detector,
    Normalise,
    detectors,
)
from robustbench_aigi.errors import UnavailableError, UserError

TINY = "tiny-clip"
TEMPLATES = (
    ("a photo of a {}", "an AI-generated image of a {}"),
    ("a real photo of the {}", "a synthetic picture of the {}"),
    ("a small photograph of one {}", "one {} drawn by stable diffusion"),
)
"""Captions, for both towers, of a real and of an AI-generated image."""


def tiny_clip(pretrained: bool = True) -> nn.Module:
    """The shipped tiny CLIP, both towers. It stands in for OpenAI CLIP without a hub; it proves
    nothing of it.
    """
    import open_clip

    open_clip.add_model_config(WEIGHTS / f"{TINY}.json")
    weights = str(WEIGHTS / f"{TINY}.safetensors") if pretrained else None
    model = open_clip.create_model(TINY, pretrained=weights, load_weights=pretrained)
    return cast("nn.Module", model.to(memory_format=torch.channels_last))


def clip_model(model: str, pretrained: str | None, *, quick_gelu: bool = False) -> Any:
    """An open_clip model with both towers.

    Args:
        model: ``tiny-clip``, or an open_clip name such as ``ViT-B-32-quickgelu``,
            ``hf-hub:chs20/fare4-clip`` or ``local-dir:FOLDER``.
        pretrained: open_clip's tag, such as ``openai``; None for ``tiny-clip``, ``hf-hub:`` and
            ``local-dir:`` names.
        quick_gelu: use QuickGELU whatever the model's own configuration says.

    Raises:
        UnavailableError: the weights are not on this machine and no hub can be reached.
        UserError: the weights were made with QuickGELU, and the network of that name has another
            GELU.
    """
    import open_clip

    if model == TINY:
        return tiny_clip()
    tag = open_clip.get_pretrained_cfg(model, pretrained) if pretrained else {}
    if tag.get("quick_gelu") and not (quick_gelu or model.endswith("-quickgelu")):
        raise UserError(
            f"{pretrained} weights of {model} were trained with QuickGELU, which {model} lacks: its"
            f" features would be off without a word. Write model='{model}-quickgelu'."
        )
    weights: dict[str, Any] = {"pretrained": pretrained, "require_pretrained": ":" in model}
    if not is_fetching_weights():
        weights = {"load_weights": False}
    try:
        return open_clip.create_model(model, force_quick_gelu=quick_gelu, **weights)
    except (OSError, RuntimeError) as error:
        raise UnavailableError(
            f"open_clip cannot load {model!r} ({pretrained or 'no tag'}): {error}. Reach the hub"
            f" once so that HF_HOME holds it, or write model='{TINY}', which is shipped."
        ) from error


def clip_tower(
    model: str, pretrained: str | None, *, quick_gelu: bool = False
) -> tuple[nn.Module, int, int]:
    """Image tower, input size and embedding width of an open_clip model; arguments as in
    :func:`clip_model`.
    """
    whole = clip_model(model, pretrained, quick_gelu=quick_gelu)
    size = whole.visual.image_size
    width = whole.visual.output_dim
    return whole.visual, size if isinstance(size, int) else size[0], width


def cam_part(net: nn.Module) -> str:
    """Dotted name of the part Grad-CAM looks at: the norm before a ViT's last attention, else the
    last convolution.
    """
    norms: list[str] = [
        name for name, _ in net.named_modules() if name.endswith((".ln_1", ".norm1"))
    ]
    convolutions = [name for name, part in net.named_modules() if isinstance(part, nn.Conv2d)]
    return (norms or convolutions)[-1]


def mlp_head(width: int, hidden: int) -> nn.Module:
    """A layer norm, GELU units and one logit."""
    return nn.Sequential(
        nn.LayerNorm(width), nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, 1)
    )


class ClipDetector(Detector):
    """A frozen CLIP image tower; a subclass puts a ``head`` on its embedding.

    Args:
        config: the subclass's own arguments.
        model, pretrained, quick_gelu: the tower, as in :func:`clip_model`.
    """

    head: nn.Module

    def __init__(
        self,
        config: dict[str, Any],
        *,
        model: str,
        pretrained: str | None = None,
        quick_gelu: bool = False,
    ) -> None:
        super().__init__(**config)
        self._origin = partial(clip_model, model, pretrained, quick_gelu=quick_gelu)
        self.tower, self.size, self.width = clip_tower(model, pretrained, quick_gelu=quick_gelu)
        self.tower.requires_grad_(False)
        self.normalise = Normalise(CLIP_MEAN, CLIP_STD)
        self.card = self.card.model_copy(
            update={"input_size": self.size, "cam": f"tower.{cam_part(self.tower)}"}
        )

    def both_towers(self) -> Any:
        """The CLIP model that the image tower came from, with its text tower, as it was before any
        training here.
        """
        return self._origin()

    def fitted(self, images: Tensor) -> Tensor:
        """Images at the size of the tower's input."""
        return fit_size(images, self.size)

    def embed(self, images: Tensor) -> Tensor:
        """Image embedding ``(N, D)``, not normalised; differentiable in the images."""
        return cast("Tensor", self.tower(self.normalise(self.fitted(images))))

    def logits(self, images: Tensor) -> Tensor:
        """Score ``(N, 3, H, W)`` images in [0, 1]."""
        return cast("Tensor", self.head(self.embed(images))).squeeze(1)

    def train(self, mode: bool = True) -> Self:
        """Switch the head; the tower's batch statistics stay as they were trained."""
        super().train(mode)
        self.tower.eval()
        return self

    def parts_to_train(self) -> nn.Module:
        """The head; the tower stays frozen."""
        return self.head


@detectors.add("clip-mlp")
@final
class ClipMLP(ClipDetector):
    """Frozen CLIP image embedding, then 256 GELU units and one logit. Source: Ojha et al., CVPR
    2023 (linear head).

    Args:
        model, pretrained: the tower, as in :func:`clip_model`.
        hidden: units of the head.
    """

    default_card = Card(
        name="clip-mlp",
        source="Ojha et al., UniversalFakeDetect, CVPR 2023; towers from open_clip",
        summary=(
            "frozen tiny CLIP (ours, captions name real and AI-generated; it stands in for OpenAI"
            " CLIP), MLP head"
        ),
        code_licence=OWN_CODE,
        weights_licence="MIT (tiny-clip, trained on CIFAKE)",
        base_licence="MIT",
        commercial=True,
        published=(
            "CIFAKE 94.01, static adversarial set 86.33 (CIFAKE++ study, a small network on CLIP"
            " embeddings)"
        ),
    )

    def __init__(self, model: str = TINY, pretrained: str | None = None, hidden: int = 256) -> None:
        config = {"model": model, "pretrained": pretrained, "hidden": hidden}
        super().__init__(config, model=model, pretrained=pretrained)
        self.head = mlp_head(self.width, hidden)
