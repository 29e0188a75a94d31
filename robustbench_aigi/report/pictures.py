"""Pictures for reports: clean, attacked and ten times their difference, as data addresses."""

import base64
from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
from torch import Tensor

from robustbench_aigi.data.builder import plusplus
from robustbench_aigi.data.images import decode, encode_png
from robustbench_aigi.data.pictures import times_ten

EACH = 2


@dataclass(frozen=True)
class Picture:
    """One attacked image beside its clean one. The three images are ``data:`` addresses of PNG files."""

    detector: str
    attack: str
    identity: str
    label: str
    clean_logit: float
    logit: float
    fooled: bool
    size: str
    clean: str
    attacked: str
    difference: str


def gallery(out: Path) -> list[Picture]:
    """For every white-box cell of a run its strongest cases: the smallest changes that fooled, else the closest."""
    clean = plusplus(out / "plusplus", "test", "clean").manifest.set_index("source")["path"]
    pictures = []
    for folder in sorted((out / "cells").glob("*/white-box-*")):
        if any((own / "error.txt").is_file() for own in (folder, folder.parent / "clean-clean")):
            continue
        table = pd.concat([_table(shard) for shard in sorted(folder.glob("shard-*.parquet"))], ignore_index=True)
        if not table["kept"].all():
            continue
        for row in strongest(table).to_dict("records"):
            row["png"] = pd.read_parquet(row["shard"], columns=["png"], filters=[("id", "==", row["id"])])["png"][0]
            original = decode(Path(clean[row["id"]]).read_bytes())
            pictures.append(_picture(folder, row, original))
    return pictures


def strongest(table: pd.DataFrame) -> pd.DataFrame:
    """The ``EACH`` images right before and fooled by the smallest change; where none was, those that came closest."""
    turned = table[table["fooled"] & (table["backwards"] + table["forwards"] > 1)]
    if not turned.empty:
        return turned.sort_values(["l2", "id"]).head(EACH)
    distance = table["logit"].abs()
    return table.assign(distance=distance).sort_values(["distance", "id"]).head(EACH).drop(columns="distance")


def _picture(folder: Path, row: dict[Hashable, Any], original: Tensor) -> Picture:
    png = row["png"]
    if not isinstance(png, bytes):
        raise TypeError("a kept image must be PNG bytes")
    attacked = decode(png)
    return Picture(
        detector=folder.parent.name,
        attack=folder.name.removeprefix("white-box-"),
        identity=str(row["id"]),
        label="AI-generated" if row["label"] else "real",
        clean_logit=float(str(row["clean_logit"])),
        logit=float(str(row["logit"])),
        fooled=bool(row["fooled"]),
        size=f"L-inf {row['linf']} levels, L2 {float(str(row['l2'])):.2f}, {row['l0']} pixels",
        clean=address(original),
        attacked=address(attacked),
        difference=address(times_ten(attacked, original)),
    )


def address(pixels: Tensor) -> str:
    """A ``data:`` address of uint8 ``(3, H, W)`` pixels as PNG."""
    return "data:image/png;base64," + base64.b64encode(encode_png(pixels)).decode()


def _table(shard: Path) -> pd.DataFrame:
    """A shard's numbers without its images, which are read one at a time."""
    columns = pq.read_schema(shard).names
    table = pd.read_parquet(shard, columns=[name for name in columns if name != "png"])
    return table.assign(shard=str(shard), kept="png" in columns)
