"""The back end of a foreign network: one logit per image from whatever it returns."""

import importlib
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from numbers import Integral
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from robustbench_aigi.detectors.external.returned import Key, columns, find_output
from robustbench_aigi.errors import LogitsError, UnavailableError, UserError
from robustbench_aigi.extras import install_command

Scale = Literal["logit", "probability", "percent"]
SCALES: tuple[str, ...] = get_args(Scale)
FakeIndex = int | Sequence[int]
"""The output that means AI-generated, or all outputs that do."""
CLIP = 1e-6
"""Probabilities this near 0 or 1 are moved here, so that their logits stay finite: +-13.8."""


_taken_for_logits: ContextVar[list[Tensor] | None] = ContextVar("_taken_for_logits", default=None)


@contextmanager
def logits_seen() -> Iterator[list[Tensor]]:
    """Collect the outputs ``(N, K)`` of foreign networks that are taken for logits inside the
    context.
    """
    seen: list[Tensor] = []
    token = _taken_for_logits.set(seen)
    try:
        yield seen
    finally:
        _taken_for_logits.reset(token)


def optional(package: str, extra: str) -> Any:
    """Import a package that not every installation has. Raises ``UnavailableError`` with the line
    that installs it.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise UnavailableError(
            f"{package} cannot be imported: {error}. Type `{install_command(extra)}`."
        ) from error


def slug(address: str) -> str:
    """An address as a name that is also fit for a folder: ``hf:a/b`` is ``hf-a-b``."""
    return re.sub(r"[^\w.]+", "-", address).strip("-.")


def check_output_spec(fake_index: FakeIndex, scale: str) -> None:
    """Raise ``UserError`` unless the arguments of :func:`to_binary_logit` mean something."""
    if isinstance(fake_index, Sequence) and not isinstance(fake_index, str):
        whole = all(isinstance(index, Integral) and int(index) >= 0 for index in fake_index)
        if not fake_index or not whole or len(set(fake_index)) != len(fake_index):
            raise UserError(
                f"fake_index must name different outputs, each once, got {fake_index!r}. Write all"
                " that mean AI-generated, as in fake_index=[0, 2]."
            )
    elif fake_index not in (0, 1):
        raise UserError(
            f"fake_index must be 0 or 1, got {fake_index!r}. Write the output that means"
            " AI-generated; of three or more outputs a list of all that do, as in fake_index=[2]."
        )
    if scale not in SCALES:
        raise UserError(
            f"scale must be {', '.join(SCALES)}, got {scale!r}. Write what the detector gives."
        )


def to_binary_logit(
    outputs: Tensor, fake_index: FakeIndex, scale: str, who: str, clip: float | None = CLIP
) -> Tensor:
    """``(N,)`` logits from ``(N,)``, ``(N, 1)``, ``(N, 2)`` or, with a list as ``fake_index``,
    ``(N, K)`` outputs.

    Args:
        fake_index: the output that means AI-generated, or a list of all that do: the logit is that
            of their joint probability. With one output: 1 if high means AI-generated, 0 if real.
        scale: ``logit``; ``probability`` for values in [0, 1]; ``percent`` for values in [0, 100].
            It is never guessed.
        who: the detector's name, for messages.
        clip: how near 0 or 1 a probability may be; as near as its number format allows if None, so
            that whatever is not exactly 0 or 1 keeps its own logit and its gradient.

    Raises:
        UserError: another number of outputs. LogitsError: a probability outside [0, 1], or NaN.
    """
    outputs = outputs.reshape(outputs.shape[0] if outputs.ndim else 1, -1)
    fakes, reals = _split(outputs.shape[1], fake_index, who)
    if scale == "logit" and (seen := _taken_for_logits.get()) is not None:
        seen.append(outputs.detach())
    if scale != "logit":
        outputs = _probabilities(outputs, scale, who)
    if outputs.shape[1] == 1:
        single = outputs[:, 0] if scale == "logit" else _within(outputs[:, 0], clip).logit()
        return single if fake_index == 1 else -single
    if scale == "logit":
        return _joint(outputs, fakes) - _joint(outputs, reals)
    return _within(_total(outputs, fakes), clip).log() - _within(_total(outputs, reals), clip).log()


def _split(count: int, fake_index: FakeIndex, who: str) -> tuple[list[int], list[int]]:
    """The outputs that mean AI-generated, and the others. Raises ``UserError``."""
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
    """Outputs in [0, 1]. Raises ``LogitsError`` if one is outside; a graph that is being traced has
    no values yet.
    """
    most = 100.0 if scale == "percent" else 1.0
    if not torch.compiler.is_compiling() and not bool(((outputs >= 0) & (outputs <= most)).all()):
        flat = outputs.detach().flatten()
        worst = float(flat[(flat - most / 2).abs().argmax()])
        raise LogitsError(
            f"{who} gave {worst:g}, which is no {scale} (0 to {most:g}). If it gives logits, write"
            " scale='logit'."
        )
    return outputs / most if scale == "percent" else outputs


def _within(values: Tensor, clip: float | None) -> Tensor:
    if clip is not None:
        return values.clamp(clip, 1 - clip)
    kind = torch.finfo(values.dtype)
    return values.clamp(kind.tiny, 1 - kind.eps / 2)


def _joint(outputs: Tensor, which: list[int]) -> Tensor:
    return outputs[:, which[0]] if len(which) == 1 else outputs[:, which].logsumexp(dim=1)


def _total(outputs: Tensor, which: list[int]) -> Tensor:
    return outputs[:, which[0]] if len(which) == 1 else outputs[:, which].sum(dim=1)


@dataclass(frozen=True)
class Ends:
    """What a foreign network's outputs mean; called with what it returned, it gives ``(N,)``
    logits.

    Attributes:
        fake_index, scale: see :func:`to_binary_logit`.
        output: which part of what it returns, where that is an object, a dict or a tuple: an
            attribute, key or index.
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

    def __call__(self, returned: object, images: Tensor, who: str) -> Tensor:
        """Logits ``(N,)`` in the images' number format, from what the network returned for ``(N, 3,
        H, W)`` images.

        Raises:
            UserError: it is not clear which output is meant, or there are too many. LogitsError:
                not a row per image.
        """
        many = not isinstance(self.fake_index, int)
        found = find_output(returned, images.shape[0], who, self.output, self.scale, many=many)
        rows = columns(found, images.shape[0], who)
        rows = rows.to(torch.promote_types(rows.dtype, images.dtype))
        return to_binary_logit(rows, self.fake_index, self.scale, who, self.clip).to(images)


def threshold_logit(threshold: float | None, scale: str) -> float:
    """An operating threshold as a logit, from one on the scale of the outputs; None is the even
    one.

    Raises:
        UserError: NaN, or no probability strictly between 0 and 1 (0 and 100 for percent).
    """
    if threshold is None:
        return 0.0
    if scale == "logit":
        if math.isnan(threshold):
            raise UserError("threshold must be a logit, got nan. Write 0.0, or leave it out.")
        return float(threshold)
    most = 100.0 if scale == "percent" else 1.0
    share = threshold / most
    if not 0 < share < 1:
        raise UserError(
            f"threshold must be a {scale} between 0 and {most:g}, as the outputs are, got"
            f" {threshold!r}. Write threshold={most / 2:g}, or leave it out."
        )
    return math.log(share / (1 - share))
