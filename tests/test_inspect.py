"""A source is described before it is used."""

import json
import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from robustbench_aigi.cli.main import app
from robustbench_aigi.data import load_data
from robustbench_aigi.data.description import headers
from robustbench_aigi.data.description.counts import group_reasons
from robustbench_aigi.data.description.describe import describe_source
from robustbench_aigi.data.description.text import to_json, to_text
from robustbench_aigi.data.plusplus.request import BuildRequest
from robustbench_aigi.data.sources.entry import Skipped
from robustbench_aigi.errors import DataError
from robustbench_aigi.pipeline import datasets as data_pipeline
from tests.conftest import CIFAKE, needs_cifake
from tests.test_convert import mixed
from tests.test_data import picture
from tests.test_hostile import saved
from tests.test_sources import files


def typed(message: str) -> list[list[str]]:
    """The commands, or the words of one, that a message has in backquotes."""
    return [shlex.split(words) for words in re.findall(r"`([^`]+)`", message)]


def test_a_folder_is_described(tmp_path: Path) -> None:
    root = files(
        tmp_path,
        "train/real",
        "train/fake/flux",
        "test/real",
        "test/fake/flux",
        "test/fake/sd",
        count=3,
    )
    (root / "test" / "real" / "large.png").write_bytes(picture(1, size=(40, 20)))
    (root / "test" / "fake" / "sd" / "broken.png").write_bytes(b"")
    (root / "notes.txt").write_text("passed over")
    found = describe_source(str(root))
    assert (found.recipe, found.layout, found.images) == ("folder", "folder", 17)
    assert "5 folders with images" in found.why
    assert found.classes["test"] == {"real": 4, "AI-generated": 7}
    assert found.generators["flux"] == {"real": 0, "AI-generated": 6}
    assert found.sizes == {"smallest": [8, 8], "median": [8, 8], "largest": [20, 40]}
    assert found.distinct_sizes == 2
    assert [(one.count, one.reason, one.examples) for one in found.left_out] == [
        (1, "the file is empty", ("test/fake/sd/broken",))
    ]
    assert found.passed_over == {"*.txt": 1}
    assert json.loads(to_json(found))["classes"]["test"]["real"] == 4
    text = to_text(found)
    assert "read by the recipe folder as [{split}/]{class}[/{generator}]" in text
    assert "8 x 8 to 20 x 40, median 8 x 8, 2 different" in text


def test_formats_that_tell_the_class_get_a_word(tmp_path: Path) -> None:
    root = files(tmp_path, "fake", count=4)
    (root / "real").mkdir()
    for i in range(4):
        (root / "real" / f"{i}.jpg").write_bytes(picture(i, kind="JPEG", size=(8, 8)))
    found = describe_source(str(root))
    assert found.formats == {
        "JPEG": {"real": 4, "AI-generated": 0},
        "PNG": {"real": 0, "AI-generated": 4},
    }
    assert any("file formats alone tell the classes apart" in note for note in found.notes)
    assert not any("sizes alone" in note for note in found.notes)


def test_what_is_left_out_is_grouped_and_convert_takes_it(tmp_path: Path) -> None:
    root = mixed(tmp_path)
    found = describe_source(str(root))
    assert sorted(one.count for one in found.left_out) == [2, 2]
    assert all("--convert" in one.reason for one in found.left_out)
    assert found.modes["CMYK"] == {"real": 1, "AI-generated": 1}
    taken = describe_source(str(root), convert=True)
    assert taken.left_out == ()
    assert sum(taken.conversions.values()) == 4


def test_a_source_that_another_recipe_reads_is_read_by_it(tmp_path: Path) -> None:
    """Case B13."""
    assert describe_source(str(files(tmp_path / "a", "0_real", "1_fake"))).recipe == "forensynths"
    found = describe_source(
        str(
            files(tmp_path / "b", *(f"{s}/{k}" for s in ("train", "val") for k in ("nature", "ai")))
        )
    )
    assert found.recipe == "genimage"
    assert any("the recipe folder does not read it" in note for note in found.notes)
    with pytest.raises(DataError, match="recipe genimage reads these folders"):
        describe_source(str(tmp_path / "b"), "folder")


