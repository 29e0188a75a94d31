"""A detector that is one network on resized images: what most detectors share."""

from collections.abc import Mapping, Sequence
from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from robustbench_aigi.detectors._support.resizing import fit_size
from robustbench_aigi.detectors.base import IMAGENET_MEAN, IMAGENET_STD, Detector, Normalise
from robustbench_aigi.errors import CheckpointError


class Backbone(Detector):
    """One network, ``net``, with one output, on images resized to a square.

    Args:
        net: the network.
        size: side of the square in pixels.
        cam: dotted name of the module whose feature map Grad-CAM weighs.
        mean: per channel, subtracted from images in [0, 1].
        std: per channel, divided by.
        channels_last: keep the network and its input in the memory format that convolutions are
            quicker in.
        fake_index: the output of a two-class checkpoint that means AI-generated.

    Attributes:
        head: name of the network's last linear layer.
    """

    head: ClassVar[str] = "head"

    def __init__(
        self,
        net: nn.Module,
        *,
        size: int,
        cam: str,
        mean: tuple[float, ...] = IMAGENET_MEAN,
        std: tuple[float, ...] = IMAGENET_STD,
        channels_last: bool = False,
        fake_index: int = 1,
    ) -> None:
        super().__init__()
        self.layout = torch.channels_last if channels_last else torch.contiguous_format
        self.net, self.size, self.fake_index = net, size, fake_index
        self.last_layer = f"net.{self.head}"
        self.net.to(memory_format=self.layout)
        self.normalise = Normalise(mean, std)
        self.describe(input_size=size, cam=cam)

    def fitted(self, images: Tensor) -> Tensor:
        """Images ``(N, 3, H, W)`` of any size as ``(N, 3, size, size)``, differentiably."""
        return fit_size(images, self.size)

    def logits(self, images: Tensor) -> Tensor:
        """Score ``(N, 3, H, W)`` images in [0, 1]."""
        inputs = self.normalise(self.fitted(images)).contiguous(memory_format=self.layout)
        return cast("Tensor", self.net(inputs)).squeeze(1)

    def renamed(self, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """The tensors of a public checkpoint under the network's own names."""
        return tensors

    def adopted(self, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """The checkpoint below ``net``; two classes become one logit, more give way to the head
        there is.
        """
        return below_net(self.renamed(tensors), self.state_dict(), self.head, self.fake_index)


def below_net(
    tensors: Mapping[str, Tensor],
    own: Mapping[str, Tensor],
    heads: str | Sequence[str],
    fake_index: int | None,
) -> dict[str, Tensor]:
    """A network's tensors below ``net``; a head of two classes becomes one logit, one of more gives
    way to ``own``.

    Args:
        heads: name of the network's last linear layer, or of all that it has.

    Raises:
        CheckpointError: the head is of one or two classes, and ``fake_index`` is None.
    """
    last = tuple(f"{head}." for head in ([heads] if isinstance(heads, str) else heads))
    state = {}
    for name, value in tensors.items():
        place = f"net.{name}"
        if not name.startswith(last):
            state[place] = value
        elif len(value) <= 2:
            if fake_index is None:
                raise CheckpointError(
                    f"{name} has {len(value)} row(s), and nothing says which class is AI-generated."
                    " Write fake_index=1 if it is the last, or fake_index=0."
                )
            state[place] = one_row(value, fake_index)
        elif place in own:
            state[place] = own[place]
    return state


def one_row(layer: Tensor, fake_index: int) -> Tensor:
    """A linear layer's weight ``(2, D)`` or bias ``(2,)``, turned into that of fake minus real;
    ``(1, D)`` or ``(1,)``.

    A layer that has one output already is given back; its sign turned where ``fake_index`` is 0.
    Raises ``CheckpointError`` for more than two.
    """
    if len(layer) > 2:
        raise CheckpointError(
            f"the checkpoint's head has {len(layer)} outputs, not 1 or 2. Give one of two classes."
        )
    if len(layer) == 1:
        return layer if fake_index == 1 else -layer
    return (layer[fake_index] - layer[1 - fake_index])[None]
