"""Text to image: any diffusers pipeline by hub id or folder, and the shipped model."""

import inspect
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol, final

import numpy as np
import torch
from torch import Tensor

from robustbench_aigi.errors import ConfigError, DataError, UnavailableError
from robustbench_aigi.generators import (
    CLASS_NAMES,
    DIFFUSION_NAME,
    SHIPPED_DIFFUSION,
    PixelDiffusion,
)
from robustbench_aigi.generators.pipeline_files import (
    load_pipeline,
    pipeline_folder,
)
from robustbench_aigi.imaging.pixels import to_bytes
from robustbench_aigi.io.hashing import file_digest

REQUIRED_ARGUMENTS = frozenset(
    {"prompt", "num_inference_steps", "guidance_scale", "generator", "output_type"}
)
"""Arguments that a text-to-image pipeline must take."""
MAX_DRAWS = 10
"""Draws of one image before its prompt is given up, if a pipeline's safety checker blackens it."""
Precision = Literal["float32", "float16", "bfloat16"]


class Sampler(Protocol):
    """Generates images for prompts.

    Attributes:
        revision: of the model: a commit or a file's hash; empty if unknown.
    """

    revision: str

    def sample(self, prompts: Sequence[str], rngs: Sequence[torch.Generator]) -> Tensor:
        """Return one image per prompt, uint8 ``(N, 3, H, W)``.

        Args:
            prompts: texts.
            rngs: one CPU generator per prompt.
        """


@final
class ShippedSampler:
    """The shipped diffusion model; a prompt is the name of one of its classes.

    Args:
        steps: of denoising.
    """

    def __init__(self, steps: int) -> None:
        self.model = PixelDiffusion.load(SHIPPED_DIFFUSION)
        self.steps = steps
        self.revision = f"sha256:{file_digest(SHIPPED_DIFFUSION)}"

    def sample(self, prompts: Sequence[str], rngs: Sequence[torch.Generator]) -> Tensor:
        """Return one image per prompt, uint8 ``(N, 3, 32, 32)``.

        Args:
            prompts: names of classes.
            rngs: one CPU generator per prompt.

        Raises:
            ConfigError: a prompt is not the name of a class.
        """
        for prompt in prompts:
            if prompt not in CLASS_NAMES:
                raise ConfigError(
                    f"a prompt of {DIFFUSION_NAME} must be a class, got {prompt!r}. Write one of"
                    f" {', '.join(CLASS_NAMES)}."
                )
        classes = [CLASS_NAMES.index(prompt) for prompt in prompts]
        return to_bytes(self.model.sample(classes, rngs, self.steps))


