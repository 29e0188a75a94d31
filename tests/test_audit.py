import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from PIL import Image, PngImagePlugin

from robustbench_aigi.data import Dataset
from robustbench_aigi.data.audit import Audit, audit, write_audit
from robustbench_aigi.data.audit.judge import judge, measure
from robustbench_aigi.data.dataset import MANIFEST_COLUMNS
from robustbench_aigi.errors import DataError

Pixels = npt.NDArray[np.uint8]


def silent(task: str, done: int, total: int) -> None:
    pass


def scene(seed: int, side: int = 32) -> Pixels:
    """A smooth image of its own: noise of 6 x 6 pixels, enlarged."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC))


def encoded(pixels: Pixels, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format=kind, **options)
    return file.getvalue()


def dataset(
    root: Path, store: Callable[[int, int], bytes], count: int = 40, **columns: Any
) -> Dataset:
    """``count`` images per class in each of train and test; ``store`` makes a file."""
    rows = []
    for place in range(4 * count):
        label = place % 2
        split = "train" if place < 2 * count else "test"
        path = root / f"{place:04d}.img"
        path.write_bytes(store(place, label))
        identity = f"{split}/{place:04d}"
        rows.append(
            (
                identity,
                label,
                split,
                "model" if label else "camera",
                "",
                identity,
                "",
                str(path),
                -1,
            )
        )
    return Dataset("made", pd.DataFrame(rows, columns=list(MANIFEST_COLUMNS)).assign(**columns))


def examined(data: Dataset) -> Audit:
    """An audit that writes nothing."""
    table, unreadable = measure(data, silent)
    return judge(
        data.name, data.manifest.iloc[table["place"]].reset_index(drop=True), table, unreadable
    )


def audited(data: Dataset, out: Path) -> Audit:
    result = audit(data, silent)
    write_audit(result, out)
    return result


def cheats(result: Audit) -> set[str]:
    return {finding.check for finding in result.findings if finding.level == "cheat"}


def test_classes_stored_alike_pass_and_everything_is_written(tmp_path: Path) -> None:
    data = dataset(tmp_path, lambda seed, label: encoded(scene(seed)))
    result = audited(data, tmp_path / "out")
    assert result.passed
    stored = result.tables["baselines"].query("features == 'stored'").iloc[0]
    assert stored["accuracy"] == 0.5
    assert stored["n"] == 80
    written = json.loads((tmp_path / "out" / "audit.json").read_text())
    assert written["passed"] is True
    assert written["images"] == 160
    assert written["tables"].keys() == result.tables.keys()
    assert "# Audit of made: passed" in (tmp_path / "out" / "audit.md").read_text()
    assert len(pd.read_parquet(tmp_path / "out" / "images.parquet")) == 160
    for name in ("statistics.png", "categories.png"):
        with Image.open(tmp_path / "out" / name) as picture:
            picture.verify()
    assert not (tmp_path / "out" / "twins.png").exists()


def test_an_audit_repeated_is_the_same(tmp_path: Path) -> None:
    data = dataset(
        tmp_path, lambda seed, label: encoded(scene(seed % 60), "JPEG", quality=70 + 10 * label)
    )
    first = audited(data, tmp_path / "a")
    assert first.findings == audited(data, tmp_path / "b").findings
    for path in sorted((tmp_path / "a").iterdir()):
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes(), path.name


def _text(label: int) -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    if label:
        info.add_text("parameters", "steps: 20")
    return info


def _exif() -> Image.Exif:
    exif = Image.Exif()
    exif[0x010F] = "a camera"
    return exif


STORED: dict[str, tuple[str, Callable[[int, int], bytes]]] = {
    "format": ("format", lambda s, y: encoded(scene(s), "PNG" if y else "JPEG")),
    "quality": ("quality", lambda s, y: encoded(scene(s), "JPEG", quality=95 if y else 75)),
    "tables": ("tables", lambda s, y: encoded(scene(s), "JPEG", quality=95 if y else 75)),
    "subsampling": (
        "subsampling",
        lambda s, y: encoded(scene(s), "JPEG", subsampling=0 if y else 2),
    ),
    "progressive": ("layout", lambda s, y: encoded(scene(s), "JPEG", progressive=bool(y))),
    "zlib level": ("layout", lambda s, y: encoded(scene(s), compress_level=9 if y else 1)),
    "size": ("dimensions", lambda s, y: encoded(scene(s, 32 if y else 40))),
    "width": ("width", lambda s, y: encoded(scene(s, 32 if y else 40))),
    "text": ("fields", lambda s, y: encoded(scene(s), pnginfo=_text(y))),
    "exif": ("fields", lambda s, y: encoded(scene(s), "JPEG", **({} if y else {"exif": _exif()}))),
    "icc": ("fields", lambda s, y: encoded(scene(s), icc_profile=b"profile" if y else None)),
    "grey": ("mode", lambda s, y: encoded(scene(s)[..., 0] if y else scene(s))),
}


@pytest.mark.parametrize("kind", STORED)
def test_each_way_of_storing_classes_apart_is_a_cheat(kind: str, tmp_path: Path) -> None:
    check, store = STORED[kind]
    result = examined(dataset(tmp_path, store, count=30))
    assert not result.passed
    assert {check, "baseline: stored"} <= cheats(result)
    assert result.tables["baselines"].query("features == 'stored'")["accuracy"].item() == 1.0


def test_what_pixels_sum_up_to_is_noted_and_no_cheat(tmp_path: Path) -> None:
    def store(seed: int, label: int) -> bytes:
        return encoded((scene(seed) // 2 + 100 * label).astype(np.uint8))

    result = examined(dataset(tmp_path, store))
    assert result.passed
    assert "brightness" in {finding.check for finding in result.findings}
    assert result.tables["baselines"].query("features == 'pixels'")["accuracy"].item() > 0.9


def test_a_part_of_one_class_is_compared_with_the_untouched_images_of_the_other(
    tmp_path: Path,
) -> None:
    """PNG samples among JPEG images: a trace that the whole set's average hides."""
    attack = np.where(np.arange(400) % 20 == 1, "diffusion", "clean")

    def store(seed: int, label: int) -> bytes:
        return encoded(scene(seed), "PNG" if attack[seed] == "diffusion" else "JPEG")

    result = examined(dataset(tmp_path, store, count=100, attack=attack))
    assert not result.passed
    table = (
        result.tables["statistics"]
        .query("statistic == 'format'")
        .set_index("part")["value"]
        .to_dict()
    )
    assert table["diffusion"] > 0.9
    assert table["clean"] == 0
    assert "diffusion" in next(f.message for f in result.findings if f.check == "format")


