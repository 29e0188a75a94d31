"""Diffusion-generated samples, made one image at a time, so that a killed call resumes."""

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from robustbench_aigi.attacks.corruptions.resize import resized
from robustbench_aigi.data.dataset import MANIFEST_COLUMNS
from robustbench_aigi.data.decoding import encode_jpeg, encode_png
from robustbench_aigi.data.prompts import Model, Prompts
from robustbench_aigi.errors import DataError, UnavailableError
from robustbench_aigi.generators.pipelines import Sampler, load_sampler
from robustbench_aigi.io.files import atomic_write, write_text
from robustbench_aigi.io.hashing import digest, file_digest, rng_for
from robustbench_aigi.progress import Progress, silent

SAMPLE_COLUMNS = ("seed", "prompt", "revision")
"""Columns of a sample beyond those of every dataset."""


@dataclass(frozen=True)
class SampleSpec:
    """One image to be made.

    Attributes:
        id: its place below the folder, without the ending.
        split: of the image.
        category: of the image.
        prompt: for the model.
        rng: makes the image's own generator.
    """

    id: str
    split: str
    category: str
    prompt: str
    rng: functools.partial[torch.Generator]


def make_samples(
    prompts: Prompts, out: Path, progress: Progress = silent, batch: int = 1
) -> pd.DataFrame:
    """Draw the images that are missing and write ``manifest.parquet``; a killed call resumes.

    Each image has its own generator, seeded by (seed, model, class, index), so its content depends
    on neither order nor interruption; with ``batch`` above 1 floating point may move a grey level.
    A model that cannot be loaded does not stop the others.

    Args:
        prompts: what is drawn.
        out: folder of the images.
        progress: called before every batch.
        batch: images per call of a model.

    Returns:
        The manifest: :data:`~robustbench_aigi.data.dataset.MANIFEST_COLUMNS` and
        :data:`SAMPLE_COLUMNS`, label 1, each image its own parent. In the file, paths are relative
        to ``out``.

    Raises:
        UnavailableError: models cannot be loaded; raised when all others are done.
    """
    tables: list[pd.DataFrame] = []
    unavailable: dict[str, str] = {}
    for model in prompts.models:
        try:
            _draw(prompts, model, out, progress, batch)
        except UnavailableError as error:
            unavailable[model.id] = str(error)
        tables.append(_rows(prompts, model, out))
    table = pd.concat(tables, ignore_index=True)
    atomic_write(out / "manifest.parquet", functools.partial(table.to_parquet, index=False))
    if unavailable:
        first = next(iter(unavailable.values()))
        raise UnavailableError(
            f"{len(unavailable)} of {len(prompts.models)} models are out of reach:"
            f" {', '.join(unavailable)}; the images of the others are in {out}, and repeating the"
            f" call makes the rest. The first: {first}"
        )
    return table.assign(path=[str(out / path) for path in table["path"]])


def reduce_to_square(pixels: Tensor, size: int, kernel: str) -> Tensor:
    """Cut out the middle square and reduce it to uint8 ``(3, size, size)``.

    Args:
        pixels: uint8 ``(3, H, W)``.
        size: pixels per side of the result.
        kernel: name of an antialiased Pillow filter.
    """
    _, height, width = pixels.shape
    side = min(height, width)
    top = (height - side) // 2
    left = (width - side) // 2
    square = pixels[None, :, top : top + side, left : left + side].contiguous().numpy()
    return torch.from_numpy(resized(square, [(size, size)], kernel))[0].contiguous()


def encode_sample(pixels: Tensor, encoding: str, quality: int) -> bytes:
    """Encode pixels as PNG, or as JPEG with chroma halved (4:2:0), as CIFAKE's files are.

    Args:
        pixels: uint8 ``(3, H, W)``.
        encoding: ``png`` or ``jpeg``.
        quality: of JPEG, 1 to 100.
    """
    if encoding == "png":
        return encode_png(pixels)
    return encode_jpeg(pixels, quality=quality, subsampling="4:2:0")


