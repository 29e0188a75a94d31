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

from robustbench_aigi.registry import Registry

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


class Card(BaseModel, frozen=True, extra="forbid"):
    """What a user must know of a detector before trusting its numbers.

    ``threshold`` is a logit: above it an image is called AI-generated. ``seen`` names the attacks met in training.
    ``commercial`` is whether all licences permit commercial use. ``cam`` is the dotted name of the part whose feature
    map Grad-CAM weighs. ``published`` is what its authors, or the study that used it, reported. ``score_step`` is the
    smallest step between two scores, on the probability scale: 0 if none is seen or it was not measured, 1 for a
    detector that answers with labels alone.
    """

    name: str
    source: str
    summary: str = ""
    code_licence: str = "MIT"
    weights_licence: str = "none: no weights are shipped"
    base_licence: str = "none: trained from scratch"
    commercial: bool = True
    input_size: int = 32
    resize: str = "bilinear with antialiasing to the input size, inside the detector"
    orientation: str = "logit > threshold means AI-generated"
    gradient: Literal["full", "eot", "bpda", "none"] = "full"
    stochastic: bool = False
    threshold: float = 0.0
    cam: str = ""
    published: str = ""
    weights: str = "fresh"
    trained_on: str = ""
    seen: tuple[str, ...] = ()
    score_step: float = 0.0


class Service(NamedTuple):
    """What asking a detector on another machine takes.

    ``requests_per_image`` is the least; ``price`` is of one image, None if not known; ``requests_per_second`` is the
    most that may be sent, None if not limited here; ``budget`` is the most requests that will be sent.
    """

    requests_per_image: int
    price: float | None
    currency: str
    requests_per_second: float | None
    budget: int


class Detector(nn.Module, ABC):
    """A network that scores images. A subclass writes :meth:`logits` and gives a class-level ``card``.

    Its keyword arguments must be JSON values: they are kept as ``config`` and written beside the weights.

    Attributes:
        small: arguments of a small network of the same kind, for trials and tests.
        at_once: most images that an attack shows it in one pass.
        restorable: whether a file can say how to build it again.
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
    config: dict[str, Any]

    def __init__(self, **config: Any) -> None:
        super().__init__()
        self.config = config
        self.card = self.default_card

    @abstractmethod
    def logits(self, images: Tensor) -> Tensor:
        """Score ``(N, 3, H, W)`` float images in [0, 1]; returns ``(N,)`` logits, differentiable in the images."""

    def forward(self, images: Tensor) -> Tensor:
        """Same as :meth:`logits`."""
        return self.logits(images)

    def adopted(self, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """The state dict for the tensors of a public checkpoint: a subclass renames what its authors call otherwise."""
        return tensors

    def parts_to_train(self) -> nn.Module:
        """The part whose parameters a plain fit may change; all of it unless the detector freezes a trunk."""
        return self

    def parameter_groups(self, decay: float) -> list[dict[str, Any]]:
        """What AdamW gets: matrices decayed, vectors not. ``lr_scale``, if given, is a group's share of the rate."""
        return decayed(self.parts_to_train(), decay)

    def loss(self, images: Tensor, labels: Tensor) -> Tensor:
        """What a plain fit lowers, a mean over the batch: binary cross-entropy, unless a subclass adds to it."""
        return F.binary_cross_entropy_with_logits(self.logits(images), labels.to(images.dtype))

    def prepare(self, train: "Labelled", validation: "Labelled") -> None:
        """Look at the data before a fit; a detector without anything to train measures its scale and direction here."""

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
    """Logits ``(N,)`` of images that are wherever they are: they are taken to the detector, and slopes come back.

    On an accelerator a batch is filled up to one of few sizes, because a convolution is planned anew for each size it
    meets: seconds for a network, and an attack whose images leave it one by one meets them all.
    """
    images = images.to(next(chain(detector.parameters(), detector.buffers()), images).device)
    count = len(images)
    size = count if images.device.type == "cpu" else max(count, min(usual_size(count), detector.at_once))
    if size == count:
        return detector.logits(images)
    return detector.logits(torch.cat([images, images[:1].detach().expand(size - count, -1, -1, -1)]))[:count]


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
    """Apply a step that has no gradient, such as JPEG or rounding, and give it the identity's (BPDA).

    Source: Athalye, Carlini & Wagner, Obfuscated Gradients, ICML 2018. A detector with such a step in it says
    ``gradient="bpda"`` on its card.
    """
    with torch.no_grad():
        done = step(images)
    return images + (done - images).detach()