def test_twins_across_splits_and_classes_are_found_whatever_their_format(tmp_path: Path) -> None:
    copies = {170: (10, "PNG"), 172: (12, "JPEG"), 15: (14, "PNG"), 16: (18, "BMP")}

    def store(seed: int, label: int) -> bytes:
        source, kind = copies.get(seed, (seed, "BMP"))
        return encoded(scene(source), kind)

    result = audited(dataset(tmp_path, store, count=50), tmp_path / "out")
    found = result.tables["twins"].set_index(["first", "second"])
    assert set(found.index) == {
        ("train/0010", "test/0170"),
        ("train/0012", "test/0172"),
        ("train/0014", "train/0015"),
    }
    assert found.loc[("train/0010", "test/0170"), "kind"] == "exact"
    assert found.loc[("train/0012", "test/0172"), "kind"] == "near"
    assert found.loc[("train/0014", "train/0015"), "classes"]
    assert not found.loc[("train/0014", "train/0015"), "splits"]
    assert "exact twins across splits" in cheats(result)
    assert {"near twins across splits", "exact twins across classes"} <= {
        f.check for f in result.findings
    }
    with Image.open(tmp_path / "out" / "twins.png") as picture:
        assert picture.width > 100


def test_a_parent_on_both_sides_is_a_cheat(tmp_path: Path) -> None:
    data = dataset(tmp_path, lambda seed, label: encoded(scene(seed)), count=10)
    parents = data.manifest["parent"].where(data.manifest["id"] != "test/0030", "train/0000")
    result = examined(Dataset("made", data.manifest.assign(parent=parents)))
    assert cheats(result) == {"parents across splits"}


def test_one_split_is_cross_validated_by_parent(tmp_path: Path) -> None:
    data = dataset(
        tmp_path, lambda seed, label: encoded(scene(seed), "PNG" if label else "JPEG"), count=10
    )
    result = examined(Dataset("made", data.manifest.assign(split="test")))
    baseline = result.tables["baselines"].query("features == 'stored'").iloc[0]
    assert baseline["n"] == 40
    assert baseline["accuracy"] == 1.0
    assert "by parent" in baseline["how"]


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    data = dataset(
        tmp_path, lambda seed, label: b"no image" if seed == 5 else encoded(scene(seed)), count=10
    )
    result = audit(data, silent)
    assert result.images == 39
    assert result.tables["unreadable"]["id"].tolist() == ["train/0005"]
    assert "unreadable" in {finding.check for finding in result.findings}
    one = Dataset("made", data.manifest[data.manifest["label"] == 0].reset_index(drop=True))
    with pytest.raises(DataError, match="two classes"):
        audit(one, silent)
    with pytest.raises(DataError, match="0 readable"):
        audit(Dataset("made", data.manifest.iloc[[5]].reset_index(drop=True)), silent)
    Path(data.manifest["path"][3]).unlink()
    with pytest.raises(DataError, match=r"0003\.img"):
        audit(data, silent)
