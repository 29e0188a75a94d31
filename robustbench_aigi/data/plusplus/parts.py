"""What a `++` set is made of: clean images, perturbed ones and generated ones, each made a shard at
a time.
"""

import functools
import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import pandas as pd
from PIL import JpegImagePlugin
from torch import Tensor

from robustbench_aigi.attacks import Perturbation, Suite, SuiteRow
from robustbench_aigi.attacks.loading import plain_numbers
from robustbench_aigi.data.dataset import CONVERTED, Batch, Dataset, choose
from robustbench_aigi.data.decoding import FORMATS, encode_jpeg, encode_png
from robustbench_aigi.detectors import Detector
from robustbench_aigi.detectors._support.placement import placed
from robustbench_aigi.errors import DataError
from robustbench_aigi.generators import CLASSES, SHIPPED, PixelDiffusion
from robustbench_aigi.imaging.norms import norms
from robustbench_aigi.imaging.pixels import LEVELS, to_bytes
from robustbench_aigi.imaging.png import opened
from robustbench_aigi.imaging.quality import psnr, ssim
from robustbench_aigi.io.files import describe_write_errors
from robustbench_aigi.io.hashing import digest, file_digest, rngs_for, weights_digest

SHARD = 250
"""Images in a unit of work: the same shard gives the same bytes, whoever does it."""
Table = dict[str, object]


@dataclass(frozen=True)
class Part:
    """One split of the set.

    ``all_rows`` perturbs every image in every way; else each image gets one way in turn.
    ``samples`` counts images of the shipped diffusion model; ``generated`` holds those that other
    models made.
    """

    data: Dataset
    all_rows: bool
    samples: int
    generated: Dataset | None = None


@dataclass(frozen=True)
class PartBuilder:
    """Images of one attack in one split: ``make`` turns a shard of sources into files in a folder
    and manifest rows.
    """

    attack: str
    split: str
    data: Dataset
    key: str
    make: Callable[[Dataset, Path], pd.DataFrame]

    def places(self) -> Iterator[tuple[Dataset, Path]]:
        """The shards, and where in the set's folder the rows of each go."""
        for index, shard in enumerate(self.data.slices(SHARD)):
            yield (
                shard,
                Path("parts") / f"{self.split}-{self.attack}-{index:04d}-{self.key[:12]}.parquet",
            )


