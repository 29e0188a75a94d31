"""What a build of a ``++`` set will take: passes, time and room on the disk."""

import shutil
import time
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from robustbench_aigi.attacks import Suite
from robustbench_aigi.data.plusplus.build import all_builders
from robustbench_aigi.data.plusplus.parts import Part, PartBuilder
from robustbench_aigi.data.plusplus.storage import Storage, load_storage
from robustbench_aigi.detectors import Detector
from robustbench_aigi.detectors._support.fingerprint import Identities
from robustbench_aigi.errors import DataError
from robustbench_aigi.executors import InProcessExecutor

TRIAL_IMAGES = 8
"""Images of a trial; the first of two warms up, the second is timed."""


def estimate_build(
    parts: Mapping[str, Part],
    suite: Suite,
    surrogates: Mapping[str, Detector],
    out: Path,
    workers: int,
    identities: Identities | None = None,
    shards: str | None = None,
) -> pd.DataFrame:
    """Estimate what a build has left to do, by trials of every part on a few images.

    Args:
        parts: by split.
        suite: what is done to the clean images.
        surrogates: detectors by name.
        out: folder of the set.
        workers: processes that share the time.
        identities: the surrogates' fingerprints, where the caller has them already.
        shards: kind of archives that images are written to; None for one file per image.

    Returns:
        One row per part: ``split, attack, images, passes, seconds, megabytes``.

    Raises:
        DataError: the disk has less room than the set takes, or a row names a surrogate that was
            not given.
    """
    storage = load_storage(shards)
    builders = all_builders(parts, suite, surrogates, identities, storage)
    rows = [
        {"split": builder.split, "attack": builder.attack} | _remaining(builder, out, storage)
        for builder in builders
    ]
    table = pd.DataFrame(rows).astype({"passes": int})
    table["seconds"] /= workers
    room = shutil.disk_usage(_existing(out)).free / 1e6
    needed = float(table["megabytes"].sum())
    if needed > room:
        raise DataError(
            f"the set takes about {needed:.0f} MB and {out} has room for {room:.0f} MB. Give --out"
            " on a larger disk, or --limit."
        )
    return table


def estimate_text(expected: pd.DataFrame, workers: int) -> str:
    """Return an estimate as text, with its sums.

    Args:
        expected: of :func:`estimate_build`.
        workers: processes that share the time.
    """
    images, passes, seconds, size = (
        expected[name].sum() for name in ("images", "passes", "seconds", "megabytes")
    )
    shown = expected.round({"seconds": 0, "megabytes": 1}).to_string(index=False)
    return (
        f"{shown}\nto do: {images:.0f} images, {passes:.2g} model passes, about"
        f" {seconds / 60:.0f} min with {workers} workers, {size:.0f} MB"
    )


def _remaining(builder: PartBuilder, out: Path, storage: Storage) -> dict[str, float]:
    missing = [len(shard) for shard, place in builder.places() if not storage.is_whole(out, place)]
    images = sum(missing)
    if not images:
        return {"images": 0, "passes": 0, "seconds": 0.0, "megabytes": 0.0}
    trials = builder.data.slices(TRIAL_IMAGES)[:2]
    executor = InProcessExecutor(1)
    for trial in trials:
        start = time.perf_counter()
        (made,) = executor.map_ordered(builder.make, [trial])
        seconds = time.perf_counter() - start
    table = made.table
    passes = float((table["forwards"] + table["backwards"]).sum())
    scale = images / len(table)
    return {
        "images": images,
        "passes": passes * scale,
        "seconds": seconds * scale,
        "megabytes": storage.bytes_on_disk(made, images, len(missing)) / 1e6,
    }


def _existing(folder: Path) -> Path:
    """Return the folder, or the nearest one above that exists."""
    return next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
