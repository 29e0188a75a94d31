"""The three forms people hold a labelled dataset in: class folders, Parquet shards, a hub id."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from robustbench_aigi.data.images import EXTENSIONS
from robustbench_aigi.errors import BadData, Unavailable

SPLIT_NAMES = {"train": "train", "validation": "validation", "valid": "validation", "val": "validation", "test": "test"}


@dataclass(frozen=True)
class Entry:
    """One image before it is opened. ``row`` is -1 for a file of its own; ``stem`` is its name in the source."""

    split: str
    label: int
    stem: str
    path: Path
    row: int


def entries(
    source: str, labels: dict[str, int], numbers: dict[int, int], revision: str | None = None
) -> Iterator[Entry]:
    """List the images of a source without opening them.

    Args:
        source: a folder ``train/REAL/*.jpg`` ..., a Parquet file or a folder of them, or a hub id ``owner/name``.
        labels: class name to label (1 = AI-generated), such as ``{"REAL": 0, "FAKE": 1}``.
        numbers: class number in Parquet to label, where the file itself does not name its classes.
        revision: of the hub dataset.

    Raises:
        BadData: the path is missing, or holds no such layout, or a class is empty.
        Unavailable: the hub cannot be reached.
    """
    path = Path(source).expanduser()
    if not path.exists():
        path = _from_hub(source, revision)
    shards = [path] if path.suffix == ".parquet" else sorted(path.rglob("*.parquet")) if path.is_dir() else []
    if shards:
        yield from _parquet_entries(shards, labels, numbers)
    elif path.is_dir():
        yield from _folder_entries(path, labels)
    else:
        raise BadData(f"{path} is neither a folder nor a Parquet file. Give a folder train/REAL/*.jpg, or *.parquet.")


def _folder_entries(root: Path, labels: dict[str, int]) -> Iterator[Entry]:
    folders = {name.lower(): label for name, label in labels.items()}
    splits = [child for child in sorted(root.iterdir()) if child.is_dir() and child.name.lower() in SPLIT_NAMES]
    wanted = " and ".join(labels)
    if not splits:
        raise BadData(
            f"{root} has no train or test folder. Expected train/{wanted.replace(' and ', ', train/')}, and test/."
        )
    for split in splits:
        classes = {child.name.lower(): child for child in split.iterdir() if child.is_dir()}
        for name in labels:
            if name.lower() not in classes:
                raise BadData(
                    f"{split} has no folder {name}. Expected {wanted}; it has {', '.join(classes) or 'none'}."
                )
            files = sorted(p for p in classes[name.lower()].rglob("*") if p.suffix.lower() in EXTENSIONS)
            if not files:
                raise BadData(f"{classes[name.lower()]} holds no image. Expected files such as 0001.jpg in it.")
            for file in files:
                stem = file.relative_to(root).with_suffix("").as_posix()
                yield Entry(SPLIT_NAMES[split.name.lower()], folders[name.lower()], stem, file, -1)


def _parquet_entries(shards: list[Path], labels: dict[str, int], numbers: dict[int, int]) -> Iterator[Entry]:
    for shard in shards:
        split = _split_of(shard)
        file = pq.ParquetFile(shard)
        if not {"image", "label"} <= set(file.schema_arrow.names):
            got = ", ".join(file.schema_arrow.names)
            raise BadData(f"{shard} has the columns {got}. Expected image (struct of bytes and path) and label.")
        mapping = _mapping(file, labels) or numbers
        row = 0
        for batch in file.iter_batches(8192, columns=["image.path", "label"]):
            paths = batch.column("image").field("path").to_pylist()
            for name, number in zip(paths, batch.column("label").to_pylist(), strict=True):
                if number not in mapping:
                    raise BadData(f"{shard} row {row} has label {number!r}. Expected one of {sorted(mapping)}.")
                stem = str(Path(name).with_suffix("")) if name else f"{shard.stem}-{row}"
                yield Entry(split, mapping[number], f"{split}/{stem}", shard, row)
                row += 1


def _split_of(shard: Path) -> str:
    found = [SPLIT_NAMES[word] for word in re.split(r"[^a-z]+", shard.stem.lower()) if word in SPLIT_NAMES]
    if not found:
        raise BadData(f"cannot tell the split of {shard}. Name it like train-00000-of-00001.parquet or test.parquet.")
    return found[0]


def _mapping(file: pq.ParquetFile, labels: dict[str, int]) -> dict[int, int] | None:
    """Read class names that Hugging Face wrote into the schema; the file's own word beats the recipe's."""
    raw = (file.schema_arrow.metadata or {}).get(b"huggingface")
    feature = json.loads(raw).get("info", {}).get("features", {}).get("label", {}) if raw else {}
    named = feature.get("names")
    if not named:
        return None
    known = {name.lower(): label for name, label in labels.items()}
    if not {name.lower() for name in named} <= set(known):
        raise BadData(
            f"the Parquet file names its classes {named}. Expected {', '.join(labels)}; add them to the recipe."
        )
    return {number: known[name.lower()] for number, name in enumerate(named)}


def _from_hub(source: str, revision: str | None) -> Path:
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", source):
        raise BadData(f"no file or folder at {source}. Give an existing path, or a hub id such as owner/name.")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(source, repo_type="dataset", revision=revision, allow_patterns=["*.parquet"]))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ConnectionError) as error:
        raise Unavailable(
            f"no file or folder at {source}, and the hub has no dataset of that name within reach "
            f"({type(error).__name__}). Download it elsewhere and give its folder with --source PATH, or set HF_HOME."
        ) from error
