"""Fingerprints are the same in every process, and after every load."""

import json
import os
import subprocess
import sys
from pathlib import Path

from torch import Tensor

from robustbench_aigi.detectors import load_detector, save_detector
from robustbench_aigi.detectors._support.fingerprint import (
    fingerprint,
)
from robustbench_aigi.detectors.base import Normalise
from tests.fingerprints import Prepared, flat, of, times

USER_MODULE = """
import torch
from torch import Tensor
import helper_of_mine
from robustbench_aigi.detectors import Card, Detector

SCALE = {scale}

def stretched(images):
    return images * SCALE + helper_of_mine.offset()

class Mine(Detector):
    default_card = Card(name="mine", source="tests")

    def logits(self, images):
        return stretched(images).mean(dim=(1, 2, 3)) - 0.5
"""


USER_HELPER = "OFFSET = {offset}\n\ndef offset():\n    return OFFSET\n"


PRINT_DIGESTS = """
import json, torch
from robustbench_aigi.detectors import load_detector
from robustbench_aigi.detectors._support.fingerprint import fingerprint
torch.manual_seed(0)
names = ["module_of_mine:Mine", "cifake-cnn", "dire", "clip-mlp", "tinyvit-5m"]
print(json.dumps({name: fingerprint(load_detector(name)).digest for name in names}))
"""


def in_a_process(
    folder: Path, seed: str, scale: float = 1.0, offset: float = 0.0
) -> dict[str, str]:
    """Digests found by another process, where a module of the user's is in the current folder."""
    (folder / "module_of_mine.py").write_text(USER_MODULE.format(scale=scale))
    (folder / "helper_of_mine.py").write_text(USER_HELPER.format(offset=offset))
    path = os.pathsep.join([str(folder), *sys.path])
    variables = os.environ | {
        "PYTHONHASHSEED": seed,
        "PYTHONPATH": path,
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", PRINT_DIGESTS],
        env=variables,
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, str] = json.loads(done.stdout)
    return found


def test_the_same_in_every_process_and_another_after_an_edit_of_the_users_module(
    tmp_path: Path,
) -> None:
    first = in_a_process(tmp_path, "1")
    assert in_a_process(tmp_path, "2") == first
    mine = "module_of_mine:Mine"
    scaled = in_a_process(tmp_path, "3", scale=0.5)
    moved = in_a_process(tmp_path, "4", offset=0.5)
    assert len({first[mine], scaled[mine], moved[mine]}) == 3
    assert first | {mine: ""} == scaled | {mine: ""} == moved | {mine: ""}


def test_two_loads_of_a_file_have_one_fingerprint_and_use_changes_nothing(
    images: Tensor, tmp_path: Path
) -> None:
    detector = load_detector("tinyvit-5m", "cifake")
    save_detector(detector, tmp_path / "a.safetensors")
    one = load_detector(str(tmp_path / "a.safetensors"))
    other = load_detector(str(tmp_path / "a.safetensors"))
    found = fingerprint(one)
    one.logits(images)
    assert fingerprint(one) == fingerprint(other) == found == fingerprint(detector)


def test_numbers_that_a_process_draws_do_not_count() -> None:
    """Members of a set come in another order in every process, ids of objects too."""
    assert of(Prepared(times({"a", "b", "c"}))) == of(Prepared(times({"c", "b", "a"})))
    assert of(Prepared(times({"a"}))) != of(Prepared(times({"b"})))
    net = flat()
    net.get_submodule("1").register_forward_hook(
        Normalise((0.0,), (1.0,))
    )  # hooks are counted in a process
    again = flat()
    again.get_submodule("1").register_forward_hook(Normalise((0.0,), (1.0,)))
    assert of(net) == of(again)
