"""Classes, functions and objects that know nothing of this package are detectors at module:NAME."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robustbench_aigi.attacks import load_attack
from robustbench_aigi.detectors import Card, Detector, load_detector, save_detector
from robustbench_aigi.detectors.external.python_object import (
    PlainDetector,
    adapt_object,
    networks_in,
)
from robustbench_aigi.errors import ConfigError, LogitsError, UnknownNameError, UserError
from robustbench_aigi.pipeline.train import train
from tests.conftest import Linear
from tests.foreign import Brightness

PLAIN_MODULE = """
import torch
from torch import nn

class Plain:
    def logits(self, images):
        return 20 * (images.mean((1, 2, 3)) - 0.5)

class Net(nn.Module):
    def forward(self, images):
        return 20 * (images.mean((1, 2, 3)) - 0.5)
"""


@pytest.fixture
def folder_of_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder, with a module ``foreign_module_b5`` in it that is on nobody's path."""
    (tmp_path / "foreign_module_b5.py").write_text(PLAIN_MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        sys, "path", [place for place in sys.path if place not in ("", str(tmp_path))]
    )
    yield tmp_path
    sys.modules.pop("foreign_module_b5", None)


def test_plain_classes_are_detectors(images: Tensor, labels: Tensor) -> None:
    """B5: a class with one method, ``logits``, as the README words it."""

    class Mine:
        def __init__(self, slope: float = 20.0) -> None:
            self.slope = slope
            self.lock = threading.Lock()

        def logits(self, images: Tensor) -> Tensor:
            images.sub_(0.5)  # may overwrite what it is given
            return (self.slope * images.mean(dim=(1, 2, 3))).squeeze()

    detector = adapt_object("mine:Mine", Mine, {"slope": 10.0, "threshold": 0.25, "name": "new"})
    assert (detector.card.name, detector.card.source, detector.threshold) == (
        "new",
        "mine:Mine",
        0.25,
    )
    before = images.clone()
    for count in (1, 4):
        torch.testing.assert_close(
            detector.logits(images[:count]), 10 * (images[:count].mean(dim=(1, 2, 3)) - 0.5)
        )
    assert torch.equal(images, before)
    assert load_attack("fgsm", eps=2)(detector, images, labels).backwards.sum() > 0
    assert adapt_object("mine:Mine", Mine, {}).card.name == "Mine"
    with pytest.raises(
        ConfigError, match=r"unexpected argument slop\. It takes slope.*mine:Mine\?NAME=VALUE"
    ):
        adapt_object("mine:Mine", Mine, {"slop": 1})
    with pytest.raises(ConfigError, match="mean has no use"):
        adapt_object("mine:Mine", Mine, {"mean": [0.5, 0.5, 0.5]})
    with pytest.raises(UserError, match=r"no method logits\(images\)"):
        adapt_object("mine:thing", object(), {})


def test_plain_classes_state_their_scale(images: Tensor) -> None:
    """A6 for ``module:Class``."""

    class Stated:
        scale = "probability"

        def logits(self, images: Tensor) -> Tensor:
            return (20 * (images.mean(dim=(1, 2, 3)) - 0.5)).sigmoid()

    expected = 20 * (images.mean(dim=(1, 2, 3)) - 0.5)
    torch.testing.assert_close(
        adapt_object("m:Stated", Stated, {}).logits(images), expected, rtol=1e-3, atol=1e-4
    )
    against = adapt_object("m:Stated", Stated(), {"scale": "probability", "fake_index": 0})
    torch.testing.assert_close(against.logits(images), -expected, rtol=1e-3, atol=1e-4)
    Stated.scale = "prob"
    with pytest.raises(UserError, match="attribute scale of m:Stated is 'prob'"):
        adapt_object("m:Stated", Stated, {})


def test_detectors_of_ours_take_what_an_address_says(images: Tensor) -> None:
    def made() -> Detector:
        return Linear(torch.ones(3, 32, 32) / 100, -15.0)

    assert type(adapt_object("m:made", made, {})) is Linear
    named = adapt_object("m:made", made, {"name": "new", "threshold": 1.5})
    assert type(named) is Linear
    assert (named.card.name, named.threshold) == ("new", 1.5)
    turned = adapt_object("m:made", made, {"fake_index": 0})
    torch.testing.assert_close(turned.logits(images), -made().logits(images))