def _draw(prompts: Prompts, model: Model, out: Path, progress: Progress, batch: int) -> None:
    """Draw what is missing; the model is loaded only if something is."""
    specs = list(_specs(prompts, model))
    missing = [spec for spec in specs if not _place(prompts, out, spec.id).is_file()]
    task = f"drawing with {model.id}"
    sampler: Sampler | None = None
    for start in range(0, len(missing), batch):
        progress(task, len(specs) - len(missing) + start, len(specs))
        if sampler is None:
            sampler = _load_sampler(prompts, model, out)
        _draw_batch(prompts, sampler, missing[start : start + batch], out)
    progress(task, len(specs), len(specs))


def _draw_batch(prompts: Prompts, sampler: Sampler, specs: Sequence[SampleSpec], out: Path) -> None:
    drawn = sampler.sample([spec.prompt for spec in specs], [spec.rng() for spec in specs])
    for spec, pixels in zip(specs, drawn, strict=True):
        reduced = reduce_to_square(pixels, prompts.size, prompts.filter)
        content = encode_sample(reduced, prompts.encoding, prompts.quality)
        atomic_write(_place(prompts, out, spec.id), functools.partial(_write, content=content))


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _load_sampler(prompts: Prompts, model: Model, out: Path) -> Sampler:
    """Load a model, and check that it is the one that earlier images were made with."""
    numbers = model.model_dump(include={"revision", "steps", "guidance", "size", "dtype", "more"})
    sampler = load_sampler(model.id, **numbers)
    record = _revision_file(prompts, model, out)
    if record.is_file():
        before = record.read_text(encoding="utf-8")
        if before != sampler.revision:
            raise DataError(
                f"{record.parent} was begun with {before or 'an unknown revision'} of {model.id},"
                f" and now there is {sampler.revision or 'an unknown one'}. Write revision ="
                f" {before!r} in the prompt file, or delete it."
            )
    write_text(record, sampler.revision)
    return sampler


def _folder(prompts: Prompts, model: Model) -> str:
    """Return the folder of a model and its settings; other settings get another folder."""
    own = prompts.model_dump(exclude={"name", "version", "images", "models"})
    return f"{model.slug}-{digest(own, model.model_dump(exclude={'licence'}))[:8]}"


def _revision_file(prompts: Prompts, model: Model, out: Path) -> Path:
    return out / _folder(prompts, model) / "revision.txt"


def _specs(prompts: Prompts, model: Model) -> Iterator[SampleSpec]:
    folder = _folder(prompts, model)
    for category, words in prompts.classes.items():
        prompt = prompts.template.format(words)
        splits = [split for split, count in prompts.images.items() for _ in range(count)]
        for index, split in enumerate(splits):
            identity = f"{folder}/{split}/{category}-{index:04d}"
            rng = functools.partial(rng_for, prompts.seed, model.id, category, index)
            yield SampleSpec(identity, split, category, prompt, rng)


def _place(prompts: Prompts, out: Path, identity: str) -> Path:
    return out / f"{identity}.{'jpg' if prompts.encoding == 'jpeg' else 'png'}"


def _rows(prompts: Prompts, model: Model, out: Path) -> pd.DataFrame:
    """Return one row per image that is there."""
    record = _revision_file(prompts, model, out)
    revision = record.read_text(encoding="utf-8") if record.is_file() else ""
    rows: list[dict[str, object]] = []
    for spec in _specs(prompts, model):
        path = _place(prompts, out, spec.id)
        if path.is_file():
            rows.append(
                {
                    "id": spec.id,
                    "label": 1,
                    "split": spec.split,
                    "category": spec.category,
                    "parent": spec.id,
                    "sha256": file_digest(path),
                    "path": path.relative_to(out).as_posix(),
                    "row": -1,
                    "generator": model.id,
                    "seed": prompts.seed,
                    "prompt": spec.prompt,
                    "revision": revision,
                }
            )
    return pd.DataFrame(rows, columns=[*MANIFEST_COLUMNS, *SAMPLE_COLUMNS])
