"""Models that generate or reconstruct images."""

from robustbench_aigi.catalogue import WEIGHTS_FOLDER
from robustbench_aigi.generators.autoencoder import (
    SHIPPED_AUTOENCODER,
    SMALL_AUTOENCODER,
    AutoencoderConfig,
    HubAutoencoder,
    SmallAutoencoder,
    load_autoencoder,
)
from robustbench_aigi.generators.diffusion import CLASS_NAMES, DiffusionConfig, PixelDiffusion

DIFFUSION_NAME = "mini-diffusion"
"""Name of the shipped diffusion model."""
SHIPPED_DIFFUSION = WEIGHTS_FOLDER / f"{DIFFUSION_NAME}.safetensors"
"""The diffusion model trained by this project; see datasets/README.md for how."""

__all__ = [
    "CLASS_NAMES",
    "DIFFUSION_NAME",
    "SHIPPED_AUTOENCODER",
    "SHIPPED_DIFFUSION",
    "SMALL_AUTOENCODER",
    "AutoencoderConfig",
    "DiffusionConfig",
    "HubAutoencoder",
    "PixelDiffusion",
    "SmallAutoencoder",
    "load_autoencoder",
]
