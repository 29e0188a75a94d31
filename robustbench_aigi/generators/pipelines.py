"""Text to image: any pipeline of diffusers by hub id or folder, and the shipped model behind the
same call.
"""

import inspect
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, final

import diffusers
import numpy as np
import torch
from diffusers import DiffusionPipeline
from diffusers.utils import is_accelerate_available
from safetensors import SafetensorError
from torch import Tensor

from robustbench_aigi.errors import ConfigError, DataError, UnavailableError
from robustbench_aigi.extras import install_command
from robustbench_aigi.generators import CLASSES, SHIPPED, PixelDiffusion
from robustbench_aigi.imaging.pixels import to_bytes
from robustbench_aigi.io.hashing import file_digest

SHIPPED_MODEL = "mini-diffusion"
ASKED = frozenset({"prompt", "num_inference_steps", "guidance_scale", "generator", "output_type"})
"""Arguments that a text-to-image pipeline must take."""
TRIES = 10
"""Draws of one image before its prompt is given up: a pipeline's own safety checker blackens what
it dislikes.
"""
LOAD_ERRORS = (
    OSError,
    ValueError,
    ImportError,
    AttributeError,
    KeyError,
    TypeError,
    SafetensorError,
)

Precision = Literal["float32", "float16", "bfloat16"]


class Sampler(Protocol):
    """Draws images for prompts. ``revision`` is what exactly draws them: a commit, a file's hash,
    or nothing known.
    """

    revision: str

    def sample(self, prompts: Sequence[str], rngs: Sequence[torch.Generator]) -> Tensor:
        """One uint8 image ``(N, 3, H, W)`` a prompt, each from its own CPU generator."""


@final
class ShippedSampler:
    """The shipped diffusion model; a prompt is the name of one of its classes."""

    def __init__(self, steps: int) -> None:
        self.model, self.steps = PixelDiffusion.load(SHIPPED), steps
        self.revision = f"sha256:{file_digest(SHIPPED)}"

    def sample(self, prompts: Sequence[str], rngs: Sequence[torch.Generator]) -> Tensor:
        """One uint8 image ``(N, 3, 32, 32)`` a class name. Raises ``ConfigError`` for another
        prompt.
        """
        for prompt in prompts:
            if prompt not in CLASSES:
                raise ConfigError(
                    f"{SHIPPED_MODEL} knows classes, no sentences; got {prompt!r}. Known:"
                    f" {CLASSES}."
                )
        return to_bytes(
            self.model.sample([CLASSES.index(prompt) for prompt in prompts], rngs, self.steps)
        )


