"""The embedded dataset: crops of photographs, and images of a small diffusion model."""

import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch

from robustbench_aigi.data.dataset import MANIFEST_COLUMNS
from robustbench_aigi.data.decoding import encode_png
from robustbench_aigi.data.photographs import (
    MIN_CONTRAST,
    PHOTOGRAPH_SPLITS,
    contrast,
    crops,
)
from robustbench_aigi.data.recipes import MiniParts, MiniRecipe
from robustbench_aigi.generators import (
    CLASS_NAMES,
    DIFFUSION_NAME,
    SHIPPED_DIFFUSION,
    PixelDiffusion,
)
from robustbench_aigi.imaging.pixels import from_bytes, to_bytes
from robustbench_aigi.io.files import cache_folder
from robustbench_aigi.io.hashing import digest, file_digest, rngs_for
from robustbench_aigi.progress import Progress

PHOTOGRAPH_CLASS = CLASS_NAMES.index("photograph")
BATCH_SIZE = 50
"""Images per call of the diffusion model. The images depend on it."""


class MiniImage(NamedTuple):
    """An image to be written.

    Attributes:
        name: of its file, without the ending.
        parent: name of the image it was made from; its own if of none.
        pixels: uint8 ``(3, H, W)``.
    """

    name: str
    parent: str
    pixels: torch.Tensor


def load_mini(recipe: MiniRecipe, progress: Progress) -> pd.DataFrame:
    """Return the manifest of the embedded dataset; the first call makes its images.

    Args:
        recipe: how many images, and how they are made. They are stored in the cache folder.
        progress: called while images are made.
    """
    identity = digest(
        recipe.model_dump(include={"name", "seed", "parts"}),
        file_digest(SHIPPED_DIFFUSION),
        PHOTOGRAPH_SPLITS,
    )
    folder = cache_folder() / f"{recipe.name}-{identity[:12]}"
    if not folder.exists():
        building = folder.with_name(f"{folder.name}.{os.getpid()}.tmp")
        shutil.rmtree(building, ignore_errors=True)
        rows = _build(building, recipe.parts, recipe.seed, progress)
        table = pd.DataFrame(rows, columns=list(MANIFEST_COLUMNS))
        table.to_parquet(building / "manifest.parquet", index=False)
        if not folder.exists():
            building.rename(folder)
    table = pd.read_parquet(folder / "manifest.parquet")
    return table.assign(path=[str(folder / path) for path in table["path"]])


def _build(
    folder: Path, parts: MiniParts, seed: int, progress: Progress
) -> Iterator[tuple[object, ...]]:
    """Write all images below ``folder``, and yield their manifest rows."""
    model = PixelDiffusion.load(SHIPPED_DIFFUSION)
    counts = {"train": parts.train, "validation": parts.validation, "test": parts.test}
    total = 2 * sum(counts.values())
    done = 0
    for split, count in counts.items():
        reals = _Reals.of(split, count, seed)
        for name, pixels in zip(reals.names, reals.pixels, strict=True):
            yield _write(folder, split, 0, "camera", MiniImage(name, name, pixels))
        done += count
        progress("making mini", done, total)
        for fake in _fakes(model, reals, parts, f"{seed}-{split}"):
            yield _write(folder, split, 1, DIFFUSION_NAME, fake)
            done += 1
            if done % BATCH_SIZE == 0:
                progress("making mini", done, total)
    progress("making mini", total, total)


class _Reals(NamedTuple):
    """The real images of a split: their names, and uint8 ``(N, 3, H, W)``."""

    names: list[str]
    pixels: torch.Tensor

    @classmethod
    def of(cls, split: str, count: int, seed: int) -> "_Reals":
        rng = np.random.default_rng([seed, len(split)])
        found = list(crops(PHOTOGRAPH_SPLITS[split], count, rng))
        names = [f"{number:04d}-{crop}" for number, (crop, _) in enumerate(found)]
        stacked = np.stack([pixels for _, pixels in found])
        return cls(names, torch.from_numpy(stacked).permute(0, 3, 1, 2))


def _fakes(
    model: PixelDiffusion, reals: _Reals, parts: MiniParts, seed: str
) -> Iterator[MiniImage]:
    """Yield fresh samples, then a reconstruction of each remaining real image."""
    sampled = round(len(reals.names) * parts.sampled_share)
    yield from _samples(model, sampled, parts, seed)
    low, high = parts.strengths
    for turn, start in enumerate(range(sampled, len(reals.names), BATCH_SIZE)):
        names = reals.names[start : start + BATCH_SIZE]
        images = from_bytes(reals.pixels[start : start + BATCH_SIZE])
        strength = low + (high - low) * (turn % 4) / 3
        rngs = rngs_for(0, f"mini-reconstruction-{seed}", names)
        classes = [PHOTOGRAPH_CLASS] * len(names)
        again = to_bytes(model.reconstruct(images, classes, rngs, strength, parts.steps))
        for name, pixels in zip(names, again, strict=True):
            yield MiniImage(f"{name}-again", name, pixels)


def _samples(model: PixelDiffusion, count: int, parts: MiniParts, seed: str) -> Iterator[MiniImage]:
    """Yield ``count`` fresh samples that show something."""
    made = 0
    tried = 0
    while made < count:
        names = [str(tried + number) for number in range(BATCH_SIZE)]
        rngs = rngs_for(0, f"mini-sample-{seed}", names)
        tried += BATCH_SIZE
        for pixels in to_bytes(model.sample([PHOTOGRAPH_CLASS] * BATCH_SIZE, rngs, parts.steps)):
            if made < count and contrast(pixels.permute(1, 2, 0).numpy()) >= MIN_CONTRAST:
                name = f"{made:04d}-sample"
                yield MiniImage(name, name, pixels)
                made += 1


def _write(
    folder: Path, split: str, label: int, generator: str, image: MiniImage
) -> tuple[object, ...]:
    """Write an image as PNG, and return its manifest row."""
    relative = Path(split) / ("FAKE" if label else "REAL") / f"{image.name}.png"
    content = encode_png(image.pixels)
    (folder / relative).parent.mkdir(parents=True, exist_ok=True)
    (folder / relative).write_bytes(content)
    return (
        relative.with_suffix("").as_posix(),
        label,
        split,
        generator,
        "photograph",
        f"{split}/{image.parent}",
        hashlib.sha256(content).hexdigest(),
        relative.as_posix(),
        -1,
    )
