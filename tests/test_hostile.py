"""Files that nobody should trust: each is rejected with a listed reason, and the rest is read."""

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile, ImageOps

from robustbench_aigi.data import load_data
from robustbench_aigi.data.decoding import ImageError, decode
from tests.test_data import picture
from tests.test_sources import files


def saved(kind: str, mode: str = "RGB", **options: object) -> bytes:
    """A noisy picture of 16 x 12 in another format or mode."""
    file = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(file, format=kind, **options)
    return file.getvalue()


def frames(kind: str) -> bytes:
    pictures = [Image.new("RGB", (16, 16), (80 * i, 0, 0)) for i in range(3)]
    file = io.BytesIO()
    pictures[0].save(file, format=kind, save_all=True, append_images=pictures[1:])
    return file.getvalue()


def png(width: int, height: int, depth: int = 8, colour: int = 2, rows: int = 0) -> bytes:
    """A PNG file of black rows, whatever its header claims."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content))
            + name
            + content
            + struct.pack(">I", zlib.crc32(name + content))
        )

    line = 1 + width * depth // 8 * {0: 1, 2: 3, 6: 4}[colour]
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    content = zlib.compress(bytes(line * rows))
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", content)
        + chunk(b"IEND", b"")
    )


def text_bomb() -> bytes:
    """A PNG file with 8 MB of compressed text."""
    packed = b"Comment\0\0" + zlib.compress(bytes(8 * 2**20))
    chunk = (
        struct.pack(">I", len(packed))
        + b"zTXt"
        + packed
        + struct.pack(">I", zlib.crc32(b"zTXt" + packed))
    )
    whole = png(16, 16, rows=16)
    return whole[:33] + chunk + whole[33:]


REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty": (lambda: b"", "empty"),
    "text called .png": (lambda: b"not an image at all", "not an image"),
    "a script for another program": (
        lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nquit\n",
        "not an image",
    ),
    "truncated JPEG": (lambda: picture(0, kind="JPEG")[:400], "damaged: Truncated"),
    "truncated PNG": (lambda: picture(0)[:1000], "damaged"),
    "broken checksum": (lambda: picture(0)[:100] + b"\0\0\0\0" + picture(0)[104:], "damaged"),
    "1 x 1": (lambda: png(1, 1, rows=1), r"1 x 1 pixels; 8 x 8 is the least"),
    "9000 x 8000": (lambda: png(9000, 8000, rows=9), "9000 x 8000: more than 67108864 pixels"),
    "10000 x 10000": (lambda: png(10_000, 10_000, rows=9), "more than 67108864 pixels"),
    "20000 x 20000": (lambda: png(20_000, 20_000, rows=9), "more than 67108864 pixels"),
    "CMYK": (lambda: saved("JPEG", "CMYK"), "CMYK colours"),
    "16-bit grey": (lambda: png(16, 16, 16, 0, rows=16), "more than 8 bits"),
    "16-bit RGB": (lambda: png(16, 16, 16, 2, rows=16), "more than 8 bits"),
    "16-bit RGBA": (lambda: png(16, 16, 16, 6, rows=16), "more than 8 bits"),
    "float TIFF": (lambda: saved("TIFF", "F"), "more than 8 bits"),
    "transparent": (lambda: png(16, 16, 8, 6, rows=16), "transparent"),
    "transparent palette": (lambda: saved("PNG", "P", transparency=bytes(256)), "transparent"),
    "1 bit": (lambda: saved("PNG", "1"), "1 bit"),
    "animated GIF": (lambda: frames("GIF"), "animated"),
    "animated WebP": (lambda: frames("WEBP"), "animated"),
    "animated PNG": (lambda: frames("PNG"), "animated"),
    "TIFF of several pages": (lambda: frames("TIFF"), "several pictures"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_taken_as_it_is_is_listed_and_the_rest_is_read(
    kind: str, tmp_path: Path
) -> None:
    make, reason = REFUSED[kind]
    files(tmp_path, "real", "fake")
    (tmp_path / "fake" / "bad.png").write_bytes(make())
    data = load_data("folder", str(tmp_path), skipped=tmp_path / "skipped.csv")
    skipped = pd.read_csv(tmp_path / "skipped.csv")
    assert skipped["id"].tolist() == ["fake/bad"]
    assert skipped["reason"].str.contains(reason).all()
    assert len(data) == 6


@pytest.mark.parametrize("side", [8200, 10_000, 20_000])
def test_huge_images_are_refused_from_their_header(
    side: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def decoded(image: Image.Image) -> None:
        raise AssertionError("it was decoded")

    monkeypatch.setattr(ImageFile.ImageFile, "load", decoded)
    with pytest.raises(ImageError, match="more than 67108864 pixels"):
        decode(png(side, side, rows=9))
    with pytest.raises(AssertionError, match="it was decoded"):
        decode(png(8192, 8192, rows=9))


def test_the_name_does_not_matter_but_the_content_does(tmp_path: Path) -> None:
    files(tmp_path, "real", "fake")
    (tmp_path / "fake" / "jpeg.png").write_bytes(picture(7, kind="JPEG"))
    (tmp_path / "fake" / "png.JPEG").write_bytes(picture(8))
    (tmp_path / "fake" / "Thumbs.db").write_bytes(b"passed over")
    (tmp_path / "fake" / "._0.png").write_bytes(b"passed over")
    data = load_data("folder", str(tmp_path), skipped=tmp_path / "skipped.csv")
    assert {"fake/jpeg", "fake/png"} <= set(data.manifest["id"])
    assert pd.read_csv(tmp_path / "skipped.csv").empty


@pytest.mark.parametrize("mode", ["L", "P"])
def test_grey_and_palette_images_become_rgb(mode: str) -> None:
    content = saved("PNG", mode)
    expected = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
    assert np.array_equal(decode(content).permute(1, 2, 0).numpy(), expected)


def test_a_text_of_megabytes_beside_the_pixels_does_not_lose_them() -> None:
    """Case B10."""
    assert torch.equal(decode(text_bomb()), decode(png(16, 16, rows=16)))


@pytest.mark.parametrize("kind", ["BMP", "GIF", "TIFF"])
def test_lossless_formats_hold_the_same_pixels(kind: str) -> None:
    palette = "P" if kind == "GIF" else "RGB"
    assert torch.equal(decode(saved(kind, palette)), decode(saved("PNG", palette)))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photograph_is_turned_as_a_viewer_shows_it(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = saved(kind, exif=exif)
    shown = ImageOps.exif_transpose(Image.open(io.BytesIO(content))).convert("RGB")
    pixels = decode(content)
    assert pixels.shape == ((3, 12, 16) if orientation < 5 else (3, 16, 12))
    assert np.array_equal(pixels.permute(1, 2, 0).numpy(), np.asarray(shown))
    if kind == "PNG":
        turns = {3: (2, 0), 6: (3, 0), 8: (1, 0)}  # quarters anticlockwise
        if orientation in turns:
            assert torch.equal(
                pixels, torch.rot90(decode(saved("PNG")), turns[orientation][0], (1, 2))
            )


def test_broken_exif_data_do_not_lose_the_photograph() -> None:
    content = saved("JPEG", exif=b"Exif\0\0MM\0*\0\0\xff\xff garbage")
    assert torch.equal(decode(content), decode(saved("JPEG")))


SEEDS = [saved(kind) for kind in ("JPEG", "PNG", "WEBP", "BMP", "TIFF")] + [
    saved("GIF", "P"),
    frames("PNG"),
]


@settings(max_examples=300, deadline=None)
@given(
    content=st.sampled_from(SEEDS),
    changes=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=6),
    kept=st.floats(0.05, 1),
)
def test_whatever_is_broken_in_a_file_it_is_read_or_refused(
    content: bytes, changes: list[tuple[float, int]], kept: float
) -> None:
    broken = bytearray(content)
    for where, value in changes:
        broken[int(where * (len(broken) - 1))] = value
    try:
        pixels = decode(bytes(broken[: int(kept * len(broken))]))
    except ImageError:
        return
    assert pixels.dtype == torch.uint8
    assert pixels.ndim == 3
