"""Finding the scores in what a foreign network returns: a tensor, an array, or a container."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from robustbench_aigi.errors import LogitsError, UserError

Key = int | str
"""An attribute, a key, or the index in a tuple."""
OUTPUT_NAMES: Mapping[str, tuple[str, ...]] = {
    "logit": ("logits", "logit"),
    "probability": ("probabilities", "probability", "probs", "prob", "output_probability"),
    "percent": ("percent", "percentage", "percentages"),
}
"""Usual names of outputs, by scale; they decide where several outputs could be meant."""


def find_output(
    returned: Any,
    count: int,
    who: str,
    output: Key | None = None,
    scale: str = "logit",
    *,
    many: bool = False,
) -> Tensor:
    """Return the floating-point tensor that holds the scores of a batch.

    Args:
        returned: what the network returned.
        count: images in the batch.
        who: the detector's name, for messages.
        output: which part to take. If None, the only part that may be meant, or the only one of
            these with a usual name for ``scale``.
        scale: of the outputs.
        many: whether there may be more than two outputs per image.

    Raises:
        UserError: none, or several, may be meant, or what is asked for is a label and no score.

    Example:
        >>> find_output({"logits": torch.ones(2, 1), "labels": torch.ones(2).long()}, 2, "mine")
        tensor([[1.],
                [1.]])
    """
    tensor = as_tensor(returned)
    if tensor is not None and output is None:
        return _check_score(tensor, who, "it")
    parts = {} if tensor is not None else parts_of(returned, scale)
    if output is not None:
        return _asked_part(parts, output, who)
    fitting = _fitting_parts(parts, count, many=many)
    named = [key for key in fitting if key in OUTPUT_NAMES[scale]]
    if len(named) == 1:
        return fitting[named[0]]
    if len(fitting) != 1:
        raise UserError(
            f"{who} returned {describe_parts(parts) or type(returned).__name__}, and"
            f" {'several parts' if fitting else 'no part'} may hold one score per image."
            f" {'Choose one' if parts else 'Return a tensor, or name the part'}:"
            f" output={_example(fitting or parts)}."
        )
    return next(iter(fitting.values()))


def _fitting_parts(parts: Mapping[Key, Any], count: int, *, many: bool) -> dict[Key, Tensor]:
    """Return the parts that may hold the scores of a batch."""
    fitting = {}
    for key, part in parts.items():
        tensor = None if isinstance(part, int | float | np.generic) else as_tensor(part)
        if tensor is not None and _may_be_scores(tensor, count, many=many):
            fitting[key] = tensor
    if any(tensor.ndim for tensor in fitting.values()):
        # beside scores, a single number is a loss or the like
        fitting = {key: tensor for key, tensor in fitting.items() if tensor.ndim}
    return fitting


def score_rows(scores: Tensor, count: int, who: str) -> Tensor:
    """Return scores with one row per image, also from a tensor that was squeezed.

    Args:
        scores: ``(N,)``, ``(N, K)`` or, for one image, ``(K,)`` or a single number.
        count: images in the batch, which distinguishes ``(2,)`` of one image from that of two.
        who: the detector's name, for messages.

    Returns:
        Scores ``(N, K)``.

    Raises:
        LogitsError: there is not one row per image.

    Example:
        >>> score_rows(torch.ones(2), 1, "mine").shape, score_rows(torch.ones(2), 2, "mine").shape
        (torch.Size([1, 2]), torch.Size([2, 1]))
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
    """Return a tensor from a tensor, an array, a number or a list of numbers; else None.

    Args:
        value: any object.

    Example:
        >>> as_tensor([0.5, 1.0]), as_tensor("real")
        (tensor([0.5000, 1.0000]), None)
    """
    if isinstance(value, Tensor):
        return value
    if isinstance(value, np.ndarray | np.generic):
        return torch.from_numpy(np.array(value)) if value.dtype.kind in "fiub" else None
    numbers = value if isinstance(value, list | tuple) and value else [value]
    is_numeric = all(isinstance(number, int | float) for number in numbers)
    return torch.tensor(value) if is_numeric else None


def parts_of(returned: Any, scale: str = "logit") -> dict[Key, Any]:
    """Return the parts of a mapping, tuple, list or object, by key, name or index.

    Args:
        returned: what a network returned.
        scale: of its outputs; properties with usual names for it are included.
    """
    if isinstance(returned, Mapping):
        return dict(returned)
    if isinstance(returned, tuple) and hasattr(returned, "_asdict"):
        return dict(returned._asdict())
    if isinstance(returned, tuple | list):
        return dict(enumerate(returned))
    names = [name for name in OUTPUT_NAMES[scale] if hasattr(returned, name)]
    return dict(getattr(returned, "__dict__", {})) | {n: getattr(returned, n) for n in names}


def describe_parts(parts: Mapping[Key, Any]) -> str:
    """Return the names of parts, and what each is.

    Args:
        parts: see :func:`parts_of`.
    """
    return ", ".join(f"{key!r}: {_kind(part)}" for key, part in parts.items())


def _asked_part(parts: Mapping[Key, Any], output: Key, who: str) -> Tensor:
    key = output
    if isinstance(output, int) and -len(parts) <= output < len(parts):
        key = list(parts)[output]
    found = as_tensor(parts.get(key))
    if found is None:
        advice = f"Write output={_example(parts)}" if parts else "Leave output out"
        raise UserError(
            f"{who} returned {describe_parts(parts) or 'one tensor'}, and output={output!r} is none"
            f" of its tensors. {advice}."
        )
    return _check_score(found, who, f"output={output!r}")


def _check_score(tensor: Tensor, who: str, what: str) -> Tensor:
    """Return a floating-point tensor. Raises ``UserError`` for any other, which is a label."""
    if not tensor.dtype.is_floating_point:
        raise UserError(
            f"{who} returned {_kind(tensor)}: {what} is a label, and a detector gives a score."
            " Return the floating-point output that the label was made from."
        )
    return tensor


def _may_be_scores(tensor: Tensor, count: int, *, many: bool) -> bool:
    """Return whether a tensor is of floating-point numbers, one or two (or many) per image."""
    if not tensor.dtype.is_floating_point:
        return False
    has_rows = tensor.ndim > 0 and tensor.shape[0] == count
    if count != 1 and not has_rows:
        return False
    per_image = tensor.numel() // max(1, count)
    return per_image >= 1 and (many or per_image <= 2)


def _example(parts: Mapping[Key, Any]) -> str:
    return repr(next(iter(parts), "logits"))


def _kind(part: Any) -> str:
    tensor = as_tensor(part)
    if tensor is None:
        return type(part).__name__
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"
