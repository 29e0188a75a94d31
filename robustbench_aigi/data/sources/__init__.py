"""The forms people hold a labelled dataset in: image folders, Parquet files, WebDataset shards, or a hub id of them."""

import re
from collections.abc import Iterator
from pathlib import Path

from robustbench_aigi.data.sources.entry import SPLITS, Entry, Refused, Split, Terms
from robustbench_aigi.data.sources.folders import LAYOUTS, folder_entries, inside
from robustbench_aigi.data.sources.metadata import TABLES, described, metadata_entries
from robustbench_aigi.data.sources.parquet import parquet_entries
from robustbench_aigi.data.sources.webdataset import tar_entries
from robustbench_aigi.errors import BadData, Unavailable

__all__ = ["LAYOUTS", "SPLITS", "Entry", "Refused", "Split", "Terms", "entries"]

SHARDS = {"parquet": (".parquet", parquet_entries), "webdataset": (".tar", tar_entries)}


def entries(source: str, terms: Terms, revision: str | None = None) -> Iterator[Entry | Refused]:
    """List the images of a source without opening them, and what is refused unopened.

    Args:
        source: a folder of class folders or with a table of labels, a Parquet file, a WebDataset ``.tar``, a folder of
            either, or a hub id ``owner/name``.
        terms: the recipe's words. Its layout is told by looking if None.
        revision: of the hub dataset.

    Raises:
        BadData: the path is missing or damaged, or holds no such layout.
        Unavailable: the hub cannot be reached.
    """
    path = Path(source).expanduser()
    if not path.exists():
        path = _from_hub(source, revision)
    for layout, (suffix, listed) in SHARDS.items():
        if terms.layout not in (None, layout):
            continue
        found = [path] if path.suffix == suffix else sorted(path.rglob(f"*{suffix}")) if path.is_dir() else []
        if found:
            yield from (Refused(p.name, "a link that leads out of the folder") for p in found if not inside(path, p))
            yield from listed([p for p in found if inside(path, p)], terms)
            return
    if terms.layout in SHARDS:
        raise BadData(f"{path} holds no {SHARDS[str(terms.layout)][0]} file. Give one, or a folder of them.")
    if not path.is_dir():
        raise BadData(
            f"{path} is neither a folder, a Parquet file nor a WebDataset .tar. Unpack an archive first and give its "
            "folder, such as one with train/REAL/*.jpg."
        )
    tables = described(path, terms) if terms.layout in (None, "metadata") else []
    if terms.layout == "metadata" and not tables:
        raise BadData(
            f"{path} has no {' or '.join(TABLES)} with the columns file_name and label. Write one, or sort the "
            "images into class folders."
        )
    yield from metadata_entries(path, tables, terms) if tables else folder_entries(path, terms)


def _from_hub(source: str, revision: str | None) -> Path:
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", source):
        raise BadData(f"no file or folder at {source}. Give an existing path, or a hub id such as owner/name.")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    wanted = ["*.parquet", "*.tar"]
    try:
        return Path(snapshot_download(source, repo_type="dataset", revision=revision, allow_patterns=wanted))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ConnectionError) as error:
        raise Unavailable(
            f"no file or folder at {source}, and the hub has no dataset of that name within reach "
            f"({type(error).__name__}). Download it elsewhere and give its folder with --source PATH, or set HF_HOME."
        ) from error
