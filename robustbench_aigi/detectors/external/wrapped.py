"""Anyone's network as a detector, in one line."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import chain
from typing import Any, Self, final

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from robustbench_aigi.detectors._support.resizing import resize
from robustbench_aigi.detectors.base import Card, Detector, Normalise
from robustbench_aigi.detectors.external.inputs import checked_size, checked_statistics
from robustbench_aigi.detectors.external.outputs import Ends, FakeIndex, Scale, threshold_logit
from robustbench_aigi.detectors.external.returned import Key
from robustbench_aigi.errors import UserError

GIVEN = "given by the user"
FORMATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
"""Number formats of weights that images are brought to."""


@final
class Wrapped(Detector):
    """A network with its own preprocessing inside: resize, normalise, and one logit from what it
    returns.

    Args:
        net: maps normalised images, in the number format of its own weights, to what ``ends``
            understands.
        size: ``(height, width)`` in pixels of what it sees.
    """

    default_card = Card(name="wrapped", source=GIVEN)
    restorable = False

    def __init__(
        self,
        net: nn.Module | Callable[[Tensor], Any],
        card: Card,
        size: tuple[int, int],
        mean: Iterable[float],
        std: Iterable[float],
        ends: Ends,
    ) -> None:
        means, stds = checked_statistics(mean, std)
        own: dict[str, Any] = {
            "fake_index": ends.fake_index,
            "scale": ends.scale,
            "output": ends.output,
        }
        super().__init__(input_size=list(size), mean=list(means), std=list(stds), **own)
        self.net = net
        self.card = card
        self.size = size
        self.ends = ends
        self.normalise = Normalise(means, stds)

    def logits(self, images: Tensor) -> Tensor:
        """Score ``(N, 3, H, W)`` images in [0, 1]: the AI-generated output minus the real one, or
        the only output.
        """
        inputs = self.normalise(resize(images, self.size, "bilinear"))
        returned = self.net(inputs.to(number_format(self.net, images.dtype)))
        return self.ends(returned, images, self.card.name)

    def train(self, mode: bool = True) -> Self:
        """Set the mode of all parts; a program that ``torch.export`` wrote has none, and stays as
        it was exported.
        """
        self.training = mode
        for part in self.children():
            with suppress(NotImplementedError):
                part.train(mode)
        return self

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move a network; a function that is no module has its weights where it looks for them."""
        return super()._apply(fn, recurse) if isinstance(self.net, nn.Module) else self  # type: ignore[no-untyped-call]


def number_format(net: object, otherwise: torch.dtype) -> torch.dtype:
    """The floating-point format of a network's first weights, or ``otherwise`` if it has none."""
    if not isinstance(net, nn.Module):
        return otherwise
    formats = (tensor.dtype for tensor in chain(net.parameters(), net.buffers()))
    return next((kind for kind in formats if kind in FORMATS), otherwise)


def wrap(
    module: nn.Module | Callable[[Tensor], Any],
    *,
    input_size: int | Sequence[int],
    mean: Iterable[float] = (0.0, 0.0, 0.0),
    std: Iterable[float] = (1.0, 1.0, 1.0),
    fake_index: FakeIndex = 1,
    scale: Scale = "logit",
    output: Key | None = None,
    name: str = "mine",
    threshold: float | None = None,
    **card: Any,
) -> Detector:
    """Wrap a network that gives one logit, or two, or as many probabilities.

    Args:
        module: maps normalised ``(N, 3, height, width)`` images to ``(N,)``, ``(N, 1)`` or ``(N,
            2)`` outputs, squeezed or not, or to an object, a dict or a tuple that holds them.
            Weights may be float16, bfloat16, float32 or float64.
        input_size: side in pixels, or ``(height, width)``.
        mean, std: of each channel of images in [0, 1]; they are subtracted, and divided by.
        fake_index: the output that means AI-generated. With one output: 1 if high means
            AI-generated, 0 if real. With three or more: a list of all that mean AI-generated.
        scale: what the outputs are: ``logit``; ``probability``, in [0, 1], of a sigmoid or a
            softmax; or ``percent``.
        output: the attribute, key or index of the outputs in what the network returns, where that
            is not clear.
        threshold: above it an image is called AI-generated, on the scale of the outputs; 0 or even
            odds if None.
        card: further fields of :class:`Card`.

    Raises:
        UserError: an argument that cannot be meant, such as statistics of pixels in [0, 255].
    """
    if not callable(module):
        raise UserError(
            f"wrap needs a network that can be called, got {type(module).__name__}. Load it first,"
            " as with torch.jit.load(PATH), torch.load(PATH) or torch.export.load(PATH).module()."
        )
    size = checked_size(input_size)
    ends = Ends(fake_index, scale, output)
    facts = {"name": name, "input_size": size[0], "threshold": threshold_logit(threshold, scale)}
    if size[0] != size[1]:
        facts["resize"] = (
            f"bilinear with antialiasing to {size[0]} x {size[1]}, inside the detector"
        )
    return Wrapped(module, card_with(facts | card), size, mean, std, ends).eval()


def card_with(fields: Mapping[str, Any], base: Card | None = None) -> Card:
    """A card with these fields, the others as in ``base``. Raises ``UserError`` for fields that a
    card has not.
    """
    unknown = fields.keys() - Card.model_fields.keys()
    if unknown:
        raise UserError(
            f"a card has no {', '.join(sorted(unknown))}. Its fields are"
            f" {', '.join(Card.model_fields)}; other arguments of wrap are input_size, mean, std,"
            " fake_index, scale and output."
        )
    begin = {"source": GIVEN, "weights": GIVEN} if base is None else base.model_dump()
    try:
        return Card.model_validate(begin | dict(fields))
    except ValidationError as error:
        fault = error.errors()[0]
        raise UserError(
            f"the card's {'.'.join(map(str, fault['loc']))} is {fault['input']!r}: {fault['msg']}."
        ) from error
