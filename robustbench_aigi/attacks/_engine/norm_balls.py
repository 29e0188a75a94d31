"""The two balls that gradient attacks stay in: random starts, steps, and projections.

A *change* is the difference of an attacked and a clean image in grey levels, ``(M, 3, H, W)``.
"""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from robustbench_aigi.attacks.base import Attack, Budget
from robustbench_aigi.config.relative_size import RelativeSize
from robustbench_aigi.config.units import L2Radius, LinfRadius
from robustbench_aigi.imaging.pixels import MAX_LEVEL

LARGE_IMAGE = 2**20
"""Values of an image, above which norms are summed in float64."""


@dataclass(frozen=True, kw_only=True)
class Ball(Attack):
    """An attack whose changes lie in a norm ball.

    Attributes:
        unit: grey levels per unit of ``eps``.
        deterministic_steps: whether the image shown determines the next step, so that an image seen
            twice is a cycle. This holds where every change is in whole grey levels.
    """

    unit: ClassVar[int]
    deterministic_steps: ClassVar[bool] = False

    eps: float | RelativeSize = 8

    @property
    def radius(self) -> float:
        """``eps`` in grey levels."""
        return float(self.eps) * self.unit

    @property
    def query_budget(self) -> int | None:
        """Maximum number of evaluations per image, or None if it is not bounded."""
        return None

    @abstractmethod
    def size(self, change: Float[Tensor, "m 3 h w"]) -> Float[Tensor, "m 1 1 1"]:
        """Return the ball's norm of each change, ``(M, 1, 1, 1)``.

        Args:
            change: ``(M, 3, H, W)`` in grey levels.
        """

    @abstractmethod
    def random_change(
        self, like: Float[Tensor, "3 h w"], rng: torch.Generator
    ) -> Float[Tensor, "3 h w"]:
        """Return a random change of one image, uniform in the ball.

        Args:
            like: ``(3, H, W)``, whose shape and type the change gets.
            rng: the image's own generator.
        """

    @abstractmethod
    def steepest_step(self, gradient: Float[Tensor, "m 3 h w"]) -> Float[Tensor, "m 3 h w"]:
        """Return the step of size 1 that climbs a gradient fastest; zero where the gradient is.

        It is a tensor of its own, which the caller may overwrite.

        Args:
            gradient: ``(M, 3, H, W)``.
        """

    @abstractmethod
    def project(
        self, change: Float[Tensor, "m 3 h w"], clean: Float[Tensor, "m 3 h w"]
    ) -> Float[Tensor, "m 3 h w"]:
        """Return a nearby change that keeps the image in the ball and in [0, 255].

        It is a tensor of its own, which the caller may overwrite.

        Args:
            change: ``(M, 3, H, W)`` in grey levels.
            clean: the images it belongs to, of the same shape.
        """

    @abstractmethod
    def quantise(
        self, change: Float[Tensor, "m 3 h w"], clean: Float[Tensor, "m 3 h w"]
    ) -> Float[Tensor, "m 3 h w"]:
        """Return the image of a change in whole grey levels, still inside the ball.

        Args:
            change: ``(M, 3, H, W)`` in grey levels, inside the ball.
            clean: the images it belongs to, of the same shape.
        """


@dataclass(frozen=True, kw_only=True)
class LinfBall(Ball):
    """At most ``eps`` grey levels on every value."""

    unit = 1
    deterministic_steps = True

    eps: LinfRadius = 8

    def budget(self) -> Budget:
        """Return ``eps`` grey levels on every value."""
        return Budget(linf=self.eps, queries=self.query_budget)

    @property
    def radius(self) -> float:
        """``eps`` in whole grey levels: a part of one cannot be stored in a PNG."""
        return float(int(self.eps))

    def size(self, change: Float[Tensor, "m 3 h w"]) -> Float[Tensor, "m 1 1 1"]:
        """Return the largest absolute value of each ``change``."""
        return greatest(change)

    def random_change(
        self, like: Float[Tensor, "3 h w"], rng: torch.Generator
    ) -> Float[Tensor, "3 h w"]:
        """Return uniform whole grey levels of the shape of ``like``, drawn from ``rng``."""
        levels = int(self.eps)
        drawn = torch.randint(-levels, levels + 1, like.shape, generator=rng, dtype=like.dtype)
        return drawn.to(like.device)

    def steepest_step(self, gradient: Float[Tensor, "m 3 h w"]) -> Float[Tensor, "m 3 h w"]:
        """Return the sign of ``gradient``."""
        return gradient.sign()

    def project(
        self, change: Float[Tensor, "m 3 h w"], clean: Float[Tensor, "m 3 h w"]
    ) -> Float[Tensor, "m 3 h w"]:
        """Clamp ``change`` to the whole levels within ``eps``, then ``clean`` + it to [0, 255]."""
        kept = change.clamp(-self.radius, self.radius)
        return kept.add_(clean).clamp_(0, MAX_LEVEL).sub_(clean)

    def quantise(
        self, change: Float[Tensor, "m 3 h w"], clean: Float[Tensor, "m 3 h w"]
    ) -> Float[Tensor, "m 3 h w"]:
        """Round ``clean`` + ``change``."""
        return (clean + change).round_().clamp_(0, MAX_LEVEL)


