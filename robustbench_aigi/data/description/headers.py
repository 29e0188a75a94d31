"""What the headers of a source's images say, and the pixels of as many as are quickly read."""

from collections.abc import Iterator
from typing import NamedTuple

import pandas as pd

from robustbench_aigi.data.decoding import Header, ImageError, decode_image, read_header
from robustbench_aigi.data.drawing import CLASS_WORDS
from robustbench_aigi.data.sources.contents import Contents
from robustbench_aigi.data.sources.entry import Skipped
from robustbench_aigi.progress import Progress

MAX_HEADERS = 2000
"""Images whose headers are read; of more, every n-th."""
MAX_DECODED = 2**27
"""Pixels that are decoded to find what a header does not show."""
PROGRESS_STEP = 100
"""Images between two reports of progress."""


class Look(NamedTuple):
    """What was seen of an image.

    Attributes:
        label: 1 is AI-generated.
        header: of its file.
        conversion: what a decoding did to its pixels; None if it was not decoded.
    """

    label: int
    header: Header
    conversion: str | None


def sample_rows(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows whose headers are read: all of them, or every n-th.

    Args:
        rows: a manifest.
    """
    step = -(-len(rows) // MAX_HEADERS)
    return rows.iloc[:: max(1, step)]


def look_at(
    rows: pd.DataFrame, skipped: list[Skipped], progress: Progress, *, convert: bool
) -> Iterator[Look]:
    """Yield what is seen of the images that can be opened.

    Args:
        rows: a manifest.
        skipped: images that would be left out are appended to it.
        progress: called every :data:`PROGRESS_STEP` images.
        convert: as when they are read.
    """
    contents = Contents()
    pixels_left = MAX_DECODED
    columns = zip(rows["id"], rows["label"], rows["path"], rows["row"], strict=True)
    for position, (identity, label, path, row) in enumerate(columns):
        if position % PROGRESS_STEP == 0:
            progress("looking at images", position, len(rows))
        conversion = None
        try:
            content = contents.read(path, row)
            header = read_header(content, convert=convert)
            pixels_left -= header.width * header.height
            if header.fault is not None:
                skipped.append(Skipped(identity, header.fault))
            elif pixels_left >= 0 or header.alpha:
                conversion = decode_image(content, convert=convert).conversion
        except ImageError as reason:
            skipped.append(Skipped(identity, str(reason)))
            continue
        yield Look(int(label), header, conversion)
    progress("looking at images", len(rows), len(rows))


def to_table(looks: list[Look]) -> pd.DataFrame:
    """Return one row per image: the fields of its header, ``class`` and ``conversion``.

    Args:
        looks: what was seen.
    """
    table = pd.DataFrame([look.header for look in looks], columns=list(Header._fields))
    table["class"] = [CLASS_WORDS[look.label] for look in looks]
    table["conversion"] = [look.conversion for look in looks]
    return table


def size_examples(table: pd.DataFrame) -> dict[str, list[int]]:
    """Return width and height of the smallest, the median and the largest image, by area.

    Args:
        table: of :func:`to_table`; without rows the result is empty.
    """
    order = (table["width"] * table["height"]).sort_values(kind="stable").index
    if not len(order):
        return {}
    places = {"smallest": 0, "median": (len(order) - 1) // 2, "largest": -1}
    return {
        name: table.loc[order[place], ["width", "height"]].astype(int).tolist()
        for name, place in places.items()
    }
