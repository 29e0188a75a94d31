"""What a foreign network may return: a tensor, an array, or an object, dict or tuple that holds
one.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from robustbench_aigi.errors import LogitsError, UserError

Key = int | str
NAMES: Mapping[str, tuple[str, ...]] = {
    "logit": ("logits", "logit"),
    "probability": ("probabilities", "probability", "probs", "prob", "output_probability"),
    "percent": ("percent", "percentage", "percentages"),
}
"""What an output is called, by its scale, where several could be meant."""


def find_output(
    returned: Any,
    count: int,
    who: str,
    output: Key | None = None,
    scale: str = "logit",
    *,
    many: bool = False,
) -> Tensor:
    """Return the floating-point tensor that holds the scores of ``count`` images.

    Args:
        output: which part to take: an attribute or key, or the index in a tuple. If None, the only
            part that may be meant, or the only one of these with the usual name for ``scale``.
        many: whether more than two outputs are fine.

    Raises:
        UserError: none, or several, may be meant, or what is asked for is a label and no score.
    """
    tensor = as_tensor(returned)
    if tensor is not None and output is None:
        return _score(tensor, who, "it")
    parts = {} if tensor is not None else parts_of(returned, scale)
    if output is not None:
        return _asked(parts, output, who)
    held = {
        key: as_tensor(part)
        for key, part in parts.items()
        if not isinstance(part, int | float | np.generic)
    }
    fit = {key: t for key, t in held.items() if t is not None and _fits(t, count, many)}
    if any(t.ndim for t in fit.values()):  # beside scores, a single number is a loss or the like
        fit = {key: t for key, t in fit.items() if t.ndim}
    called = [key for key in fit if key in NAMES[scale]]
    if len(called) != 1 and len(fit) != 1:
        raise UserError(
            f"{who} returned {described(parts) or type(returned).__name__}, and"
            f" {'several parts' if fit else 'no part'} may hold one score per image."
            f" {'Say which' if parts else 'Return a tensor, or say where it is'}:"
            f" output={_example(fit or parts)}."
        )
    return fit[called[0] if len(called) == 1 else next(iter(fit))]


def columns(scores: Tensor, count: int, who: str) -> Tensor:
    """``(count, K)`` scores, also from what was squeezed; the number of images tells ``(2,)`` of
    one from one of two.

    Raises ``LogitsError`` unless there is a row for each image.
    """
    if scores.ndim and scores.shape[0] == count:
        return scores.reshape(count, -1) if scores.ndim > 1 else scores[:, None]
    if count == 1:
        return scores.reshape(1, -1)
    raise LogitsError(
        f"{who} gave scores of shape {tuple(scores.shape)} for {count} images. Return a row for"
        " each image, (N,), (N, 1) or (N, 2)."
    )


def as_tensor(value: Any) -> Tensor | None:
    """A tensor from a tensor, an array, a number or a list of numbers; None from anything else."""
    if isinstance(value, Tensor):
        return value
    if isinstance(value, np.ndarray | np.generic):
        return torch.from_numpy(np.array(value)) if value.dtype.kind in "fiub" else None
    numbers = value if isinstance(value, list | tuple) and value else [value]
    return (
        torch.tensor(value) if all(isinstance(number, int | float) for number in numbers) else None
    )


def parts_of(returned: Any, scale: str = "logit") -> dict[Key, Any]:
    """The parts of a mapping, a named or plain tuple, a list, or an object, by key, name or
    index.
    """
    if isinstance(returned, Mapping):
        return dict(returned)
    if isinstance(returned, tuple) and hasattr(returned, "_asdict"):
        return dict(returned._asdict())
    if isinstance(returned, tuple | list):
        return dict(enumerate(returned))
    properties = {name: getattr(returned, name) for name in NAMES[scale] if hasattr(returned, name)}
    return dict(getattr(returned, "__dict__", {})) | properties


def described(parts: Mapping[Key, Any]) -> str:
    """Names of parts, and what each is."""
    return ", ".join(f"{key!r}: {_kind(part)}" for key, part in parts.items())


def _asked(parts: Mapping[Key, Any], output: Key, who: str) -> Tensor:
    place = (
        list(parts)[output]
        if isinstance(output, int) and -len(parts) <= output < len(parts)
        else output
    )
    found = as_tensor(parts.get(place))
    if found is None:
        raise UserError(
            f"{who} returned {described(parts) or 'one tensor'}, and output={output!r} is none of"
            f" its tensors. {f'Write output={_example(parts)}' if parts else 'Leave output out'}."
        )
    return _score(found, who, f"output={output!r}")


def _score(tensor: Tensor, who: str, what: str) -> Tensor:
    if not tensor.dtype.is_floating_point:
        raise UserError(
            f"{who} returned {_kind(tensor)}: {what} is a label, and a detector gives a score."
            " Return the floating-point output that the label was made from."
        )
    return tensor


def _fits(tensor: Tensor, count: int, many: bool) -> bool:
    if not tensor.dtype.is_floating_point or (
        count != 1 and (tensor.ndim == 0 or tensor.shape[0] != count)
    ):
        return False
    each = tensor.numel() // max(1, count)
    return each >= 1 and (many or each <= 2)


def _example(parts: Mapping[Key, Any]) -> str:
    return repr(next(iter(parts), "logits"))


def _kind(part: Any) -> str:
    tensor = as_tensor(part)
    if tensor is None:
        return type(part).__name__
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"
