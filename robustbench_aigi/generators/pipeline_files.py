"""Load a diffusers pipeline from a hub or a folder, from safetensors alone."""

import sys
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from robustbench_aigi.errors import UnavailableError
from robustbench_aigi.extras import install_command
from robustbench_aigi.generators import DIFFUSION_NAME

LOAD_ERRORS = (
    OSError,
    ValueError,
    ImportError,
    AttributeError,
    KeyError,
    TypeError,
    SafetensorError,
)
"""Errors that loading a pipeline may raise."""


def pipeline_folder(name: str, revision: str | None) -> Path:
    """Return the folder of a pipeline, downloaded once if it is on a hub.

    Args:
        name: hub id or local folder.
        revision: commit of the hub's repository; None is the newest.

    Raises:
        UnavailableError: the hub is out of reach.
    """
    if Path(name).expanduser().is_dir():
        return Path(name).expanduser()
    from diffusers import DiffusionPipeline  # takes seconds

    try:
        return Path(DiffusionPipeline.download(name, revision=revision, use_safetensors=True))
    except Exception as error:  # the hub's HTTP client renames its errors between versions
        raise unavailable_error(name, error) from error


def load_pipeline(name: str, folder: Path, dtype: torch.dtype) -> Any:
    """Load a pipeline from safetensors, with no code but that of diffusers and transformers.

    Args:
        name: of the pipeline, for messages.
        folder: with its files.
        dtype: precision of the weights.

    Raises:
        UnavailableError: it cannot be loaded.
    """
    import diffusers  # takes seconds

    options = {"use_safetensors": True, "trust_remote_code": False, "dtype": dtype}
    libraries = [diffusers, sys.modules.get("transformers")]
    loggers = [library.utils.logging for library in libraries if library is not None]
    for logger in loggers:
        logger.disable_progress_bar()
    try:
        return diffusers.DiffusionPipeline.from_pretrained(
            folder, low_cpu_mem_usage=diffusers.utils.is_accelerate_available(), **options
        )
    except LOAD_ERRORS as error:
        raise unavailable_error(name, error) from error
    finally:
        for logger in loggers:
            logger.enable_progress_bar()


def unavailable_error(name: str, error: Exception) -> UnavailableError:
    """Return the error for a pipeline that cannot be loaded, with what to do.

    Args:
        name: of the pipeline.
        error: of diffusers.
    """
    cause = error.__cause__ or error
    reason = (str(cause).strip() or type(cause).__name__).splitlines()[0].rstrip(".")
    return UnavailableError(
        f"diffusers cannot load a text-to-image pipeline from {name!r}: {reason}. Type"
        f" `{install_command('diffusion')}`; reach the hub once so that HF_HOME holds it (a gated"
        " model: accept its licence on its page, then `hf auth login`); or give a local folder of"
        f" safetensors. {DIFFUSION_NAME!r} is shipped."
    )
