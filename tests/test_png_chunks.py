"""PNG files with texts and profiles that are too large for Pillow."""

import itertools
import threading
import zlib

import pytest
import torch
from PIL import PngImagePlugin

from robustbench_aigi.data.decoding import decode, decode_image, encode_png
from robustbench_aigi.imaging.png import MAX_CHUNK, without_large_chunks
from tests.test_convert import chunk, wide_profile
from tests.test_hostile import saved


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
