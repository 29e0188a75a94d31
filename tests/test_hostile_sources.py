"""Folders, archives and Parquet files that nobody should trust: traps are refused and listed, the
rest is read.
"""

import io
import os
import tarfile
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


def hostile_archive(path: Path) -> Path:
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:

        def add(
            name: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE, link: str = ""
        ) -> None:
            info = tarfile.TarInfo(name)
            info.size, info.type, info.linkname = len(content), kind, link
            archive.addfile(info, io.BytesIO(content))

        for i in range(4):
            add(f"good/{i}.png", picture(i))
            add(f"good/{i}.cls", str(i % 2).encode())
        add("../../evil.png", picture(9))
        add("../../evil.cls", b"0")
        add("/etc/evil.png", picture(9))
        add("link.png", kind=tarfile.SYMTYPE, link="/etc/passwd")
        add("hard.png", kind=tarfile.LNKTYPE, link="good/0.png")
        add("device.png", kind=tarfile.CHRTYPE)
        add("text.png", b"no image")
        add("text.cls", b"1")
        add("number.png", picture(5))
        add("number.cls", "٣".encode() * 10)
        add("deep.png", picture(6))
        add("deep.json", b"[" * 100_000)
        add("surrogate.png", picture(2))
        add("surrogate.json", b'{"label": 1, "generator": "\\udce9"}')
        add("list.png", picture(7))
        add("list.json", b"[1]")
        add("caf\udce9.png", picture(8))
        add("twice.png", picture(8))
        add("twice.jpg", picture(8))
    return path


def test_an_archive_is_read_in_place_and_its_traps_are_listed(tmp_path: Path) -> None:
    data = load_data(
        "folder", str(hostile_archive(tmp_path / "test.tar")), skipped=tmp_path / "skipped.csv"
    )
    assert data.manifest["id"].tolist() == [*(f"test/good/{i}" for i in range(4)), "test/surrogate"]
    assert list(data.contents()) == [picture(i) for i in (0, 1, 2, 3, 2)]
    data.manifest.to_parquet(tmp_path / "manifest.parquet")
    reasons = pd.read_csv(tmp_path / "skipped.csv").groupby("id")["reason"].agg("; ".join).to_dict()
    expected = {
        "../../evil.png": "leads out",
        "../../evil.cls": "leads out",
        "/etc/evil.png": "leads out",
        "link.png": "link or a device",
        "hard.png": "link or a device",
        "device.png": "link or a device",
        "test/text": "not an image",
        "test.tar/number": "label '",
        "test.tar/deep": "cannot be read",
        "test.tar/list": "cannot be read",
        "caf\\udce9.png": "not UTF-8",
        "test.tar/twice": "2 images in one sample",
    }
    assert reasons.keys() == expected.keys()
    assert all(part in reasons[name] for name, part in expected.items())
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "manifest.parquet",
        "skipped.csv",
        "test.tar",
    ]


@pytest.mark.parametrize(
    ("damage", "reason"), [("cut", "damaged|ends in the mi"), ("overwritten", "damaged; what")]
)
def test_a_damaged_archive_is_read_up_to_the_damage(
    tmp_path: Path, damage: str, reason: str
) -> None:
    samples = [
        m for i in range(8) for m in ((f"{i}.cls", str(i % 2).encode()), (f"{i}.png", picture(i)))
    ]
    path = shard(tmp_path / "test.tar", *samples)
    content = bytearray(path.read_bytes())
    half = content.index(b"5.png")
    path.write_bytes(
        content[: half + 1000]
        if damage == "cut"
        else content[:half] + b"x" * 512 + content[half + 512 :]
    )
    data = load_data("folder", str(path), skipped=tmp_path / "skipped.csv")
    assert data.manifest["id"].tolist() == [f"test/{i}" for i in range(5)]
    assert pd.read_csv(tmp_path / "skipped.csv")["reason"].str.contains(reason).any()