def test_plain_classes_of_numpy_are_black_boxes(images: Tensor, labels: Tensor) -> None:
    class Arrays:
        def logits(self, images: Any) -> Any:
            return 20 * (images.numpy().mean(axis=(1, 2, 3)) - 0.5)

    detector = adapt_object("m:Arrays", Arrays, {})
    logits = detector.logits(images.clone().requires_grad_(True))
    torch.testing.assert_close(logits, 20 * (images.mean(dim=(1, 2, 3)) - 0.5))
    assert detector.card.gradient == "none"
    with pytest.raises(LogitsError, match="black box"):
        load_attack("pgd-linf", steps=1)(detector, images, labels)


def test_networks_in_a_plain_class_are_put_into_evaluation_mode(images: Tensor) -> None:
    class Holder:
        def __init__(self) -> None:
            self.parts = {"net": [nn.Sequential(nn.Dropout(0.5), Brightness())], "torch": torch}
            self.parts["net"][0].train()  # type: ignore[index]

        def logits(self, images: Tensor) -> Tensor:
            net: nn.Module = self.parts["net"][0]  # type: ignore[index]
            return net(images)  # type: ignore[no-any-return]

    detector = adapt_object("m:Holder", Holder, {})
    assert torch.equal(detector.logits(images), detector.logits(images))
    assert "parts.0.1.mix.weight" in detector.state_dict()
    assert len(list(networks_in(Holder()))) == 1


def test_networks_named_without_logits_need_an_input_size(images: Tensor) -> None:
    with pytest.raises(UserError, match=r"m:Brightness\?input_size=224"):
        adapt_object("m:Brightness", Brightness, {})
    detector = adapt_object("m:Brightness", Brightness, {"input_size": 32, "slope": 10.0})
    torch.testing.assert_close(detector.logits(images), Brightness(10.0)(images)[:, 0])
    assert (detector.card.name, detector.card.source) == ("Brightness", "m:Brightness")


def test_modules_are_found_in_the_current_folder(folder_of_modules: Path, images: Tensor) -> None:
    """B5: the console script does not look there by itself."""
    detector = load_detector("foreign_module_b5:Plain")
    assert isinstance(detector, PlainDetector)
    torch.testing.assert_close(detector.logits(images), 20 * (images.mean(dim=(1, 2, 3)) - 0.5))
    assert load_detector("foreign_module_b5:Net", input_size=32).logits(images).shape == (4,)
    for name in ("no_such_module_b5:X", "foreign_module_b5:X", "./foreign_module_b5.py:Plain"):
        with pytest.raises(UnknownNameError, match=r"module\.py is in the current folder"):
            load_detector(name)
    with pytest.raises(UnknownNameError, match="without its ending, foreign_module_b5:Plain"):
        load_detector("foreign_module_b5.py:Plain")


def test_a_folder_without_the_module_is_not_left_on_the_path(folder_of_modules: Path) -> None:
    before = list(sys.path)
    with pytest.raises(UnknownNameError):
        load_detector("no_such_module_b5:X")
    assert sys.path == before


def test_plain_detectors_and_wrapped_ones_are_not_saved(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"derive its class from robustbench_aigi\.Detector"):
        save_detector(
            adapt_object("m:B", Brightness, {"input_size": 32}), tmp_path / "x.safetensors"
        )
    with pytest.raises(UserError, match="derive its class"):  # before any data is read
        train("tests.test_foreign_runs:Holder", "mini", tmp_path / "x.safetensors")


def test_the_console_script_finds_modules_beside_it(folder_of_modules: Path) -> None:
    """B5, as typed: the script's own folder is first on the path, not the current one."""
    load = "from robustbench_aigi.detectors import load_detector as load"
    code = f"{load}; print(load('foreign_module_b5:Plain').card.name)"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "Plain", done.stderr


def test_cards_of_plain_classes_are_their_own(images: Tensor) -> None:
    class Carded:
        card = Card(name="carded", source="a paper", gradient="none", threshold=1.0)

        def logits(self, images: Tensor) -> Tensor:
            return images.mean(dim=(1, 2, 3))

    assert adapt_object("m:Carded", Carded, {}).card == Carded.card
