"""How one shard of images of a ``++`` set is made: copied, perturbed or generated."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
from torch import Tensor

from robustbench_aigi.attacks import Perturbation, SuiteRow
from robustbench_aigi.data.dataset import Batch, Dataset
from robustbench_aigi.data.decoding import encode_pngs
from robustbench_aigi.data.plusplus.image_files import encode_like, file_path, write_files
from robustbench_aigi.data.plusplus.manifest import ManifestRow, to_frame
from robustbench_aigi.data.reading import CONVERT_COLUMN
from robustbench_aigi.detectors import Detector
from robustbench_aigi.detectors._support.placement import placed
from robustbench_aigi.errors import DataError
from robustbench_aigi.generators import (
    CLASS_NAMES,
    DIFFUSION_NAME,
    SHIPPED_DIFFUSION,
    PixelDiffusion,
)
from robustbench_aigi.imaging.norms import norms
from robustbench_aigi.imaging.pixels import to_bytes
from robustbench_aigi.imaging.quality import psnr, ssim
from robustbench_aigi.io.hashing import rngs_for


@dataclass(frozen=True)
class Surrogate:
    """A detector to attack, and the SHA-256 of its weights."""

    detector: Detector
    sha256: str


def copy_images(shard: Dataset, out: Path, *, split: str, attack: str) -> pd.DataFrame:
    """Store images as they are; converted ones become PNG files.

    Args:
        shard: the images.
        out: folder of the set.
        split: of the images.
        attack: ``clean`` or ``generated``.

    Returns:
        Their rows of the manifest.
    """
    files = list(shard.files())
    return to_frame(_store(shard.manifest, _stored_hashes(shard), split, attack, files, out))


def perturb_images(
    shard: Dataset,
    out: Path,
    *,
    split: str,
    row: SuiteRow,
    seed: int,
    surrogate: Surrogate | None,
) -> pd.DataFrame:
    """Perturb images in one way, and store them as PNG files.

    Attacks run at full strength, because the set is meant for other detectors than the surrogate.

    Args:
        shard: the images.
        out: folder of the set.
        split: of the images.
        row: of the suite.
        seed: of the suite.
        surrogate: to attack; None for a corruption.

    Returns:
        Their rows of the manifest.

    Raises:
        DataError: the attack needs a surrogate, and there is none.
    """
    encoded: list[Future[list[bytes]]] = []
    measured: list[dict[str, Any]] = []
    with ThreadPoolExecutor(1) as encoder:  # images are encoded while the next ones are perturbed
        for batch in shard.batches(len(shard)):
            images, passes = _attack(row, batch, surrogate, seed)
            pixels = to_bytes(images)
            del images
            encoded.append(encoder.submit(encode_pngs, pixels))
            eps = row.checked().eps_at(*pixels.shape[2:])
            facts = passes | _distances(pixels, to_bytes(batch.images))
            size = {} if eps is None else {"eps": float(eps)}
            measured += [found | size for found in _as_records(facts)]
    files = [file for some in encoded for file in some.result()]
    rows = _store(shard.manifest, _stored_hashes(shard), split, row.id, files, out)
    common: dict[str, Any] = {
        "surrogate": row.surrogate or "",
        "surrogate_sha256": surrogate.sha256 if surrogate else "",
        "seed": seed,
    }
    return to_frame(
        [replace(own, **common, **facts) for own, facts in zip(rows, measured, strict=True)]
    )


def generate_samples(
    shard: Dataset, out: Path, *, split: str, seed: int, example: bytes
) -> pd.DataFrame:
    """Store fresh samples of the shipped diffusion model, its classes in turn.

    Args:
        shard: their ids.
        out: folder of the set.
        split: of the images.
        seed: of the suite.
        example: an image file of the split, whose format they get.

    Returns:
        Their rows of the manifest.
    """
    ids = shard.manifest["id"].tolist()
    classes = [int(identity.rsplit("-", 1)[1]) % len(CLASS_NAMES) for identity in ids]
    images = PixelDiffusion.load(SHIPPED_DIFFUSION).sample(
        classes, rngs_for(seed, "plusplus-diffusion", ids)
    )
    sources = shard.manifest.assign(
        parent=ids,
        generator=DIFFUSION_NAME,
        category=[CLASS_NAMES[number] for number in classes],
    )
    files = [encode_like(example, pixels) for pixels in to_bytes(images)]
    hashes = sources["sha256"].tolist()
    return to_frame(_store(sources, hashes, split, "diffusion", files, out))


def _store(
    sources: pd.DataFrame,
    source_hashes: Sequence[str],
    split: str,
    attack: str,
    files: Sequence[bytes],
    out: Path,
) -> list[ManifestRow]:
    """Write the files that were made of some sources, in their order, and return their rows."""
    ids = sources["id"].tolist()
    labels = sources["label"].astype(int).tolist()
    paths = [
        file_path(split, attack, identity, label, content)
        for identity, label, content in zip(ids, labels, files, strict=True)
    ]
    write_files(out, paths, files)
    if CONVERT_COLUMN in sources:
        conversions = sources[CONVERT_COLUMN].fillna("").tolist()
    else:
        conversions = [None] * len(ids)
    columns = {
        "id": ids if attack == "clean" else [f"{identity}#{attack}" for identity in ids],
        "label": labels,
        "source": ids,
        "parent_sha256": list(source_hashes),
        "generator": sources["generator"].tolist(),
        "category": sources["category"].tolist(),
        "parent": sources["parent"].tolist(),
        "sha256": _hashes(files),
        "path": [path.as_posix() for path in paths],
        "convert": conversions,
    }
    return [ManifestRow(split=split, attack=attack, **record) for record in _as_records(columns)]


def _attack(
    row: SuiteRow, batch: Batch, surrogate: Surrogate | None, seed: int
) -> tuple[Tensor, dict[str, list[Any]]]:
    """Return the changed images, whether each fooled the surrogate, and the passes spent."""
    count = len(batch.ids)
    if isinstance(row.built, Perturbation):
        unknown: dict[str, list[Any]] = {
            "fooled": [None] * count,
            "forwards": [0] * count,
            "backwards": [0] * count,
        }
        return row.built.apply(batch.images, batch.ids, seed), unknown
    if surrogate is None:
        raise DataError(
            f'row {row.id} asks a detector, so it needs a surrogate. Add surrogate = "resnet18-c32"'
            " to the suite."
        )
    result = row.built(
        placed(surrogate.detector),
        batch.images,
        batch.labels,
        ids=batch.ids,
        seed=seed,
        full=True,
    )
    return result.images, {
        "fooled": result.fooled.tolist(),
        "forwards": result.forwards.tolist(),
        "backwards": result.backwards.tolist(),
    }


def _distances(levels: Tensor, before: Tensor) -> dict[str, list[Any]]:
    """Return how far each image is from its source, both uint8 ``(N, 3, H, W)``."""
    linf, l2, l0 = norms(levels, before)
    return {
        "linf": linf.tolist(),
        "l2": l2.tolist(),
        "l0": l0.tolist(),
        "psnr": psnr(levels, before).tolist(),
        "ssim": ssim(levels, before).tolist(),
    }


def _as_records(columns: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Return columns of one length as one dictionary per row."""
    rows = zip(*columns.values(), strict=True)
    return [dict(zip(columns, values, strict=True)) for values in rows]


def _stored_hashes(shard: Dataset) -> list[str]:
    """Return the hash of the file that a set stores of each image."""
    if shard.conversions:
        return _hashes(shard.files())
    return [str(sha256) for sha256 in shard.manifest["sha256"]]


def _hashes(files: Iterable[bytes]) -> list[str]:
    return [hashlib.sha256(content).hexdigest() for content in files]
