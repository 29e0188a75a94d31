"""From what a source lists to the manifest of what can be read: splits drawn, ids unique, sizes in order."""

import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from robustbench_aigi.data.dataset import COLUMNS
from robustbench_aigi.data.images import UnreadableImage, decode
from robustbench_aigi.data.sources import Refused, Terms, entries
from robustbench_aigi.data.sources.contents import Contents
from robustbench_aigi.data.sources.entry import fault_of, printable
from robustbench_aigi.errors import BadData
from robustbench_aigi.files import write_whole
from robustbench_aigi.hashing import digest

if TYPE_CHECKING:
    from robustbench_aigi.data.recipes import Recipe

Progress = Callable[[str, int, int], None]
Faults = list[tuple[str, str]]


def listed(recipe: "Recipe", source: str | None) -> tuple[pd.DataFrame, Faults]:
    """Manifest rows of a source, none opened yet, with a column ``block``; and what was refused, with the reason.

    Raises:
        BadData, Unavailable: see :func:`~robustbench_aigi.data.sources.entries`.
    """
    where = source or recipe.source
    if where is None:
        raise BadData(f"{recipe.name} needs its images. Type --source with a folder, Parquet files or a hub id.")
    terms = Terms(recipe.labels, recipe.numbers, recipe.splits, recipe.layout)
    rows: list[tuple[object, ...]] = []
    faults: Faults = []
    for entry in entries(where, terms, recipe.revision):
        fault = entry.reason if isinstance(entry, Refused) else fault_of(entry.path.name) or _unwritable(entry.path)
        if fault or isinstance(entry, Refused):
            faults.append((printable(entry.stem), fault))
            continue
        generator = entry.generator or (recipe.generator if entry.label else "camera")
        generator = recipe.generators.get(generator, generator)
        category = entry.category or _category(entry.stem, recipe.categories)
        texts = map(printable, (generator, category, entry.parent))
        rows.append((entry.stem, entry.label, entry.split, *texts, "", str(entry.path), entry.row, entry.block))
    table = _named_once(pd.DataFrame(rows, columns=[*COLUMNS, "block"]))
    return _drawn(table, recipe), faults


def read_all(rows: pd.DataFrame, faults: Faults, progress: Progress) -> pd.DataFrame:
    """The rows that can be read, with ``sha256``, ordered by image size; the others are appended to ``faults``."""
    contents = Contents()
    found: dict[int, tuple[str, int, int]] = {}
    for place, (identity, path, row) in enumerate(zip(rows["id"], rows["path"], rows["row"], strict=True)):
        if place % 500 == 0:
            progress("reading images", place, len(rows))
        try:
            content = contents.read(path, row)
            _, height, width = decode(content).shape
            found[place] = (hashlib.sha256(content).hexdigest(), height, width)
        except UnreadableImage as reason:
            faults.append((identity, str(reason)))
    progress("reading images", len(rows), len(rows))
    facts = pd.DataFrame.from_dict(found, orient="index", columns=["sha256", "height", "width"])
    good = rows.drop(columns="sha256").join(facts, how="inner")
    # A Parquet file is read a row group at a time, so sizes are sorted within one; files and archives have one block.
    return good.sort_values(["block", "height", "width"], kind="stable", ignore_index=True)[list(COLUMNS)]


def write_skipped(path: Path, faults: Faults) -> None:
    """Write ``id, reason`` of every image that was left out."""
    table = pd.DataFrame(faults, columns=["id", "reason"])
    write_whole(path, lambda temporary: table.to_csv(temporary, index=False))


def _named_once(rows: pd.DataFrame) -> pd.DataFrame:
    """Tell apart ids that two files share, such as a.jpg and a.png; an image without a parent is its own."""
    again = rows.groupby("id").cumcount()
    rows["id"] = rows["id"].where(again == 0, rows["id"] + "~" + again.astype(str))
    rows["parent"] = rows["parent"].where(rows["parent"] != "", rows["id"])
    return rows


def _drawn(rows: pd.DataFrame, recipe: "Recipe") -> pd.DataFrame:
    """Give every image a split: the source's, or one drawn by the hash of its parent."""
    bare = rows["split"].isna()
    train, validation = (recipe.shares.get(split, 0.0) for split in ("train", "validation"))
    rows = rows.assign(split=rows["split"].astype(object).where(~bare, "test"))
    if train + validation:
        rows = _moved(rows, bare, train + validation, "validation", recipe.seed)
    if train:
        rows = _moved(rows, bare, train, "train", recipe.seed)
    if (rows["split"] == "validation").any() or not recipe.validation_share:
        return rows
    return _moved(rows, rows["split"] == "train", recipe.validation_share, "validation", recipe.seed)


def _moved(rows: pd.DataFrame, among: "pd.Series[bool]", share: float, split: str, seed: int) -> pd.DataFrame:
    """Move a share of the parents of each label, at least one, with all their images among those given."""
    parents = rows[among].drop_duplicates("parent")
    rank = parents["parent"].map(lambda identity: digest("split", seed, identity))
    place = rank.groupby(parents["label"]).rank(method="first")
    counts = parents.groupby("label")["id"].transform("size")
    moved = parents["parent"][place <= (counts * share).clip(lower=1)]
    return rows.assign(split=rows["split"].where(~(among & rows["parent"].isin(moved)), split))


def _unwritable(path: Path) -> str:
    return "the path of its folder is not UTF-8; rename it" if str(path) != printable(str(path)) else ""


def _category(stem: str, categories: tuple[str, ...]) -> str:
    """CIFAKE's file names carry the class: ``123 (4)`` is class 4, and no number is class 1."""
    if not categories:
        return ""
    number = re.search(r"\((\d{1,9})\)$", stem)
    place = int(number.group(1)) - 1 if number else 0
    return categories[place] if 0 <= place < len(categories) else ""
