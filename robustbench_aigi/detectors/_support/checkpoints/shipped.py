"""Weights that ship with the package: files ``NAME-DATASET.safetensors``."""

import json
from pathlib import Path

from robustbench_aigi.catalogue import WEIGHTS_FOLDER
from robustbench_aigi.errors import CheckpointError

DEFAULT_DATASET = "cifake"
"""Dataset whose weights a bare name such as ``tinyvit-5m`` stands for in a command."""
SHIPPED_IMAGE_SIZES = {"cifake": (32, 32)}
"""Smallest and largest side, in pixels, of a dataset's images; for files whose card lacks it."""


def shipped_names(trained_on: str = DEFAULT_DATASET) -> list[str]:
    """Return the names of the detectors whose weights ship, sorted.

    Args:
        trained_on: name of the dataset that the weights learnt from.

    Example:
        >>> "tinyvit-5m" in shipped_names("cifake")
        True
    """
    ending = f"-{trained_on}"
    stems = [
        path.stem for path in WEIGHTS_FOLDER.glob("*.safetensors") if path.stem.endswith(ending)
    ]
    return sorted(stem.removesuffix(ending) for stem in stems if _names_detector(stem))


def shipped(name: str, trained_on: str = DEFAULT_DATASET) -> Path:
    """Return the path of the weights of a detector that ship with the package.

    Args:
        name: a registered name, or another that ships, such as ``robust-tinyvit-5m``.
        trained_on: name of the dataset that the weights learnt from.

    Raises:
        CheckpointError: there are none; the message names those that ship for the dataset.
    """
    known = shipped_names(trained_on)
    if name not in known:
        raise CheckpointError(
            f"no weights of {name} for {trained_on} are shipped. Shipped:"
            f" {', '.join(known) or 'none'}."
        )
    return WEIGHTS_FOLDER / f"{name}-{trained_on}.safetensors"


def is_shipped_dataset(name: str) -> bool:
    """Return whether trained weights of any detector ship for a dataset.

    Args:
        name: name of a dataset, or any other text.
    """
    return bool(shipped_names(name))


def _names_detector(stem: str) -> bool:
    """Return whether a shipped file is a detector; generators ship in the same folder."""
    with (WEIGHTS_FOLDER / f"{stem}.safetensors").open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
    return "detector" in header.get("__metadata__", {})