def test_labels_that_are_the_other_way_round_are_refused_and_the_right_recipe_is_found(
    tmp_path: Path,
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [{"bytes": picture(i), "path": f"{('FAKE', 'REAL')[i % 2]}/{i}.png"} for i in range(8)]
    pq.write_table(
        pa.table({"image": rows, "label": [i % 2 for i in range(8)]}), tmp_path / "test.parquet"
    )
    with pytest.raises(
        DataError,
        match=r"test/FAKE/0 is labelled real, and its name says AI-generated; so do 8 of 8",
    ):
        load_data("folder", str(tmp_path))
    found = describe_source(str(tmp_path))
    assert found.recipe == "cifake"
    assert any(
        "0 is AI-generated, 1 is real, as the recipe cifake says" in note for note in found.notes
    )


def test_a_large_source_is_looked_at_in_part_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = files(tmp_path, "real", "fake", count=20)
    monkeypatch.setattr(headers, "MAX_HEADERS", 10)
    monkeypatch.setattr(headers, "MAX_DECODED", 8 * 8 * 4)
    found = describe_source(str(root))
    assert (found.images, found.looked_at, found.decoded) == (40, 10, 4)
    assert any("a part of the images" in note for note in found.notes)
    assert "headers read of 10, pixels of 4" in to_text(found)


def test_reasons_are_grouped_whatever_numbers_are_in_them() -> None:
    skipped = [Skipped(f"a/{i}", f"{i} x {i} pixels; 8 x 8 is the least") for i in range(1, 6)]
    skipped.append(Skipped("b", "label 'x' is none"))
    first, second = group_reasons(skipped)
    assert (first.count, first.examples) == (5, ("a/1", "a/2", "a/3"))
    assert (second.count, second.reason) == (1, "label 'x' is none")


def test_a_profile_that_is_ignored_is_mentioned(tmp_path: Path) -> None:
    from tests.test_convert import wide_profile

    root = files(tmp_path, "real", "fake")
    (root / "fake" / "wide.png").write_bytes(saved("PNG", icc_profile=wide_profile()))
    assert any(
        "1 images have a colour profile" in note for note in describe_source(str(root)).notes
    )
    assert describe_source(str(root), convert=True).conversions == {
        "rgb to srgb by profile (rules 1)": 1
    }


@needs_cifake
def test_cifake_is_described_from_a_part_of_it() -> None:
    found = describe_source(str(CIFAKE / "test.parquet"))
    assert found.recipe == "cifake"
    assert found.classes == {"test": {"real": 10_000, "AI-generated": 10_000}}
    assert found.formats.keys() == {"JPEG"}
    assert found.left_out == ()


def test_the_command_describes_or_says_what_was_found(tmp_path: Path) -> None:
    root = files(tmp_path / "set", "real", "fake\nline")
    (root / "fake").mkdir()
    (root / "fake" / "a\nb.png").write_bytes(picture(1))
    done = CliRunner().invoke(app, ["inspect", str(root)])
    assert done.exit_code == 0, done.output
    assert "splits:" in done.output
    assert "fake?line/0.png" in done.output
    answer = CliRunner().invoke(
        app, ["inspect", str(root), "--data", "folder", "--convert", "--json"]
    )
    assert json.loads(answer.stdout)["images"] == 4
    with pytest.raises(DataError, match="Found images in: stuff"):
        describe_source(str(files(tmp_path / "odd", "stuff")))
    with pytest.raises(DataError, match="no file or folder at"):
        describe_source(str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match="makes its own images"):
        describe_source(str(root), "mini")


def test_a_plan_shows_how_the_source_is_read(tmp_path: Path) -> None:
    root = files(tmp_path / "set", "test/REAL", "test/FAKE", count=4)
    (root / "test" / "FAKE" / "bad.png").write_bytes(b"")
    suite = tmp_path / "suite.toml"
    suite.write_text(
        'name = "t"\nversion = 1\nseed = 0\n[[attacks]]\nid = "jpeg-75"\nattack = "jpeg"\n'
    )
    lines: list[str] = []
    order = BuildRequest(dataset="cifake", source=str(root), attacks=str(suite), samples=0)
    data_pipeline.build(order, tmp_path / "built", dry_run=True, say=lines.append)
    text = "\n".join(lines)
    assert "read by the recipe cifake as {split}/{class} (layout classes: 2 folders" in text
    assert "  test: 4 real, 4 AI-generated" in text
    assert "  stable-diffusion-1.4: 4 AI-generated" in text
    assert "  1 x the file is empty (test/FAKE/bad)" in text
