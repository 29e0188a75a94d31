"""Cases worth looking at, by choice: the smallest changes that fooled, and what held against the
largest.
"""

from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
from torch import Tensor

from robustbench_aigi.data.decoding import ImageError, decode
from robustbench_aigi.evaluation.cells import finished_shards, read_shards
from robustbench_aigi.io.files import describe_read_errors

MAX_STRONGEST = 2
"""Examples of images that the attack turned furthest."""
MAX_WEAKEST = 1
"""Examples of images that it turned least."""


def cases(folder: Path, threshold: float) -> pd.DataFrame:
    """Rows of a white-box cell that keeps its images, with the columns ``shard`` and ``kind``;
    empty if it keeps none.

    Images that the detector was wrong on before the attack are left out: no attack fooled it there.
    ``kind`` is strongest (fooled by the smallest change; where none was, the closest to it) or
    weakest (not fooled, and the furthest from it; where all were, those that needed the largest
    change).

    Args:
        threshold: the detector's, a logit.
    """
    names, _ = finished_shards(folder)
    shards = [folder / name for name in names]
    if not shards or any("png" not in pq.read_schema(shard).names for shard in shards):
        return pd.DataFrame()
    table = pd.concat([_candidates(shard, threshold) for shard in shards], ignore_index=True)
    best = strongest(table, threshold)
    rest = table[~table["id"].isin(best["id"])]
    weakest = _weakest(rest, threshold)
    return pd.concat(
        [best.assign(kind="strongest"), weakest.assign(kind="weakest")], ignore_index=True
    )


def right_before(table: pd.DataFrame, threshold: float) -> "pd.Series[bool]":
    """Whether the detector was right on each clean image."""
    called_fake = table["clean_logit"].astype(float) > threshold
    return called_fake == (table["label"] == 1)


def strongest(table: pd.DataFrame, threshold: float) -> pd.DataFrame:
    """The images fooled by the smallest change; where none was, those that came closest to the
    threshold.
    """
    turned = table[table["fooled"]]
    if not turned.empty:
        return turned.sort_values(["l2", "id"]).head(MAX_STRONGEST)
    return _by_distance(table, threshold, nearest=True).head(MAX_STRONGEST)


def _weakest(table: pd.DataFrame, threshold: float) -> pd.DataFrame:
    held = table[~table["fooled"]]
    if not held.empty:
        return _by_distance(held, threshold, nearest=False).head(MAX_WEAKEST)
    return table.sort_values(["l2", "id"], ascending=[False, True]).head(MAX_WEAKEST)


def _by_distance(table: pd.DataFrame, threshold: float, *, nearest: bool) -> pd.DataFrame:
    distance = (table["logit"] - threshold).abs()
    ordered = table.assign(distance=distance).sort_values(
        ["distance", "id"], ascending=[nearest, True]
    )
    return ordered.drop(columns="distance")


def _candidates(shard: Path, threshold: float) -> pd.DataFrame:
    """The rows of a shard that may be among the cases of the cell, without their images."""
    table = read_shards([shard]).assign(shard=str(shard))
    table = table[right_before(table, threshold)]
    most = MAX_STRONGEST + MAX_WEAKEST
    parts = []
    for part in (table[table["fooled"]], table[~table["fooled"]]):
        parts += [
            part.sort_values(["l2", "id"]).head(most),
            part.sort_values(["l2", "id"], ascending=[False, True]).head(most),
            _by_distance(part, threshold, nearest=True).head(most),
            _by_distance(part, threshold, nearest=False).head(most),
        ]
    return table.loc[sorted({row for part in parts for row in part.index})]


def image_of(shard: str, identity: str) -> Tensor:
    """An attacked image, uint8 ``(3, H, W)``. Raises ``DataError`` if its shard is damaged."""
    with describe_read_errors(Path(shard)):
        kept = pd.read_parquet(shard, columns=["png"], filters=[("id", "==", identity)])[
            "png"
        ].iloc[0]
        try:
            return decode(kept)
        except ImageError as reason:
            raise ValueError(f"the image of {identity}: {reason}") from reason
