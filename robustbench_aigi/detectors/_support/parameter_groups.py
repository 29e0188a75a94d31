"""Parameter groups for an optimizer."""

from typing import Any

from torch import nn


def decayed_groups(part: nn.Module, decay: float) -> list[dict[str, Any]]:
    """Return the trainable parameters of a module in two groups: matrices decayed, vectors not.

    Args:
        part: the module.
        decay: weight decay of matrices.
    """
    free = [parameter for parameter in part.parameters() if parameter.requires_grad]
    matrices = [parameter for parameter in free if parameter.ndim > 1]
    vectors = [parameter for parameter in free if parameter.ndim <= 1]
    return [{"params": matrices, "weight_decay": decay}, {"params": vectors, "weight_decay": 0.0}]


def split_rates(
    groups: list[dict[str, Any]], part: nn.Module, *, inside: float, outside: float
) -> list[dict[str, Any]]:
    """Split parameter groups in two, with one learning rate inside a module and one outside it.

    Args:
        groups: parameter groups, as :func:`decayed_groups` returns them.
        part: the module.
        inside: share of the learning rate for the parameters of the module.
        outside: share of the learning rate for all others.
    """
    held = {id(parameter) for parameter in part.parameters()}
    return [
        {
            **group,
            "params": [p for p in group["params"] if (id(p) in held) == is_inside],
            "lr_scale": share,
        }
        for group in groups
        for is_inside, share in ((True, inside), (False, outside))
    ]
