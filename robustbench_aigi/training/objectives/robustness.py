"""Scores of adversarial training's epochs: balanced accuracy, clean and under attacks."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from robustbench_aigi.attacks import Attack, load_attack
from robustbench_aigi.detectors import Detector
from robustbench_aigi.imaging.pixels import from_bytes
from robustbench_aigi.training.arrays import TrainingImages, balanced_accuracy, by_change, pixels_of
from robustbench_aigi.training.config import TrainConfig

SCORE_BATCH = 250
"""Images per attacked batch."""
SCORE_STEPS = 7
"""Steps of PGD, where it scores the weights after an epoch."""


def robust_accuracy(
    detector: Detector, data: TrainingImages, attack: Attack, seed: int = 0
) -> float:
    """Return the balanced accuracy under an attack: the mean over both classes.

    Args:
        detector: in evaluation mode.
        data: images of both classes.
        attack: run on each image.
        seed: of the attack's draws.
    """
    right = []
    for label in (0, 1):
        images = data.images[data.labels == label]
        labels = data.labels[data.labels == label]
        fooled = 0
        for start in range(0, len(labels), SCORE_BATCH):
            part = slice(start, start + SCORE_BATCH)
            pixels = pixels_of(images[part])
            fooled += _fooled(detector, pixels, labels[part], attack, f"{label}", start, seed)
        right.append(1 - fooled / len(labels))
    return sum(right) / 2


def _fooled(
    detector: Detector,
    images: Tensor,
    labels: Tensor,
    attack: Attack,
    name: str,
    start: int,
    seed: int,
) -> int:
    """Count the images of a batch that fool the detector; ids are ``NAME-PLACE``."""
    ids = [f"{name}-{start + place}" for place in range(len(labels))]
    result = attack(detector, from_bytes(images), labels, ids=ids, seed=seed)
    return int(result.fooled.sum())


@dataclass(frozen=True)
class RobustnessScore:
    """Balanced accuracy clean and under attacks; the mean under attacks is the score.

    Images that were changed before, those of a `++` set, are not attacked: their accuracy counts
    beside those under attacks.

    Attributes:
        attacks: from a column's name to its attack.
        not_scored: columns that are reported but not part of the score.
    """

    attacks: Mapping[str, Attack]
    not_scored: Mapping[str, Attack] = field(default_factory=dict)

    def __call__(self, detector: Detector, data: TrainingImages) -> dict[str, float]:
        """Return the score and its columns.

        Args:
            detector: in evaluation mode.
            data: validation images.
        """
        clean, changed = by_change(data)
        scored = {
            name: robust_accuracy(detector, clean, attack) for name, attack in self.attacks.items()
        }
        if changed is not None:
            scored["changed"] = balanced_accuracy(detector, changed)
        others = {
            name: robust_accuracy(detector, clean, attack)
            for name, attack in self.not_scored.items()
        }
        score = sum(scored.values()) / len(scored)
        return {"score": score, "clean": balanced_accuracy(detector, clean), **scored, **others}


def whole_eps(config: TrainConfig) -> int:
    """Return the eps that scores are taken at: whole grey levels, 1 or more."""
    return max(1, round(config.eps))


def linf_attack(config: TrainConfig) -> Attack:
    """Return the L-inf PGD that scores the epochs of a training."""
    eps = whole_eps(config)
    return load_attack("pgd-linf", eps=eps, step=max(1, round(eps / 4)), steps=SCORE_STEPS)
