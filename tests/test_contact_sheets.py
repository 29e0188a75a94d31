from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import Tensor

from robustbench_aigi.data.decoding import decode, encode_png
from robustbench_aigi.data.plusplus.contact_sheets import (
    contact_sheet,
    contact_sheets,
    enlarge,
    times_ten,
)
from robustbench_aigi.errors import DataError

Pixels = npt.NDArray[np.uint8]


def built(root: Path, count: int = 8, sizes: tuple[tuple[int, int], ...] = ((32, 32),)) -> Path:
    """A small ``++`` set: clean images, two attacks, and diffusion samples that have no source."""
    rng = torch.Generator().manual_seed(0)
    rows = []
    for number in range(count):
        pixels = torch.randint(
            20, 236, (3, *sizes[number % len(sizes)]), generator=rng, dtype=torch.uint8
        )
        sign = 4 * (2 * torch.randint(0, 2, pixels.shape, generator=rng) - 1)
        for attack, image in (
            ("clean", pixels),
            ("pgd", (pixels + sign).to(torch.uint8)),
            ("blur", pixels),
        ):
            rows.append(_row(root, f"test/ü {number:02d}", attack, number % 2, image))
        rows.append(_row(root, f"test/diffusion-{number}", "diffusion", 1, pixels))
    pd.DataFrame(rows).to_parquet(root / "manifest.parquet")
    return root


def _row(root: Path, source: str, attack: str, label: int, image: Tensor) -> dict[str, object]:
    path = f"{attack}-{source.replace('/', '_')}.png"
    (root / path).write_bytes(encode_png(image))
    norms = {"linf": 4, "l2": 0.5, "l0": 1024}
    about = {
        "id": f"{source}#{attack}",
        "label": label,
        "split": "test",
        "source": source,
        "parent": source,
    }
    return (
        about
        | {"attack": attack, "path": path, "fooled": None if attack == "clean" else label == 1}
        | norms
    )


def read(path: Path) -> Pixels:
    with Image.open(path) as image:
        return np.asarray(image)


def holds(sheet: Pixels, pixels: Tensor) -> bool:
    """Whether the sheet shows an image, each pixel as a square, at a place where a cell begins."""
    tile = np.asarray(enlarge(pixels))
    height, width = tile.shape[:2]
    corners = np.argwhere((sheet[: -height + 1, : -width + 1] == tile[0, 0]).all(axis=2))
    return any(np.array_equal(sheet[y : y + height, x : x + width], tile) for y, x in corners)


def test_every_pixel_is_a_square_and_the_difference_is_ten_times(tmp_path: Path) -> None:
    root = built(tmp_path)
    sheet = read(contact_sheet(root, "test", "pgd", tmp_path / "sheets"))
    for number in range(8):
        clean, attacked = (
            decode((root / f"{a}-test_ü {number:02d}.png").read_bytes()) for a in ("clean", "pgd")
        )
        difference = times_ten(attacked, clean)
        assert set(difference.unique().tolist()) == {88, 168}
        assert all(holds(sheet, image) for image in (clean, attacked, difference))
    assert not holds(sheet, decode((root / "diffusion-test_diffusion-0.png").read_bytes()).flip(1))


def test_a_sheet_a_part_the_same_every_time(tmp_path: Path) -> None:
    root = built(tmp_path)
    first = contact_sheets(root, tmp_path / "a")
    assert [path.name for path in first] == [
        f"test-{a}.png" for a in ("clean", "pgd", "blur", "diffusion")
    ]
    for one, two in zip(first, contact_sheets(root, tmp_path / "b"), strict=True):
        assert one.read_bytes() == two.read_bytes()
    assert read(first[0]).shape[1] < read(first[1]).shape[1] * 2


def test_parts_of_one_split_show_the_same_images(tmp_path: Path) -> None:
    root = built(tmp_path)
    sheets = [
        read(contact_sheet(root, "test", attack, tmp_path / "out", 4))
        for attack in ("clean", "pgd", "blur")
    ]
    shown = []
    for number in range(8):
        clean = decode((root / f"clean-test_ü {number:02d}.png").read_bytes())
        shown.append([holds(sheet, clean) for sheet in sheets])
    assert all(len(set(row)) == 1 for row in shown)
    assert sum(row[0] for row in shown) == 4


def test_images_of_any_size_fit_on_one_sheet(tmp_path: Path) -> None:
    root = built(tmp_path, sizes=((8, 8), (300, 200), (9, 9), (31, 70)))
    sheet = read(contact_sheet(root, "test", "pgd", tmp_path / "out"))
    for number in range(8):
        assert holds(sheet, decode((root / f"pgd-test_ü {number:02d}.png").read_bytes()))
    large = decode((root / "clean-test_ü 01.png").read_bytes())
    assert np.array_equal(np.asarray(enlarge(large)), large[:, 22:278].permute(1, 2, 0).numpy())


def test_parts_of_one_class_and_of_no_source_are_shown_alone(tmp_path: Path) -> None:
    root = built(tmp_path, count=6)
    sheet = read(contact_sheet(root, "test", "diffusion", tmp_path / "out", 6))
    for number in range(6):
        assert holds(sheet, decode((root / f"diffusion-test_diffusion-{number}.png").read_bytes()))


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no manifest"):
        contact_sheets(tmp_path, tmp_path)
    root = built(tmp_path)
    with pytest.raises(DataError, match="It has: test/clean, test/pgd"):
        contact_sheet(root, "test", "pdg", tmp_path)
    (root / "clean-test_ü 03.png").write_bytes(b"no image")
    with pytest.raises(DataError, match="verify"):
        contact_sheet(root, "test", "pgd", tmp_path)
    (root / "clean-test_ü 03.png").unlink()
    with pytest.raises(DataError, match="cannot be shown"):
        contact_sheet(root, "test", "pgd", tmp_path)
