"""The two balls that gradient attacks stay in: where to start, which way to step, and how to come
back inside.
"""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from robustbench_aigi.attacks.base import Attack, Budget
from robustbench_aigi.config.units import L2Radius, LinfRadius
from robustbench_aigi.imaging.pixels import LEVELS


@dataclass(frozen=True, kw_only=True)
class Ball(Attack):
    """An attack whose changes lie in a norm ball; a *change* is in grey levels, ``(M, 3, H,
    W)``.
    """

    unit: ClassVar[int]
    """Grey levels in one of ``eps``."""

    eps: float = 8

    @property
    def radius(self) -> float:
        """``eps`` in grey levels."""
        return self.eps * self.unit

    @property
    def query_budget(self) -> int | None:
        """The most evaluations of an image, for an attack that is bounded so."""
        return None

    @abstractmethod
    def size(self, change: Tensor) -> Tensor:
        """The ball's norm of each change, in grey levels, ``(M, 1, 1, 1)``."""

    @abstractmethod
    def start(self, like: Tensor, rng: torch.Generator) -> Tensor:
        """A random change of one image, uniform in the ball, shaped as ``like``."""

    @abstractmethod
    def steepest_step(self, gradient: Tensor) -> Tensor:
        """The step of size 1 that climbs a slope fastest; none where the slope is zero."""

    @abstractmethod
    def project(self, change: Tensor, clean: Tensor) -> Tensor:
        """A change near by that keeps the image in the ball and in [0, 255]."""

    @abstractmethod
    def quantise(self, change: Tensor, clean: Tensor) -> Tensor:
        """The image of a change, in whole grey levels, still inside the ball."""


@dataclass(frozen=True, kw_only=True)
class LinfBall(Ball):
    """At most ``eps`` grey levels on every value."""

    unit = 1

    eps: LinfRadius = 8

    def budget(self) -> Budget:
        """``eps`` grey levels on every value."""
        return Budget(linf=self.eps, queries=self.query_budget)

    @property
    def radius(self) -> float:
        """Whole levels: a part of one cannot be kept in a PNG."""
        return float(int(self.eps))

    def size(self, change: Tensor) -> Tensor:
        """The largest change of a value."""
        return change.abs().amax(dim=(1, 2, 3), keepdim=True)

    def start(self, like: Tensor, rng: torch.Generator) -> Tensor:
        """Uniform whole grey levels."""
        return torch.randint(-int(self.eps), int(self.eps) + 1, like.shape, generator=rng).to(like)

    def steepest_step(self, gradient: Tensor) -> Tensor:
        """One level by the sign of the slope."""
        return gradient.sign()

    def project(self, change: Tensor, clean: Tensor) -> Tensor:
        """Clamp each value to the whole levels within ``eps``, then to [0, 255]."""
        return (clean + change.clamp(-self.radius, self.radius)).clamp(0, LEVELS) - clean

    def quantise(self, change: Tensor, clean: Tensor) -> Tensor:
        """Round."""
        return (clean + change).round().clamp(0, LEVELS)


@dataclass(frozen=True, kw_only=True)
class L2Ball(Ball):
    """A change of at most ``eps`` in the L2 norm over pixels in [0, 1].

    The change is kept unrounded between steps, so that small slopes add up; every image shown is
    rounded and checked.
    """

    unit = LEVELS

    eps: L2Radius = 1.0

    def budget(self) -> Budget:
        """``eps`` as the norm of the whole image's change."""
        return Budget(l2=self.eps, queries=self.query_budget)

    def size(self, change: Tensor) -> Tensor:
        """The length."""
        return length(change)

    def start(self, like: Tensor, rng: torch.Generator) -> Tensor:
        """Uniform in the ball."""
        direction = torch.randn(like.shape, generator=rng, dtype=like.dtype)
        radius: float = torch.rand((), generator=rng).item() ** (1 / like.numel()) * self.radius
        return direction * (radius / float(torch.linalg.vector_norm(direction)))

    def steepest_step(self, gradient: Tensor) -> Tensor:
        """The slope itself, one level long."""
        return scaled(gradient, 1.0)

    def project(self, change: Tensor, clean: Tensor) -> Tensor:
        """Clamp to [0, 255], then shrink to the ball: shrinking keeps the clamp."""
        change = (clean + change).clamp(0, LEVELS) - clean
        return change * (self.radius / length(change).clamp(min=1e-12)).clamp(max=1)

    def quantise(self, change: Tensor, clean: Tensor) -> Tensor:
        """Round; where that leaves the ball shrink a little and round again, at last towards the
        clean image.
        """
        rounded = change.round()
        for _ in range(3):
            over = length(rounded) > self.radius
            if not bool(over.any()):
                return clean + rounded
            change = torch.where(over, change * (0.999 * self.radius / length(rounded)), change)
            rounded = change.round()
        return clean + torch.where(length(rounded) > self.radius, change.trunc(), rounded)


def length(change: Tensor) -> Tensor:
    """L2 norm of each image's change, shaped ``(N, 1, 1, 1)``."""
    lengths: Tensor = torch.linalg.vector_norm(change, dim=(1, 2, 3), keepdim=True)
    return lengths


def scaled(gradient: Tensor, size: float) -> Tensor:
    """Give each image's slope the length ``size``; a zero slope stays zero."""
    largest = gradient.flatten(1).abs().amax(dim=1).view(-1, 1, 1, 1)
    gradient = gradient / torch.where(largest > 0, largest, 1)
    norm = length(gradient)
    return size * gradient / torch.where(norm > 0, norm, 1)
