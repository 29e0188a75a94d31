"""What a foreign network's outputs mean, and the threshold on their scale."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from robustbench_aigi.detectors.external.outputs import (
    FakeIndex,
    check_output_spec,
    to_binary_logit,
)
from robustbench_aigi.detectors.external.returned import Key, find_output, score_rows
from robustbench_aigi.errors import UserError


@dataclass(frozen=True)
class OutputSpec:
    """What a foreign network's outputs mean.

    Attributes:
        fake_index: see :func:`to_binary_logit`.
        scale: see :func:`to_binary_logit`.
        output: which part of what the network returns, where that is an object, a dict or a tuple:
            an attribute, key or index.
        clip: see :func:`to_binary_logit`.
    """

    fake_index: FakeIndex = 1
    scale: str = "logit"
    output: Key | None = None
    clip: float | None = None

    def __post_init__(self) -> None:
        check_output_spec(self.fake_index, self.scale)
        given = self.fake_index
        plain = tuple(map(int, given)) if isinstance(given, Sequence) else int(given)
        object.__setattr__(self, "fake_index", plain)

    def logits_from(self, returned: object, images: Tensor, who: str) -> Tensor:
        """Return logits ``(N,)`` in the images' number format from what a network returned.

        Args:
            returned: a tensor, an array, or an object, dict or tuple that holds one.
            images: what the network was shown, ``(N, 3, H, W)``.
            who: the detector's name, for messages.

        Raises:
            UserError: it is not clear which output is meant, or there are too many.
            LogitsError: there is not one row per image.
        """
        many = not isinstance(self.fake_index, int)
        found = find_output(returned, images.shape[0], who, self.output, self.scale, many=many)
        rows = score_rows(found, images.shape[0], who)
        rows = rows.to(torch.promote_types(rows.dtype, images.dtype))
        return to_binary_logit(rows, self.fake_index, self.scale, who, self.clip).to(images)


def threshold_logit(threshold: float | None, scale: str) -> float:
    """Return an operating threshold as a logit.

    Args:
        threshold: on the scale of the outputs; None for even odds.
        scale: ``logit``, ``probability`` or ``percent``.

    Raises:
        UserError: NaN, or no probability strictly between 0 and 1 (0 and 100 for percent).

    Example:
        >>> threshold_logit(50.0, "percent"), threshold_logit(None, "logit")
        (0.0, 0.0)
    """
    if threshold is None:
        return 0.0
    if scale == "logit":
        if math.isnan(threshold):
            raise UserError("threshold must be a logit, got nan. Write 0.0, or leave it out.")
        return float(threshold)
    highest = 100.0 if scale == "percent" else 1.0
    share = threshold / highest
    if not 0 < share < 1:
        raise UserError(
            f"threshold must be a {scale} between 0 and {highest:g}, as the outputs are, got"
            f" {threshold!r}. Write threshold={highest / 2:g}, or leave it out."
        )
    return math.log(share / (1 - share))
