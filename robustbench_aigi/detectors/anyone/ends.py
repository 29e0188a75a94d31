"""The two ends of a foreign network: pixels as it wants them, one logit from what it gives."""

import importlib
import re
from typing import Any, Literal

from torch import Tensor

from robustbench_aigi.errors import BadLogits, Unavailable, UserError

Scale = Literal["logit", "probability"]
CLIP = 1e-6
"""Probabilities this near 0 or 1 are moved here, so that their logits stay finite: +-13.8."""


def optional(package: str, extra: str) -> Any:
    """Import a package that not every installation has. Raises ``Unavailable`` with the line that installs it."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise Unavailable(
            f"{package} cannot be imported: {error}. Type `pip install 'robustbench-aigi[{extra}]'`."
        ) from error


def slug(address: str) -> str:
    """An address as a name that is also fit for a folder: ``hf:a/b`` is ``hf-a-b``."""
    return re.sub(r"[^\w.]+", "-", address).strip("-.")


def check_ends(fake_index: int, scale: str) -> None:
    """Raise ``UserError`` unless the arguments of :func:`one_logit` mean something."""
    if fake_index not in (0, 1):
        raise UserError(f"fake_index must be 0 or 1, got {fake_index!r}. Write the output that means AI-generated.")
    if scale not in ("logit", "probability"):
        raise UserError(f"scale must be logit or probability, got {scale!r}. Write what the detector gives.")


def one_logit(outputs: Tensor, fake_index: int, scale: str, who: str) -> Tensor:
    """``(N,)`` logits from ``(N,)``, ``(N, 1)`` or ``(N, 2)`` outputs.

    Args:
        fake_index: the output that means AI-generated. With one output: 1 if high means AI-generated, 0 if real.
        scale: ``logit``, or ``probability`` for values in [0, 1]. It is never guessed.
        who: the detector's name, for messages.

    Raises:
        UserError: another number of outputs. BadLogits: a probability outside [0, 1], or no number at all.
    """
    outputs = outputs.reshape(len(outputs), -1)
    count = outputs.shape[1]
    if count not in (1, 2):
        raise UserError(f"{who} must have 1 or 2 outputs, got {count}. Put a binary head on it.")
    if scale == "probability":
        if not bool(((outputs >= 0) & (outputs <= 1)).all()):
            worst = float(outputs.flatten()[(outputs.flatten() - 0.5).abs().argmax()])
            raise BadLogits(f"{who} gave {worst:g}, which is no probability. If it gives logits, write scale='logit'.")
        outputs = outputs.clamp(CLIP, 1 - CLIP)
        outputs = outputs.log() if count == 2 else outputs.logit()
    if count == 2:
        return outputs[:, fake_index] - outputs[:, 1 - fake_index]
    return outputs[:, 0] if fake_index == 1 else -outputs[:, 0]
