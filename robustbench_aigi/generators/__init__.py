"""Models that make or reconstruct images."""

from pathlib import Path

from robustbench_aigi.generators.autoencoder import (
    SHIPPED_AUTOENCODER,
    SMALL,
    AutoencoderConfig,
    HubAutoencoder,
    SmallAutoencoder,
    load_autoencoder,
)
from robustbench_aigi.generators.diffusion import CLASSES, DiffusionConfig, PixelDiffusion

SHIPPED = Path(__file__).parent.parent / "weights" / "mini-diffusion.safetensors"
"""The diffusion model trained by this project; see datasets/README.md for how."""

__all__ = [
    "CLASSES",
    "SHIPPED",
    "SHIPPED_AUTOENCODER",
    "SMALL",
    "AutoencoderConfig",
    "DiffusionConfig",
    "HubAutoencoder",
    "PixelDiffusion",
    "SmallAutoencoder",
    "load_autoencoder",
]
