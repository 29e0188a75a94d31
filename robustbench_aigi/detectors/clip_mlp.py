"""An MLP on the image embedding of a CLIP tower."""

from pathlib import Path
from typing import Any, Self, cast, final

import torch
from torch import Tensor, nn

from robustbench_aigi.detectors.base import CLIP_MEAN, CLIP_STD, Card, Detector, Normalise, detectors, fit_size
from robustbench_aigi.errors import Unavailable

WEIGHTS = Path(__file__).parent.parent / "weights"
TINY = "tiny-clip"


def tiny_clip(pretrained: bool = True) -> nn.Module:
    """The shipped tiny CLIP, both towers. It stands in for OpenAI CLIP without a hub; it proves nothing of it."""
    import open_clip

    open_clip.add_model_config(WEIGHTS / f"{TINY}.json")
    weights = str(WEIGHTS / f"{TINY}.safetensors") if pretrained else None
    model = open_clip.create_model(TINY, pretrained=weights, load_weights=pretrained)
    return cast("nn.Module", model.to(memory_format=torch.channels_last))


def clip_tower(model: str, pretrained: str | None) -> tuple[nn.Module, int, int]:
    """Image tower, input size and embedding width of an open_clip model.

    Args:
        model: ``tiny-clip``, or an open_clip name such as ``ViT-B-32-quickgelu`` or ``hf-hub:chs20/fare4-clip``.
        pretrained: open_clip's tag, such as ``openai``; None for ``tiny-clip`` and for ``hf-hub:`` names.

    Raises:
        Unavailable: the weights are not on this machine and no hub can be reached.
    """
    import open_clip

    try:
        whole: Any = tiny_clip() if model == TINY else open_clip.create_model(model, pretrained=pretrained)
    except (OSError, RuntimeError, FileNotFoundError) as error:
        raise Unavailable(
            f"open_clip cannot load {model!r} ({pretrained or 'no tag'}): {error}. Reach the hub once so that HF_HOME "
            f"holds it, or write model='{TINY}', which is shipped."
        ) from error
    size = whole.visual.image_size
    width = whole.visual.output_dim
    return whole.visual, size if isinstance(size, int) else size[0], width


@detectors.add("clip-mlp")
@final
class ClipMLP(Detector):
    """Frozen CLIP image embedding, then 256 GELU units and one logit. Source: Ojha et al., CVPR 2023 (linear head).

    Args:
        model, pretrained: the tower, as in :func:`clip_tower`.
        hidden: units of the head.
    """

    default_card = Card(
        name="clip-mlp",
        source="Ojha et al., UniversalFakeDetect, CVPR 2023; towers from open_clip",
        summary="frozen tiny CLIP (ours, captions name real and AI-generated; it stands in for OpenAI CLIP), MLP head",
        weights_licence="MIT (tiny-clip, trained on CIFAKE)",
        base_licence="MIT",
    )

    def __init__(self, model: str = TINY, pretrained: str | None = None, hidden: int = 256) -> None:
        super().__init__(model=model, pretrained=pretrained, hidden=hidden)
        self.tower, self.size, width = clip_tower(model, pretrained)
        self.tower.requires_grad_(False)
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, 1))
        self.normalise = Normalise(CLIP_MEAN, CLIP_STD)
        self.card = self.card.model_copy(update={"input_size": self.size})

    def embed(self, images: Tensor) -> Tensor:
        """Image embedding ``(N, D)``, not normalised; differentiable in the images."""
        return cast("Tensor", self.tower(self.normalise(fit_size(images, self.size))))

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
