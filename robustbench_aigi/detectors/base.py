"""The contract of a detector, and the registry of all detectors."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple, Protocol

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from robustbench_aigi.detectors._support.card import (
    FRESH_WEIGHTS,
    FROM_SCRATCH,
    GIVEN_WEIGHTS,
    NO_WEIGHTS,
    OWN_CODE,
    TRAINED_HERE,
    UNKNOWN_LICENCE,
    Card,
)
from robustbench_aigi.detectors._support.parameter_groups import decayed_groups
from robustbench_aigi.detectors._support.recording import record_arguments
from robustbench_aigi.registry import Registry

__all__ = [
    "CLIP_MEAN",
    "CLIP_STD",
    "FRESH_WEIGHTS",
    "FROM_SCRATCH",
    "GIVEN_WEIGHTS",
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "NO_WEIGHTS",
    "OWN_CODE",
    "PACKAGE_NAME",
    "TRAINED_HERE",
    "UNKNOWN_LICENCE",
    "Card",
    "Detector",
    "Labelled",
    "Normalise",
    "Service",
    "TrainingDefaults",
    "detectors",
    "straight_through",
]

PACKAGE_NAME = __name__.partition(".")[0]
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
"""Channel statistics of images in [0, 1]."""


class Service(NamedTuple):
    """The cost of a detector on another machine.

    Attributes:
        requests_per_image: lower bound.
        price: of one image; None if unknown.
        currency: of the price.
        requests_per_second: upper bound; None if not limited here.
        budget: most requests that will be sent.
    """

    requests_per_image: int
    price: float | None
    currency: str
    requests_per_second: float | None
    budget: int


class ImageParts(Protocol):
    """Images that are read part by part: a tensor, or images on disk."""

    def __len__(self) -> int:
        """Return the number of images."""

    def __getitem__(self, index: Any, /) -> "ImageParts":
        """Return the images of an index or of a mask; nothing is read."""

    def split(self, size: int, /) -> Iterable[Tensor]:
        """Return parts of ``size`` images, uint8 ``(N, 3, H, W)``."""


class Labelled(Protocol):
    """Images with their classes."""

    @property
    def images(self) -> ImageParts:
        """Pixels, uint8, ``(N, 3, H, W)``."""

    @property
    def labels(self) -> Tensor:
        """Classes, int64, ``(N,)``, 1 = AI-generated."""


@dataclass(frozen=True)
class TrainingDefaults:
    """Numbers that suit the training of one kind of detector.

    Attributes:
        rate: peak learning rate of AdamW.
        rate_on_few: peak learning rate on few clean images; None derives it from ``rate``.
        keeps_batch_statistics: whether fine-tuning on few clean images keeps the statistics of
            batch normalisation, and lowers the rate, because few images upset them.
    """

    rate: float = 1e-3
    rate_on_few: float | None = None
    keeps_batch_statistics: bool = False


class Detector(nn.Module, ABC):
    """A network that scores images; a subclass writes :meth:`logits` and sets ``default_card``.

    The arguments of the constructor are recorded as ``config`` and written beside the weights, so
    they must be JSON values. If one of them is not, ``config`` is what the constructor passes to
    ``super().__init__`` by name.

    Args:
        config: what to record instead of the constructor's arguments.

    Attributes:
        card: facts about this detector; change them with :meth:`describe`.
        default_card: facts about all detectors of the class.
        small: arguments of a small network of the same kind, for trials and tests.
        training_defaults: numbers that suit its training.
        restorable: whether a file can say how to build it again.
        remote: whether scoring sends images to another machine.
        operational: names in ``config`` that cannot change a logit, such as a budget of requests.
        config_first: names that ``config`` lists first; a checkpoint keeps this order.
        at_once: most images that an attack passes in one batch.
        channels_last: whether an evaluation keeps the weights of its convolutions in this memory
            format, though they were given in another.
        half_gradients: whether attacks take gradients in bfloat16. The scores that count stay in
            the detector's own precision.
        notes: one sentence each on how it was loaded: what was left out, renamed or is not pinned.
        last_layer: dotted name of the layer that a public checkpoint of more than two classes does
            not bring; empty if there is none.
        config: arguments that build it again.
    """

    card: Card
    default_card: ClassVar[Card]
    small: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    training_defaults: ClassVar[TrainingDefaults] = TrainingDefaults()
    restorable: ClassVar[bool] = True
    remote: ClassVar[bool] = False
    operational: ClassVar[frozenset[str]] = frozenset()
    config_first: ClassVar[tuple[str, ...]] = ()
    at_once: int = 128
    channels_last: bool = False
    half_gradients: bool = False
    notes: tuple[str, ...] = ()
    last_layer: str = ""
    config: dict[str, Any]

    def __init_subclass__(cls, **options: Any) -> None:
        """Let the constructor of a subclass record its arguments."""
        super().__init_subclass__(**options)
        if "__init__" in vars(cls):
            cls.__init__ = record_arguments(cls.__init__)  # type: ignore[method-assign]

    def __init__(self, **config: Any) -> None:
        super().__init__()
        if config or "config" not in vars(self):
            self.config = config
        self.card = self.default_card
        is_ours = type(self).__module__.startswith(f"{PACKAGE_NAME}.")
        if is_ours and self.card.weights == GIVEN_WEIGHTS:  # a user's class may load what it likes
            self.describe(weights=FRESH_WEIGHTS)

    @abstractmethod
    def logits(self, images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, " n"]:
        """Score images, differentiably.

        Args:
            images: float batch in [0, 1], ``(N, 3, H, W)``.

        Returns:
            One logit per image, ``(N,)``; above the threshold means AI-generated.
        """

    def forward(self, images: Tensor) -> Tensor:
        """Score ``images``, as :meth:`logits` does."""
        return self.logits(images)

    def describe(self, **facts: Any) -> None:
        """Change facts on the card.

        Args:
            facts: fields of :class:`Card` and their new values, such as ``summary="..."``.

        Raises:
            TypeError: a card has no such field.
        """
        unknown = facts.keys() - Card.model_fields.keys()
        if unknown:
            raise TypeError(
                f"a card has no {', '.join(sorted(unknown))}. Its fields are"
                f" {', '.join(Card.model_fields)}."
            )
        self.card = self.card.model_copy(update=facts)

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """Load weights; the card then no longer calls them fresh.

        Args:
            state_dict: tensors by name.
            strict: whether names must match exactly.
            assign: whether to take over the tensors instead of copying their values.
        """
        done = super().load_state_dict(state_dict, strict, assign)
        if self.card.weights == FRESH_WEIGHTS:
            self.describe(weights=GIVEN_WEIGHTS)
        return done

    def adopted(self, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Return the state dict for a public checkpoint; a subclass renames its tensors here.

        Args:
            tensors: tensors under their authors' names.
        """
        return tensors

    def parts_to_train(self) -> nn.Module:
        """Return the module whose parameters a plain fit may change, which is all by default."""
        return self

    def parameter_groups(self, decay: float) -> list[dict[str, Any]]:
        """Return parameter groups for AdamW, matrices decayed and vectors not.

        Args:
            decay: weight decay of matrices.

        Returns:
            Groups; ``lr_scale``, if given, is a group's share of the learning rate.
        """
        return decayed_groups(self.parts_to_train(), decay)

    def loss(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of a plain fit, binary cross-entropy unless a subclass adds to it.

        Args:
            images: float batch in [0, 1], ``(N, 3, H, W)``.
            labels: classes, ``(N,)``, 1 = AI-generated.

        Returns:
            The mean over the batch, a scalar.
        """
        return F.binary_cross_entropy_with_logits(self.logits(images), labels.to(images.dtype))

    def prepare(self, train: Labelled, validation: Labelled) -> None:
        """Measure on the data what a fit needs; a training-free detector is calibrated here.

        Args:
            train: training images.
            validation: validation images.
        """

    def fingerprint_parts(self) -> Mapping[str, Any] | None:
        """Return what the logits depend on besides class and card; None walks all attributes.

        For a class that knows better, such as one that runs a file: its hash and the arguments, not
        the session. Write :class:`~robustbench_aigi.detectors._support.fingerprint.Unknown` with
        the reason for what no hash can hold; results are then never reused.
        """
        return None

    @property
    def service(self) -> Service | None:
        """The cost of asking it, where it is ``remote``."""
        return None

    @property
    def answer_notes(self) -> list[str]:
        """Sentences for the user on what is noteworthy about its answers so far."""
        return []

    @property
    def threshold(self) -> float:
        """The operating threshold, a logit."""
        return self.card.threshold


detectors: Registry[Detector] = Registry("detector", "robustbench_aigi.detectors")


class Normalise(nn.Module):
    """Subtract a mean and divide by a standard deviation, per channel.

    Args:
        mean: per channel, of images in [0, 1].
        std: per channel, likewise.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Normalise ``images``, ``(N, 3, H, W)``."""
        return (images - self.mean) / self.std


def straight_through(step: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """Apply a step that has no gradient, such as JPEG, with the gradient of the identity (BPDA).

    A detector with such a step in it has ``gradient="bpda"`` on its card.
    Source: Athalye, Carlini & Wagner, Obfuscated Gradients, ICML 2018.

    Args:
        step: maps images to images of the same shape.
        images: ``(N, 3, H, W)``.

    Example:
        >>> pixels = torch.tensor([0.2, 0.7], requires_grad=True)
        >>> straight_through(torch.round, pixels).sum().backward()
        >>> pixels.grad
        tensor([1., 1.])
    """
    with torch.no_grad():
        done = step(images)
    return images + (done - images).detach()
