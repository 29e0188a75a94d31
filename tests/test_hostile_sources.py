"""Folders, archives and Parquet files that nobody should trust: traps are listed, the rest
is read.
"""

import os
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robustbench_aigi.data import load_data
from robustbench_aigi.data.sources import webdataset
from robustbench_aigi.data.sources.entry import skip_reason
from robustbench_aigi.errors import DataError
from tests.test_data import picture
from tests.test_hostile_parquet import labelled
from tests.test_sources import files, shard


def test_links_out_of_the_folder_are_not_followed(tmp_path: Path) -> None:
    root = files(tmp_path / "root", "real", "fake")
    files(tmp_path / "outside", "fake")
    (root / "fake" / "out.png").symlink_to(tmp_path / "outside" / "fake" / "0.png")
    (root / "fake" / "up.png").symlink_to("../../outside/fake/1.png")
    (root / "fake" / "gone.png").symlink_to(root / "nothing.png")
    (root / "fake" / "in.png").symlink_to("0.png")
    (root / "fake" / "loop").symlink_to(root)
    (root / "fake" / "self.png").symlink_to("self.png")
    os.mkfifo(root / "fake" / "pipe.png")
    data = load_data("folder", str(root), skipped=tmp_path / "skipped.csv")
    reasons = pd.read_csv(tmp_path / "skipped.csv").set_index("id")["reason"]
    assert set(reasons.index) == {
        f"fake/{n}" for n in ("out.png", "up.png", "gone.png", "loop", "pipe.png", "self.png")
    }
    assert (
        reasons["fake/out.png"] == reasons["fake/up.png"] == "a link that leads out of the folder"
    )
    assert "fake/in" in set(data.manifest["id"])
    assert len(data) == 7


def test_a_linked_shard_is_not_followed_out_of_the_folder_but_in_a_hubs_cache_it_is(
    tmp_path: Path,
) -> None:
    rows = [{"bytes": picture(i), "path": f"{i}.png"} for i in range(4)]
    blob = tmp_path / "cache" / "blobs" / "abc"
    blob.parent.mkdir(parents=True)
    pq.write_table(pa.table({"image": rows, "label": [0, 1, 0, 1]}), blob)
    snapshot = tmp_path / "cache" / "snapshots" / "main"
    for folder in (snapshot, tmp_path / "plain"):
        folder.mkdir(parents=True)
        (folder / "test.parquet").symlink_to(blob)
    assert len(load_data("folder", str(snapshot))) == 4
    with pytest.raises(DataError, match="leads out of the folder"):
        load_data("folder", str(tmp_path / "plain"))


def test_names_that_are_not_utf_8_are_listed(tmp_path: Path) -> None:
    files(tmp_path, "real", "fake")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/fake/caf\xe9.png")).write_bytes(picture(1))
    (tmp_path / "fake" / "café, à\nla carte.png").write_bytes(picture(2))
    data = load_data("folder", str(tmp_path), skipped=tmp_path / "skipped.csv")
    skipped = pd.read_csv(tmp_path / "skipped.csv")
    assert skipped.to_numpy().tolist() == [
        ["fake/caf\\udce9.png", "its name is not UTF-8; rename it"]
    ]
    assert "fake/café, à\nla carte" in set(data.manifest["id"])
    data.manifest.to_parquet(tmp_path / "manifest.parquet")


