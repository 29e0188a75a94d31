"""A detector whose arguments have the names of those of every detector."""

from typing import Any

from torch import Tensor

from robustbench_aigi.detectors import (
    Card,
    Detector,
)


class Level(Detector):
    """Brightness above a level; weights and threshold are its own arguments."""

    default_card = Card(name="level", source="tests")

    def __init__(
        self, level: float, weights: str = "here", threshold: int = 3, **more: Any
    ) -> None:
        super().__init__(level=level, weights=weights, threshold=threshold)
        self.level = level
        self.more = more

    def logits(self, images: Tensor) -> Tensor:
        return images.mean(dim=(1, 2, 3)) - self.level
