"""Laundering through a generator: the label stays, but the traces become the generator's."""

from collections.abc import Iterator
from dataclasses import dataclass
from types import MappingProxyType
from typing import final

import torch
from torch import Tensor

from robustbench_aigi.attacks.base import attacks
from robustbench_aigi.attacks.perturbation import Perturbation
from robustbench_aigi.config.units import LatentNoise, NoiseShare
from robustbench_aigi.errors import ConfigError
from robustbench_aigi.generators import CLASS_NAMES, DIFFUSION_NAME, SMALL_AUTOENCODER
from robustbench_aigi.generators.launder import launder


@attacks.add("launder-diffusion")
@final
@dataclass(frozen=True, kw_only=True)
class LaunderDiffusion(Perturbation):
    """Add noise up to ``strength`` of the shipped diffusion model's schedule, and denoise.

    The severities are ours. Source: Meng et al., SDEdit, ICLR 2022.

    Args:
        strength: share of the schedule.
        condition: class that the model denoises to.
    """

    strength: NoiseShare = 0.2
    condition: str = "photograph"

    severities = MappingProxyType({"strength": (0.05, 0.1, 0.2, 0.3, 0.4)})

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.condition not in CLASS_NAMES:
            raise ConfigError(
                f"{self.name} has no condition {self.condition!r}. Write one of"
                f" {', '.join(CLASS_NAMES)}."
            )

    def change(self, image: Tensor, rng: torch.Generator) -> Tensor:
        """Launder ``image`` with noise from ``rng``."""
        return self.change_all(image[None], iter([rng]))[0]

    def change_all(
        self, images: Tensor, rngs: Iterator[torch.Generator], room: Tensor | None = None
    ) -> Tensor:
        """Launder ``images`` with noise from ``rngs``; ``room`` is not used."""
        return launder(images, DIFFUSION_NAME, self.strength, list(rngs), condition=self.condition)


@attacks.add("launder-autoencoder")
@final
@dataclass(frozen=True, kw_only=True)
class LaunderAutoencoder(Perturbation):
    """Encode and decode with an autoencoder, with noise of ``strength`` on the latent.

    The severities are ours. Source: Zhao et al., Invisible Image Watermarks Are Provably Removable,
    NeurIPS 2024.

    Args:
        strength: of the noise, as a share of the latent's standard deviation.
        model: ``small-autoencoder``, which ships, or a hub id or folder of AutoencoderKL
            (``ID:vae``), whose content is the same on another machine but for the last grey level.
    """

    strength: LatentNoise = 0.0
    model: str = SMALL_AUTOENCODER

    severities = MappingProxyType({"strength": (0.0, 0.05, 0.1, 0.2, 0.3)})

    def change(self, image: Tensor, rng: torch.Generator) -> Tensor:
        """Launder ``image`` with noise from ``rng``."""
        return self.change_all(image[None], iter([rng]))[0]

    def change_all(
        self, images: Tensor, rngs: Iterator[torch.Generator], room: Tensor | None = None
    ) -> Tensor:
        """Launder ``images`` with noise from ``rngs``; ``room`` is not used."""
        return launder(images, self.model, self.strength, list(rngs))