def test_a_folder_above_that_is_not_utf_8_is_explained(tmp_path: Path) -> None:
    root = files(Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9")), "real", "fake")
    with pytest.raises(
        DataError, match=r"6 skipped; the first: fake/0: the path of its folder is not UTF-8"
    ):
        load_data("folder", str(root))


def test_files_too_large_for_an_image_are_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files(tmp_path, "real", "fake")
    with (tmp_path / "fake" / "big.png").open("wb") as file:
        file.truncate(2**40)
    load_data("folder", str(tmp_path), skipped=tmp_path / "skipped.csv")
    assert pd.read_csv(tmp_path / "skipped.csv")["reason"].tolist() == [
        f"{2**40} bytes; {2**28} are the most"
    ]
    monkeypatch.setattr(webdataset, "MAX_BYTES", 5000)
    members = [
        (f"{i}.{end}", c)
        for i in range(3)
        for end, c in (("png", picture(i)), ("cls", str(i % 2).encode()))
    ]
    path = shard(tmp_path / "x.tar", *members, ("9.png", bytes(6000)), ("9.cls", b"1"))
    load_data("folder", str(path), skipped=tmp_path / "skipped.csv")
    assert pd.read_csv(tmp_path / "skipped.csv")["reason"][0] == "6000 bytes; 5000 are the most"


def test_what_lies_beside_parquet_files_is_passed_over_and_listed(tmp_path: Path) -> None:
    """Case B7."""
    labelled(tmp_path / "test.parquet", pa.array([0, 1, 0, 1]))
    (tmp_path / "._test.parquet").write_bytes(b"\0\5\x16\7 Mac OS X")
    pq.write_table(pa.table({"id": [1], "embedding": [[0.5]]}), tmp_path / "embeddings.parquet")
    shard(tmp_path / "code.tar", ("a.py", b"print()"))
    for junk in (".DS_Store", "Thumbs.db", "README.md"):
        (tmp_path / junk).write_bytes(b"junk")
    (tmp_path / "__MACOSX").mkdir()
    (tmp_path / "__MACOSX" / "._test.parquet").write_bytes(b"junk")
    data = load_data("folder", str(tmp_path), skipped=tmp_path / "skipped.csv")
    assert len(data) == 4
    reasons = pd.read_csv(tmp_path / "skipped.csv").set_index("id")["reason"].to_dict()
    assert reasons.keys() == {"._test.parquet", "embeddings.parquet", "code.tar", "__MACOSX"}
    assert "has the columns id, embedding" in reasons["embeddings.parquet"]
    assert "beside .parquet files" in reasons["code.tar"]


def test_what_lies_beside_class_folders_is_passed_over_and_listed(tmp_path: Path) -> None:
    """Case B7."""
    files(tmp_path, "test/real", "test/fake")
    labelled(tmp_path / "other.parquet", pa.array([0, 1]))
    pq.write_table(pa.table({"id": [1]}), tmp_path / "embeddings.parquet")
    (tmp_path / "broken.parquet").write_bytes(b"no table")
    (tmp_path / "test" / "weights.tar").write_bytes(b"no archive")
    (tmp_path / "._x.tar").write_bytes(b"")
    data = load_data("folder", str(tmp_path), skipped=tmp_path / "skipped.csv")
    assert len(data) == 6
    names = ["._x.tar", "broken.parquet", "embeddings.parquet", "other.parquet", "test/weights.tar"]
    assert sorted(pd.read_csv(tmp_path / "skipped.csv")["id"]) == names


def test_nothing_of_use_beside_what_is_passed_over_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": [1], "embedding": [[0.5]]}), tmp_path / "embeddings.parquet")
    with pytest.raises(
        DataError, match=r"embeddings\.parquet has the columns id, embedding\. Expected image"
    ):
        load_data("folder", str(tmp_path))
    (tmp_path / "embeddings.parquet").unlink()
    (tmp_path / "._test.parquet").write_bytes(b"junk")
    with pytest.raises(
        DataError,
        match=r"no readable image in the source, 1 skipped; the first: \._test\.parquet: hidden",
    ):
        load_data("folder", str(tmp_path))
    labelled(tmp_path / "test.parquet", pa.array([0, 1]))
    (tmp_path / "train.parquet").write_bytes(b"cut off")
    with pytest.raises(DataError, match=r"train\.parquet is no readable Parquet file"):
        load_data("folder", str(tmp_path))


def test_images_are_known_by_their_content_where_names_say_nothing(tmp_path: Path) -> None:
    """Case B12."""
    root = files(tmp_path / "set", "real", "fake")
    kinds = {
        "a.pjpeg": "JPEG",
        "b.JPG_large": "JPEG",
        "c": "PNG",
        "d.v2": "WEBP",
        "e.pjp": "JPEG",
        "f": "TIFF",
        "g": "BMP",
    }
    for number, (name, kind) in enumerate(kinds.items()):
        (root / "fake" / name).write_bytes(picture(number, kind=kind))
    for name in ("LICENSE", "BMW", "notes.JPG_text", "empty"):
        (root / "fake" / name).write_bytes(b"BM is no bitmap here" if name != "empty" else b"")
    (root / "fake" / "photo.NEF").write_bytes(picture(1, kind="TIFF"))
    (root / "fake" / "camera.x3f").write_bytes(picture(1, kind="TIFF"))
    data = load_data("folder", str(root), skipped=tmp_path / "skipped.csv")
    found = {identity for identity in data.manifest["id"] if identity.startswith("fake/")}
    assert found == {"fake/0", "fake/1", "fake/2", *(f"fake/{letter}" for letter in "abcdefg")}
    assert pd.read_csv(tmp_path / "skipped.csv").to_numpy().tolist() == [
        ["fake/photo.NEF", "a raw camera file; develop it to PNG or JPEG first"]
    ]
    members = [
        m
        for i, name in enumerate(("0.pjpeg", "1", "2.bin"))
        for m in ((f"{i}.cls", str(i % 2).encode()), (name, picture(i)))
    ]
    archive = shard(
        tmp_path / "x.tar", *members, ("3.nef", picture(1)), ("3.cls", b"1"), ("README", b"text")
    )
    data = load_data("folder", str(archive), skipped=tmp_path / "skipped.csv")
    assert data.manifest["id"].tolist() == ["0", "1", "2"]


def test_links_to_class_folders_are_named(tmp_path: Path) -> None:
    """Case B12."""
    outside = files(tmp_path / "outside", "real", "fake")
    (tmp_path / "set").mkdir()
    for name in ("real", "fake"):
        (tmp_path / "set" / name).symlink_to(outside / name)
    with pytest.raises(
        DataError, match=r"Not followed are the links fake, real: put the folders themselves there"
    ):
        load_data("folder", str(tmp_path / "set"))
    (tmp_path / "set" / "real").unlink()
    files(tmp_path / "set", "real")
    with pytest.raises(
        DataError,
        match=r"one class only, 1 skipped; the first: fake: a link to a folder, which is not fol",
    ):
        load_data("folder", str(tmp_path / "set"))


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read everything")
def test_unreadable_files_and_folders_are_listed(tmp_path: Path) -> None:
    root = files(tmp_path / "root", "real", "fake", "fake/locked")
    (root / "fake" / "0.png").chmod(0)
    (root / "fake" / "locked").chmod(0)
    try:
        load_data("folder", str(root), skipped=tmp_path / "skipped.csv")
    finally:
        (root / "fake" / "locked").chmod(0o700)
    assert set(pd.read_csv(tmp_path / "skipped.csv")["id"]) == {"fake/0", "fake/locked"}


def test_a_folder_that_cannot_be_listed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = files(tmp_path / "root", "real", "fake", "fake/locked")
    scandir = os.scandir

    def fail(path: str) -> object:
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", fail)
    data = load_data("folder", str(root), skipped=tmp_path / "skipped.csv")
    skipped = pd.read_csv(tmp_path / "skipped.csv").to_numpy().tolist()
    assert skipped == [["fake/locked", "cannot be listed: Permission denied"]]
    assert len(data) == 6


@settings(max_examples=50)
@given(
    parts=st.lists(
        st.sampled_from(["..", ".", "", "a", "a..b", "\\", "é", "\udce9", "\0"]), max_size=5
    )
)
def test_names_that_pass_stay_below_their_folder(parts: list[str]) -> None:
    name = "/".join(parts)
    if not skip_reason(name):
        assert Path(os.path.normpath(f"/root/folder/{name}")).is_relative_to("/root/folder")
        assert name.encode().count(0) == 0
