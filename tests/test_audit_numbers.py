import io

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.stats.contingency import association
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from robustbench_aigi.data.audit.effects import auc, balanced_accuracy, cramers_v
from robustbench_aigi.data.audit.file_layout import file_layout
from robustbench_aigi.data.audit.image_statistics import (
    PIXEL_NUMBERS,
    image_statistics,
    perceptual_hash,
    pixel_statistics,
)
from robustbench_aigi.data.audit.twins import MAX_BITS_APART, close_pairs
from tests.test_audit import encoded, scene


@pytest.mark.parametrize("level", [5, 30, 50, 75, 88, 95, 100])
def test_quality_is_read_back_from_the_tables(level: int) -> None:
    row = image_statistics(encoded(scene(0), "JPEG", quality=level, subsampling=1))
    assert row["quality"] == level
    assert row["subsampling"] == "4:2:2"


@pytest.mark.parametrize("size", [(8, 8), (8, 40), (33, 17), (1100, 1030)])
def test_statistics_take_any_size(size: tuple[int, int]) -> None:
    row = image_statistics(encoded(np.full((*size, 3), (40, 80, 80), dtype=np.uint8)))
    assert row["dimensions"] == f"{size[1]} x {size[0]}"
    assert row["contrast"] == pytest.approx(0, abs=1e-4)
    assert row["saturation"] == pytest.approx(0.5)
    assert row["brightness"] == pytest.approx(0.299 * 40 + 0.701 * 80, rel=1e-5)


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (9, 2)])
def test_what_so_small_an_image_has_not_is_not_a_number(size: tuple[int, int]) -> None:
    row = pixel_statistics(np.full((*size, 3), 7, dtype=np.uint8))
    assert row["brightness"] == pytest.approx(7)
    assert all(np.isnan(float(row[name])) for name in ("noise", "high_band", "blocks"))


def test_pixel_statistics_rise_with_what_they_measure() -> None:
    plain = scene(1, 64)
    noisy = np.clip(plain + np.random.default_rng(0).normal(0, 8, plain.shape), 0, 255).astype(
        np.uint8
    )
    with Image.open(io.BytesIO(encoded(noisy, "JPEG", quality=10))) as image:
        blocky = np.asarray(image)
    before, after, squares = (
        pd.Series(pixel_statistics(p))[list(PIXEL_NUMBERS)].astype(float)
        for p in (plain, noisy, blocky)
    )
    assert after["noise"] > 2 * before["noise"]
    assert after["high_band"] > before["high_band"]
    assert squares["blocks"] > 1.5 > after["blocks"]


def test_layout_names_the_pieces() -> None:
    assert file_layout(encoded(scene(0), compress_level=9)) == "IHDR IDAT-level-3 IEND"
    assert file_layout(encoded(scene(0), "JPEG")).split()[0] == "E0"
    assert file_layout(encoded(scene(0), "WEBP", lossless=True)) == "VP8L"
    assert file_layout(encoded(scene(0), "WEBP")) == "VP8"
    assert file_layout(b"") == "unknown"


@given(seed=st.integers(0, 2**31 - 1))
@settings(max_examples=20, deadline=None)
def test_candidates_are_all_pairs_within_reach(seed: int) -> None:
    rng = np.random.default_rng(seed)
    hashes = rng.integers(0, 2**64, 30, dtype=np.uint64)
    flips = rng.integers(0, 2, (30, 64)) * (rng.random((30, 64)) < 0.08)
    hashes = np.concatenate(
        [hashes, hashes ^ np.packbits(flips.astype(bool), axis=1).view(np.uint64)[:, 0]]
    )
    found = {(int(i), int(j)) for pair in close_pairs(hashes) for i, j in zip(*pair, strict=True)}
    every = [(i, j) for i in range(60) for j in range(i + 1, 60)]
    assert found == {
        (i, j) for i, j in every if int(np.bitwise_count(hashes[i] ^ hashes[j])) <= MAX_BITS_APART
    }


def test_perceptual_hash_outlives_compression_and_tells_images_apart() -> None:
    hashes = np.array([perceptual_hash(scene(seed)) for seed in range(60)], dtype=np.uint64)
    again = []
    for seed in range(60):
        with Image.open(io.BytesIO(encoded(scene(seed), "JPEG", quality=60))) as image:
            again.append(perceptual_hash(np.asarray(image)))
    apart = np.bitwise_count(hashes[:, None] ^ np.array(again, dtype=np.uint64))
    assert (np.diag(apart) <= MAX_BITS_APART).mean() > 0.9
    assert (apart[~np.eye(60, dtype=bool)] > MAX_BITS_APART).all()


@given(seed=st.integers(0, 2**31 - 1))
@settings(max_examples=25, deadline=None)
def test_effects_agree_with_references_and_count_parents(seed: int) -> None:
    rng = np.random.default_rng(seed)
    fake = np.arange(60) % 2 == 1
    values = rng.integers(0, 12, 60) + 3.0 * fake
    alone = np.arange(60)
    area = auc(values, fake, alone)
    assert area.value == pytest.approx(roc_auc_score(fake, values))
    above = np.sign(values[fake][:, None] - values[~fake]) / 2 + 0.5
    width = 1.96 * np.sqrt(above.mean(1).var(ddof=1) / 30 + above.mean(0).var(ddof=1) / 30)
    assert area.high - area.value == pytest.approx(min(width, 1 - area.value), rel=0.02)
    right = (values > 7) == fake
    share = balanced_accuracy(right, fake, alone)
    assert share.value == pytest.approx(balanced_accuracy_score(fake, values > 7))
    named = pd.Series(values.astype(str))
    # copies of one parent add no evidence
    twice = np.tile(fake, 2)
    pairs = np.tile(alone, 2)
    assert auc(np.tile(values, 2), twice, pairs) == pytest.approx(area)
    assert balanced_accuracy(np.tile(right, 2), twice, pairs) == pytest.approx(share)
    assert cramers_v(pd.concat([named, named]), twice, pairs) == pytest.approx(
        cramers_v(named, fake, alone)
    )


def test_cramers_v_leaves_chance_out() -> None:
    rng = np.random.default_rng(0)
    fake = np.arange(4000) % 2 == 1
    alone = np.arange(4000)
    linked = pd.Series(np.where(rng.random(4000) < 0.3, fake, rng.random(4000) < 0.5).astype(str))
    table = pd.crosstab(linked.to_numpy(), fake).to_numpy()
    found = cramers_v(linked, fake, alone)
    assert found.value == pytest.approx(association(table, method="cramer"), abs=0.002)
    assert found.low < found.value < found.high
    many = [
        cramers_v(pd.Series(rng.integers(0, 20, 4000).astype(str)), fake, alone) for _ in range(40)
    ]
    assert np.mean([estimate.low == 0 for estimate in many]) > 0.9
    assert cramers_v(pd.Series(["JPEG"] * 4000), fake, alone).high == 0
    assert cramers_v(pd.Series(fake.astype(str)), fake, alone).low > 0.95
