"""What an attack returns: the images, whether they fool the detector, and what they cost."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from robustbench_aigi.attacks._engine.oracle import Oracle
from robustbench_aigi.imaging.norms import norms
from robustbench_aigi.imaging.pixels import MAX_LEVEL

FRESH_DRAWS = 11
"""Scores drawn for each final image of a detector that scores at random; odd, so that there is
always a majority.
"""


@dataclass(frozen=True, kw_only=True)
class Result:
    """What an attack did to a batch of N images, one entry per image.

    For a detector that scores at random, ``fooled`` and ``logits`` come from a score drawn after
    the attack: the score that the search saw is the luckiest of many draws.

    Attributes:
        images: ``(N, 3, H, W)`` in [0, 1], on the 8-bit grid.
        fooled: bool ``(N,)``, whether the detector is wrong on the returned image. Also true where
            it was wrong on the clean one.
        clean_logits: ``(N,)``, before the attack.
        logits: ``(N,)``, after the attack.
        linf: int64 ``(N,)``, achieved L-inf norm in whole grey levels.
        l2: float64 ``(N,)``, achieved L2 norm over pixels in [0, 1].
        l0: int64 ``(N,)``, number of changed pixels.
        forwards: int64 ``(N,)``, forward passes, including the one for the clean logits.
        backwards: int64 ``(N,)``, backward passes.
        fresh: bool ``(K, N)``, whether each of K scores drawn after the attack is wrong. For a
            detector that does not draw it has one row, ``fooled``.
        kept: bool ``(N,)``, whether the detector was wrong when the search met the returned image.
    """

    images: Float[Tensor, "n 3 h w"]
    fooled: Bool[Tensor, " n"]
    clean_logits: Float[Tensor, " n"]
    logits: Float[Tensor, " n"]
    linf: Int[Tensor, " n"]
    l2: Float[Tensor, " n"]
    l0: Int[Tensor, " n"]
    forwards: Int[Tensor, " n"]
    backwards: Int[Tensor, " n"]
    fresh: Bool[Tensor, "draws n"]
    kept: Bool[Tensor, " n"]

    @classmethod
    def of(cls, oracle: Oracle, logits: Tensor) -> "Result":
        """Summarise a finished search.

        Args:
            oracle: what the attack ran on.
            logits: ``(K, N)``, K scores of each of the oracle's best images.
        """
        linf, l2, l0 = norms(oracle.best, oracle.images)
        result = cls(
            images=oracle.best / MAX_LEVEL,
            fooled=oracle.wrong(logits[0]),
            clean_logits=oracle.clean_logits,
            logits=logits[0],
            linf=linf,
            l2=l2,
            l0=l0,
            forwards=oracle.forwards,
            backwards=oracle.backwards,
            fresh=torch.stack([oracle.wrong(row) for row in logits]),
            kept=oracle.fooled,
        )
        return cls(**{name: value.cpu() for name, value in vars(result).items()})