@final
class TextToImage:
    """A diffusers pipeline, read from safetensors; code that comes with a model is never run.

    Runs on a GPU where there is one, else in float32 on the processor.

    Args:
        name: hub id or local folder, such as ``stabilityai/stable-diffusion-3.5-large-turbo``.
        revision: commit of the hub's repository.
        size: pixels a side asked of the pipeline; its own if None.
        dtype: precision on a GPU.
        more: further arguments of the pipeline's call, such as ``{"max_sequence_length": 256}``.

    Raises:
        UnavailableError: it cannot be loaded from here. ConfigError: it is no text-to-image
            pipeline, or lacks an argument.
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
        folder = fetched(name, revision)
        self.name = name
        self.revision = folder.name if re.fullmatch(r"[0-9a-f]{40}", folder.name) else ""
        self.pipe = loaded(
            name, folder, torch.float32 if device == "cpu" else getattr(torch, dtype)
        ).to(device)
        self.pipe.set_progress_bar_config(disable=True)
        self.call = {
            "num_inference_steps": steps,
            "guidance_scale": guidance,
            "output_type": "np",
            **(more or {}),
        }
        if size is not None:
            self.call |= {"height": size, "width": size}
        taken = set(inspect.signature(self.pipe.__call__).parameters)
        if not ASKED | set(self.call) <= taken:
            lacking = ", ".join(sorted((ASKED | set(self.call)) - taken))
            raise ConfigError(
                f"{name} is a {type(self.pipe).__name__}, whose call takes no {lacking}. Give a"
                " text-to-image pipeline, and only arguments that its page in diffusers'"
                " documentation names."
            )

    @torch.no_grad()
    def sample(self, prompts: Sequence[str], rngs: Sequence[torch.Generator]) -> Tensor:
        """One uint8 image ``(N, 3, H, W)`` a prompt, each from its own CPU generator.

        Other images in the call change an image by no more than floating point does. An image that
        the pipeline's own safety checker blackened is drawn again, from the same generator.

        Raises:
            DataError: the images are no numbers, or one is blackened every time. ConfigError: the
            pipeline refuses its numbers. UnavailableError: the GPU is too small.
        """
        made: dict[int, Tensor] = {}
        for _ in range(TRIES):
            left = [i for i in range(len(prompts)) if i not in made]
            if not left:
                return torch.stack([made[i] for i in range(len(prompts))])
            answer = self._asked([prompts[i] for i in left], [rngs[i] for i in left])
            flags = getattr(answer, "nsfw_content_detected", None) or [False] * len(left)
            for i, image, flagged in zip(left, np.asarray(answer.images), flags, strict=True):
                if not np.isfinite(image).all():
                    raise DataError(
                        f'{self.name} made an image of no numbers. Write dtype = "float32" or'
                        ' "bfloat16".'
                    )
                if not flagged:
                    made[i] = to_bytes(torch.from_numpy(image).permute(2, 0, 1))
        refused = next(prompts[i] for i in range(len(prompts)) if i not in made)
        raise DataError(
            f"{self.name}'s safety checker refuses every image of {refused!r}. Write another"
            " prompt."
        )

    def _asked(self, prompts: list[str], rngs: list[torch.Generator]) -> Any:
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


def fetched(name: str, revision: str | None) -> Path:
    """The folder of a pipeline: as given, or the hub's, downloaded once. Raises
    ``UnavailableError``.
    """
    if Path(name).expanduser().is_dir():
        return Path(name).expanduser()
    try:
        return Path(DiffusionPipeline.download(name, revision=revision, use_safetensors=True))
    except (
        Exception
    ) as error:  # the hub's HTTP client has errors of its own, under names that have changed
        raise unavailable(name, error) from error


def loaded(name: str, folder: Path, dtype: torch.dtype) -> Any:
    """The pipeline in a folder: safetensors only, and no code but that of diffusers and
    transformers.
    """
    options = {"use_safetensors": True, "trust_remote_code": False, "dtype": dtype}
    shown = [
        module.utils.logging
        for module in (diffusers, sys.modules.get("transformers"))
        if module is not None
    ]
    for bars in shown:
        bars.disable_progress_bar()
    try:
        return DiffusionPipeline.from_pretrained(
            folder, low_cpu_mem_usage=is_accelerate_available(), **options
        )
    except LOAD_ERRORS as error:
        raise unavailable(name, error) from error
    finally:
        for bars in shown:
            bars.enable_progress_bar()


def unavailable(name: str, error: Exception) -> UnavailableError:
    """What to do where a pipeline cannot be loaded."""
    cause = error.__cause__ or error
    reason = (str(cause).strip() or type(cause).__name__).splitlines()[0].rstrip(".")
    return UnavailableError(
        f"diffusers cannot load a text-to-image pipeline from {name!r}: {reason}. Type"
        f" `{install_command('diffusion')}`; reach the hub once so that HF_HOME holds it (a gated"
        " model: accept its licence on its page, then `hf auth login`); or give a local folder of"
        f" safetensors. {SHIPPED_MODEL!r} is shipped."
    )


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
    """The shipped model (``mini-diffusion``, which knows only ``steps``) or a
    :class:`TextToImage`.
    """
    if name == SHIPPED_MODEL:
        return ShippedSampler(steps)
    return TextToImage(
        name, revision=revision, steps=steps, guidance=guidance, size=size, dtype=dtype, more=more
    )
