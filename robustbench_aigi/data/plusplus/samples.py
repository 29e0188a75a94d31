"""Diffusion-generated samples, made an image at a time, so that a killed call goes on."""

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from robustbench_aigi.attacks.corruptions.resize import resized
from robustbench_aigi.data.dataset import COLUMNS
from robustbench_aigi.data.decoding import encode_jpeg, encode_png
from robustbench_aigi.data.prompts import Model, Prompts
from robustbench_aigi.errors import DataError, UnavailableError
from robustbench_aigi.generators.pipelines import Sampler, load_sampler
from robustbench_aigi.io.files import atomic_write, write_text
from robustbench_aigi.io.hashing import digest, file_digest, rng_for
from robustbench_aigi.progress import Progress, silent

EXTRA = ("seed", "prompt", "revision")
"""Columns of a sample beyond those of every dataset."""


@dataclass(frozen=True)
class Wanted:
    """One image to be made: ``id`` is its place below the folder, without the suffix."""

    id: str
    split: str
    category: str
    prompt: str
    rng: functools.partial[torch.Generator]


def make_samples(
    prompts: Prompts, out: Path, progress: Progress = silent, batch: int = 1
) -> pd.DataFrame:
    """Draw the images that ``out`` does not hold yet and write ``manifest.parquet``; a killed call
    goes on.

    Each image has its own generator, seeded by (seed, model, class, index), so its content depends
    on neither order nor interruption; with ``batch`` above 1 floating point may move a grey level.
    A model that is out of reach does not keep the others from theirs.

    Returns:
        The manifest: :data:`COLUMNS` and :data:`EXTRA`, label 1, each image its own parent. Paths
        in the file begin at ``out``.

    Raises:
        UnavailableError: models that cannot be loaded, once all others are done.
    """
    tables: list[pd.DataFrame] = []
    out_of_reach: dict[str, str] = {}
    for model in prompts.models:
        try:
            _draw(prompts, model, out, progress, batch)
        except UnavailableError as error:
            out_of_reach[model.id] = str(error)
        tables.append(_rows(prompts, model, out))
    table = pd.concat(tables, ignore_index=True)
    atomic_write(out / "manifest.parquet", functools.partial(table.to_parquet, index=False))
    if out_of_reach:
        first = next(iter(out_of_reach.values()))
        raise UnavailableError(
            f"{len(out_of_reach)} of {len(prompts.models)} models are out of reach:"
            f" {', '.join(out_of_reach)}; the images of the others are in {out}, and repeating the"
            f" call makes the rest. The first: {first}"
        )
    return table.assign(path=[str(out / path) for path in table["path"]])


def reduced(pixels: Tensor, size: int, kernel: str) -> Tensor:
    """The middle square of uint8 ``(3, H, W)``, reduced to ``(3, size, size)`` with an antialiased
    Pillow filter.
    """
    _, height, width = pixels.shape
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = pixels[None, :, top : top + side, left : left + side]
    return torch.from_numpy(resized(square.contiguous().numpy(), [(size, size)], kernel))[
        0
    ].contiguous()


def encoded(pixels: Tensor, encoding: str, quality: int) -> bytes:
    """Uint8 ``(3, H, W)`` as a PNG file, or as a JPEG file with chroma halved (4:2:0), as CIFAKE's
    are.
    """
    return (
        encode_png(pixels)
        if encoding == "png"
        else encode_jpeg(pixels, quality=quality, subsampling="4:2:0")
    )


def _draw(prompts: Prompts, model: Model, out: Path, progress: Progress, batch: int) -> None:
    """Draw what is lacking; the model is loaded only if something is."""
    wanted = list(_wanted(prompts, model))
    lacking = [one for one in wanted if not _place(prompts, out, one.id).is_file()]
    task, sampler = f"drawing with {model.id}", None
    for start in range(0, len(lacking), batch):
        progress(task, len(wanted) - len(lacking) + start, len(wanted))
        sampler = sampler or _sampler(prompts, model, out)
        part = lacking[start : start + batch]
        drawn = sampler.sample([one.prompt for one in part], [one.rng() for one in part])
        for one, pixels in zip(part, drawn, strict=True):
            content = encoded(
                reduced(pixels, prompts.size, prompts.filter), prompts.encoding, prompts.quality
            )
            atomic_write(_place(prompts, out, one.id), functools.partial(_write, content=content))
    progress(task, len(wanted), len(wanted))


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _sampler(prompts: Prompts, model: Model, out: Path) -> Sampler:
    numbers = model.model_dump(include={"revision", "steps", "guidance", "size", "dtype", "more"})
    sampler, known = (
        load_sampler(model.id, **numbers),
        out / _folder(prompts, model) / "revision.txt",
    )
    if known.is_file() and (before := known.read_text(encoding="utf-8")) != sampler.revision:
        raise DataError(
            f"{known.parent} was begun with {before or 'an unknown revision'} of {model.id}, and"
            f" now there is {sampler.revision or 'an unknown one'}. Write revision = {before!r} in"
            " the prompt file, or delete it."
        )
    write_text(known, sampler.revision)
    return sampler


def _folder(prompts: Prompts, model: Model) -> str:
    """One a model and its settings: what was drawn with others is not taken for these."""
    own = prompts.model_dump(exclude={"name", "version", "images", "models"})
    return f"{model.slug}-{digest(own, model.model_dump(exclude={'licence'}))[:8]}"


def _wanted(prompts: Prompts, model: Model) -> Iterator[Wanted]:
    for category, words in prompts.classes.items():
        index = 0
        for split, count in prompts.images.items():
            for _ in range(count):
                identity = f"{_folder(prompts, model)}/{split}/{category}-{index:04d}"
                rng = functools.partial(rng_for, prompts.seed, model.id, category, index)
                yield Wanted(identity, split, category, prompts.template.format(words), rng)
                index += 1


def _place(prompts: Prompts, out: Path, identity: str) -> Path:
    return out / f"{identity}.{'jpg' if prompts.encoding == 'jpeg' else 'png'}"


def _rows(prompts: Prompts, model: Model, out: Path) -> pd.DataFrame:
    """A row an image that is there."""
    known = out / _folder(prompts, model) / "revision.txt"
    revision = known.read_text(encoding="utf-8") if known.is_file() else ""
    rows: list[dict[str, object]] = []
    for one in _wanted(prompts, model):
        path = _place(prompts, out, one.id)
        if path.is_file():
            made_by = {
                "generator": model.id,
                "seed": prompts.seed,
                "prompt": one.prompt,
                "revision": revision,
            }
            place = {
                "sha256": file_digest(path),
                "path": path.relative_to(out).as_posix(),
                "row": -1,
            }
            own = {
                "id": one.id,
                "label": 1,
                "split": one.split,
                "category": one.category,
                "parent": one.id,
            }
            rows.append(own | place | made_by)
    return pd.DataFrame(rows, columns=[*COLUMNS, *EXTRA])
