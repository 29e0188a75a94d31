"""Contact sheets of a built ``++`` set: clean, attacked, and ten times their difference."""

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from robustbench_aigi.data.decoding import ImageError, decode
from robustbench_aigi.data.drawing import CLASS_WORDS
from robustbench_aigi.data.plusplus.build import load_plusplus
from robustbench_aigi.data.rows import choose
from robustbench_aigi.data.sources.contents import Contents
from robustbench_aigi.errors import DataError
from robustbench_aigi.imaging.quality import rms_of_psnr
from robustbench_aigi.io.files import atomic_write

ENLARGED_SIDE = 128
"""Pixels per side that a small image is enlarged towards, by a whole factor."""
LARGEST_SIDE = 256
"""Pixels per side that are shown of a large image: its middle, as reducing hides the difference."""
CELL_GAP = 8
"""Pixels between cells."""
LINE_HEIGHT = 13
"""Pixels per line of text."""
FONT_SIZE = 10
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


class SheetCell(NamedTuple):
    """Images side by side, and the text below them.

    Attributes:
        images: uint8 ``(3, H, W)`` each.
        lines: of the text.
    """

    images: Sequence[Tensor]
    lines: Sequence[str]


def contact_sheets(built: Path, out: Path, count: int = 24) -> list[Path]:
    """Draw a sheet for every split and attack of a set, and return the files.

    Args:
        built: folder of the set.
        out: folder of the sheets.
        count: images per sheet.

    Raises:
        DataError: one of its files is missing or damaged.
    """
    parts = _parts(built)
    return [
        contact_sheet(built, split, attack, out, count)
        for split, attack in zip(parts["split"], parts["attack"], strict=True)
    ]


def contact_sheet(built: Path, split: str, attack: str, out: Path, count: int = 24) -> Path:
    """Draw images of one part, always the same ones, as ``out/SPLIT-ATTACK.png``.

    Each is shown clean, attacked and as ten times the difference around mid grey; an image without
    a source is shown alone. Parts of one split show the same images as far as they hold them.

    Args:
        built: folder of the set.
        split: of the part.
        attack: of the part.
        out: folder of the sheet.
        count: images at most.

    Raises:
        DataError: there is no such part, or one of its files is missing or damaged.
    """
    parts = _parts(built)
    if not ((parts["split"] == split) & (parts["attack"] == attack)).any():
        known = ", ".join(f"{row[0]}/{row[1]}" for row in parts.itertuples(index=False))
        raise DataError(f"{built} has no part {split}/{attack}. It has: {known}.")
    rows = load_plusplus(built, split, attack).manifest
    has_both_classes = rows["label"].nunique() == 2
    chosen = choose(rows.assign(id=rows["source"]), count if has_both_classes else 2 * count)
    sources: dict[str, dict[Any, Any]] = {}
    if attack != "clean":
        clean = load_plusplus(built, split, "clean").with_values("source", set(chosen["source"]))
        sources = {row["source"]: row for row in clean.manifest.to_dict("records")}
    cells = [_cell(row, sources.get(row["source"])) for row in chosen.to_dict("records")]
    has_triples = any(len(cell.images) > 1 for cell in cells)
    words = ": clean, attacked, ten times the difference around mid grey" if has_triples else ""
    path = out / f"{split}-{attack}.png"
    columns = 3 if has_triples else 6
    save_png(draw_sheet(f"{split}, {attack}{words}", cells, columns), path)
    return path


