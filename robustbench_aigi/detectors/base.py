"""The contract of a detector, and the registry of all of them."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from itertools import chain
from types import MappingProxyType
from typing import Any, ClassVar, Literal, NamedTuple, Protocol

import torch
from pydantic import BaseModel
from torch import Tensor, nn
from torch.nn import functional as F

from robustbench_aigi.errors import LogitsError
from robustbench_aigi.registry import Registry

PACKAGE = __name__.partition(".")[0]
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)

FRESH, GIVEN, TRAINED_HERE = "fresh", "given by the user", "trained in this process"
"""What a card says of weights: that nothing was trained, or where they come from if no file or hub
does.
"""


OWN_CODE = "MIT"
NO_WEIGHTS = "none: no weights are shipped"
FROM_SCRATCH = "none: trained from scratch"
UNKNOWN_LICENCE = "unknown"
"""What a card states of a licence that nobody has stated; it is never cleared for commercial use.
"""


class Card(BaseModel, frozen=True, extra="forbid"):
    """What a user must know of a detector before trusting its numbers.

    Attributes:
        threshold: a logit: above it an image is called AI-generated.
        seen: names of the attacks met in training.
        weights: ``fresh`` exactly where nothing was trained: drawn when the detector was built.
        score_step: smallest step between two scores on the probability scale; 0 none seen, 1
            verdicts alone.
        commercial: whether all licences permit commercial use; False unless the detector's author
            states it.
        cam: dotted name of the part whose feature map Grad-CAM weighs.
        published: what its authors, or the study that used it, reported.
        trained_size: smallest and largest side in pixels of the images that it learnt from; None if
            unknown.
    """

    name: str
    source: str
    summary: str = ""
    code_licence: str = UNKNOWN_LICENCE
    weights_licence: str = UNKNOWN_LICENCE
    base_licence: str = UNKNOWN_LICENCE
    commercial: bool = False
    input_size: int = 32
    resize: str = "bilinear with antialiasing to the input size, inside the detector"
    orientation: str = "logit > threshold means AI-generated"
    gradient: Literal["full", "eot", "bpda", "none"] = "full"
    stochastic: bool = False
    threshold: float = 0.0
    score_step: float = 0.0
    cam: str = ""
    published: str = ""
    weights: str = GIVEN
    trained_on: str = ""
    trained_size: tuple[int, int] | None = None
    seen: tuple[str, ...] = ()


class Service(NamedTuple):
    """What asking a detector on another machine takes.

    ``requests_per_image`` is the least; ``price`` is of one image, None if not known;
    ``requests_per_second`` is the most that may be sent, None if not limited here; ``budget`` is
    the most requests that will be sent.
    """

    requests_per_image: int
    price: float | None
    currency: str
    requests_per_second: float | None
    budget: int


class Detector(nn.Module, ABC):
    """A network that scores images. A subclass writes :meth:`logits` and gives a class-level
    ``card``.

    Its keyword arguments must be JSON values: they are kept as ``config`` and written beside the
        weights.

    Attributes:
        small: arguments of a small network of the same kind, for trials and tests.
        at_once: most images that an attack shows it in one pass.
        last_layer: dotted name of what a public checkpoint of more than two classes does not bring;
            empty if nothing.
        restorable: whether a file can say how to build it again.
        notes: one sentence each on how it was loaded: what was left out, renamed or is not pinned.
        remote: whether asking it sends images to another machine.
        operational: names in ``config`` that cannot change a logit, such as a budget of requests.
    """

    card: Card
    default_card: ClassVar[Card]
    small: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    restorable: ClassVar[bool] = True
    remote: ClassVar[bool] = False
    operational: ClassVar[frozenset[str]] = frozenset()
    at_once: int = 128
    notes: tuple[str, ...] = ()
    last_layer: str = ""
    config: dict[str, Any]

    def __init__(self, **config: Any) -> None:
        super().__init__()
        self.config = config
        self.card = self.default_card
        if self.card.weights == GIVEN and type(self).__module__.startswith(f"{PACKAGE}."):
            self.card = self.card.model_copy(
                update={"weights": FRESH}
            )  # a user's own class may load what it likes

    @abstractmethod
    def logits(self, images: Tensor) -> Tensor:
        """Score ``(N, 3, H, W)`` float images in [0, 1]; returns ``(N,)`` logits, differentiable in
        the images.
        """

    def forward(self, images: Tensor) -> Tensor:
        """Same as :meth:`logits`."""
        return self.logits(images)

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """As of a module; weights that were fresh are the user's from here on."""
        done = super().load_state_dict(state_dict, strict, assign)
        if self.card.weights == FRESH:
            self.card = self.card.model_copy(update={"weights": GIVEN})
        return done

    def adopted(self, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """The state dict for the tensors of a public checkpoint: a subclass renames what its
        authors call otherwise.
        """
        return tensors

    def parts_to_train(self) -> nn.Module:
        """The part whose parameters a plain fit may change; all of it unless the detector freezes a
        trunk.
        """
        return self

    def parameter_groups(self, decay: float) -> list[dict[str, Any]]:
        """What AdamW gets: matrices decayed, vectors not. ``lr_scale``, if given, is a group's
        share of the rate.
        """
        return decayed(self.parts_to_train(), decay)

    def loss(self, images: Tensor, labels: Tensor) -> Tensor:
        """What a plain fit lowers, a mean over the batch: binary cross-entropy, unless a subclass
        adds to it.
        """
        return F.binary_cross_entropy_with_logits(self.logits(images), labels.to(images.dtype))

    def prepare(self, train: "Labelled", validation: "Labelled") -> None:
        """Look at the data before a fit; a detector without anything to train measures its scale
        and direction here.
        """

    def fingerprint_parts(self) -> Mapping[str, Any] | None:
        """What the logits depend on besides class and card; None leaves it to a walk through all
        attributes.

        For a class that knows better, such as one that runs a file: its hash and the arguments, not
        the session. What no hash can hold is
        :class:`~robustbench_aigi.detectors._support.fingerprint.Unknown` with the reason: then
        results are never reused.
        """
        return None

    @property
    def service(self) -> Service | None:
        """What asking it takes, where it is ``remote``."""
        return None

    @property
    def answer_notes(self) -> list[str]:
        """What is noteworthy about its answers so far, for the user to read."""
        return []

    @property
    def threshold(self) -> float:
        """The operating threshold, a logit."""
        return self.card.threshold


def on_device(detector: Detector, images: Tensor) -> Tensor:
    """Logits ``(N,)`` of images that are wherever they are: they are taken to the detector, and
    slopes come back.

    On an accelerator a batch is filled up to one of few sizes, because a convolution is planned
    anew for each size it meets: seconds for a network, and an attack whose images leave it one by
    one meets them all.
    """
    images = images.to(next(chain(detector.parameters(), detector.buffers()), images).device)
    count = len(images)
    size = (
        count
        if images.device.type == "cpu"
        else max(count, min(usual_size(count), detector.at_once))
    )
    if size == count:
        return _one_per_image(detector.logits(images), images, detector.card.name)
    filled = torch.cat([images, images[:1].detach().expand(size - count, -1, -1, -1)])
    return _one_per_image(detector.logits(filled), filled, detector.card.name)[:count]


def _one_per_image(logits: Tensor, images: Tensor, who: str) -> Tensor:
    """Logits in the images' number format, ``(N,)`` also where they were squeezed or have an axis
    too many.

    Raises ``LogitsError`` for whole numbers, which are labels.
    """
    if not isinstance(logits, Tensor) or not logits.is_floating_point():
        kind = logits.dtype if isinstance(logits, Tensor) else type(logits).__name__
        raise LogitsError(
            f"{who} gave {kind}, and a detector gives a floating-point tensor of logits, no labels."
        )
    return logits.to(images.dtype).reshape(len(images)) if logits.numel() == len(images) else logits


def usual_size(count: int) -> int:
    """The next of 0, 1, 2, 3, 4, 6, 8, 12, 16, 24, ...: at most half more."""
    power = 1 << max(0, count - 1).bit_length()
    return count if count < 2 else power * 3 // 4 if power * 3 // 4 >= count else power


def placed(detector: Detector) -> Detector:
    """The detector, taken to this process's accelerator if torch sees one."""
    device = torch.accelerator.current_accelerator(check_available=True)
    return detector if device is None else detector.to(device)


def decayed(part: nn.Module, decay: float) -> list[dict[str, Any]]:
    """Groups of the parameters of a part that are free: matrices decayed, vectors not."""
    free = [p for p in part.parameters() if p.requires_grad]
    matrices, vectors = [p for p in free if p.ndim > 1], [p for p in free if p.ndim <= 1]
    return [{"params": matrices, "weight_decay": decay}, {"params": vectors, "weight_decay": 0.0}]


class Labelled(Protocol):
    """``images`` uint8 ``(N, 3, H, W)`` and ``labels`` int64 ``(N,)``, 1 = AI-generated."""

    @property
    def images(self) -> Tensor:
        """The pixels."""

    @property
    def labels(self) -> Tensor:
        """The classes."""


detectors: Registry[Detector] = Registry("detector", "robustbench_aigi.detectors")


class Normalise(nn.Module):
    """Subtract a channel mean and divide by a channel deviation, as the network's training did."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Normalise ``(N, 3, H, W)`` images."""
        return (images - self.mean) / self.std


def straight_through(step: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """Apply a step that has no gradient, such as JPEG or rounding, and give it the identity's
    (BPDA).

    Source: Athalye, Carlini & Wagner, Obfuscated Gradients, ICML 2018. A detector with such a step
    in it says ``gradient="bpda"`` on its card.
    """
    with torch.no_grad():
        done = step(images)
    return images + (done - images).detach()
