"""Conversion by written rules: CMYK, 16 bits, transparency, colour profiles (case B11). Large PNG
chunks (case B10).
"""

import io
import itertools
import struct
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from robustbench_aigi.data.conversion import CONVERSION_VERSION
from robustbench_aigi.data.decoding import ImageError, decode, decode_image, read_header
from tests.test_data import picture
from tests.test_hostile import saved
from tests.test_sources import files

Deep = npt.NDArray[np.uint16]


def chunk(name: bytes, content: bytes) -> bytes:
    return (
        struct.pack(">I", len(content))
        + name
        + content
        + struct.pack(">I", zlib.crc32(name + content))
    )


def deep_png(samples: Deep, *before: bytes) -> bytes:
    """A PNG file of 16-bit samples ``(H, W, C)``; other chunks come before the pixels."""
    height, width, channels = samples.shape
    header = struct.pack(">IIBBBBB", width, height, 16, {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    body = (
        chunk(b"IHDR", header)
        + b"".join(before)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )
    return b"\x89PNG\r\n\x1a\n" + body


def deep(channels: int, seed: int = 0) -> Deep:
    return np.random.default_rng(seed).integers(0, 65536, (12, 16, channels), dtype=np.uint16)


def levels(content: bytes) -> npt.NDArray[np.int64]:
    return decode(content, convert=True).permute(1, 2, 0).numpy().astype(np.int64)


def wide_profile() -> bytes:
    """An RGB profile with Adobe-like primaries, made from the sRGB one by swapping its red and
    green columns.
    """
    made = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return made.replace(b"rXYZ", b"tmpZ").replace(b"gXYZ", b"rXYZ").replace(b"tmpZ", b"gXYZ")


@pytest.mark.parametrize("channels", [1, 3])
def test_16_bits_are_rounded_to_8(channels: int) -> None:
    samples = deep(channels)
    expected = np.round(samples / 257).astype(int)
    found = levels(deep_png(samples))
    assert np.array_equal(found, np.broadcast_to(expected, found.shape))
    assert (
        decode_image(deep_png(samples), convert=True).conversion
        == f"16 to 8 bits (rules {CONVERSION_VERSION})"
    )


@settings(max_examples=200)
@given(value=st.integers(0, 65535))
def test_every_16_bit_value_goes_to_the_nearest_level(value: int) -> None:
    samples = np.full((8, 8, 3), value, dtype=np.uint16)
    assert (levels(deep_png(samples)) == round(value / 257)).all()


@pytest.mark.parametrize("channels", [2, 4])
def test_16_bits_with_transparency_are_composited_on_white(channels: int) -> None:
    samples = deep(channels)
    reduced = np.round(samples / 257)
    colour = reduced[..., :-1]
    alpha = reduced[..., -1:]
    found = levels(deep_png(samples))
    expected = np.round((colour * alpha + 255 * (255 - alpha)) / 255)
    assert np.array_equal(found, np.broadcast_to(expected, found.shape))
    assert decode_image(deep_png(samples), convert=True).conversion.startswith(
        "16 to 8 bits, transparency on white"
    )


def test_a_transparent_colour_of_16_bits_is_compared_in_full() -> None:
    samples = np.full((8, 8, 3), 1000, dtype=np.uint16)
    samples[0, 0] = 1001
    found = levels(deep_png(samples, chunk(b"tRNS", struct.pack(">HHH", 1000, 1000, 1000))))
    assert (found[0, 0] == round(1001 / 257)).all()
    assert (found[1:] == 255).all()


@pytest.mark.parametrize("compression", [None, "tiff_deflate"])
def test_16_bit_grey_tiff_is_taken(compression: str | None) -> None:
    samples = deep(1)[..., 0]
    file = io.BytesIO()
    Image.fromarray(samples).save(file, format="TIFF", compression=compression)
    assert np.array_equal(levels(file.getvalue())[..., 0], np.round(samples / 257).astype(int))


def test_16_bit_colour_tiff_is_taken() -> None:
    tifffile = pytest.importorskip("tifffile")
    samples = deep(3)
    for order, compression in itertools.product("<>", (None, "zlib")):
        file = io.BytesIO()
        tifffile.imwrite(file, samples, photometric="rgb", byteorder=order, compression=compression)
        assert np.array_equal(levels(file.getvalue()), np.round(samples / 257).astype(int)), (
            order,
            compression,
        )


def rgba(mode: str = "RGBA") -> Image.Image:
    pixels = np.random.default_rng(1).integers(0, 256, (12, 16, 4), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_composited_on_white(mode: str) -> None:
    file = io.BytesIO()
    rgba(mode).save(file, format="PNG")
    plain = np.asarray(rgba(mode).convert("RGBA")).astype(int)
    expected = np.round((plain[..., :3] * plain[..., 3:] + 255 * (255 - plain[..., 3:])) / 255)
    assert np.array_equal(levels(file.getvalue()), expected)
    with pytest.raises(ImageError, match=r"transparent pixels.*--convert"):
        decode(file.getvalue())


def test_a_transparent_palette_is_composited_on_white() -> None:
    content = saved("PNG", "P", transparency=bytes(256))
    assert (levels(content) == 255).all()


def test_cmyk_without_a_profile_is_converted_by_the_formula_and_says_so() -> None:
    content = saved("TIFF", "CMYK")
    inks = np.asarray(Image.open(io.BytesIO(content))).astype(int)
    exact = (255 - inks[..., 3:]) * (255 - inks[..., :3]) / 255
    assert np.abs(levels(content) - exact).max() < 1
    assert "cmyk to rgb without a profile" in decode_image(content, convert=True).conversion
    with pytest.raises(ImageError, match=r"CMYK colours.*--convert"):
        decode(content)


def test_a_wide_profile_is_applied_when_asked_and_an_srgb_one_changes_nothing() -> None:
    plain = decode(saved("PNG"))
    srgb = saved(
        "PNG", icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    )
    assert decode_image(srgb, convert=True).conversion == ""
    assert torch.equal(decode(srgb, convert=True), plain)
    wide = saved("PNG", icc_profile=wide_profile())
    assert torch.equal(decode(wide), plain)  # as ever: a profile is not looked at
    found = decode_image(wide, convert=True)
    assert found.conversion == f"rgb to srgb by profile (rules {CONVERSION_VERSION})"
    assert not torch.equal(found.pixels, plain)
    assert read_header(wide).profile
    assert not read_header(srgb).profile
    source = ImageCms.ImageCmsProfile(io.BytesIO(wide_profile()))
    image = Image.open(io.BytesIO(saved("PNG")))
    expected = ImageCms.profileToProfile(
        image, source, ImageCms.createProfile("sRGB"), outputMode="RGB"
    )
    assert expected is not None
    assert np.array_equal(found.pixels.permute(1, 2, 0).numpy(), np.asarray(expected))


@pytest.mark.parametrize("profile", [b"no profile", b"\0" * 200])
def test_a_broken_profile_says_nothing(profile: bytes) -> None:
    assert torch.equal(
        decode(saved("JPEG", icc_profile=profile), convert=True), decode(saved("JPEG"))
    )
    cmyk = decode_image(saved("JPEG", "CMYK", icc_profile=profile), convert=True)
    assert "without a profile" in cmyk.conversion


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_converted_image_is_turned_upright_too(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    rgba("RGB").convert("RGBA").save(file, format="PNG", exif=exif)
    assert torch.equal(decode(file.getvalue(), convert=True), decode(file.getvalue()))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "TIFF"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_what_needs_no_conversion_keeps_its_pixels(kind: str, mode: str) -> None:
    content = saved(kind, mode)
    found = decode_image(content, convert=True)
    assert found.conversion == ""
    assert torch.equal(found.pixels, decode(content))


@pytest.mark.parametrize(
    ("content", "reason"), [(saved("TIFF", "F"), "8 bits"), (saved("PNG", "1"), "1 bit")]
)
def test_what_no_rule_takes_is_refused_all_the_same(content: bytes, reason: str) -> None:
    with pytest.raises(ImageError, match=reason):
        decode(content, convert=True)


def mixed(root: Path) -> Path:
    """Class folders with one image of each sort that needs a conversion."""
    files(root, "test/real", "test/fake", count=4)
    for folder in ("real", "fake"):
        (root / "test" / folder / "cmyk.jpg").write_bytes(picture(0, "CMYK", "JPEG", (16, 12)))
        (root / "test" / folder / "deep.png").write_bytes(deep_png(deep(3, seed=len(folder))))
    return root


@settings(max_examples=100, deadline=None)
@given(place=st.floats(0, 1), value=st.integers(0, 255), kept=st.floats(0.1, 1))
def test_whatever_is_broken_is_converted_or_refused(place: float, value: int, kept: float) -> None:
    for content in (
        deep_png(deep(4)),
        saved("JPEG", "CMYK"),
        saved("PNG", icc_profile=wide_profile()),
    ):
        broken = bytearray(content)
        broken[int(place * (len(broken) - 1))] = value
        try:
            pixels = decode(bytes(broken[: int(kept * len(broken))]), convert=True)
        except ImageError:
            continue
        assert pixels.dtype == torch.uint8
