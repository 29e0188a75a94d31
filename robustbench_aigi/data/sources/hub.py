"""Datasets on the Hugging Face hub."""

import re
from pathlib import Path

from robustbench_aigi.errors import DataError, UnavailableError

HUB_FILES = ("*.parquet", "*.tar")


def download_dataset(source: str, revision: str | None = None) -> Path:
    """Download the Parquet and tar files of a hub dataset, and return their folder.

    Args:
        source: hub id ``owner/name``.
        revision: commit or branch; the newest if None.

    Raises:
        DataError: ``source`` is no hub id.
        UnavailableError: the hub cannot be reached, or has no such dataset.
    """
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", source):
        raise DataError(
            f"no file or folder at {source}. Give an existing path, or a hub id such as owner/name."
        )
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(
            snapshot_download(
                source, repo_type="dataset", revision=revision, allow_patterns=list(HUB_FILES)
            )
        )
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ConnectionError) as error:
        raise UnavailableError(
            f"no file or folder at {source}, and the hub has no dataset of that name within reach"
            f" ({type(error).__name__}). Download it elsewhere and give its folder with --source"
            " PATH, or set HF_HOME."
        ) from error
