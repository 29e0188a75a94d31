"""The embedded dataset: crops of photographs against a small diffusion model's samples and
reconstructions.
"""

import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch

from robustbench_aigi.data import photographs
from robustbench_aigi.data.dataset import COLUMNS
from robustbench_aigi.data.decoding import encode_png
from robustbench_aigi.errors import ConfigError
from robustbench_aigi.generators import CLASSES, SHIPPED, PixelDiffusion
from robustbench_aigi.imaging.pixels import from_bytes, to_bytes
from robustbench_aigi.io.files import cache_folder
from robustbench_aigi.io.hashing import digest, file_digest, rngs_for
from robustbench_aigi.progress import Progress

if TYPE_CHECKING:
    from robustbench_aigi.data.recipes import MiniParts, Recipe

PHOTOGRAPH = CLASSES.index("photograph")
BATCH = 50
GENERATOR = "mini-diffusion"


def load_mini(recipe: "Recipe", progress: Progress) -> pd.DataFrame:
    """Rows of the dataset's manifest; the images are made on the first call and kept in the cache
    folder.
    """
    if recipe.parts is None:
        raise ConfigError(
            f"recipe {recipe.name} is of kind mini but has no [parts]. Compare it with"
            " datasets/mini.toml."
        )
    identity = digest(
        recipe.model_dump(include={"name", "seed", "parts"}),
        file_digest(SHIPPED),
        photographs.SPLITS,
    )
    folder = cache_folder() / f"{recipe.name}-{identity[:12]}"
    if not folder.exists():
        building = folder.with_name(f"{folder.name}.{os.getpid()}.tmp")
        shutil.rmtree(building, ignore_errors=True)
        rows = pd.DataFrame(
            _build(building, recipe.parts, recipe.seed, progress), columns=list(COLUMNS)
        )
        rows.to_parquet(building / "manifest.parquet", index=False)
        if not folder.exists():
            building.rename(folder)
    rows = pd.read_parquet(folder / "manifest.parquet")
    return rows.assign(path=[str(folder / path) for path in rows["path"]])


def _build(
    folder: Path, parts: "MiniParts", seed: int, progress: Progress
) -> Iterator[tuple[object, ...]]:
    model = PixelDiffusion.load(SHIPPED)
    total = 2 * (parts.train + parts.validation + parts.test)
    done = 0
    for split, count in (
        ("train", parts.train),
        ("validation", parts.validation),
        ("test", parts.test),
    ):
        rng = np.random.default_rng([seed, len(split)])
        reals = list(photographs.crops(photographs.SPLITS[split], count, rng))
        pixels = torch.from_numpy(np.stack([crop for _, crop in reals])).permute(0, 3, 1, 2)
        names = [f"{i:04d}-{name}" for i, (name, _) in enumerate(reals)]
        for name, image in zip(names, pixels, strict=True):
            yield _written(folder, split, 0, name, "camera", name, image)
        done += count
        progress("making mini", done, total)
        sampled = round(count * parts.sampled_share)
        for name, parent, image in _fakes(model, pixels, names, sampled, parts, f"{seed}-{split}"):
            yield _written(folder, split, 1, name, GENERATOR, parent, image)
            done += 1
            if done % BATCH == 0:
                progress("making mini", done, total)
    progress("making mini", total, total)


def _fakes(
    model: PixelDiffusion,
    reals: torch.Tensor,
    names: list[str],
    sampled: int,
    parts: "MiniParts",
    seed: str,
) -> Iterator[tuple[str, str, torch.Tensor]]:
    """Yield name, parent and pixels: ``sampled`` fresh samples, then a reconstruction of each
    remaining real.
    """
    made, tried = 0, 0
    while made < sampled:
        rngs = rngs_for(0, f"mini-sample-{seed}", [str(tried + i) for i in range(BATCH)])
        tried += BATCH
        for image in to_bytes(model.sample([PHOTOGRAPH] * BATCH, rngs, parts.steps)):
            if (
                made < sampled
                and photographs.contrast(image.permute(1, 2, 0).numpy())
                >= photographs.LEAST_CONTRAST
            ):
                yield f"{made:04d}-sample", f"{made:04d}-sample", image
                made += 1
    for turn, start in enumerate(range(sampled, len(reals), BATCH)):
        own = names[start : start + BATCH]
        low, high = parts.strengths
        strength = low + (high - low) * (turn % 4) / 3
        images = from_bytes(reals[start : start + BATCH])
        rngs = rngs_for(0, f"mini-reconstruction-{seed}", own)
        again = to_bytes(
            model.reconstruct(images, [PHOTOGRAPH] * len(own), rngs, strength, parts.steps)
        )
        yield from zip([f"{name}-again" for name in own], own, again, strict=True)


def _written(
    folder: Path,
    split: str,
    label: int,
    name: str,
    generator: str,
    parent: str,
    image: torch.Tensor,
) -> tuple[object, ...]:
    relative = Path(split) / ("FAKE" if label else "REAL") / f"{name}.png"
    content = encode_png(image)
    (folder / relative).parent.mkdir(parents=True, exist_ok=True)
    (folder / relative).write_bytes(content)
    identity = relative.with_suffix("").as_posix()
    sha256 = hashlib.sha256(content).hexdigest()
    return (
        identity,
        label,
        split,
        generator,
        "photograph",
        f"{split}/{parent}",
        sha256,
        relative.as_posix(),
        -1,
    )
