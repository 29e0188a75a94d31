"""The published contract tests pass what keeps the contract, and name the rule that is broken."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from robustbench_aigi.attacks import Attack, Budget, Perturbation
from robustbench_aigi.attacks.base import attacks
from robustbench_aigi.detectors import Card, Detector, wrap
from robustbench_aigi.errors import UserError
from robustbench_aigi.executors import IN_PROCESS
from robustbench_aigi.testing import (
    ContractError,
    check_attack,
    check_detector,
    check_executor,
    check_gradient,
    probe_detector,
    probe_images,
)


@dataclass(frozen=True, kw_only=True)
class Shifted(Perturbation):
    """Add one grey level."""

    def change(self, image: Tensor, rng: torch.Generator) -> Tensor:
        return image.int() + 1


class Unseeded(Shifted):
    """Noise that no seed repeats."""

    def change(self, image: Tensor, rng: torch.Generator) -> Tensor:
        return image.int() + torch.randint(-9, 10, image.shape)


class ByBatch(Shifted):
    """An image's change depends on its place in the batch."""

    def change_all(
        self, images: Tensor, rngs: Iterator[torch.Generator], room: Tensor | None = None
    ) -> Tensor:
        return images.int() + torch.arange(len(images)).view(-1, 1, 1, 1)


class Shameless(Attack):
    """An attack that says it uses gradients, and does not."""

    access = "gradients"

    def budget(self) -> Budget:
        return Budget(linf=0)

    def perturb(self, oracle: Any, rngs: Any) -> None:
        """Do nothing."""


class Meddling(Shifted):
    """An attack that changes the detector it attacks."""

    def __call__(self, detector: Detector, *args: Any, **numbers: Any) -> Any:  # type: ignore[misc]
        with torch.no_grad():
            next(detector.parameters()).add_(1)
        return super().__call__(detector, *args, **numbers)


BROKEN_ATTACKS: dict[type[Attack], str] = {
    Unseeded: "same images for the same seed",
    ByBatch: "same change in any order",
    Shameless: "must use a backward pass",
    Meddling: "weights and buffers as they were",
}


def test_a_perturbation_that_keeps_the_contract_passes() -> None:
    check_attack(Shifted())
    check_attack("pgd-linf", eps=4, steps=2)


@pytest.mark.parametrize("cls", BROKEN_ATTACKS, ids=lambda cls: cls.__name__)
def test_a_broken_attack_is_named_with_its_rule(cls: type[Attack]) -> None:
    assert cls.__name__ not in attacks.names()
    with pytest.raises(ContractError, match=BROKEN_ATTACKS[cls]):
        check_attack(cls())


class Mean(Detector):
    """Mean brightness of an image."""

    default_card = Card(name="mean", source="tests")

    def logits(self, images: Tensor) -> Tensor:
        return images.flatten(1).square().mean(dim=1) - 0.25


class OfTheBatch(Mean):
    """A logit that depends on the other images."""

    def logits(self, images: Tensor) -> Tensor:
        return super().logits(images) - super().logits(images).mean()


class Labels(Mean):
    """One answer for all images."""

    def logits(self, images: Tensor) -> Tensor:
        return super().logits(images).mean(dim=0, keepdim=True)


class OneSize(Mean):
    """Images of 32 x 32 pixels alone."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(3 * 32 * 32, 1)

    def logits(self, images: Tensor) -> Tensor:
        logit: Tensor = self.net(images.flatten(1)[:, : 3 * 32 * 32])
        return logit.squeeze(1) / (images.shape[-1] == 32)


class Forgetful(Mean):
    """State that a file does not hold."""

    def __init__(self) -> None:
        super().__init__()
        self.shift = float(torch.rand(()))

    def logits(self, images: Tensor) -> Tensor:
        return super().logits(images) + self.shift


class Detached(Mean):
    """A gradient of a part of the score alone."""

    def logits(self, images: Tensor) -> Tensor:
        return super().logits(images) + super().logits(images.detach())


class Numpy(Mean):
    """A step outside the graph, declared as one with the identity's gradient."""

    default_card = Card(name="numpy", source="tests", gradient="bpda")

    def logits(self, images: Tensor) -> Tensor:
        rounded = torch.from_numpy(np.round(images.detach().numpy() * 9) / 9)
        return super().logits(images + (rounded - images).detach())


BROKEN_DETECTORS: dict[type[Detector], str] = {
    OfTheBatch: "same score in any batch",
    Labels: r"must return the shape \(4,\), got \(1,\)",
    OneSize: "must take an image of 33 x 33 pixels",
    Forgetful: "same scores after it was saved and loaded",
}


def test_detectors_that_keep_the_contract_pass() -> None:
    for detector in (Mean(), probe_detector()):
        check_detector(detector)
        check_gradient(detector)
    check_gradient(Numpy())
    wrapped = wrap(nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 1)), input_size=16)
    check_detector(wrapped.eval())


@pytest.mark.parametrize("cls", BROKEN_DETECTORS, ids=lambda cls: cls.__name__)
def test_a_broken_detector_is_named_with_its_rule(cls: type[Detector]) -> None:
    with pytest.raises(ContractError, match=BROKEN_DETECTORS[cls]):
        check_detector(cls())


def test_a_cut_in_the_graph_is_found() -> None:
    with pytest.raises(ContractError, match=r"off by 100\.0%"):
        check_gradient(Detached())
    images, _ = probe_images()
    with pytest.raises(ContractError, match="must not be zero"):
        check_gradient(Mean(), torch.zeros_like(images))


class Inline:
    """An executor that keeps the contract; the ones below break one rule each."""

    workers = 1

    def map_ordered(self, work: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        yield from map(work, items)

    @classmethod
    def from_options(cls, options: object) -> "Inline":
        return cls()


class Reversed(Inline):
    def map_ordered(self, work: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        yield from reversed(list(map(work, items)))


class Eager(Inline):
    def map_ordered(self, work: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        yield from map(work, list(items))


class Silent(Inline):
    def map_ordered(self, work: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        with suppress(UserError):
            yield from map(work, items)


class Rewording(Inline):
    def map_ordered(self, work: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        try:
            yield from map(work, items)
        except UserError as error:
            raise RuntimeError(str(error)) from error


BROKEN_EXECUTORS: dict[type[Inline], str] = {
    Reversed: "must give results in order",
    Eager: "read 1000 of 1000",
    Silent: "it raised nothing",
    Rewording: "got RuntimeError",
}


def test_executors_that_keep_the_contract_pass() -> None:
    check_executor(IN_PROCESS)
    check_executor(Inline())


@pytest.mark.parametrize("cls", BROKEN_EXECUTORS, ids=lambda cls: cls.__name__)
def test_a_broken_executor_is_named_with_its_rule(cls: type[Inline]) -> None:
    with pytest.raises(ContractError, match=BROKEN_EXECUTORS[cls]):
        check_executor(cls())
