"""Lists of detectors in TOML files."""

import re
from pathlib import Path

import pytest

from robustbench_aigi.attacks import load_suite
from robustbench_aigi.data.plusplus.surrogates import load_surrogates
from robustbench_aigi.detectors import (
    Detector,
    load_detector,
    load_trained,
    save_detector,
)
from robustbench_aigi.detectors.loading import addresses_of, begun_from
from robustbench_aigi.errors import ConfigError, UserError
from robustbench_aigi.pipeline.detectors import load_detectors
from tests.addresses import Level

DETECTOR_LIST = """
[mine]
address = "sub/a.safetensors"
threshold = 0.5

[level]
address = "tests.addresses:Level?other=2"
level = 0.25

[far]
address = "https://localhost:1/x?scale=9"
score = "a.b"
fake_index = 0
"""


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    save_detector(load_detector("cifake-cnn", "cifake"), tmp_path / "sub" / "a.safetensors")
    (tmp_path / "detectors.toml").write_text(DETECTOR_LIST)
    return tmp_path / "detectors.toml"


def test_a_list_gives_names_to_addresses_and_arguments(listed: Path) -> None:
    found = load_detectors([str(listed)])
    assert list(found) == ["mine", "level", "far"]
    mine, level, far = (d for d in found.values() if isinstance(d, Detector))
    assert mine.threshold == 0.5
    assert isinstance(level, Level)
    assert (level.level, level.more) == (0.25, {"other": 2})
    assert (far.config["score"], far.config["high"]) == ("a.b", "human")
    one = load_trained(f"low={listed}#mine?threshold=0.75")
    assert (one.card.name, one.threshold) == ("low", 0.75)


def test_names_of_the_list_in_the_current_folder_are_names_everywhere(
    listed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(listed.parent)
    assert load_trained("mine").threshold == 0.5
    assert load_trained("mine?threshold=0.1").threshold == 0.1
    assert list(load_surrogates(load_suite("quick"), ["cifake-cnn=mine"])) == ["cifake-cnn"]
    assert begun_from("cifake-cnn", "mine", {})[1] == "sub/a.safetensors"
    assert load_trained("cifake-cnn").threshold == 0.0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[cifake-cnn]\naddress = 'a'", "entry 'cifake-cnn': there is a detector of that name"),
        ("[robust-tinyvit-5m]\naddress = 'a'", "there is a detector of that name"),
        ("[mine]\nadress = 'a'", "entry 'mine': it needs an address"),
        ("mine = 'a'", "entry 'mine': it needs an address"),
        ("['a/b']\naddress = 'a'", "entry 'a/b': a name is made of"),
        ("[mine]\naddress = 'x.toml#a'", "its address is another list"),
        ("[mine]\naddress = 'a?size=1'\nsize = 2", "size is in the address, too"),
        ("[mine", "cannot be read as TOML"),
    ],
)
def test_lists_that_cannot_be_used_are_refused_by_file_and_entry(
    text: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("detectors.toml").write_text(text)
    for name in ("cifake-cnn", "detectors.toml"):
        with pytest.raises(ConfigError, match=rf"detectors\.toml.*{re.escape(message)}"):
            addresses_of(name)


def test_wrong_arguments_of_an_entry_and_wrong_names_are_refused(listed: Path) -> None:
    listed.write_text(
        "[mine]\naddress = 'cifake-cnn'\nfilters = 'many'\n[b]\naddress = 'cifake-cnn'\nfilter = 1"
    )
    with pytest.raises(ConfigError, match="filters must be"):
        load_trained(f"{listed}#mine")
    with pytest.raises(ConfigError, match="Did you mean filters"):
        load_trained(f"{listed}#b")
    with pytest.raises(UserError, match=r"has no detector called 'c'\. It has: mine, b"):
        load_trained(f"{listed}#c")
    with pytest.raises(UserError, match=r"one detector is wanted, and .* has 2 \(mine, b\)"):
        load_trained(str(listed))
    with pytest.raises(UserError, match="stands for 2 detectors"):
        addresses_of(f"new={listed}")
    with pytest.raises(ConfigError, match="no file at"):
        addresses_of("nowhere.toml")
