"""Networks of timm that detectors are built on, with public weights where a hub can be reached."""

from typing import Any, Literal, cast

from torch import nn

from robustbench_aigi.detectors._support.fetching import is_fetching_weights
from robustbench_aigi.errors import UnavailableError


def timm_backbone(name: str, *, pretrained: bool, **numbers: Any) -> nn.Module:
    """Build a timm model.

    Args:
        name: timm's name, with the tag of the weights, such as ``resnet50.tv_in1k``.
        pretrained: fetch the weights that the tag names, unless a checkpoint is being read.
        numbers: further arguments of ``timm.create_model``, such as ``num_classes=1``.

    Raises:
        UnavailableError: the weights are not on this machine and no hub can be reached.
    """
    import timm  # takes seconds

    pretrained = pretrained and is_fetching_weights()
    try:
        return cast("nn.Module", timm.create_model(name, pretrained=pretrained, **numbers))
    except (OSError, RuntimeError) as error:
        if not pretrained:
            raise
        raise UnavailableError(
            f"timm cannot fetch the weights of {name}: {str(error).splitlines()[0]}. Reach the hub"
            " once so that HF_HOME holds them, or write pretrained=False and load a checkpoint"
            " with weights=PATH."
        ) from error


def cifar_resnet(
    block: Literal["basic", "bottleneck"], depths: tuple[int, ...], width: int
) -> nn.Module:
    """Build a ResNet with one output for 32 x 32 pixels: 3 x 3 stem of stride 1, no max-pooling.

    Args:
        block: kind of the residual blocks.
        depths: blocks of each stage.
        width: channels of the first stage; each stage doubles them.
    """
    from timm.models.resnet import BasicBlock, Bottleneck, ResNet  # takes seconds

    widths = tuple(width << stage for stage in range(len(depths)))
    net = ResNet(
        Bottleneck if block == "bottleneck" else BasicBlock,
        depths,
        num_classes=1,
        channels=widths,
        stem_width=width,
    )
    net.conv1 = nn.Conv2d(3, net.conv1.out_channels, 3, padding=1, bias=False)
    net.maxpool = nn.Identity()
    return cast("nn.Module", net)
