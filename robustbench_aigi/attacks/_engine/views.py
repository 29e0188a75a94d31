"""Differentiable views of a detector: behind a delivery, and averaged over its own randomness."""

from typing import final

import torch
from torch import Tensor

from robustbench_aigi.attacks.perturbation import Perturbation
from robustbench_aigi.detectors import Card, Detector, straight_through
from robustbench_aigi.imaging.pixels import snap


@final
class Delivered(Detector):
    """A detector behind a delivery, differentiable by BPDA: its backward pass is the identity.

    A delivery with randomness in it is drawn ``draws`` times, the same draws for every image and
    every call, and the logits are averaged (EOT), so the detector stays deterministic. Source:
    Athalye et al., ICML 2018.

    Args:
        detector: what scores the images that arrive.
        delivery: what happens to an image on its way.
        draws: deliveries averaged per score.
    """

    default_card = Card(name="delivered", source="Athalye et al., ICML 2018", gradient="bpda")
    restorable = False

    def __init__(self, detector: Detector, delivery: Perturbation, draws: int = 1) -> None:
        super().__init__()
        self.detector = detector
        self.delivery = delivery
        self.draws = draws
        self.card = detector.card

    def logits(self, images: Tensor) -> Tensor:
        """Score ``(N, 3, H, W)`` images in [0, 1] as they arrive."""
        scores = [self.detector.logits(self._arrived(images, draw)) for draw in range(self.draws)]
        return torch.stack(scores).mean(dim=0)

    def _arrived(self, images: Tensor, draw: int) -> Tensor:
        ids = [f"eot-{draw}"] * len(images)
        return straight_through(
            lambda sent: self.delivery.apply(snap(sent).cpu(), ids).to(sent), images
        )


@final
class AveragedDetector(Detector):
    """A stochastic detector with logits averaged over fixed draws of torch's generator (EOT).

    Args:
        detector: whose logits are averaged.
        draws: scores averaged.
    """

    default_card = Card(name="averaged", source="Athalye et al., ICML 2018", gradient="eot")
    restorable = False

    def __init__(self, detector: Detector, draws: int) -> None:
        super().__init__()
        self.detector = detector
        self.draws = draws
        self.card = detector.card

    def logits(self, images: Tensor) -> Tensor:
        """Score ``(N, 3, H, W)`` images in [0, 1]; the caller's generator is left as it is."""
        scores = []
        for draw in range(self.draws):
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(draw)
                scores.append(self.detector.logits(images))
        return torch.stack(scores).mean(dim=0)
