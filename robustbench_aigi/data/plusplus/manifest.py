"""The manifest of a built ``++`` set: its columns, and the rows that a build writes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields

import pandas as pd

from robustbench_aigi.data.reading import CONVERT_COLUMN

IS_NEEDED = {"needed": True}
"""Metadata of the columns without which a set cannot be read."""


@dataclass(frozen=True, kw_only=True)
class ManifestRow:
    """One image of a set; the fields are the columns of the manifest, in their order.

    Attributes:
        id: of the source for a clean image, else the source's and the attack's.
        label: 1 is AI-generated, 0 is real.
        split: train, validation or test.
        source: id of the image that it was made from.
        parent_sha256: of the source's file.
        generator: of the source.
        category: of the source.
        parent: what the source was made from.
        attack: row of the suite; also ``clean``, ``generated`` and ``diffusion``.
        surrogate: detector that was attacked; empty if none.
        surrogate_sha256: of its weights; empty if none.
        seed: of the suite; -1 without an attack.
        eps: of the attack, in its own unit; NaN if it has none.
        linf: largest change, in grey levels.
        l2: norm of the change, pixels in [0, 1].
        l0: number of changed pixels.
        psnr: in dB; NaN without an attack.
        ssim: NaN without an attack.
        forwards: forward passes spent.
        backwards: backward passes spent.
        fooled: whether the surrogate was wrong about it; None without a surrogate.
        sha256: of the image's file.
        path: of the image's file, relative to the set.
        convert: what a conversion did to the source; None where no image of the dataset is
            converted, and then the column is left out.
    """

    id: str = field(metadata=IS_NEEDED)
    label: int = field(metadata=IS_NEEDED)
    split: str = field(metadata=IS_NEEDED)
    source: str = field(metadata=IS_NEEDED)
    parent_sha256: str
    generator: str
    category: str
    parent: str = field(metadata=IS_NEEDED)
    attack: str = field(metadata=IS_NEEDED)
    surrogate: str = ""
    surrogate_sha256: str = ""
    seed: int = -1
    eps: float = math.nan
    linf: int = field(default=0, metadata=IS_NEEDED)
    l2: float = field(default=0.0, metadata=IS_NEEDED)
    l0: int = field(default=0, metadata=IS_NEEDED)
    psnr: float = math.nan
    ssim: float = math.nan
    forwards: int = 0
    backwards: int = 0
    fooled: bool | None = None
    sha256: str = field(metadata=IS_NEEDED)
    path: str = field(metadata=IS_NEEDED)
    convert: str | None = None


SET_COLUMNS = tuple(one.name for one in fields(ManifestRow))
"""All columns, in their order."""
NEEDED_COLUMNS = tuple(one.name for one in fields(ManifestRow) if one.metadata == IS_NEEDED)
"""Columns without which a set cannot be read."""


def to_frame(rows: Sequence[ManifestRow]) -> pd.DataFrame:
    """Return rows as the table that is written.

    Args:
        rows: one per image, at least one.
    """
    columns = {name: [getattr(row, name) for row in rows] for name in SET_COLUMNS}
    if all(value is None for value in columns[CONVERT_COLUMN]):
        del columns[CONVERT_COLUMN]
    return pd.DataFrame(columns).astype({"fooled": "boolean"})
