"""Contact sheets of a built ``++`` set: clean, attacked and ten times their difference, pixel by
pixel.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from robustbench_aigi.data.dataset import choose
from robustbench_aigi.data.decoding import ImageError, decode
from robustbench_aigi.data.plusplus.build import plusplus
from robustbench_aigi.errors import DataError
from robustbench_aigi.io.files import atomic_write

SHOWN = 128
"""Pixels a side that a small image is enlarged towards, by a whole factor."""
LARGEST = 256
"""Pixels a side that are shown of a larger image: its middle, since a reduction would hide the
difference.
"""
GAP, LINE = 8, 13
CLASSES = {0: "real", 1: "AI-generated"}


class SheetCell(NamedTuple):
    """Images side by side, uint8 ``(3, H, W)`` each, and the lines of text below them."""

    images: Sequence[Tensor]
    lines: Sequence[str]


def contact_sheets(built: Path, out: Path, count: int = 24) -> list[Path]:
    """Draw a sheet for every split and attack of the set in ``built``; return the files, in the
    manifest's order.
    """
    parts = _manifest(built)[["split", "attack"]].drop_duplicates()
    return [
        contact_sheet(built, split, attack, out, count)
        for split, attack in zip(parts["split"], parts["attack"], strict=True)
    ]


def contact_sheet(built: Path, split: str, attack: str, out: Path, count: int = 24) -> Path:
    """Draw up to ``count`` images of one part, the same ones every time, as
    ``out/SPLIT-ATTACK.png``.

    Each is shown clean, attacked and as ten times the difference around mid grey; what has no
    source, alone. Parts of one split show the same images as far as they hold them.

    Raises:
        DataError: there is no such part, or one of its files is missing or damaged.
    """
    parts = _manifest(built)[["split", "attack"]].drop_duplicates()
    if not ((parts["split"] == split) & (parts["attack"] == attack)).any():
        known = ", ".join(f"{row[0]}/{row[1]}" for row in parts.itertuples(index=False))
        raise DataError(f"{built} has no part {split}/{attack}. It has: {known}.")
    rows = plusplus(built, split, attack).manifest
    wanted = count if rows["label"].nunique() == 2 else 2 * count
    rows = rows.assign(own=rows["id"], id=rows["source"])
    chosen = choose(rows, wanted)
    sources = (
        plusplus(built, split, "clean").manifest.set_index("source")["path"]
        if attack != "clean"
        else pd.Series()
    )
    cells = [_cell(row, sources.get(row["source"])) for row in chosen.to_dict("records")]
    triples = any(len(cell.images) > 1 for cell in cells)
    words = ": clean, attacked, ten times the difference around mid grey" if triples else ""
    path = out / f"{split}-{attack}.png"
    save(sheet(f"{split}, {attack}{words}", cells, columns=3 if triples else 6), path)
    return path


def sheet(title: str, cells: Sequence[SheetCell], columns: int) -> Image.Image:
    """Lay cells out in rows of ``columns`` under a title. Small images are enlarged without
    smoothing.
    """
    pictures = [[enlarged(pixels) for pixels in cell.images] for cell in cells]
    width = max(sum(p.width + GAP for p in row) for row in pictures)
    lines = max(len(cell.lines) for cell in cells)
    height = max(p.height for row in pictures for p in row) + lines * LINE + GAP
    columns = min(columns, len(cells))
    canvas = Image.new(
        "RGB", (columns * width + GAP, -(-len(cells) // columns) * height + LINE + 2 * GAP), "white"
    )
    draw = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(size=10)
    draw.text((GAP, GAP // 2), _fitting(title, draw, font, canvas.width - 2 * GAP), "black", font)
    for place, (row, cell) in enumerate(zip(pictures, cells, strict=True)):
        left, top = GAP + place % columns * width, LINE + GAP + place // columns * height
        at = left
        for picture in row:
            canvas.paste(picture, (at, top))
            at += picture.width + GAP
        for number, line in enumerate(cell.lines):
            below = top + max(p.height for p in row) + number * LINE
            draw.text((left, below), _fitting(line, draw, font, width - GAP), "black", font)
    return canvas


def enlarged(pixels: Tensor) -> Image.Image:
    """Uint8 ``(3, H, W)`` as a picture: each pixel a square of whole size; of a large image its
    middle.
    """
    top, left = (max(side - LARGEST, 0) // 2 for side in pixels.shape[1:])
    middle = pixels[:, top : top + LARGEST, left : left + LARGEST]
    factor = max(1, SHOWN // max(middle.shape[1:]))
    image = Image.fromarray(middle.permute(1, 2, 0).contiguous().numpy())
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)


def times_ten(attacked: Tensor, clean: Tensor) -> Tensor:
    """Ten times the difference around mid grey, uint8."""
    return (128 + 10 * (attacked.int() - clean.int())).clamp(0, 255).to(torch.uint8)


def save(picture: Image.Image, path: Path) -> None:
    """Write a picture as PNG, whole."""
    atomic_write(path, lambda temporary: picture.save(temporary, format="PNG"))


def _cell(row: dict[Any, Any], source: str | None) -> SheetCell:
    attacked = _read(row["path"])
    lines = [str(row["source"]), CLASSES[int(row["label"])]]
    if max(attacked.shape[1:]) > LARGEST:
        lines.append(f"middle of {attacked.shape[2]} x {attacked.shape[1]}")
    if source is None:
        return SheetCell([attacked], lines)
    clean = _read(source)
    fooled = row.get("fooled")
    verdict = "" if fooled is None or pd.isna(fooled) else ", fooled" if fooled else ", not fooled"
    lines[1] += f"{verdict}; L-inf {row['linf']}, L2 {row['l2']:.2f}, {row['l0']} pixels"
    same = clean.shape == attacked.shape
    return SheetCell(
        [clean, attacked, times_ten(attacked, clean)] if same else [clean, attacked], lines
    )


def _read(path: str) -> Tensor:
    try:
        return decode(Path(path).read_bytes())
    except (OSError, ImageError) as error:
        raise DataError(
            f"{path} cannot be shown: {error}. Check the set with `robustbench-aigi verify FOLDER`."
        ) from error


def _manifest(built: Path) -> pd.DataFrame:
    path = built / "manifest.parquet"
    if not path.is_file():
        raise DataError(
            f"{built} holds no manifest.parquet. Give the --out folder of `robustbench-aigi build`."
        )
    return pd.read_parquet(path, columns=["split", "attack"])


def _fitting(text: str, draw: ImageDraw.ImageDraw, font: Any, width: int) -> str:
    """The text, cut in the middle until it fits ``width`` pixels; what has no letter in the font is
    a question mark.
    """
    plain = re.sub(
        r"[\x00-\x1f\x7f-\x9f]", "?", text.encode("latin-1", "replace").decode("latin-1")
    )
    kept = plain
    while len(kept) > 4 and draw.textlength(kept, font) > width:
        half = (len(kept) - 3) // 2
        kept = f"{plain[:half]}..{plain[-half:]}"
    return kept
