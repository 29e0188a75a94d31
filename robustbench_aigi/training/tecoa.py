"""TeCoA: a CLIP tower whose embedding of an attacked image still names what its caption says."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from robustbench_aigi.detectors.clip_mlp import TEMPLATES, ClipDetector
from robustbench_aigi.generators import CLASSES
from robustbench_aigi.training.arrays import Arrays
from robustbench_aigi.training.fit import Plan
from robustbench_aigi.training.towers import LossOf, fine_tune_tower

Progress = Callable[[str, int, int], None]
SCALE = 100.0
"""Factor on cosines before the softmax, as CLIP learns it."""


def tecoa(
    detector: ClipDetector,
    train: Arrays,
    plan: Plan,
    *,
    eps: float = 4,
    steps: int = 5,
    progress: Progress = lambda task, done, total: None,
) -> list[float]:
    """Fine-tune the tower in place; returns the mean loss of each epoch.

    Inner attack and outer loss are the cross-entropy of the attacked image's cosines with two texts, real and
    AI-generated. Source: Mao et al., Understanding Zero-Shot Adversarial Robustness, ICLR 2023.

    Args:
        eps: L-inf radius in grey levels. steps: of the inner attack.
    """
    texts = caption_embeddings(detector)

    def aim(images: Tensor, labels: Tensor) -> LossOf:
        return lambda embedding: F.cross_entropy(
            SCALE * F.normalize(embedding, dim=1) @ texts.T, labels, reduction="none"
        )

    return fine_tune_tower(detector, train, plan, aim, eps=eps, steps=steps, task="tecoa", progress=progress)


@torch.no_grad()
def caption_embeddings(detector: ClipDetector) -> Tensor:
    """Unit embeddings ``(2, D)`` of the captions of real and of AI-generated images, averaged over what they show."""
    import open_clip  # seconds, as in clip_mlp

    whole = detector.both_towers().eval()
    tokenize = open_clip.SimpleTokenizer(context_length=whole.context_length)
    things = [name for name in CLASSES if name != "photograph"]
    sides = [[pair[side].format(thing) for pair in TEMPLATES for thing in things] for side in (0, 1)]
    texts = [whole.encode_text(tokenize(captions), normalize=True).mean(dim=0) for captions in sides]
    return F.normalize(torch.stack(texts), dim=1)
