"""The `++` set: clean images, every perturbation of a suite made on named surrogates, and diffusion samples."""

import functools
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import torch

from robustbench_aigi.attacks import Perturbation, Row, Suite
from robustbench_aigi.attacks.base import norms
from robustbench_aigi.data.dataset import Batch, Dataset, choose
from robustbench_aigi.data.images import encode_png
from robustbench_aigi.detectors import Detector
from robustbench_aigi.errors import BadData
from robustbench_aigi.files import write_whole
from robustbench_aigi.generators import CLASSES, SHIPPED, PixelDiffusion
from robustbench_aigi.grid import LEVELS, to_bytes
from robustbench_aigi.hashing import digest, file_digest, rngs_for, weights_digest

Progress = Callable[[str, int, int], None]
SHARD = 250
"""Images in a unit of work: the same shard gives the same bytes, whoever does it."""


@dataclass(frozen=True)
class Part:
    """One split of the set. ``all_rows`` perturbs every image in every way; else each image gets one way in turn."""

    data: Dataset
    all_rows: bool
    samples: int


@dataclass(frozen=True)
class Ingredient:
    """Images of one attack in one split: ``make`` turns a shard of sources into files and their manifest rows."""

    attack: str
    split: str
    data: Dataset
    key: str
    make: Callable[[Dataset], pd.DataFrame]


def build_plusplus(
    parts: Mapping[str, Part], suite: Suite, surrogates: Mapping[str, Detector], out: Path, progress: Progress
) -> None:
    """Write the set and ``manifest.parquet`` under ``out``; shards that an earlier run finished are kept.

    Perturbed images are PNG, clean ones keep their original bytes. Attacks run at full strength, because the set is
    meant for other detectors than the surrogate. Memory does not grow with the set.

    Raises:
        BadData: a row names a surrogate that was not given.
    """
    for row in suite.rows:
        if row.surrogate is not None and row.surrogate not in surrogates:
            raise BadData(
                f"row {row.id} of suite {suite.name} needs the surrogate {row.surrogate}. "
                f"Train it with `robustbench-aigi train {row.surrogate}` and give its checkpoint with --surrogate."
            )
    places = [
        place
        for split, part in parts.items()
        for ingredient in _ingredients(split, part, suite, surrogates, out)
        for place in _made(ingredient, out, progress)
    ]
    write_whole(out / "manifest.parquet", lambda temporary: _join(places, temporary))


def plusplus(out: Path, split: str, attack: str | None = None) -> Dataset:
    """A split of a built set as a dataset, or only the images of one attack (``clean`` is one)."""
    chosen = [("split", "==", split)] + ([] if attack is None else [("attack", "==", attack)])
    rows = pd.read_parquet(out / "manifest.parquet", filters=chosen)
    return Dataset("++", rows.assign(path=[str(out / p) for p in rows["path"]], row=-1))


def _ingredients(
    split: str, part: Part, suite: Suite, surrogates: Mapping[str, Detector], out: Path
) -> Iterator[Ingredient]:
    yield Ingredient("clean", split, part.data, part.data.key, lambda shard: _clean(shard, split, out))
    for number, row in enumerate(suite.rows):
        data = _share(part.data, row, number, len(suite.rows), part.all_rows)
        surrogate = surrogates[row.surrogate] if row.surrogate else None
        sha256 = weights_digest(surrogate.state_dict()) if surrogate else ""
        key = digest(data.key, row.model_dump(), suite.seed, sha256)
        make = functools.partial(
            _perturbed, split=split, row=row, seed=suite.seed, made_on=(surrogate, sha256), out=out
        )
        yield Ingredient(row.id, split, data, key, make)
    if part.samples:
        ids = [f"{split}/diffusion-{i:05d}" for i in range(part.samples)]
        wanted = Dataset("diffusion", pd.DataFrame({"id": ids, "label": 1, "split": split, "sha256": ""}))
        key = digest(part.samples, suite.seed, file_digest(SHIPPED))
        yield Ingredient("diffusion", split, wanted, key, lambda shard: _samples(shard, split, suite.seed, out))


def _made(ingredient: Ingredient, out: Path, progress: Progress) -> Iterator[Path]:
    task = f"building {ingredient.split} {ingredient.attack}"
    for index, shard in enumerate(ingredient.data.slices(SHARD)):
        name = f"{ingredient.split}-{ingredient.attack}-{index:04d}-{ingredient.key[:12]}.parquet"
        place = out / "parts" / name
        progress(task, index * SHARD, len(ingredient.data))
        if not place.is_file():
            table = ingredient.make(shard)
            write_whole(place, functools.partial(table.to_parquet, index=False))
        yield place
    progress(task, len(ingredient.data), len(ingredient.data))


