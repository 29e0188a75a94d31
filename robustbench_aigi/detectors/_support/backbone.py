"""The base class of detectors that are one network on resized images."""

from collections.abc import Mapping, Sequence
from typing import ClassVar, cast

import torch
from jaxtyping import Float
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
        self.net = net
        self.size = size
        self.fake_index = fake_index
        self.last_layer = f"net.{self.head}"
        self.net.to(memory_format=self.layout)
        self.normalise = Normalise(mean, std)
        self.describe(input_size=size, cam=cam)

    def fitted(self, images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 height width"]:
        """Resize images to the network's size, differentiably.

        Args:
            images: ``(N, 3, H, W)`` in [0, 1].

        Returns:
            Images ``(N, 3, size, size)``.
        """
        return fit_size(images, self.size)

    def logits(self, images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, " n"]:
        """Score ``(N, 3, H, W)`` images in [0, 1]."""
        inputs = self.normalise(self.fitted(images)).contiguous(memory_format=self.layout)
        return cast("Tensor", self.net(inputs)).squeeze(1)

    def renamed(self, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Return a public checkpoint's tensors under the network's own names.

        Args:
            tensors: under the names that their authors gave.
        """
        return tensors

    def adopted(self, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Return a public checkpoint's tensors as this detector's state dict.

        Args:
            tensors: under the names that their authors gave. A head of two classes becomes one
                logit; a head of more is replaced by the detector's own.
        """
        return below_net(self.renamed(tensors), self.state_dict(), self.head, self.fake_index)


def below_net(
    tensors: Mapping[str, Tensor],
    own: Mapping[str, Tensor],
    heads: str | Sequence[str],
    fake_index: int | None,
) -> dict[str, Tensor]:
    """Put ``net.`` before the names of a network's tensors, and turn its head into one logit.

    Args:
        tensors: the network's, by name.
        own: the detector's state dict, which replaces a head of three or more classes.
        heads: name of the network's last linear layer, or of all that it has.
        fake_index: the class that means AI-generated; None if nobody said.

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
    """Turn the weight or bias of a last linear layer into that of one logit, fake minus real.

    Args:
        layer: weight ``(2, D)`` or bias ``(2,)``; of one output, ``(1, D)`` or ``(1,)``, only the
            sign changes.
        fake_index: the output that means AI-generated; of one output, 0 changes the sign.

    Returns:
        ``(1, D)`` or ``(1,)``.

    Raises:
        CheckpointError: the layer has more than two outputs.

    Example:
        >>> one_row(torch.tensor([2.0, 5.0]), fake_index=1)
        tensor([3.])
    """
    if len(layer) > 2:
        raise CheckpointError(
            f"the checkpoint's head has {len(layer)} outputs, not 1 or 2. Give one of two classes."
        )
    if len(layer) == 1:
        return layer if fake_index == 1 else -layer
    return (layer[fake_index] - layer[1 - fake_index])[None]