def part_builders(
    split: str,
    part: Part,
    suite: Suite,
    surrogates: Mapping[str, Detector],
    identities: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[PartBuilder]:
    """All that one split is made of.

    Args:
        identities: of the surrogates, by name: shards that were made on another one are not reused.

    Raises:
        DataError: a row names a surrogate that was not given.
    """
    whole = {"clean": part.data} | ({} if part.generated is None else {"generated": part.generated})
    for name, data in whole.items():
        yield PartBuilder(
            name, split, data, data.key, functools.partial(_as_they_are, split=split, attack=name)
        )
    asked = {name: surrogate for name, surrogate in surrogates.items() if name in suite.surrogates}
    weights = {name: weights_digest(surrogate.state_dict()) for name, surrogate in asked.items()}
    for number, row in enumerate(suite.rows):
        if row.surrogate is not None and row.surrogate not in surrogates:
            raise DataError(
                f"row {row.id} of suite {suite.name} needs the surrogate {row.surrogate}. Train it"
                f" with `robustbench-aigi train {row.surrogate} --out {row.surrogate}.safetensors`,"
                f" and give it: --surrogate {row.surrogate}.safetensors."
            )
        data = _share(part.data, row, number, len(suite.rows), part.all_rows)
        surrogate = surrogates[row.surrogate] if row.surrogate else None
        sha256 = weights[row.surrogate] if row.surrogate else ""
        key = digest(
            data.key, row.model_dump(), suite.seed, sha256, identities.get(row.surrogate or "", "")
        )
        make = functools.partial(
            _perturbed, split=split, row=row, seed=suite.seed, made_on=(surrogate, sha256)
        )
        yield PartBuilder(row.id, split, data, key, make)
    if part.samples:
        ids = [f"{split}/diffusion-{i:05d}" for i in range(part.samples)]
        wanted = Dataset(
            "diffusion", pd.DataFrame({"id": ids, "label": 1, "split": split, "sha256": ""})
        )
        example = next(part.data.files())
        key = digest(
            part.samples, suite.seed, file_digest(SHIPPED), hashlib.sha256(example).hexdigest()
        )
        make = functools.partial(_samples, split=split, seed=suite.seed, example=example)
        yield PartBuilder("diffusion", split, wanted, key, make)


def _share(data: Dataset, row: SuiteRow, number: int, rows: int, all_rows: bool) -> Dataset:
    manifest = data.manifest
    if not all_rows:
        turn = manifest["id"].map(lambda identity: int(digest("turn", identity)[:8], 16) % rows)
        manifest = manifest[turn == number].reset_index(drop=True)
    if row.limit is not None:
        manifest = choose(manifest, row.limit)
    return Dataset(data.name, manifest)


def _as_they_are(shard: Dataset, out: Path, *, split: str, attack: str) -> pd.DataFrame:
    """The files, byte for byte; those of converted images as PNG."""
    files = list(shard.files())
    sources = _stored(shard.manifest, files) if shard.conversions else shard.manifest
    return _table(sources, split, attack, files, out)


def _stored(sources: pd.DataFrame, files: list[bytes]) -> pd.DataFrame:
    """Sources by the hash of what a set stores of them."""
    return sources.assign(sha256=[hashlib.sha256(content).hexdigest() for content in files])


def _perturbed(
    shard: Dataset,
    out: Path,
    *,
    split: str,
    row: SuiteRow,
    seed: int,
    made_on: tuple[Detector | None, str],
) -> pd.DataFrame:
    """PNG files. Attacks run at full strength, because the set is meant for other detectors than
    the surrogate.
    """
    sources, files, measured = shard.manifest.set_index("id", drop=False), [], []
    for batch in shard.batches(SHARD):
        images, facts = _attacked(row, batch, made_on[0], seed)
        levels, clean = images.mul(LEVELS).round(), batch.images.mul(LEVELS).round()
        linf, l2, l0 = norms(levels, clean)
        facts |= {"linf": linf.tolist(), "l2": l2.tolist(), "l0": l0.tolist()}
        facts |= {"psnr": psnr(levels, clean).tolist(), "ssim": ssim(levels, clean).tolist()}
        measured.append(pd.DataFrame(facts, index=batch.ids))
        files += [encode_png(pixels) for pixels in to_bytes(images)]
    if shard.conversions:
        sources = _stored(sources, list(shard.files()))
    found = pd.concat(measured)
    found = found.assign(surrogate=row.surrogate or "", surrogate_sha256=made_on[1], seed=seed)
    eps = plain_numbers(row.built, row.numbers).get("eps", float("nan"))
    found = found.assign(eps=float(eps)).astype({"fooled": "boolean"})
    made = _table(sources.loc[found.index], split, row.id, files, out)
    made[found.columns] = found.to_numpy()
    return made.astype({name: found[name].dtype for name in found})


def _attacked(
    row: SuiteRow, batch: Batch, surrogate: Detector | None, seed: int
) -> tuple[Tensor, Table]:
    """The changed images, whether each fooled the surrogate, and the passes it took."""
    if isinstance(row.built, Perturbation):
        unknown: Table = {"fooled": [None] * len(batch.ids), "forwards": 0, "backwards": 0}
        return row.built.apply(batch.images, batch.ids, seed), unknown
    if surrogate is None:
        raise DataError(
            f'row {row.id} asks a detector, so it needs a surrogate. Add surrogate = "resnet18-c32"'
            " to the suite."
        )
    result = row.built(
        placed(surrogate), batch.images, batch.labels, ids=batch.ids, seed=seed, full=True
    )
    passes = {"forwards": result.forwards.tolist(), "backwards": result.backwards.tolist()}
    return result.images, {"fooled": result.fooled.tolist(), **passes}


def _samples(shard: Dataset, out: Path, *, split: str, seed: int, example: bytes) -> pd.DataFrame:
    """Fresh samples of the shipped diffusion model, all classes in turn; they have no parent and
    label 1.
    """
    ids = shard.manifest["id"].tolist()
    classes = [int(identity.rsplit("-", 1)[1]) % len(CLASSES) for identity in ids]
    images = PixelDiffusion.load(SHIPPED).sample(classes, rngs_for(seed, "plusplus-diffusion", ids))
    about = {
        "parent": ids,
        "generator": "mini-diffusion",
        "category": [CLASSES[number] for number in classes],
    }
    files = [encoded_like(example, pixels) for pixels in to_bytes(images)]
    return _table(shard.manifest.assign(**about), split, "diffusion", files, out)


def encoded_like(example: bytes, pixels: Tensor) -> bytes:
    """Uint8 ``(3, H, W)`` pixels as PNG, or as JPEG with the tables of ``example``, so that no
    format tells a class.
    """
    with opened(example, FORMATS) as given:
        if not isinstance(given, JpegImagePlugin.JpegImageFile):
            return encode_png(pixels)
        tables, sampling = given.quantization, JpegImagePlugin.get_sampling(given)
    return encode_jpeg(pixels, qtables=tables, subsampling=max(0, sampling))


SUFFIXES = {
    b"\xff\xd8": ".jpg",
    b"\x89PNG": ".png",
    b"RIFF": ".webp",
    b"BM": ".bmp",
    b"GIF8": ".gif",
}
SUFFIXES |= {b"II*\0": ".tif", b"MM\0*": ".tif"}
LONGEST = 120
"""Letters of an id that a file's name keeps."""


def _table(
    sources: pd.DataFrame, split: str, attack: str, files: list[bytes], out: Path
) -> pd.DataFrame:
    """Write the files of sources, in their order, and give their rows; an attack fills in what it
    measured.
    """
    ids, labels = sources["id"].tolist(), sources["label"].astype(int).tolist()
    paths = []
    for identity, label, content in zip(ids, labels, files, strict=True):
        suffix = next((end for start, end in SUFFIXES.items() if content.startswith(start)), ".img")
        paths.append(
            Path(split) / attack / ("FAKE" if label else "REAL") / f"{_stem(identity)}{suffix}"
        )
    with describe_write_errors(out / split / attack):
        for folder in {(out / path).parent for path in paths}:
            folder.mkdir(parents=True, exist_ok=True)
        for path, content in zip(paths, files, strict=True):
            (out / path).write_bytes(content)
    copied = {name: sources[name].tolist() for name in ("generator", "category", "parent")}
    return pd.DataFrame(
        {
            "id": ids if attack == "clean" else [f"{identity}#{attack}" for identity in ids],
            "label": labels,
        }
        | {
            "split": split,
            "source": ids,
            "parent_sha256": sources["sha256"].tolist(),
            **copied,
            "attack": attack,
        }
        | {
            "surrogate": "",
            "surrogate_sha256": "",
            "seed": -1,
            "eps": float("nan"),
            "linf": 0,
            "l2": 0.0,
            "l0": 0,
        }
        | {"psnr": float("nan"), "ssim": float("nan"), "forwards": 0, "backwards": 0}
        | {"fooled": pd.array([None] * len(ids), dtype="boolean")}
        | {"sha256": [hashlib.sha256(content).hexdigest() for content in files]}
        | {"path": [path.as_posix() for path in paths]}
        | ({CONVERTED: sources[CONVERTED].fillna("").tolist()} if CONVERTED in sources else {})
    )


def _stem(identity: str) -> str:
    """A file's name for an id: another one for every id, of one line, and not too long for a
    disk.
    """
    plain = re.sub(r"[/\x00-\x1f\x7f]", "_", identity)
    if "_" not in identity and len(identity) <= LONGEST and plain == identity.replace("/", "_"):
        return plain
    return f"{plain[-LONGEST:]}~{digest(identity)[:8]}"
