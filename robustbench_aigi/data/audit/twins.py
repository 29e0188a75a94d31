"""The same image twice: in two splits, or with two labels.

Exact twins are found by a hash of the pixels, near twins by a perceptual hash.
"""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image

from robustbench_aigi.data.reading import read_pixels

Ints = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint64]

HASH_BITS = 64
MAX_BITS_APART = 4
"""Bits of a perceptual hash in which near twins may differ."""
MIN_CORRELATION = 0.8
"""Correlation of pixels from which a pair is one image: small images share hashes by chance."""
CORRELATED_SIDE = 32
"""Pixels per side at which images are correlated."""


def find_twins(rows: pd.DataFrame, hashes: pd.DataFrame) -> pd.DataFrame:
    """Find pairs of images that are the same, or nearly, in two splits or two classes.

    Copies of one image in one split and class are named once. Near twins of one parent with two
    labels are left out: their content is matched on purpose.

    Args:
        rows: a manifest.
        hashes: its images' ``exact`` and ``perceptual``, row for row.

    Returns:
        One row per pair: ``first`` and ``second`` (ids), ``kind`` (exact, near), ``splits`` and
        ``classes`` (whether they differ), ``bits`` apart, and ``correlation`` of the pixels.
    """
    table = rows.reset_index(drop=True).assign(
        exact=hashes["exact"].array, perceptual=hashes["perceptual"].array
    )
    pairs = pd.concat([_exact_pairs(table), _near_pairs(table)], ignore_index=True)
    first = table.loc[pairs["i"]]
    second = table.loc[pairs["j"]]
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


def close_pairs(hashes: Hashes) -> Iterator[tuple[Ints, Ints]]:
    """Yield pairs i < j of hashes that are at most :data:`MAX_BITS_APART` bits apart.

    Such hashes have one of ``MAX_BITS_APART + 1`` bands of bits in common; a pair may come more
    than once.

    Args:
        hashes: 64 bits each, ``(N,)``.
    """
    edges = np.linspace(0, HASH_BITS, MAX_BITS_APART + 2).astype(int)
    for start, stop in pairwise(edges):
        band = (hashes >> np.uint64(start)) & np.uint64(2 ** int(stop - start) - 1)
        for i, j in _equal_pairs(band):
            is_close = np.bitwise_count(hashes[i] ^ hashes[j]) <= MAX_BITS_APART
            yield np.minimum(i, j)[is_close], np.maximum(i, j)[is_close]


def _equal_pairs(values: Hashes) -> Iterator[tuple[Ints, Ints]]:
    """Yield all pairs of equal values: sorted, they are 1, 2, 3 ... places apart."""
    order = np.argsort(values, kind="stable")
    places = np.arange(len(order))
    step = 1
    while True:
        places = places[places + step < len(order)]
        places = places[values[order[places]] == values[order[places + step]]]
        if places.size == 0:
            return
        yield order[places], order[places + step]
        step += 1


def _exact_pairs(table: pd.DataFrame) -> pd.DataFrame:
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


def _near_pairs(table: pd.DataFrame) -> pd.DataFrame:
    kept = table.drop_duplicates(["exact", "split", "label"]).drop_duplicates(
        ["perceptual", "split", "label", "parent"]
    )
    split, label, parent = (pd.factorize(kept[name])[0] for name in ("split", "label", "parent"))
    exact = kept["exact"].to_numpy(np.uint64)
    hashes = kept["perceptual"].to_numpy(np.uint64)
    found: list[Ints] = [np.empty((0, 2), dtype=np.int64)]
    for i, j in close_pairs(hashes):
        is_matched_content = parent[i] == parent[j]
        is_across = (split[i] != split[j]) | ((label[i] != label[j]) & ~is_matched_content)
        wanted = is_across & (exact[i] != exact[j])
        found.append(np.stack((i[wanted], j[wanted]), axis=1))
    pairs = np.unique(np.concatenate(found), axis=0)
    bits = np.bitwise_count(hashes[pairs[:, 0]] ^ hashes[pairs[:, 1]]).astype(int)
    places = kept.index.to_numpy()[pairs]
    near = pd.DataFrame({"i": places[:, 0], "j": places[:, 1], "kind": "near", "bits": bits})
    near["correlation"] = _correlations(table, places)
    return near[near["correlation"] >= MIN_CORRELATION]


def _correlations(table: pd.DataFrame, places: Ints) -> npt.NDArray[np.float64]:
    """Return the correlation of each pair's pixels; 0 for a flat image.

    Only images of a pair are read again.
    """
    own = np.unique(places)
    small = np.empty((len(own), CORRELATED_SIDE * CORRELATED_SIDE * 3), dtype=np.uint8)
    for position, pixels in enumerate(read_pixels(table.loc[own])):
        image = Image.fromarray(pixels.permute(1, 2, 0).numpy())
        size = (CORRELATED_SIDE, CORRELATED_SIDE)
        small[position] = np.asarray(image.resize(size, Image.Resampling.LANCZOS)).ravel()
    flat = np.ptp(small, axis=1) == 0 if len(own) else np.empty(0, dtype=bool)
    pairs = np.searchsorted(own, places)
    return np.array(
        [0.0 if flat[i] or flat[j] else np.corrcoef(small[i], small[j])[0, 1] for i, j in pairs],
        dtype=float,
    )
