"""Conversion by written rules: CMYK, 16 bits, transparency, colour profiles (case B11). Large PNG
chunks (case B10).
"""

import io
import itertools
import json
import struct
import threading
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, PngImagePlugin

from robustbench_aigi.attacks import load_suite
from robustbench_aigi.data import load_data
from robustbench_aigi.data.audit import audit
from robustbench_aigi.data.conversion import CONVERSION_RULES, CONVERSION_VERSION
from robustbench_aigi.data.decoding import ImageError, decode, decode_image, encode_png, read_header
from robustbench_aigi.data.plusplus.build import build_plusplus, load_plusplus
from robustbench_aigi.data.plusplus.parts import Part
from robustbench_aigi.data.plusplus.verify import verify
from robustbench_aigi.detectors._support.fingerprint import Identities
from robustbench_aigi.evaluation.provenance import write_provenance
from robustbench_aigi.imaging.png import MAX_CHUNK, without_large_chunks
from robustbench_aigi.progress import silent
from tests.test_data import picture
from tests.test_hostile import saved
from tests.test_sources import files, own

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
    colour, alpha = reduced[..., :-1], reduced[..., -1:]
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


def test_converted_images_are_recorded_in_manifest_key_and_run(tmp_path: Path) -> None:
    root = mixed(tmp_path / "set")
    plain = load_data("folder", str(root), skipped=tmp_path / "skipped.csv")
    assert pd.read_csv(tmp_path / "skipped.csv")["reason"].str.contains("give --convert").sum() == 4
    assert "convert" not in plain.manifest
    data = load_data("folder", str(root), convert=True)
    done = data.manifest.set_index("id")["convert"].to_dict()
    assert done["test/real/cmyk"] == "cmyk to rgb without a profile (rules 1)"
    assert done["test/real/deep"] == "16 to 8 bits (rules 1)"
    assert done["test/real/0"] == ""
    assert len(data) == len(plain) + 4
    by_recipe = load_data(own(tmp_path, convert="true"), str(root))
    assert by_recipe.key == data.key != plain.key
    write_provenance(tmp_path, {}, {}, load_suite("quick"), data, Identities())
    about = json.loads((tmp_path / "run.json").read_text())["data"]
    assert about["convert_rules"] == CONVERSION_VERSION
    assert sum(about["converted"].values()) == 4
    write_provenance(tmp_path, {}, {}, load_suite("quick"), plain, Identities())
    assert set(json.loads((tmp_path / "run.json").read_text())["data"]) == {"name", "images", "key"}


def test_the_key_tells_other_pixels_of_the_same_files(tmp_path: Path) -> None:
    files(tmp_path, "real", "fake")
    (tmp_path / "fake" / "wide.png").write_bytes(saved("PNG", icc_profile=wide_profile()))
    plain, converted = (
        load_data("folder", str(tmp_path), convert=convert) for convert in (False, True)
    )
    assert plain.manifest["sha256"].tolist() == converted.manifest["sha256"].tolist()
    assert plain.key != converted.key
    (tmp_path / "fake" / "wide.png").unlink()
    assert (
        load_data("folder", str(tmp_path)).key
        == load_data("folder", str(tmp_path), convert=True).key
    )


def test_a_built_set_holds_the_converted_pixels_as_png(tmp_path: Path, tiny_suite: str) -> None:
    data = load_data("folder", str(mixed(tmp_path / "set")), convert=True)
    suite = load_suite(tiny_suite)
    suite = suite.model_copy(
        update={"rows": tuple(row for row in suite.rows if row.attack == "jpeg")}
    )
    part = Part(data.split("test"), all_rows=True, samples=1)
    build_plusplus({"test": part}, suite, {}, tmp_path / "built", silent)
    assert verify(tmp_path / "built") == []
    clean = load_plusplus(tmp_path / "built", "test", "clean")
    assert all(
        torch.equal(one, other) for one, other in zip(clean.pixels(), data.pixels(), strict=True)
    )
    names = clean.manifest["source"].tolist()
    paths, done, hashes = (
        dict(zip(names, map(str, clean.manifest[name]), strict=True))
        for name in ("path", "convert", "sha256")
    )
    stored = decode(Path(paths["test/real/cmyk"]).read_bytes())
    assert torch.equal(stored, decode(picture(0, "CMYK", "JPEG", (16, 12)), convert=True))
    assert paths["test/real/cmyk"].endswith(".png")
    assert done["test/real/cmyk"].startswith("cmyk to rgb")
    assert (
        hashes["test/real/0"]
        == dict(zip(data.manifest["id"], data.manifest["sha256"], strict=True))["test/real/0"]
    )
    whole = pd.read_parquet(tmp_path / "built" / "manifest.parquet")
    assert (whole.loc[whole["attack"] == "diffusion", "convert"] == "").all()
    assert audit(clean, silent).images == len(data)


def test_an_audit_reads_images_as_they_are_converted(tmp_path: Path) -> None:
    data = load_data("folder", str(mixed(tmp_path / "set")), convert=True)
    result = audit(data, silent)
    assert result.images == len(data)
    assert result.tables["unreadable"].empty


def large_text(kind: bytes, where: str) -> bytes:
    """A PNG file with 3 MB of text, or a colour profile of 3 MB, before or after the pixels."""
    words = {
        b"zTXt": b"Comment\0\0" + zlib.compress(bytes(3 * MAX_CHUNK)),
        b"iTXt": b"Comment\0\1\0\0\0" + zlib.compress(b"x" * 3 * MAX_CHUNK),
        b"tEXt": b"Comment\0" + b"x" * (3 * MAX_CHUNK),
        b"iCCP": b"icc\0\0" + zlib.compress(wide_profile() + bytes(3 * MAX_CHUNK)),
    }
    whole = encode_png(decode(saved("PNG")))
    place = 33 if where == "before" else len(whole) - 12
    return whole[:place] + chunk(kind, words[kind]) + whole[place:]


@pytest.mark.parametrize(
    ("kind", "where"),
    [*itertools.product((b"zTXt", b"iTXt", b"tEXt"), ("before", "after")), (b"iCCP", "before")],
)
def test_large_texts_and_profiles_do_not_lose_the_pixels(kind: bytes, where: str) -> None:
    content = large_text(kind, where)
    before = (PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY)
    assert torch.equal(decode(content), decode(saved("PNG")))
    assert before == (PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY)


def test_a_large_profile_is_applied_when_asked() -> None:
    found = decode_image(large_text(b"iCCP", "before"), convert=True)
    assert "by profile" in found.conversion
    assert torch.equal(found.pixels, decode(saved("PNG", icc_profile=wide_profile()), convert=True))


def test_many_texts_and_threads_do_not_lose_the_pixels_either() -> None:
    whole = encode_png(decode(saved("PNG")))
    text = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(MAX_CHUNK - 9)))
    content = whole[:33] + 80 * text + whole[33:]
    found: list[torch.Tensor] = []
    threads = [threading.Thread(target=lambda: found.append(decode(content))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3
    assert all(torch.equal(image, decode(whole)) for image in found)


def test_small_texts_and_other_files_come_through_untouched() -> None:
    about = PngImagePlugin.PngInfo()
    about.add_text("Comment", "short", zip=True)
    for content in (saved("PNG", pnginfo=about), saved("JPEG"), saved("PNG"), b""):
        assert without_large_chunks(content) == content


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


def test_the_rules_stand_in_the_documentation() -> None:
    text = " ".join((Path(__file__).parent.parent / "datasets" / "README.md").read_text().split())
    assert all(rule in text for rule in CONVERSION_RULES)
    assert f"version {CONVERSION_VERSION}" in text
