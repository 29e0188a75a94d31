"""Pictures for reports: clean, attacked and ten times their difference, as data addresses."""

import base64
from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from robustbench_aigi.data.builder import plusplus
from robustbench_aigi.data.images import decode, encode_png
from robustbench_aigi.data.pictures import times_ten
from robustbench_aigi.evaluation.attention import read_maps
from robustbench_aigi.evaluation.cases import cases, image_of


@dataclass(frozen=True)
class Picture:
    """One attacked image beside its clean one. Images are ``data:`` addresses of PNG files.

    ``maps`` are Grad-CAM before and after, None where there are none; ``similarity`` is their cosine.
    """

    detector: str
    attack: str
    identity: str
    kind: str
    label: str
    clean_logit: float
    logit: float
    fooled: bool
    size: str
    clean: str
    attacked: str
    difference: str
    maps: tuple[str, str] | None
    similarity: float


def gallery(out: Path) -> list[Picture]:
    """For every white-box cell of a run its strongest cases and its weakest, by choice: see :func:`cases`."""
    clean = plusplus(out / "plusplus", "test", "clean").manifest.set_index("source")["path"]
    pictures = []
    for folder in sorted((out / "cells").glob("*/white-box-*")):
        if any((own / "error.txt").is_file() for own in (folder, folder.parent / "clean-clean")):
            continue
        maps = read_maps(folder)
        for row in cases(folder).to_dict("records"):
            original = decode(Path(clean[row["id"]]).read_bytes())
            attacked = decode(image_of(str(row["shard"]), str(row["id"])))
            pictures.append(_picture(folder, row, original, attacked, maps.get(str(row["id"]))))
    return pictures


def _picture(
    folder: Path,
    row: dict[Hashable, Any],
    original: Tensor,
    attacked: Tensor,
    maps: tuple[bytes, bytes, float] | None,
) -> Picture:
    before, after, alike = maps if maps is not None else (b"", b"", 0.0)
    return Picture(
        detector=folder.parent.name,
        attack=folder.name.removeprefix("white-box-"),
        identity=str(row["id"]),
        kind=str(row["kind"]),
        label="AI-generated" if row["label"] else "real",
        clean_logit=float(str(row["clean_logit"])),
        logit=float(str(row["logit"])),
        fooled=bool(row["fooled"]),
        size=f"L-inf {row['linf']} levels, L2 {float(str(row['l2'])):.2f}, {row['l0']} pixels",
        clean=address(encode_png(original)),
        attacked=address(encode_png(attacked)),
        difference=address(encode_png(times_ten(attacked, original))),
        maps=(address(before), address(after)) if maps is not None else None,
        similarity=alike,
    )


def address(png: bytes) -> str:
    """A ``data:`` address of a PNG file."""
    return "data:image/png;base64," + base64.b64encode(png).decode()
