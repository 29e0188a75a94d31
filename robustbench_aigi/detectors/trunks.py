"""Networks that detectors are built on, from timm; their public weights where a hub can be reached."""

from typing import Any, cast

import timm
from torch import nn

from robustbench_aigi.errors import Unavailable


def timm_trunk(name: str, *, pretrained: bool, **numbers: Any) -> nn.Module:
    """A timm model.

    Args:
        name: timm's name, with the tag of the weights, such as ``resnet50.tv_in1k``.
        numbers: further arguments of ``timm.create_model``, such as ``num_classes=1``.

    Raises:
        Unavailable: the weights are not on this machine and no hub can be reached.
    """
    try:
        return cast("nn.Module", timm.create_model(name, pretrained=pretrained, **numbers))
    except (OSError, RuntimeError) as error:
        if not pretrained:
            raise
        raise Unavailable(
            f"timm cannot fetch the weights of {name}: {str(error).splitlines()[0]}. Reach the hub once so that "
            "HF_HOME holds them, or write pretrained=False and load a checkpoint with weights=PATH."
        ) from error
