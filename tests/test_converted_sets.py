"""Converted images in manifests, built sets, audits and the documentation."""

import json
from pathlib import Path

import pandas as pd
import torch

from robustbench_aigi.attacks import load_suite
from robustbench_aigi.data import load_data
from robustbench_aigi.data.audit import audit
from robustbench_aigi.data.conversion import CONVERSION_RULES, CONVERSION_VERSION
from robustbench_aigi.data.decoding import decode
from robustbench_aigi.data.plusplus.build import build_plusplus, load_plusplus
from robustbench_aigi.data.plusplus.parts import Part
from robustbench_aigi.data.plusplus.verify import verify
from robustbench_aigi.detectors._support.fingerprint import Identities
from robustbench_aigi.evaluation.provenance import write_provenance
from robustbench_aigi.progress import silent
from tests.test_convert import mixed, wide_profile
from tests.test_data import picture
from tests.test_hostile import saved
from tests.test_sources import files, own


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


def test_the_rules_stand_in_the_documentation() -> None:
    text = " ".join((Path(__file__).parent.parent / "datasets" / "README.md").read_text().split())
    assert all(rule in text for rule in CONVERSION_RULES)
    assert f"version {CONVERSION_VERSION}" in text