@final
class TextToImage:
    """A diffusers pipeline, read from safetensors; code that comes with a model is never run.

    It runs on a GPU where there is one, else in float32 on the CPU.

    Args:
        name: hub id or local folder, such as ``stabilityai/stable-diffusion-3.5-large-turbo``.
        revision: commit of the hub's repository; None is the newest.
        steps: of denoising.
        guidance: scale of classifier-free guidance.
        size: height and width of images, in pixels; None is the pipeline's own.
        dtype: precision on a GPU.
        more: further arguments of the pipeline's call, such as ``{"max_sequence_length": 256}``.

    Raises:
        UnavailableError: it cannot be loaded.
        ConfigError: it is not a text-to-image pipeline, or lacks an argument.
    """

    def __init__(
        self,
        name: str,
        *,
        revision: str | None = None,
        steps: int = 50,
        guidance: float = 7.5,
        size: int | None = None,
        dtype: Precision = "bfloat16",
        more: Mapping[str, Any] | None = None,
    ) -> None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
        folder = pipeline_folder(name, revision)
        self.name = name
        self.revision = folder.name if re.fullmatch(r"[0-9a-f]{40}", folder.name) else ""
        precision = torch.float32 if device == "cpu" else getattr(torch, dtype)
        self.pipe = load_pipeline(name, folder, precision).to(device)
        self.pipe.set_progress_bar_config(disable=True)
        self.call = {
            "num_inference_steps": steps,
            "guidance_scale": guidance,
            "output_type": "np",
            **(more or {}),
        }
        if size is not None:
            self.call |= {"height": size, "width": size}
        self._check_arguments()

    def _check_arguments(self) -> None:
        accepted = set(inspect.signature(self.pipe.__call__).parameters)
        lacking = sorted((REQUIRED_ARGUMENTS | set(self.call)) - accepted)
        if lacking:
            raise ConfigError(
                f"{self.name} is a {type(self.pipe).__name__}, whose call takes no"
                f" {', '.join(lacking)}. Give a"
                " text-to-image pipeline, and only arguments that its page in diffusers'"
                " documentation names."
            )

    @torch.no_grad()
    def sample(self, prompts: Sequence[str], rngs: Sequence[torch.Generator]) -> Tensor:
        """Return one image per prompt, uint8 ``(N, 3, H, W)``.

        Other images in the call change an image by no more than floating point does. An image that
        the pipeline's safety checker blackened is drawn again, from the same generator.

        Args:
            prompts: texts.
            rngs: one CPU generator per prompt.

        Raises:
            DataError: an image has NaN or infinite values, or is blackened every time.
            ConfigError: the pipeline rejects its numbers.
            UnavailableError: the GPU is too small.
        """
        made: dict[int, Tensor] = {}
        for _ in range(MAX_DRAWS):
            left = [i for i in range(len(prompts)) if i not in made]
            if not left:
                return torch.stack([made[i] for i in range(len(prompts))])
            answer = self._generate([prompts[i] for i in left], [rngs[i] for i in left])
            flags = getattr(answer, "nsfw_content_detected", None) or [False] * len(left)
            for i, image, flagged in zip(left, np.asarray(answer.images), flags, strict=True):
                if not np.isfinite(image).all():
                    raise DataError(
                        f"{self.name} made an image of NaN or infinite values. Write dtype ="
                        ' "float32" or "bfloat16".'
                    )
                if not flagged:
                    made[i] = to_bytes(torch.from_numpy(image).permute(2, 0, 1))
        blackened = next(prompts[i] for i in range(len(prompts)) if i not in made)
        raise DataError(
            f"the safety checker of {self.name} rejects every image of {blackened!r}. Write another"
            " prompt."
        )

    def _generate(self, prompts: list[str], rngs: list[torch.Generator]) -> Any:
        try:
            return self.pipe(prompt=prompts, generator=rngs, **self.call)
        except torch.OutOfMemoryError as error:
            raise UnavailableError(
                f"{self.name} needs more memory than the GPU has. Draw fewer images at once, or use"
                " a larger GPU."
            ) from error
        except (ValueError, TypeError) as error:
            numbers = {name: value for name, value in self.call.items() if name != "output_type"}
            raise ConfigError(
                f"{self.name} does not take {numbers}: {error}. Change its numbers."
            ) from error


def load_sampler(
    name: str,
    *,
    revision: str | None = None,
    steps: int = 50,
    guidance: float = 7.5,
    size: int | None = None,
    dtype: Precision = "bfloat16",
    more: Mapping[str, Any] | None = None,
) -> Sampler:
    """Load the shipped model, or a :class:`TextToImage`.

    Args:
        name: ``mini-diffusion``, which uses ``steps`` alone, or a hub id or local folder.
        revision: as in :class:`TextToImage`.
        steps: of denoising.
        guidance: as in :class:`TextToImage`.
        size: as in :class:`TextToImage`.
        dtype: as in :class:`TextToImage`.
        more: as in :class:`TextToImage`.

    Raises:
        UnavailableError: it cannot be loaded.
        ConfigError: it is not a text-to-image pipeline, or lacks an argument.
    """
    if name == DIFFUSION_NAME:
        return ShippedSampler(steps)
    return TextToImage(
        name, revision=revision, steps=steps, guidance=guidance, size=size, dtype=dtype, more=more
    )