def _join(places: Sequence[Path], target: Path) -> None:
    """Append the shards' tables to one file, a row group each."""
    schema = pq.read_schema(places[0])
    with pq.ParquetWriter(target, schema) as writer:
        for place in places:
            writer.write_table(pq.read_table(place).cast(schema))


def _share(data: Dataset, row: Row, number: int, rows: int, all_rows: bool) -> Dataset:
    manifest = data.manifest
    if not all_rows:
        turn = manifest["id"].map(lambda identity: int(digest("turn", identity)[:8], 16) % rows)
        manifest = manifest[turn == number].reset_index(drop=True)
    if row.limit is not None:
        manifest = choose(manifest, row.limit)
    return Dataset(data.name, manifest)


def _clean(shard: Dataset, split: str, out: Path) -> pd.DataFrame:
    rows = []
    for place, content in enumerate(shard.contents()):
        source = shard.manifest.iloc[place]
        suffix = ".jpg" if content[:2] == b"\xff\xd8" else ".png" if content[:4] == b"\x89PNG" else ".img"
        path = _put(out, split, "clean", source["id"], int(source["label"]), content, suffix)
        rows.append(_row(source, split, "clean", path, content))
    return pd.DataFrame(rows)


def _perturbed(
    shard: Dataset, *, split: str, row: Row, seed: int, made_on: tuple[Detector | None, str], out: Path
) -> pd.DataFrame:
    rows, place = [], 0
    for batch in shard.batches(SHARD):
        images = _attacked(row, batch, made_on[0], seed)
        linf, l2, l0 = norms(images.mul(LEVELS).round(), batch.images.mul(LEVELS).round())
        for i, pixels in enumerate(to_bytes(images)):
            source = shard.manifest.iloc[place]
            content = encode_png(pixels)
            path = _put(out, split, row.id, source["id"], int(source["label"]), content, ".png")
            made = _row(source, split, row.id, path, content)
            made |= {"surrogate": row.surrogate or "", "surrogate_sha256": made_on[1], "seed": seed}
            made |= {"eps": float(row.numbers.get("eps", float("nan")))}
            made |= {"linf": int(linf[i]), "l2": float(l2[i]), "l0": int(l0[i])}
            rows.append(made)
            place += 1
    return pd.DataFrame(rows)


def _attacked(row: Row, batch: Batch, surrogate: Detector | None, seed: int) -> torch.Tensor:
    if isinstance(row.built, Perturbation):
        return row.built.apply(batch.images, batch.ids, seed)
    if surrogate is None:
        raise BadData(
            f'row {row.id} asks a detector, so it needs a surrogate. Add surrogate = "resnet18-c32" to the suite.'
        )
    return row.built(surrogate, batch.images, batch.labels, ids=batch.ids, seed=seed, full=True).images


def _samples(shard: Dataset, split: str, seed: int, out: Path) -> pd.DataFrame:
    """Fresh samples of the shipped diffusion model, all classes in turn; they have no parent and label 1."""
    ids = shard.manifest["id"].tolist()
    classes = [int(identity.rsplit("-", 1)[1]) % len(CLASSES) for identity in ids]
    images = PixelDiffusion.load(SHIPPED).sample(classes, rngs_for(seed, "plusplus-diffusion", ids))
    rows = []
    for identity, number, pixels in zip(ids, classes, to_bytes(images), strict=True):
        content = encode_png(pixels)
        about = {"id": identity, "parent": identity, "generator": "mini-diffusion", "category": CLASSES[number]}
        source = pd.Series({**about, "label": 1})
        path = _put(out, split, "diffusion", identity, 1, content, ".png")
        rows.append(_row(source, split, "diffusion", path, content))
    return pd.DataFrame(rows)


def _row(source: "pd.Series[Any]", split: str, attack: str, path: Path, content: bytes) -> dict[str, object]:
    return {
        "id": f"{source['id']}" if attack == "clean" else f"{source['id']}#{attack}",
        "label": int(str(source["label"])),
        "split": split,
        "generator": source["generator"],
        "category": source["category"],
        "source": source["id"],
        "parent": source["parent"],
        "attack": attack,
        "surrogate": "",
        "surrogate_sha256": "",
        "seed": -1,
        "eps": float("nan"),
        "linf": 0,
        "l2": 0.0,
        "l0": 0,
        "sha256": hashlib.sha256(content).hexdigest(),
        "path": path.as_posix(),
    }


def _put(out: Path, split: str, attack: str, identity: str, label: int, content: bytes, suffix: str) -> Path:
    stem = identity.replace("/", "_")
    relative = Path(split) / attack / ("FAKE" if label else "REAL") / f"{stem}{suffix}"
    (out / relative).parent.mkdir(parents=True, exist_ok=True)
    (out / relative).write_bytes(content)
    return relative
