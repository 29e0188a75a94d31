"""Adversarial training: fit on images attacked through the detector's own gradients as it learns."""

from torch import Tensor

from robustbench_aigi.attacks import Attack
from robustbench_aigi.detectors import Detector
from robustbench_aigi.grid import from_bytes, snap
from robustbench_aigi.training.arrays import Arrays
from robustbench_aigi.training.fit import Objective


def pgd_training(attack_of: "AttackSchedule", clean_share: float = 0.5, seed: int = 0) -> Objective:
    """Objective of adversarial training: a share of the detector's loss on clean images, the rest on attacked.

    Source: Madry et al., ICLR 2018; the clean term keeps a detector from calling everything one class.
    """

    def objective(detector: Detector, images: Tensor, labels: Tensor, step: int) -> Tensor:
        ids = [f"{step}-{place}" for place in range(len(labels))]
        attacked = attack_of(step)(detector, snap(images), labels, ids=ids, seed=seed, full=True).images
        hard = detector.loss(attacked, labels)
        return hard if clean_share == 0 else clean_share * detector.loss(images, labels) + (1 - clean_share) * hard

    return objective


class AttackSchedule:
    """The attack of each step: eps grows linearly over the first ``ramp`` steps, so that learning starts at all."""

    def __init__(self, name: str, eps: float, steps: int, ramp: int) -> None:
        self._name, self._eps, self._steps, self._ramp = name, eps, steps, max(1, ramp)

    def __call__(self, step: int) -> Attack:
        """The attack for training step ``step``."""
        from robustbench_aigi.attacks import load_attack

        eps = max(1.0, round(self._eps * min(1.0, (step + 1) / self._ramp)))
        return load_attack(self._name, eps=eps, step=max(1.0, round(2.5 * eps / self._steps)), steps=self._steps)


def robust_accuracy(detector: Detector, data: Arrays, attack: Attack, seed: int = 0) -> float:
    """Balanced accuracy under an attack, to pick the epoch by: mean of the accuracies on reals and on fakes."""
    right: list[float] = []
    for label in (0, 1):
        images, labels = data.images[data.labels == label], data.labels[data.labels == label]
        fooled = 0
        for start in range(0, len(labels), 250):
            part = slice(start, start + 250)
            ids = [f"{label}-{start + i}" for i in range(len(labels[part]))]
            fooled += int(attack(detector, from_bytes(images[part]), labels[part], ids=ids, seed=seed).fooled.sum())
        right.append(1 - fooled / len(labels))
    return sum(right) / 2
