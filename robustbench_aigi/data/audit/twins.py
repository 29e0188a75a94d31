"""The same image twice: in two splits, or with two labels. Exact by a hash of the pixels, near by a
perceptual hash.
"""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image

from robustbench_aigi.data.dataset import read_pixels

Ints = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint64]

NEAR = 4
"""Bits of 64 in which the perceptual hashes of near twins may differ."""
ALIKE = 0.8
"""Correlation of their pixels at 32 x 32 from which a pair is one image: small ones share hashes by
chance.
"""
SIDE = 32


def twins(rows: pd.DataFrame, hashes: pd.DataFrame) -> pd.DataFrame:
    """Pairs of images that are the same, or nearly, on two sides of a split or of the classes.

    Args:
        rows: a manifest. hashes: its images' ``exact`` and ``perceptual``, row for row.

    Returns:
        A row a pair: ``first`` and ``second`` (ids), ``kind`` (exact, near), ``splits`` and
        ``classes`` (whether they differ), ``bits`` apart, and ``correlation`` of the pixels at 32 x
        32. Copies of one image on one side are named once. Near twins of one parent with two labels
        are left out: there content is matched on purpose.
    """
    table = rows.reset_index(drop=True).assign(
        exact=hashes["exact"].array, perceptual=hashes["perceptual"].array
    )
    pairs = pd.concat([_exact(table), _near(table)], ignore_index=True)
    first, second = table.loc[pairs["i"]], table.loc[pairs["j"]]
    return pd.DataFrame(
        {
            "first": first["id"].array,
            "second": second["id"].array,
            "kind": pairs["kind"].array,
            "splits": first["split"].array != second["split"].array,
            "classes": first["label"].array != second["label"].array,
            "bits": pairs["bits"].array,
            "correlation": pairs["correlation"].array,
        }
    ).astype({"splits": bool, "classes": bool})


def _exact(table: pd.DataFrame) -> pd.DataFrame:
    sides = table[["exact", "split", "label"]].drop_duplicates().reset_index(names="place")
    sides = sides[sides.duplicated("exact", keep=False)]
    pairs = sides.merge(sides, on="exact", suffixes=("", "_other"))
    pairs = pairs[pairs["place"] < pairs["place_other"]]
    return pd.DataFrame(
        {
            "i": pairs["place"],
            "j": pairs["place_other"],
            "kind": "exact",
            "bits": 0,
            "correlation": 1.0,
        }
    )


def _near(table: pd.DataFrame) -> pd.DataFrame:
    kept = table.drop_duplicates(["exact", "split", "label"]).drop_duplicates(
        ["perceptual", "split", "label", "parent"]
    )
    split, label, parent = (pd.factorize(kept[name])[0] for name in ("split", "label", "parent"))
    exact, hashes = kept["exact"].to_numpy(np.uint64), kept["perceptual"].to_numpy(np.uint64)
    found: list[tuple[Ints, Ints]] = [(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64))]
    for i, j in _candidates(hashes):
        elsewhere = (split[i] != split[j]) | ((label[i] != label[j]) & (parent[i] != parent[j]))
        wanted = elsewhere & (exact[i] != exact[j])
        found.append((i[wanted], j[wanted]))
    both = np.unique(np.concatenate([np.stack(pair, axis=1) for pair in found]), axis=0)
    bits = np.bitwise_count(hashes[both[:, 0]] ^ hashes[both[:, 1]]).astype(int)
    places = kept.index.to_numpy()[both]
    near = pd.DataFrame({"i": places[:, 0], "j": places[:, 1], "kind": "near", "bits": bits})
    near["correlation"] = _correlations(table, places)
    return near[near["correlation"] >= ALIKE]


def _candidates(hashes: Hashes) -> Iterator[tuple[Ints, Ints]]:
    """Pairs i < j at most :data:`NEAR` bits apart: of ``NEAR + 1`` bands of bits, such a pair has
    one in common.
    """
    edges = np.linspace(0, 64, NEAR + 2).astype(int)
    for start, stop in pairwise(edges):
        band = (hashes >> np.uint64(start)) & np.uint64(2 ** int(stop - start) - 1)
        order = np.argsort(band, kind="stable")
        here, step = np.arange(len(order)), 0
        while True:
            step += 1
            here = here[here + step < len(order)]
            here = here[band[order[here]] == band[order[here + step]]]
            if here.size == 0:
                break
            i, j = order[here], order[here + step]
            close = np.bitwise_count(hashes[i] ^ hashes[j]) <= NEAR
            yield np.minimum(i, j)[close], np.maximum(i, j)[close]


def _correlations(table: pd.DataFrame, places: Ints) -> npt.NDArray[np.float64]:
    """Of each pair's pixels; only images of a pair are read again. A flat image is like nothing."""
    own = np.unique(places)
    small = np.empty((len(own), SIDE * SIDE * 3), dtype=np.uint8)
    for at, pixels in enumerate(read_pixels(table.loc[own])):
        image = Image.fromarray(pixels.permute(1, 2, 0).numpy())
        small[at] = np.asarray(image.resize((SIDE, SIDE), Image.Resampling.LANCZOS)).ravel()
    flat = np.ptp(small, axis=1) == 0 if len(own) else np.empty(0, dtype=bool)
    pairs = np.searchsorted(own, places)
    return np.array(
        [0.0 if flat[i] or flat[j] else np.corrcoef(small[i], small[j])[0, 1] for i, j in pairs],
        dtype=float,
    )
