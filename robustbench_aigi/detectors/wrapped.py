"""Anyone's network as a detector, in one line."""

from typing import Any, cast, final

from torch import Tensor, nn

from robustbench_aigi.detectors.anyone.ends import check_ends, one_logit
from robustbench_aigi.detectors.base import Card, Detector, Normalise
from robustbench_aigi.detectors.resizing import fit_size


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
        return one_logit(outputs, self.fake_index, "logit", self.card.name)


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
    check_ends(fake_index, "logit")
    fields = {"source": "given by the user", "weights": "given by the user", **card}
    described = Card(name=name, input_size=input_size, threshold=threshold, **fields)
    return Wrapped(module, described, mean, std, fake_index).eval()
