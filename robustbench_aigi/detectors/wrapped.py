"""Anyone's network as a detector, in one line."""

from typing import Any, cast, final

from torch import Tensor, nn

from robustbench_aigi.detectors.base import Card, Detector, Normalise, fit_size
from robustbench_aigi.errors import UserError


@final
class Wrapped(Detector):
    """A network with its own preprocessing inside: resize, normalise, and one logit from one or two outputs."""

    default_card = Card(name="wrapped", source="given by the user")
    restorable = False

    def __init__(
        self, net: nn.Module, card: Card, mean: tuple[float, ...], std: tuple[float, ...], fake_index: int
    ) -> None:
        super().__init__()
        self.net = net
        self.card = card
        self.fake_index = fake_index
        self.normalise = Normalise(mean, std)

    def logits(self, images: Tensor) -> Tensor:
        """Score ``(N, 3, H, W)`` images in [0, 1]: the AI-generated output minus the real one, or the only output."""
        outputs = cast("Tensor", self.net(self.normalise(fit_size(images, self.card.input_size))))
        outputs = outputs.reshape(len(images), -1)
        if outputs.shape[1] == 1:
            return outputs[:, 0] if self.fake_index == 1 else -outputs[:, 0]
        if outputs.shape[1] == 2:
            return outputs[:, self.fake_index] - outputs[:, 1 - self.fake_index]
        raise UserError(f"a wrapped network must have 1 or 2 outputs, got {outputs.shape[1]}. Put a binary head on it.")


def wrap(
    module: nn.Module,
    *,
    input_size: int,
    mean: tuple[float, ...] = (0.0, 0.0, 0.0),
    std: tuple[float, ...] = (1.0, 1.0, 1.0),
    fake_index: int = 1,
    name: str = "mine",
    threshold: float = 0.0,
    **card: Any,
) -> Detector:
    """Wrap a network that gives one logit, or two.

    Args:
        module: maps normalised ``(N, 3, input_size, input_size)`` to ``(N,)``, ``(N, 1)`` or ``(N, 2)`` logits.
        fake_index: the output that means AI-generated. With one output: 1 if high means AI-generated, 0 if real.
        card: further fields of :class:`Card`.

    Raises:
        UserError: ``fake_index`` is neither 0 nor 1.
    """
    if fake_index not in (0, 1):
        raise UserError(
            f"fake_index must be 0 or 1, got {fake_index}. Write 1 if the second output means AI-generated."
        )
    fields = {"source": "given by the user", **card}
    described = Card(name=name, input_size=input_size, threshold=threshold, **fields)
    return Wrapped(module, described, mean, std, fake_index).eval()
