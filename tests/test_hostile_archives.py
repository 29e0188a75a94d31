"""Tar archives that are damaged, or hold what they should not."""

import io
import tarfile
from pathlib import Path

import pandas as pd
import pytest

from robustbench_aigi.data import load_data
from tests.test_data import picture
from tests.test_sources import shard


def hostile_archive(path: Path) -> Path:
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:

        def add(
            name: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE, link: str = ""
        ) -> None:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            info.type = kind
            info.linkname = link
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
