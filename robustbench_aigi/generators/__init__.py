"""Models that generate or reconstruct images."""

from robustbench_aigi.catalogue import WEIGHTS_FOLDER
from robustbench_aigi.generators.autoencoder import (
    SHIPPED_AUTOENCODER,
    SMALL,
    AutoencoderConfig,
    HubAutoencoder,
    SmallAutoencoder,
    load_autoencoder,
)
from robustbench_aigi.generators.diffusion import CLASSES, DiffusionConfig, PixelDiffusion

SHIPPED = WEIGHTS_FOLDER / "mini-diffusion.safetensors"
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
