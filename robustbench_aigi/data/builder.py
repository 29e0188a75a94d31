"""The `++` set: clean images, every perturbation of a suite made on named surrogates, and diffusion samples."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
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
from robustbench_aigi.hashing import digest, rngs_for, weights_digest

Progress = Callable[[str, int, int], None]
SHARD = 250
"""Images in a unit of work: the same shard gives the same bytes, whoever does it."""


@dataclass(frozen=True)
class Part:
    """One split of the set. ``all_rows`` perturbs every image in every way; else each image gets one way in turn."""

    data: Dataset
    all_rows: bool
    samples: int


def build_plusplus(
    parts: Mapping[str, Part], suite: Suite, surrogates: Mapping[str, Detector], out: Path, progress: Progress
) -> pd.DataFrame:
    """Write the set under ``out`` and return its manifest; what an earlier run finished is kept.

    Perturbed images are PNG, clean ones keep their original bytes. Attacks run at full strength, because the set is
    meant for other detectors than the surrogate.

    Raises:
        BadData: a row names a surrogate that was not given.
    """
    for row in suite.rows:
        if row.surrogate is not None and row.surrogate not in surrogates:
            raise BadData(
                f"row {row.id} of suite {suite.name} needs the surrogate {row.surrogate}. "
                f"Train it with `robustbench-aigi train {row.surrogate}` and give its checkpoint with --surrogate."
            )
    hashes = {name: weights_digest(d.state_dict()) for name, d in surrogates.items()}
    tables = []
    for split, part in parts.items():
        tables.append(_clean(part.data, split, out, progress))
        for number, row in enumerate(suite.rows):
            data = _share(part.data, row, number, len(suite.rows), part.all_rows)
            surrogate = surrogates[row.surrogate] if row.surrogate else None
            key = digest(data.key, row.model_dump(), suite.seed, hashes.get(row.surrogate or ""))
            for index, shard in enumerate(data.slices(SHARD)):
                place = out / "parts" / f"{split}-{row.id}-{index:04d}-{key[:12]}.parquet"
                progress(f"building {split} {row.id}", index * SHARD, len(data))
                if not place.is_file():
                    _write_table(_perturbed(shard, split, row, suite.seed, surrogate, hashes, out), place)
                tables.append(pd.read_parquet(place))
            progress(f"building {split} {row.id}", len(data), len(data))
        if part.samples:
            tables.append(_samples(part.samples, split, suite.seed, out, progress))
    manifest = pd.concat(tables, ignore_index=True)
    _write_table(manifest, out / "manifest.parquet")
    return manifest


def plusplus(out: Path, manifest: pd.DataFrame, split: str, attack: str | None = None) -> Dataset:
    """A split of a built set as a dataset, or only the images of one attack (``clean`` is one)."""
    rows = manifest[manifest["split"] == split]
    rows = rows if attack is None else rows[rows["attack"] == attack]
    return Dataset("++", rows.assign(path=[str(out / p) for p in rows["path"]], row=-1).reset_index(drop=True))


def _share(data: Dataset, row: Row, number: int, rows: int, all_rows: bool) -> Dataset:
    manifest = data.manifest
    if not all_rows:
        turn = manifest["id"].map(lambda identity: int(digest("turn", identity)[:8], 16) % rows)
        manifest = manifest[turn == number].reset_index(drop=True)
    if row.limit is not None:
        manifest = choose(manifest, row.limit)
    return Dataset(data.name, manifest)


def _clean(data: Dataset, split: str, out: Path, progress: Progress) -> pd.DataFrame:
    rows = []
    for place, content in enumerate(data.contents()):
        source = data.manifest.iloc[place]
        suffix = ".jpg" if content[:2] == b"\xff\xd8" else ".png" if content[:4] == b"\x89PNG" else ".img"
        path = _put(out, split, "clean", source["id"], int(source["label"]), content, suffix)
        rows.append(_row(source, split, "clean", path, content))
        if place % SHARD == 0:
            progress(f"building {split} clean", place, len(data))
    progress(f"building {split} clean", len(data), len(data))
    return pd.DataFrame(rows)


def _perturbed(
    shard: Dataset, split: str, row: Row, seed: int, surrogate: Detector | None, hashes: Mapping[str, str], out: Path
) -> pd.DataFrame:
    rows, place = [], 0
    for batch in shard.batches(SHARD):
        images = _attacked(row, batch, surrogate, seed)
        linf, l2, l0 = norms(images.mul(LEVELS).round(), batch.images.mul(LEVELS).round())
        for i, pixels in enumerate(to_bytes(images)):
            source = shard.manifest.iloc[place]
            content = encode_png(pixels)
            path = _put(out, split, row.id, source["id"], int(source["label"]), content, ".png")
            made = _row(source, split, row.id, path, content)
            made |= {"surrogate": row.surrogate or "", "surrogate_sha256": hashes.get(row.surrogate or "", "")}
            made |= {"seed": seed, "eps": float(row.numbers.get("eps", float("nan")))}
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


def _samples(count: int, split: str, seed: int, out: Path, progress: Progress) -> pd.DataFrame:
    """Fresh samples of the shipped diffusion model, all classes in turn; they have no parent and label 1."""
    model, rows = PixelDiffusion.load(SHIPPED), []
    for start in range(0, count, SHARD):
        progress(f"building {split} diffusion", start, count)
        ids = [f"{split}/diffusion-{i:05d}" for i in range(start, min(start + SHARD, count))]
        classes = [i % len(CLASSES) for i in range(start, start + len(ids))]
        images = model.sample(classes, rngs_for(seed, "plusplus-diffusion", ids))
        for identity, number, pixels in zip(ids, classes, to_bytes(images), strict=True):
            content = encode_png(pixels)
            source = pd.Series({"id": identity, "label": 1, "generator": "mini-diffusion", "category": CLASSES[number]})
            path = _put(out, split, "diffusion", identity, 1, content, ".png")
            rows.append(_row(source, split, "diffusion", path, content))
    progress(f"building {split} diffusion", count, count)
    return pd.DataFrame(rows)


def _row(source: "pd.Series[Any]", split: str, attack: str, path: Path, content: bytes) -> dict[str, object]:
    return {
        "id": f"{source['id']}" if attack == "clean" else f"{source['id']}#{attack}",
        "label": int(str(source["label"])),
        "split": split,
        "generator": source["generator"],
        "category": source["category"],
        "parent": source["id"],
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


def _write_table(table: pd.DataFrame, path: Path) -> None:
    write_whole(path, lambda temporary: table.to_parquet(temporary, index=False))
