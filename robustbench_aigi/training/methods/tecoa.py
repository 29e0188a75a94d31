"""TeCoA: a CLIP encoder whose embedding of an attacked image still matches its caption."""

from typing import final

import torch
from torch import Tensor
from torch.nn import functional as F

from robustbench_aigi.detectors._support.clip_detector import ClipDetector
from robustbench_aigi.detectors._support.clip_encoder import CAPTION_TEMPLATES
from robustbench_aigi.generators import CLASS_NAMES
from robustbench_aigi.training.methods._clip_encoder import ClipEncoderTraining
from robustbench_aigi.training.methods.base import methods
from robustbench_aigi.training.objectives.clip_encoder import EmbeddingLoss, EncoderLoss

LOGIT_SCALE = 100.0
"""Factor on cosines before the softmax, as CLIP learns it."""


@methods.add("tecoa")
@final
class TecoaTraining(ClipEncoderTraining):
    """Fine-tune a CLIP encoder by TeCoA. Source: Mao et al., ICLR 2023."""

    summary = "a CLIP encoder whose captions hold under PGD, then a head"
    prefix = "tecoa-"

    def encoder_loss(self, detector: ClipDetector) -> EncoderLoss:
        """Return the TeCoA loss on the encoder of a ``detector``."""
        return tecoa_loss(detector)


def tecoa_loss(detector: ClipDetector) -> EncoderLoss:
    """Return the cross-entropy of an embedding's cosines with two captions.

    Source: Mao et al., Understanding Zero-Shot Adversarial Robustness, ICLR 2023.

    Args:
        detector: its text encoder embeds the captions.
    """
    texts = caption_embeddings(detector)

    def loss(images: Tensor, labels: Tensor) -> EmbeddingLoss:
        captions = texts.to(images.device).T
        return lambda embedding: F.cross_entropy(
            LOGIT_SCALE * F.normalize(embedding, dim=1) @ captions, labels, reduction="none"
        )

    return loss


@torch.no_grad()
def caption_embeddings(detector: ClipDetector) -> Tensor:
    """Return unit embeddings ``(2, D)`` of the captions of real and of AI-generated images.

    Args:
        detector: its text encoder embeds captions of many things, which are averaged.
    """
    import open_clip  # takes seconds

    clip = detector.original_clip().eval()
    tokenize = open_clip.SimpleTokenizer(context_length=clip.context_length)
    things = [name for name in CLASS_NAMES if name != "photograph"]
    texts = []
    for label in (0, 1):
        captions = [pair[label].format(thing) for pair in CAPTION_TEMPLATES for thing in things]
        texts.append(clip.encode_text(tokenize(captions), normalize=True).mean(dim=0))
    return F.normalize(torch.stack(texts), dim=1)