def test_a_member_of_negative_size_ends_the_archive(tmp_path: Path) -> None:
    samples = [
        m for i in range(4) for m in ((f"{i}.cls", str(i % 2).encode()), (f"{i}.png", picture(i)))
    ]
    path = shard(tmp_path / "test.tar", *samples)
    content = bytearray(path.read_bytes())
    trap = tarfile.TarInfo("trap.png")
    trap.size = -512
    content[content.index(b"3.cls") :] = trap.tobuf(tarfile.GNU_FORMAT) * 4
    path.write_bytes(content)
    data = load_data("folder", str(path), skipped=tmp_path / "skipped.csv")
    assert data.manifest["id"].tolist() == [f"test/{i}" for i in range(3)]
    assert pd.read_csv(tmp_path / "skipped.csv")["reason"].str.contains("negative size").any()


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


def test_parquet_rows_with_bad_names_or_no_bytes_are_listed(tmp_path: Path) -> None:
    rows: list[dict[str, object] | None] = [
        {"bytes": picture(i), "path": f"{i}.png"} for i in range(4)
    ]
    rows += [
        {"bytes": picture(9), "path": "../../../etc/passwd"},
        {"bytes": None, "path": "lost.png"},
        None,
    ]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    pq.write_table(
        pa.table({"image": pa.array(rows, kind), "label": [0, 1, 0, 1, 0, 1, 0]}),
        tmp_path / "test.parquet",
    )
    data = load_data("folder", str(tmp_path / "test.parquet"), skipped=tmp_path / "skipped.csv")
    reasons = pd.read_csv(tmp_path / "skipped.csv").set_index("id")["reason"].to_dict()
    assert reasons.keys() == {"test.parquet/4", "test/lost", "test/test-6"}
    assert "leads out" in reasons["test.parquet/4"]
    assert reasons["test/lost"] == reasons["test/test-6"] == "the file is empty"
    assert len(data) == 4


LABELS: dict[str, pa.Array] = {
    "words": pa.array(["Real", "FAKE", " real ", "fake"]),
    "numbers as text": pa.array(["0", "1", "0.0", "1"]),
    "dictionary": pa.array(["Real", "Fake", "Real", "Fake"]).dictionary_encode(),
    "booleans": pa.array([False, True, False, True]),
    "floats": pa.array([0.0, 1.0, 0.0, 1.0]),
    "lists of one": pa.array([[0], [1], [0], [1]]),
    "small integers": pa.array([0, 1, 0, 1], pa.uint8()),
    "large text": pa.array(["real", "fake", "real", "fake"], pa.large_string()),
}


def labelled(path: Path, labels: pa.Array, **more: pa.Array) -> Path:
    rows = [{"bytes": picture(i), "path": f"{i}.png"} for i in range(len(labels))]
    pq.write_table(pa.table({"image": rows, "label": labels, **more}), path)
    return path


@pytest.mark.parametrize("kind", LABELS)
def test_labels_are_read_as_people_write_them(kind: str, tmp_path: Path) -> None:
    """Case B8."""
    data = load_data("folder", str(labelled(tmp_path / "test.parquet", LABELS[kind])))
    assert data.manifest["label"].tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize(
    "labels",
    [
        pa.array([0, 1, -1, None]),
        pa.array([0.0, 1.0, float("nan"), None]),
        pa.array(["real", "fake", "", None]),
        pa.array([[0], [1], [], [0, 1]]),
    ],
)
def test_rows_without_a_label_are_listed(labels: pa.Array, tmp_path: Path) -> None:
    """Case B8."""
    path = labelled(tmp_path / "test.parquet", labels)
    data = load_data("folder", str(path), skipped=tmp_path / "skipped.csv")
    assert data.manifest["id"].tolist() == ["test/0", "test/1"]
    skipped = pd.read_csv(tmp_path / "skipped.csv")
    assert skipped["id"].tolist() == ["test.parquet/2", "test.parquet/3"]
    assert skipped["reason"].str.startswith("no label: ").all()


def test_labels_that_the_recipe_does_not_know_are_refused(tmp_path: Path) -> None:
    for labels in (
        pa.array([0, 1, 2]),
        pa.array(["real", "fake", "cat"]),
        pa.array([0.0, 1.0, 0.5]),
    ):
        with pytest.raises(DataError, match=r"row 2 has label .*Expected one of real, fake, 0, 1"):
            load_data("folder", str(labelled(tmp_path / "test.parquet", labels)))


