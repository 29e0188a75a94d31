"""Perturbations: changes that ask no detector."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, final

import numpy as np
import torch
from jaxtyping import Num, UInt8
from torch import Tensor

from robustbench_aigi.attacks._engine.batching import changed
from robustbench_aigi.attacks._engine.inputs import check_pixels
from robustbench_aigi.attacks._engine.oracle import Oracle
from robustbench_aigi.attacks.base import Attack, Budget
from robustbench_aigi.errors import UserError
from robustbench_aigi.imaging.pixels import MAX_LEVEL
from robustbench_aigi.io.hashing import Draws


@dataclass(frozen=True, kw_only=True)
class Perturbation(Attack):
    """A change that asks no detector; a subclass writes :meth:`change`, one image at a time.

    Attributes:
        severities: parameter to its five values, mildest first: what ``load_attack(name,
            severity=3)`` fills in.
    """

    access = "none"
    runs_on_device = False
    severities: ClassVar[Mapping[str, tuple[Any, ...]]] = MappingProxyType({})

    def budget(self) -> Budget:
        """Return an empty budget: what happens to images outside the laboratory keeps no norm."""
        return Budget()

    @abstractmethod
    def change(self, image: UInt8[Tensor, "3 h w"], rng: torch.Generator) -> Num[Tensor, "3 h w"]:
        """Change one image.

        Args:
            image: uint8 grey levels ``(3, H, W)``.
            rng: the image's own generator.

        Returns:
            Grey levels of the same shape in any type; the caller rounds and clips them.
        """

    def change_all(
        self,
        images: UInt8[Tensor, "n 3 h w"],
        rngs: Iterator[torch.Generator],
        room: Tensor | None = None,
    ) -> Num[Tensor, "n 3 h w"]:
        """Change any part of a batch; override it where one image at a time is slow.

        Args:
            images: uint8 grey levels ``(N, 3, H, W)``.
            rngs: one generator per image.
            room: uint8 memory of the same shape and layout. The result may be written there, which
                saves a copy of large images.

        Returns:
            Grey levels of the same shape in any type.
        """
        new = [self.change(image, rng).numpy() for image, rng in zip(images, rngs, strict=True)]
        return torch.from_numpy(np.stack(new))

    @final
    def apply(
        self, images: Num[Tensor, "n 3 h w"], ids: Sequence[str], seed: int = 0
    ) -> Num[Tensor, "n 3 h w"]:
        """Change a batch; the result for an image is the same in any batch on any machine.

        Args:
            images: ``(N, 3, H, W)``, floats in [0, 1] or uint8 grey levels.
            ids: one name per image, which seeds its random numbers.
            seed: seed of the run.

        Returns:
            The changed images: float32 in [0, 1] for floats, uint8 for uint8.

        Raises:
            UserError: images are of another type, shape or range, or there are too few ids.
        """
        check_pixels(images)
        if len(ids) != len(images):
            raise UserError(
                f"{len(images)} images need as many ids, got {len(ids)}. Give one name per image."
            )
        given = images if images.dtype == torch.uint8 else images.float()
        return changed(self.change_all, given, 1, Draws(seed, self.name, ids))

    @final
    def perturb(self, oracle: Oracle, rngs: Draws) -> None:
        """Replace the images of ``oracle`` by changed ones drawn with ``rngs``, better or not."""
        oracle.replace(changed(self.change_all, oracle.images, MAX_LEVEL, rngs))