@dataclass(frozen=True, kw_only=True)
class L2Ball(Ball):
    """A change of at most ``eps`` in the L2 norm over pixels in [0, 1].

    The change is kept unrounded between steps, so that small gradients add up; every image shown is
    rounded and checked.
    """

    unit = MAX_LEVEL

    eps: L2Radius = 1.0

    def budget(self) -> Budget:
        """Return ``eps`` as the norm of the whole image's change."""
        return Budget(l2=self.eps, queries=self.query_budget)

    def size(self, change: Float[Tensor, "m 3 h w"]) -> Float[Tensor, "m 1 1 1"]:
        """Return the L2 norm of each ``change``."""
        return length(change)

    def random_change(
        self, like: Float[Tensor, "3 h w"], rng: torch.Generator
    ) -> Float[Tensor, "3 h w"]:
        """Return a change of the shape of ``like``, uniform in the ball, drawn from ``rng``."""
        direction = torch.randn(like.shape, generator=rng, dtype=like.dtype)
        radius: float = torch.rand((), generator=rng).item() ** (1 / like.numel()) * self.radius
        return direction.mul_(radius / float(torch.linalg.vector_norm(direction))).to(like.device)

    def steepest_step(self, gradient: Float[Tensor, "m 3 h w"]) -> Float[Tensor, "m 3 h w"]:
        """Return ``gradient`` itself, scaled to one grey level."""
        return scaled(gradient, 1.0)

    def project(
        self, change: Float[Tensor, "m 3 h w"], clean: Float[Tensor, "m 3 h w"]
    ) -> Float[Tensor, "m 3 h w"]:
        """Clamp ``clean`` + ``change`` to [0, 255], then shrink the change to the ball.

        Shrinking cannot undo the clamp.
        """
        kept = (clean + change).clamp_(0, MAX_LEVEL).sub_(clean)
        return kept.mul_((self.radius / length(kept).clamp(min=1e-12)).clamp(max=1))

    def quantise(
        self, change: Float[Tensor, "m 3 h w"], clean: Float[Tensor, "m 3 h w"]
    ) -> Float[Tensor, "m 3 h w"]:
        """Round ``clean`` + ``change``.

        Where that leaves the ball, the change is shrunk a little and rounded again; in the end it
        is rounded towards the clean image.
        """
        rounded = change.round()
        for _ in range(3):
            over = is_longer(rounded, self.radius)
            if not bool(over.any()):
                return rounded.add_(clean)
            change = torch.where(over, change * (0.999 * self.radius / length(rounded)), change)
            rounded = change.round()
        return clean + torch.where(is_longer(rounded, self.radius), change.trunc(), rounded)


def length(change: Float[Tensor, "m 3 h w"]) -> Float[Tensor, "m 1 1 1"]:
    """Return the L2 norm of each image's change, ``(N, 1, 1, 1)``.

    Args:
        change: ``(N, 3, H, W)``.

    Example:
        >>> length(torch.ones(1, 3, 2, 2)).flatten()
        tensor([3.4641])
    """
    return _length(change).to(change)


def is_longer(change: Float[Tensor, "m 3 h w"], radius: float) -> Bool[Tensor, "m 1 1 1"]:
    """Return whether the L2 norm of each image's change exceeds a radius.

    Args:
        change: ``(M, 3, H, W)``, whole grey levels.
        radius: in grey levels.

    Example:
        >>> is_longer(torch.ones(1, 3, 2, 2), 3.4).item()
        True
    """
    return _length(change) > radius


def _length(change: Tensor) -> Tensor:
    """Return norms; large images are summed in float64, where float32 is off by half a percent."""
    if change.shape[1:].numel() > LARGE_IMAGE and len(change):
        return torch.stack([_image_length(image) for image in change]).view(-1, 1, 1, 1)
    lengths: Tensor = torch.linalg.vector_norm(change, dim=(1, 2, 3), keepdim=True)
    return lengths


def _image_length(image: Tensor) -> Tensor:
    """Return the norm of one image in float64, part by part so that it is not copied."""
    parts = image.flatten().split(LARGE_IMAGE)
    return torch.stack([part.double().square_().sum() for part in parts]).sum().sqrt()


def greatest(change: Float[Tensor, "m 3 h w"]) -> Float[Tensor, "m 1 1 1"]:
    """Return the largest absolute value of each image's change, ``(N, 1, 1, 1)``.

    Args:
        change: ``(N, 3, H, W)``.

    Example:
        >>> greatest(torch.full((1, 3, 2, 2), -2.0)).flatten()
        tensor([2.])
    """
    norm: Tensor = torch.linalg.vector_norm(change, torch.inf, dim=(1, 2, 3), keepdim=True)
    return norm


def scaled(gradient: Float[Tensor, "m 3 h w"], size: float) -> Float[Tensor, "m 3 h w"]:
    """Scale each image's gradient to the L2 norm ``size``; a zero gradient stays zero.

    Args:
        gradient: ``(N, 3, H, W)``.
        size: in grey levels.

    Example:
        >>> length(scaled(torch.ones(1, 3, 2, 2), 5.0)).flatten()
        tensor([5.0000])
    """
    largest = greatest(gradient)
    direction = gradient / torch.where(largest > 0, largest, 1)
    norm = length(direction)
    return direction.mul_(size).div_(torch.where(norm > 0, norm, 1))
