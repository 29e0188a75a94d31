"""Any network as a detector, in one line: ``rb.wrap``."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import chain
from typing import Any, Self, final

import torch
from jaxtyping import Float
from pydantic import ValidationError
from torch import Tensor, nn

from robustbench_aigi.detectors._support.resizing import resize
from robustbench_aigi.detectors.base import GIVEN_WEIGHTS, Card, Detector, Normalise
from robustbench_aigi.detectors.external.inputs import checked_size, checked_statistics
from robustbench_aigi.detectors.external.output_spec import OutputSpec, threshold_logit
from robustbench_aigi.detectors.external.outputs import FakeIndex, Scale
from robustbench_aigi.detectors.external.returned import Key
from robustbench_aigi.errors import UserError

WEIGHT_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
"""Number formats of weights to which images are converted."""


@final
class Wrapped(Detector):
    """A network with its preprocessing: resize, normalise, and one logit from what it returns.

    Args:
        net: maps normalised images, in the number format of its own weights, to outputs.
        card: of the detector.
        size: ``(height, width)`` in pixels of what the network takes.
        mean: of each channel of images in [0, 1]; it is subtracted.
        std: of each channel of images in [0, 1]; images are divided by it.
        output_spec: what the outputs mean.
    """

    default_card = Card(name="wrapped", source=GIVEN_WEIGHTS)
    restorable = False

    def __init__(
        self,
        net: nn.Module | Callable[[Tensor], Any],
        card: Card,
        size: tuple[int, int],
        mean: Iterable[float],
        std: Iterable[float],
        output_spec: OutputSpec,
    ) -> None:
        means, stds = checked_statistics(mean, std)
        outputs: dict[str, Any] = {
            "fake_index": output_spec.fake_index,
            "scale": output_spec.scale,
            "output": output_spec.output,
        }
        super().__init__(input_size=list(size), mean=list(means), std=list(stds), **outputs)
        self.net = net
        self.card = card
        self.size = size
        self.output_spec = output_spec
        self.normalise = Normalise(means, stds)

    def logits(self, images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, " n"]:
        """Return the AI-generated output minus the real one, or the only output.

        Args:
            images: ``(N, 3, H, W)`` in [0, 1].
        """
        inputs = self.normalise(resize(images, self.size, "bilinear"))
        returned = self.net(inputs.to(weights_dtype(self.net, images.dtype)))
        return self.output_spec.logits_from(returned, images, self.card.name)

    def train(self, mode: bool = True) -> Self:
        """Set the mode of all parts, except of an exported program, which has none.

        Args:
            mode: True for training.
        """
        self.training = mode
        for part in self.children():
            with suppress(NotImplementedError):
                part.train(mode)
        return self

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move a network; a plain function has its weights where it looks for them."""
        if isinstance(self.net, nn.Module):
            super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self


def weights_dtype(net: object, default: torch.dtype) -> torch.dtype:
    """Return the floating-point format of a network's first weights.

    Args:
        net: a module, or any other callable.
        default: for a network without such weights.

    Example:
        >>> weights_dtype(nn.Linear(2, 1).half(), torch.float32)
        torch.float16
    """
    if not isinstance(net, nn.Module):
        return default
    formats = (tensor.dtype for tensor in chain(net.parameters(), net.buffers()))
    return next((kind for kind in formats if kind in WEIGHT_DTYPES), default)


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
        mean: of each channel of images in [0, 1]; it is subtracted.
        std: of each channel of images in [0, 1]; images are divided by it.
        fake_index: the output that means AI-generated. With one output: 1 if high means
            AI-generated, 0 if real. With three or more: a list of all that mean AI-generated.
        scale: what the outputs are: ``logit``; ``probability``, in [0, 1], of a sigmoid or a
            softmax; or ``percent``.
        output: the attribute, key or index of the outputs in what the network returns, where that
            is not clear.
        name: what reports call the detector.
        threshold: above it an image is called AI-generated, on the scale of the outputs; 0 or even
            odds if None.
        card: further fields of :class:`Card`.

    Raises:
        UserError: an argument is impossible, such as statistics of pixels in [0, 255].
    """
    if not callable(module):
        raise UserError(
            f"wrap needs a network that can be called, got {type(module).__name__}. Load it first,"
            " as with torch.jit.load(PATH), torch.load(PATH) or torch.export.load(PATH).module()."
        )
    height, width = checked_size(input_size)
    spec = OutputSpec(fake_index, scale, output)
    facts = {"name": name, "input_size": height, "threshold": threshold_logit(threshold, scale)}
    if height != width:
        facts["resize"] = f"bilinear with antialiasing to {height} x {width}, inside the detector"
    return Wrapped(module, card_with(facts | card), (height, width), mean, std, spec).eval()


def card_with(fields: Mapping[str, Any], base: Card | None = None) -> Card:
    """Return a card with the given fields.

    Args:
        fields: by name.
        base: gives the other fields; None for a network given by the user.

    Raises:
        UserError: a card has no such field, or the field takes no such value.
    """
    unknown = fields.keys() - Card.model_fields.keys()
    if unknown:
        raise UserError(
            f"a card has no {', '.join(sorted(unknown))}. Its fields are"
            f" {', '.join(Card.model_fields)}; other arguments of wrap are input_size, mean, std,"
            " fake_index, scale and output."
        )
    defaults = (
        {"source": GIVEN_WEIGHTS, "weights": GIVEN_WEIGHTS} if base is None else base.model_dump()
    )
    try:
        return Card.model_validate(defaults | dict(fields))
    except ValidationError as error:
        fault = error.errors()[0]
        raise UserError(
            f"the card's {'.'.join(map(str, fault['loc']))} is {fault['input']!r}: {fault['msg']}."
        ) from error