@pytest.mark.parametrize("above", ["/home/someone/set", "C:\\set", "\\\\server\\set"])
def test_an_absolute_path_beside_the_bytes_gives_its_last_name_and_is_not_opened(
    above: str, tmp_path: Path
) -> None:
    """Case B8."""
    mark = "/" if "/" in above else "\\"
    rows = [
        {"bytes": picture(i), "path": f"{above}{mark}{i % 2}{mark}{i // 2}.png"} for i in range(4)
    ]
    pq.write_table(pa.table({"image": rows, "label": [0, 1, 0, 1]}), tmp_path / "test.parquet")
    data = load_data("folder", str(tmp_path / "test.parquet"))
    assert data.manifest["id"].tolist() == ["test/0", "test/0~1", "test/1", "test/1~1"]
    assert list(data.contents()) == [picture(i) for i in range(4)]


@pytest.mark.parametrize("path", ["", ".", "./", None])
def test_a_path_that_names_nothing_gives_the_number_of_the_row(
    path: str | None, tmp_path: Path
) -> None:
    rows = [{"bytes": picture(i), "path": path} for i in range(2)]
    pq.write_table(pa.table({"image": rows, "label": [0, 1]}), tmp_path / "test.parquet")
    assert load_data("folder", str(tmp_path)).manifest["id"].tolist() == [
        "test/test-0",
        "test/test-1",
    ]


def test_plain_bytes_and_a_column_called_img_are_read(tmp_path: Path) -> None:
    pictures = [picture(i) for i in range(4)]
    tables = {
        "bytes": {"image": pictures, "label": [0, 1, 0, 1]},
        "img": {"img": [{"bytes": content} for content in pictures], "labels": [0, 1, 0, 1]},
    }
    for name, columns in tables.items():
        path = tmp_path / f"{name}.parquet"
        pq.write_table(pa.table(columns), path, row_group_size=3)
        data = load_data("folder", str(path))
        assert list(data.contents()) == pictures
        assert data.manifest["id"].tolist() == [f"{name}-{i}" for i in range(4)]


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


def damaged(path: Path, column: str) -> Path:
    """A Parquet file of three row groups; the bytes of one column of the second are overwritten."""
    rows = [{"bytes": picture(i), "path": f"{i}.png"} for i in range(12)]
    table = pa.table({"image": rows, "label": [i % 2 for i in range(12)]})
    pq.write_table(table, path, row_group_size=4, compression="zstd")
    group = pq.ParquetFile(path).metadata.row_group(1)
    place = next(
        c for c in map(group.column, range(group.num_columns)) if c.path_in_schema == column
    )
    content = bytearray(path.read_bytes())
    start = place.dictionary_page_offset or place.data_page_offset
    content[start : start + place.total_compressed_size] = b"\xff" * place.total_compressed_size
    path.write_bytes(content)
    return path


def test_a_parquet_file_damaged_inside_costs_its_own_images_only(tmp_path: Path) -> None:
    path = damaged(tmp_path / "test.parquet", "image.bytes")
    data = load_data("folder", str(path), skipped=tmp_path / "skipped.csv")
    assert data.manifest["id"].tolist() == [f"test/{i}" for i in (0, 1, 2, 3, 8, 9, 10, 11)]
    assert pd.read_csv(tmp_path / "skipped.csv")["reason"].str.startswith("cannot be read").all()


def test_a_parquet_row_group_whose_labels_are_damaged_is_listed(tmp_path: Path) -> None:
    path = damaged(tmp_path / "test.parquet", "label")
    data = load_data("folder", str(path), skipped=tmp_path / "skipped.csv")
    assert data.manifest["id"].tolist() == [f"test/{i}" for i in (0, 1, 2, 3, 8, 9, 10, 11)]
    assert data.manifest["row"].tolist() == [0, 1, 2, 3, 8, 9, 10, 11]
    assert pd.read_csv(tmp_path / "skipped.csv")["id"].tolist() == ["test.parquet/row group 1"]


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

    def refuse(path: str) -> object:
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
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
