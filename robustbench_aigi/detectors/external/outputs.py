"""One logit per image from whatever a foreign network returns."""

import importlib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from numbers import Integral
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from robustbench_aigi.errors import LogitsError, UnavailableError, UserError
from robustbench_aigi.extras import install_command

Scale = Literal["logit", "probability", "percent"]
SCALE_NAMES: tuple[str, ...] = get_args(Scale)
FakeIndex = int | Sequence[int]
"""The output that means AI-generated, or all outputs that do."""
PROBABILITY_CLIP = 1e-6
"""Probabilities this near 0 or 1 are moved here, so that their logits stay finite: +-13.8."""


_taken_for_logits: ContextVar[list[Tensor] | None] = ContextVar("_taken_for_logits", default=None)


@contextmanager
def logits_seen() -> Iterator[list[Tensor]]:
    """Collect the outputs ``(N, K)`` of foreign networks that are taken for logits inside."""
    seen: list[Tensor] = []
    token = _taken_for_logits.set(seen)
    try:
        yield seen
    finally:
        _taken_for_logits.reset(token)


def import_optional(package: str, extra: str) -> Any:
    """Import a package that not every installation has.

    Args:
        package: the module to import.
        extra: the extra of this package that installs it.

    Raises:
        UnavailableError: it cannot be imported; the message has the command that installs it.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise UnavailableError(
            f"{package} cannot be imported: {error}. Type `{install_command(extra)}`."
        ) from error


def slug(address: str) -> str:
    """Return an address as a name that is also a valid name of a folder.

    Args:
        address: any text.

    Example:
        >>> slug("hf:org/repo")
        'hf-org-repo'
    """
    return re.sub(r"[^\w.]+", "-", address).strip("-.")


def check_output_spec(fake_index: FakeIndex, scale: str) -> None:
    """Raise ``UserError`` unless :func:`to_binary_logit` can use the arguments.

    Args:
        fake_index: see there.
        scale: see there.
    """
    if isinstance(fake_index, Sequence) and not isinstance(fake_index, str):
        are_indices = all(isinstance(index, Integral) and int(index) >= 0 for index in fake_index)
        if not fake_index or not are_indices or len(set(fake_index)) != len(fake_index):
            raise UserError(
                f"fake_index must name different outputs, each once, got {fake_index!r}. Write all"
                " that mean AI-generated, as in fake_index=[0, 2]."
            )
    elif fake_index not in (0, 1):
        raise UserError(
            f"fake_index must be 0 or 1, got {fake_index!r}. Write the output that means"
            " AI-generated; of three or more outputs a list of all that do, as in fake_index=[2]."
        )
    if scale not in SCALE_NAMES:
        raise UserError(
            f"scale must be {', '.join(SCALE_NAMES)}, got {scale!r}. Write what the detector gives."
        )


def to_binary_logit(
    outputs: Tensor,
    fake_index: FakeIndex,
    scale: str,
    who: str,
    clip: float | None = PROBABILITY_CLIP,
) -> Tensor:
    """Return ``(N,)`` logits of AI-generated from a detector's outputs.

    Args:
        outputs: ``(N,)``, ``(N, 1)``, ``(N, 2)`` or, with a list as ``fake_index``, ``(N, K)``.
        fake_index: the output that means AI-generated, or a list of all that do: the logit is that
            of their joint probability. With one output: 1 if high means AI-generated, 0 if real.
        scale: ``logit``; ``probability`` for values in [0, 1]; ``percent`` for values in [0, 100].
            It is never guessed.
        who: the detector's name, for messages.
        clip: how near 0 or 1 a probability may be; as near as its number format allows if None, so
            that whatever is not exactly 0 or 1 keeps its own logit and its gradient.

    Raises:
        UserError: another number of outputs.
        LogitsError: a probability outside [0, 1], or NaN.

    Example:
        >>> to_binary_logit(torch.tensor([[1.0, 3.0]]), 1, "logit", "mine")
        tensor([2.])
    """
    outputs = outputs.reshape(outputs.shape[0] if outputs.ndim else 1, -1)
    fakes, reals = _split(outputs.shape[1], fake_index, who)
    if scale == "logit":
        seen = _taken_for_logits.get()
        if seen is not None:
            seen.append(outputs.detach())
        if outputs.shape[1] == 1:
            return outputs[:, 0] if fake_index == 1 else -outputs[:, 0]
        return _joint_logit(outputs, fakes) - _joint_logit(outputs, reals)
    shares = _probabilities(outputs, scale, who)
    if shares.shape[1] == 1:
        single = _clipped(shares[:, 0], clip).logit()
        return single if fake_index == 1 else -single
    return _clipped(_total(shares, fakes), clip).log() - _clipped(_total(shares, reals), clip).log()


def _split(count: int, fake_index: FakeIndex, who: str) -> tuple[list[int], list[int]]:
    """Return the outputs that mean AI-generated, and the others. Raises ``UserError``."""
    if isinstance(fake_index, int):
        if count not in (1, 2):
            raise UserError(
                f"{who} must have 1 or 2 outputs, got {count}. Put a binary head on it, or write"
                f" all outputs that mean AI-generated, as in fake_index=[{count - 1}]."
            )
        return [fake_index], [1 - fake_index]
    reals = [index for index in range(count) if index not in fake_index]
    if max(fake_index) >= count or not reals:
        raise UserError(
            f"fake_index={list(fake_index)} does not fit {who}, which has {count} outputs: some"
            f" must mean AI-generated and some real. Write indices from 0 to {count - 1}, or 0 or 1"
            " for a single output."
        )
    return list(fake_index), reals


def _probabilities(outputs: Tensor, scale: str, who: str) -> Tensor:
    """Return outputs in [0, 1]. Raises ``LogitsError`` if one is outside.

    A graph that is being traced has no values yet, so there nothing is checked.
    """
    highest = 100.0 if scale == "percent" else 1.0
    if not torch.compiler.is_compiling():
        is_inside = (outputs >= 0) & (outputs <= highest)
        if not bool(is_inside.all()):
            flat = outputs.detach().flatten()
            worst = float(flat[(flat - highest / 2).abs().argmax()])
            raise LogitsError(
                f"{who} gave {worst:g}, which is no {scale} (0 to {highest:g}). If it gives"
                " logits, write scale='logit'."
            )
    return outputs / highest if scale == "percent" else outputs


def _clipped(values: Tensor, clip: float | None) -> Tensor:
    """Move probabilities away from 0 and 1, by ``clip`` or by what the number format allows."""
    if clip is not None:
        return values.clamp(clip, 1 - clip)
    kind = torch.finfo(values.dtype)
    return values.clamp(kind.tiny, 1 - kind.eps / 2)


def _joint_logit(outputs: Tensor, which: list[int]) -> Tensor:
    return outputs[:, which[0]] if len(which) == 1 else outputs[:, which].logsumexp(dim=1)


def _total(outputs: Tensor, which: list[int]) -> Tensor:
    return outputs[:, which[0]] if len(which) == 1 else outputs[:, which].sum(dim=1)
