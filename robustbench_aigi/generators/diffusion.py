"""Small class-conditional pixel diffusion model, which samples or reconstructs images."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from robustbench_aigi.imaging.dct import dct_matrix

CLASS_NAMES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
    "photograph",
)
"""Conditions, in order: the ten CIFAR-10 classes, then crops of photographs."""


@dataclass(frozen=True, kw_only=True)
class DiffusionConfig:
    """Shape of the network.

    Attributes:
        size: height and width of images, in pixels.
        fold: pixels per side that become channels (space to depth), which saves most of the work.
        widths: channels of the UNet's levels.
        depth: layers per level.
        classes: names of the conditions.
    """

    size: int = 32
    fold: int = 2
    widths: tuple[int, ...] = (32, 64, 128)
    depth: int = 2
    classes: tuple[str, ...] = CLASS_NAMES


class PixelDiffusion(nn.Module):
    """UNet with v-prediction on a cosine schedule, sampled by DDIM.

    Sources: Ho et al., NeurIPS 2020; Song et al., ICLR 2021.

    Args:
        config: shape of the network.
    """

    dct: Tensor
    power: Tensor

    def __init__(self, config: DiffusionConfig) -> None:
        from diffusers import DDIMScheduler, UNet2DModel  # takes seconds

        super().__init__()
        self.config = config
        channels = 3 * config.fold**2
        self.net = UNet2DModel(
            sample_size=config.size // config.fold,
            in_channels=channels,
            out_channels=channels,
            block_out_channels=config.widths,
            layers_per_block=config.depth,
            down_block_types=("DownBlock2D",) * len(config.widths),
            up_block_types=("UpBlock2D",) * len(config.widths),
            num_class_embeds=len(config.classes),
            norm_num_groups=16,
            attention_head_dim=32,
        )
        self.register_buffer("dct", dct_matrix(config.size).float(), persistent=False)
        self.register_buffer("power", torch.ones(config.size, config.size))
        self.gate = nn.Parameter(torch.full((config.size, config.size), -2.0))
        self.to(memory_format=torch.channels_last)
        self.scheduler = DDIMScheduler(
            beta_schedule="squaredcos_cap_v2",
            prediction_type="v_prediction",
            rescale_betas_zero_snr=True,
            timestep_spacing="trailing",
            clip_sample=True,
        )

    def forward(self, noisy: Tensor, steps: Tensor, classes: Tensor) -> Tensor:
        """Predict v.

        Folding hides slow checkerboards from the network. So a learnt gate blends it, for each DCT
        frequency, with the best linear prediction: the Wiener filter for images with this
        ``power`` spectrum.

        Args:
            noisy: images ``(N, 3, size, size)`` in [-1, 1].
            steps: time steps, int64 ``(N,)``.
            classes: class indices, int64 ``(N,)``.
        """
        folded = F.pixel_unshuffle(noisy, self.config.fold).contiguous(
            memory_format=torch.channels_last
        )
        coarse = F.pixel_shuffle(
            self.net(folded, steps, classes).sample.contiguous(), self.config.fold
        )
        signal = self.scheduler.alphas_cumprod[steps].view(-1, 1, 1, 1)
        gain = (
            (signal * (1 - signal)).sqrt() * (1 - self.power) / (signal * self.power + 1 - signal)
        )
        difference = gain * self.spectrum(noisy) - self.spectrum(coarse)
        blended: Tensor = coarse + self.dct.T @ (self.gate.sigmoid() * difference) @ self.dct
        return blended

    def spectrum(self, images: Tensor) -> Tensor:
        """Return the orthonormal DCT coefficients of ``images`` ``(N, 3, size, size)``."""
        return self.dct @ images @ self.dct.T

    @torch.no_grad()
    def sample(
        self, classes: Sequence[int], rngs: Sequence[torch.Generator], steps: int = 20
    ) -> Tensor:
        """Generate one image per class index, ``(N, 3, size, size)`` in [0, 1].

        Args:
            classes: class indices.
            rngs: one CPU generator per image.
            steps: of denoising.
        """
        noise = torch.stack(
            [torch.randn(3, self.config.size, self.config.size, generator=rng) for rng in rngs]
        )
        self.scheduler.set_timesteps(steps)
        return self._denoise(noise, torch.as_tensor(list(classes)), self.scheduler.timesteps)

    @torch.no_grad()
    def reconstruct(
        self,
        images: Tensor,
        classes: Sequence[int],
        rngs: Sequence[torch.Generator],
        strength: float,
        steps: int = 20,
    ) -> Tensor:
        """Add noise to images, then denoise them.

        Args:
            images: ``(N, 3, size, size)`` in [0, 1].
            classes: class index of each image.
            rngs: one CPU generator per image.
            strength: share of the noise schedule, above 0 and at most 1.
            steps: of denoising, for the whole schedule.

        Raises:
            ValueError: ``strength`` is not in (0, 1].
        """
        if not 0 < strength <= 1:
            raise ValueError(
                f"strength must be above 0 and at most 1, got {strength}. Write 0.4 for a mild"
                " change."
            )
        self.scheduler.set_timesteps(steps)
        timesteps = self.scheduler.timesteps[-max(1, round(strength * steps)) :]
        noise = torch.stack([torch.randn(images.shape[1:], generator=rng) for rng in rngs])
        noisy = self.scheduler.add_noise(images * 2 - 1, noise, timesteps[:1].expand(len(images)))
        return self._denoise(noisy, torch.as_tensor(list(classes)), timesteps)

    def _denoise(self, noisy: Tensor, classes: Tensor, timesteps: Tensor) -> Tensor:
        for step in timesteps:
            predicted = self(noisy, step.expand(len(noisy)), classes)
            noisy = self.scheduler.step(predicted, int(step), noisy).prev_sample
        return (noisy.clamp(-1, 1) + 1) / 2

    def save(self, path: Path) -> None:
        """Write half-precision weights to ``path``, with the configuration in the metadata."""
        tensors = {name: tensor.half().contiguous() for name, tensor in self.state_dict().items()}
        save_file(tensors, path, metadata={"config": json.dumps(asdict(self.config))})

    @classmethod
    def load(cls, path: Path) -> "PixelDiffusion":
        """Load a model that :meth:`save` wrote to ``path``, in evaluation mode."""
        with safe_open(path, framework="pt") as file:
            fields: dict[str, Any] = json.loads(file.metadata()["config"])
            tensors = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
        fields |= {key: tuple(fields[key]) for key in ("widths", "classes")}
        config = DiffusionConfig(**fields)
        model = cls(config)
        model.load_state_dict(tensors)
        return model.eval()
