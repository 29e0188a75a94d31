"""Autoencoders: a small one that is shipped, and any AutoencoderKL of diffusers."""

import copy
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from robustbench_aigi.catalogue import WEIGHTS_FOLDER
from robustbench_aigi.errors import UnavailableError

SMALL_AUTOENCODER = "small-autoencoder"
"""Name of the shipped autoencoder."""
SHIPPED_AUTOENCODER = WEIGHTS_FOLDER / f"{SMALL_AUTOENCODER}.safetensors"
"""Weights of the shipped autoencoder."""


@dataclass(frozen=True, kw_only=True)
class AutoencoderConfig:
    """Shape of the network.

    Attributes:
        fold: pixels per side that become channels; a convolution then halves the size once more.
        widths: channels before and after that convolution.
        latent: channels of the latent.
    """

    fold: int = 2
    widths: tuple[int, int] = (32, 64)
    latent: int = 4


class Residual(nn.Module):
    """Residual block of two 3 x 3 convolutions, each after a group norm and SiLU.

    Args:
        width: channels.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        step = (nn.GroupNorm(8, width), nn.SiLU(), nn.Conv2d(width, width, 3, 1, 1))
        self.net = nn.Sequential(*step, *copy.deepcopy(step))

    def forward(self, inputs: Tensor) -> Tensor:
        """Map ``inputs`` ``(N, width, H, W)`` to the same shape."""
        return inputs + cast("Tensor", self.net(inputs))


class SmallAutoencoder(nn.Module):
    """Convolutional autoencoder of 0.23 M parameters.

    Its latent has 4 channels, at a quarter of an image's height and width.

    Args:
        config: shape of the network; None is that of the shipped one.
    """

    def __init__(self, config: AutoencoderConfig | None = None) -> None:
        super().__init__()
        self.config = config or AutoencoderConfig()
        fold = self.config.fold
        first, second = self.config.widths
        latent = self.config.latent
        self.encoder = nn.Sequential(
            nn.PixelUnshuffle(fold),
            nn.Conv2d(3 * fold**2, first, 3, 1, 1),
            Residual(first),
            nn.Conv2d(first, second, 3, 2, 1),
            Residual(second),
            nn.Conv2d(second, latent, 1),
        )
        self.decoder = nn.Sequential(
            nn.Conv2d(latent, second, 3, 1, 1),
            Residual(second),
            nn.Upsample(scale_factor=2),
            nn.Conv2d(second, first, 3, 1, 1),
            Residual(first),
            nn.Conv2d(first, 3 * fold**2, 3, 1, 1),
            nn.PixelShuffle(fold),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Reconstruct images; the result may leave [0, 1].

        Args:
            images: ``(N, 3, H, W)`` in [0, 1], H and W multiples of ``2 * fold``.
        """
        return cast("Tensor", self.decoder(self.encoder(images * 2 - 1)) + 1) / 2

    def save(self, path: Path) -> None:
        """Write half-precision weights to ``path``, with the configuration in the metadata."""
        tensors = {name: tensor.half().contiguous() for name, tensor in self.state_dict().items()}
        save_file(tensors, path, metadata={"config": json.dumps(asdict(self.config))})

    @classmethod
    def load(cls, path: Path) -> "SmallAutoencoder":
        """Load a model that :meth:`save` wrote to ``path``, in evaluation mode."""
        with safe_open(path, framework="pt") as file:
            fields: dict[str, Any] = json.loads(file.metadata()["config"])
            tensors = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
        model = cls(AutoencoderConfig(**fields | {"widths": tuple(fields["widths"])}))
        model.load_state_dict(tensors)
        return model.eval()


class HubAutoencoder(nn.Module):
    """AutoencoderKL of diffusers, which uses the mean of the latent instead of a draw.

    Args:
        name: hub id or local folder, such as ``stabilityai/sd-vae-ft-mse``; ``ID:vae`` for the
            autoencoder of a pipeline.

    Raises:
        UnavailableError: it is not on this machine, and no hub can be reached.
    """

    def __init__(self, name: str) -> None:
        from diffusers import AutoencoderKL  # takes seconds; the small one needs none of it

        super().__init__()
        address, _, subfolder = name.partition(":")
        try:
            net = AutoencoderKL.from_pretrained(
                address, subfolder=subfolder or None, low_cpu_mem_usage=False
            )
        except (OSError, ValueError) as error:
            raise UnavailableError(
                f"diffusers cannot load an AutoencoderKL from {name!r}:"
                f" {str(error).splitlines()[0]}. Reach the hub once so that HF_HOME holds it, give"
                f" a local folder, or write {SMALL_AUTOENCODER!r}, which is shipped."
            ) from error
        self.net = net.float().eval()

    def forward(self, images: Tensor) -> Tensor:
        """Reconstruct images.

        Args:
            images: ``(N, 3, H, W)`` in [0, 1], H and W multiples of 8.
        """
        latent = self.net.encode(images * 2 - 1).latent_dist.mean
        return cast("Tensor", self.net.decode(latent).sample + 1) / 2


def load_autoencoder(name: str) -> SmallAutoencoder | HubAutoencoder:
    """Load an autoencoder, in evaluation mode.

    Args:
        name: ``small-autoencoder``, which is shipped, or a hub id or local folder.

    Raises:
        UnavailableError: it is not on this machine, and no hub can be reached.
    """
    if name == SMALL_AUTOENCODER:
        return SmallAutoencoder.load(SHIPPED_AUTOENCODER)
    return HubAutoencoder(name)
