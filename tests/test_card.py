from pathlib import Path

import pandas as pd
from huggingface_hub import metadata_load

from robustbench_aigi import catalogue
from robustbench_aigi.data import LabelledRecipe
from robustbench_aigi.data.exporters import export
from robustbench_aigi.data.plusplus.card import write_card
from robustbench_aigi.data.plusplus.verify import verify
from tests.built_set import make

BUILD_COMMAND = "robustbench-aigi build cifake --out built"


def test_card_says_what_is_in_the_set(tmp_path: Path) -> None:
    built = make(tmp_path)
    recipe = catalogue.read("datasets", "cifake", LabelledRecipe)
    write_card(built, recipe, BUILD_COMMAND)
    rows = pd.read_parquet(built / "manifest.parquet")
    text = (built / "README.md").read_text()
    about = metadata_load(built / "README.md")
    assert about is not None
    assert about["task_categories"] == ["image-classification"]
    assert about["size_categories"] == ["n<1K"]
    assert (about["license"], about["license_name"]) == ("other", "MIT (reals: CIFAR-10)")
    files = {entry["split"]: entry["path"] for entry in about["configs"][0]["data_files"]}
    assert files == {split: f"{split}/**" for split in rows["split"].unique()}
    for (split, attack), labels in rows.groupby(["split", "attack"])["label"]:
        assert f"| {split} | {attack} | {(labels == 0).sum()} | {(labels == 1).sum()} |" in text
    fooled = rows.loc[rows["attack"] == "pgd-linf-8", "fooled"].mean()
    assert "L-inf 8 grey levels of 255 | 8 |" in text
    assert f"| {fooled:.1%} |" in text
    assert rows.loc[rows["attack"] == "pgd-l2-1", "surrogate_sha256"].iloc[0] in text
    assert "    robustbench-aigi build cifake --out built\n" in text
    assert "seed 0" in text
    export(built, "npz", tmp_path / "out")
    assert (tmp_path / "out" / "CARD.md").read_text() == text
    before = (built / "README.md").read_bytes()
    write_card(built, recipe, BUILD_COMMAND)
    assert verify(built) == []
    assert (built / "README.md").read_bytes() == before
