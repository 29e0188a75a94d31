"""TeCoA: a CLIP tower whose embedding of an attacked image still names what its caption says."""

import torch
from torch import Tensor
from torch.nn import functional as F

from robustbench_aigi.detectors._support.clip_detector import ClipDetector
from robustbench_aigi.detectors._support.clip_encoder import CAPTION_TEMPLATES
from robustbench_aigi.generators import CLASSES
from robustbench_aigi.training.objectives.clip_encoder import EmbeddingLoss, EncoderObjective

SCALE = 100.0
"""Factor on cosines before the softmax, as CLIP learns it."""


def tecoa(detector: ClipDetector) -> EncoderObjective:
    """The cross-entropy of an embedding's cosines with two texts, real and AI-generated.

    Source: Mao et al., Understanding Zero-Shot Adversarial Robustness, ICLR 2023.
    """
    texts = caption_embeddings(detector)

    def aim(images: Tensor, labels: Tensor) -> EmbeddingLoss:
        captions = texts.to(images.device).T
        return lambda embedding: F.cross_entropy(
            SCALE * F.normalize(embedding, dim=1) @ captions, labels, reduction="none"
        )

    return aim


@torch.no_grad()
def caption_embeddings(detector: ClipDetector) -> Tensor:
    """Unit embeddings ``(2, D)`` of the captions of real and of AI-generated images, averaged over
    what they show.
    """
    import open_clip  # seconds, as in clip_mlp

    whole = detector.original_clip().eval()
    tokenize = open_clip.SimpleTokenizer(context_length=whole.context_length)
    things = [name for name in CLASSES if name != "photograph"]
    sides = [
        [pair[side].format(thing) for pair in CAPTION_TEMPLATES for thing in things]
        for side in (0, 1)
    ]
    texts = [
        whole.encode_text(tokenize(captions), normalize=True).mean(dim=0) for captions in sides
    ]
    return F.normalize(torch.stack(texts), dim=1)