def draw_sheet(title: str, cells: Sequence[SheetCell], columns: int) -> Image.Image:
    """Draw cells in rows under a title; small images are enlarged without smoothing.

    Args:
        title: one line.
        cells: at least one.
        columns: cells per row.
    """
    pictures = [[enlarge(pixels) for pixels in cell.images] for cell in cells]
    lines = max(len(cell.lines) for cell in cells)
    width = max(sum(picture.width + CELL_GAP for picture in row) for row in pictures)
    tallest = max(picture.height for row in pictures for picture in row)
    height = tallest + lines * LINE_HEIGHT + CELL_GAP
    columns = min(columns, len(cells))
    rows = -(-len(cells) // columns)
    size = (columns * width + CELL_GAP, rows * height + LINE_HEIGHT + 2 * CELL_GAP)
    canvas = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(size=FONT_SIZE)
    heading = _shorten(title, draw, font, canvas.width - 2 * CELL_GAP)
    draw.text((CELL_GAP, CELL_GAP // 2), heading, "black", font)
    for number, (row, cell) in enumerate(zip(pictures, cells, strict=True)):
        left = CELL_GAP + number % columns * width
        top = LINE_HEIGHT + CELL_GAP + number // columns * height
        _draw_pictures(canvas, row, left, top)
        below = top + max(picture.height for picture in row)
        for line_number, line in enumerate(cell.lines):
            text = _shorten(line, draw, font, width - CELL_GAP)
            draw.text((left, below + line_number * LINE_HEIGHT), text, "black", font)
    return canvas


def enlarge(pixels: Tensor) -> Image.Image:
    """Return an image as a picture, each pixel a square of whole size; of a large image its middle.

    Args:
        pixels: uint8 ``(3, H, W)``.
    """
    top, left = (max(side - LARGEST_SIDE, 0) // 2 for side in pixels.shape[1:])
    middle = pixels[:, top : top + LARGEST_SIDE, left : left + LARGEST_SIDE]
    factor = max(1, ENLARGED_SIDE // max(middle.shape[1:]))
    image = Image.fromarray(middle.permute(1, 2, 0).contiguous().numpy())
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)


def times_ten(attacked: Tensor, clean: Tensor) -> Tensor:
    """Return ten times the difference around mid grey.

    Args:
        attacked: uint8 ``(3, H, W)``.
        clean: of the same shape.

    Example:
        >>> times_ten(torch.tensor([7], dtype=torch.uint8), torch.tensor([5], dtype=torch.uint8))
        tensor([148], dtype=torch.uint8)
    """
    return (128 + 10 * (attacked.int() - clean.int())).clamp(0, 255).to(torch.uint8)


def save_png(picture: Image.Image, path: Path) -> None:
    """Write a picture as PNG; the file is there when it is whole.

    Args:
        picture: what to write.
        path: of the file.
    """
    atomic_write(path, lambda temporary: picture.save(temporary, format="PNG"))


def _draw_pictures(
    canvas: Image.Image, pictures: Sequence[Image.Image], left: int, top: int
) -> None:
    for picture in pictures:
        canvas.paste(picture, (left, top))
        left += picture.width + CELL_GAP


def _cell(row: dict[Any, Any], source: dict[Any, Any] | None) -> SheetCell:
    attacked = _read(row)
    height, width = attacked.shape[1:]
    lines = [str(row["source"]), CLASS_WORDS[int(row["label"])]]
    if max(height, width) > LARGEST_SIDE:
        lines.append(f"middle of {width} x {height}")
    if source is None:
        return SheetCell([attacked], lines)
    clean = _read(source)
    verdict = _verdict(row.get("fooled"))
    rms = rms_of_psnr(row.get("psnr", math.nan))
    lines[1] += f"{verdict}; L-inf {row['linf']}, L2 {row['l2']:.2f}, RMS {rms:.1f}"
    lines.append(f"{row['l0']} pixels")
    if clean.shape != attacked.shape:
        return SheetCell([clean, attacked], lines)
    return SheetCell([clean, attacked, times_ten(attacked, clean)], lines)


def _verdict(fooled: Any) -> str:
    if fooled is None or pd.isna(fooled):
        return ""
    return ", fooled" if fooled else ", not fooled"


def _read(row: dict[Any, Any]) -> Tensor:
    try:
        return decode(Contents().read(row["path"], row["row"]))
    except ImageError as error:
        raise DataError(
            f"{row['path']} cannot be shown: {error}. Check the set with `robustbench-aigi verify"
            " FOLDER`."
        ) from error


def _parts(built: Path) -> pd.DataFrame:
    """Return the splits and attacks of a set, in the manifest's order."""
    path = built / "manifest.parquet"
    if not path.is_file():
        raise DataError(
            f"{built} holds no manifest.parquet. Give the --out folder of `robustbench-aigi build`."
        )
    return pd.read_parquet(path, columns=["split", "attack"]).drop_duplicates()


def _shorten(text: str, draw: ImageDraw.ImageDraw, font: Font, width: int) -> str:
    """Cut a text in the middle until it fits ``width`` pixels; letters not in the font become ?."""
    latin = text.encode("latin-1", "replace").decode("latin-1")
    plain = re.sub(r"[\x00-\x1f\x7f-\x9f]", "?", latin)
    kept = plain
    while len(kept) > 4 and draw.textlength(kept, font) > width:
        half = (len(kept) - 3) // 2
        kept = f"{plain[:half]}..{plain[-half:]}"
    return kept
