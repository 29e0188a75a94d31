"""Memory format and half-precision gradients: chosen by a trial, never in a score that counts."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from robustbench_aigi.attacks import load_attack
from robustbench_aigi.attacks.base import attacks
from robustbench_aigi.data import load_data
from robustbench_aigi.data.dataset import Dataset
from robustbench_aigi.detectors import Card, Detector, load_detector
from robustbench_aigi.evaluation.speedups import (
    Trial,
    choose_speedups,
    set_channels_last,
    without_speedups,
)
from robustbench_aigi.pipeline.evaluate import evaluate
from tests.conftest import Linear, small

GRADIENT_ATTACKS = [
    name
    for name in attacks.names()
    if attacks.get(name).access == "gradients" and name not in ("eot", "survives")
]
SUITE = """
name = "half"
version = 1
seed = 0
[[attacks]]
id = "pgd"
attack = "pgd-linf"
with = { eps = 8, step = 4, steps = 2 }
surrogate = "slow"
[[attacks]]
id = "square"
attack = "square-linf"
with = { eps = 8, queries = 5 }
[[attacks]]
id = "fmn"
attack = "fmn-linf"
with = { steps = 2 }
"""


def weights(scale: float = 0.05) -> Tensor:
    return torch.randn(3, 32, 32, generator=torch.Generator().manual_seed(0)) * scale


def in_half_precision() -> bool:
    return torch.is_autocast_enabled("cpu")


class Biased(Linear):
    """Half precision calls everything the opposite of its label, or its label, by a wide margin."""

    shift = 0.0

    def logits(self, images: Tensor) -> Tensor:
        return super().logits(images) + (self.shift if in_half_precision() else 0.0)


class Slow(Linear):
    """Quick in half precision alone."""

    def logits(self, images: Tensor) -> Tensor:
        if images.requires_grad and not in_half_precision():
            time.sleep(0.04 * len(images))
        return super().logits(images)


class Convolved(Detector):
    """Quick in ``channels_last`` alone, if ``is_faster`` then."""

    default_card = Card(name="convolved", source="tests")
    is_faster = True

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3)
        self.second = nn.Conv2d(4, 1, 3)
        with torch.no_grad():
            for position, parameter in enumerate(self.parameters()):
                generator = torch.Generator().manual_seed(position)
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)

    def logits(self, images: Tensor) -> Tensor:
        is_last = not self.first.weight.is_contiguous()
        if images.requires_grad and is_last != self.is_faster:
            time.sleep(0.04 * len(images))
        logits: Tensor = self.second(self.first(images)).mean(dim=(1, 2, 3))
        return logits


class Turned(Slow):
    """Its gradients point elsewhere in half precision."""

    def logits(self, images: Tensor) -> Tensor:
        logits = super().logits(images)
        return -logits if in_half_precision() else logits


class Refusing(Slow):
    def logits(self, images: Tensor) -> Tensor:
        if in_half_precision():
            raise RuntimeError("no bfloat16 kernel")
        return super().logits(images)


@pytest.fixture(scope="module")
def few(tiny_recipe: str) -> Dataset:
    return load_data(tiny_recipe, split="test", limit=4)


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("name", GRADIENT_ATTACKS)
def test_scores_are_those_of_the_detector_itself(
    name: str, full: bool, images: Tensor, labels: Tensor
) -> None:
    detector = load_detector("cifake-cnn")
    detector.half_gradients = True
    attack = small(name)
    result = attack(detector, images, labels, full=full)
    with torch.no_grad():
        own = detector.logits(result.images)
        clean = detector.logits(images)
    torch.testing.assert_close(result.logits, own, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(result.clean_logits, clean, rtol=1e-4, atol=1e-4)
    assert result.fooled.tolist() == ((own > detector.threshold) != (labels == 1)).tolist()


@pytest.mark.parametrize("shift", [-50.0, 50.0])
@pytest.mark.parametrize("name", ["pgd-linf", "pgd-l2", "apgd-linf", "aa-binary-linf"])
def test_false_scores_of_half_precision_fool_nobody(
    name: str, shift: float, images: Tensor, labels: Tensor
) -> None:
    detector = Biased(weights(), 0.0)
    detector.bias = -float(detector.logits(images).detach().median())
    expected = small(name)(detector, images, labels)
    detector.shift = shift
    detector.half_gradients = True
    result = small(name)(detector, images, labels)
    assert result.fooled.tolist() == expected.fooled.tolist()
    torch.testing.assert_close(result.logits, detector.logits(result.images).detach())


def test_a_minimum_norm_attack_keeps_full_precision(images: Tensor, labels: Tensor) -> None:
    detector = Biased(weights(), 0.0)
    detector.bias = -float(detector.logits(images).detach().median())
    attack = load_attack("fmn-linf", steps=30)
    expected = attack(detector, images, labels)
    detector.shift = 0.2
    detector.half_gradients = True
    result = attack(detector, images, labels)
    assert expected.fooled.all()
    assert torch.equal(result.images, expected.images)


class Counted(Linear):
    """Flat, so that nothing can fool it."""

    seen = 0

    def logits(self, images: Tensor) -> Tensor:
        self.seen += len(images)
        return super().logits(images)


def test_every_pass_is_counted(images: Tensor, labels: Tensor) -> None:
    detector = Counted(weights(0.0), 1.0)
    detector.half_gradients = True
    attack = load_attack("pgd-linf", eps=8, step=2, steps=3)
    for full in (False, True):
        detector.seen = 0
        result = attack(detector, images, torch.ones_like(labels), full=full)
        looks = detector.seen - int(result.forwards.sum())  # for randomness and foldable norms
        assert 0 <= looks <= 3 * len(images)


def test_a_trial_decides(few: Dataset) -> None:
    assert Trial(1.5, 0.99).pays
    assert not Trial(1.1, 0.99).pays
    assert not Trial(3.0, 0.5).pays
    found = {}
    for kind in (Linear, Slow, Turned, Refusing):
        detector = kind(weights(), 0.0)
        choose_speedups(detector, few)
        found[kind] = detector.half_gradients
    assert found == {Linear: False, Slow: True, Turned: False, Refusing: False}


@pytest.mark.parametrize("is_faster", [True, False])
def test_the_quicker_memory_format_is_taken(is_faster: bool, few: Dataset) -> None:
    detector = Convolved()
    detector.is_faster = is_faster
    before = {name: value.clone() for name, value in detector.state_dict().items()}
    if not is_faster:
        detector.logits = _slowed(detector.logits)  # type: ignore[method-assign,assignment]
    choose_speedups(detector, few)
    assert detector.channels_last is is_faster
    assert detector.first.weight.is_contiguous() is not is_faster
    for name, value in detector.state_dict().items():
        assert torch.equal(value, before[name])


def _slowed(logits: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    def slowed(images: Tensor) -> Tensor:
        time.sleep(0.04 * len(images))
        return logits(images)

    return slowed


def test_a_cell_says_in_which_memory_format_it_ran(tmp_path: Path, few: Dataset) -> None:
    suite = tmp_path / "half.toml"
    suite.write_text(SUITE.replace("slow", "convolved"))
    out = tmp_path / "run"

    def run(*, speedups: bool) -> dict[str, object]:
        evaluate([Convolved()], str(suite), few, out, speedups=speedups)
        stored: dict[str, object] = json.loads(
            (out / "cells/convolved/clean-clean/cell.json").read_text()
        )
        return stored

    first = run(speedups=True)
    assert first["channels_last"] is True
    assert "memory format channels_last" in (out / "matrix.md").read_text()
    made = (out / "cells/convolved/clean-clean/shard-0000.parquet").stat().st_mtime_ns
    assert run(speedups=True) == first
    assert (out / "cells/convolved/clean-clean/shard-0000.parquet").stat().st_mtime_ns == made
    second = run(speedups=False)
    assert second["channels_last"] is False
    assert second["fingerprint"] != first["fingerprint"]
    assert "channels_last" not in (out / "matrix.md").read_text()


def test_half_precision_is_not_tried_on_a_quick_network(few: Dataset) -> None:
    tried = []

    class Quick(Linear):
        def logits(self, images: Tensor) -> Tensor:
            tried.append(in_half_precision())
            return super().logits(images)

    choose_speedups(Quick(weights(), 0.0), few)
    assert tried
    assert not any(tried)


@pytest.mark.parametrize("facts", [{"gradient": "none"}, {"stochastic": True}])
def test_no_trial_of_what_has_no_plain_gradient(facts: dict[str, object], few: Dataset) -> None:
    detector = Slow(weights(), 0.0)
    detector.describe(**facts)
    choose_speedups(detector, few)
    assert not detector.half_gradients


def test_speedups_are_off_for_a_while() -> None:
    detector = Convolved()
    set_channels_last(detector, wanted=True)
    detector.half_gradients = True
    with without_speedups([detector]):
        assert not detector.half_gradients
        assert detector.first.weight.is_contiguous()
    assert detector.half_gradients
    assert not detector.first.weight.is_contiguous()


def test_an_evaluation_says_how_its_gradients_were_taken(tmp_path: Path, few: Dataset) -> None:
    suite = tmp_path / "half.toml"
    suite.write_text(SUITE)
    out = tmp_path / "run"

    def run(*, half: bool) -> dict[str, object]:
        detector = Slow(weights(), 0.0)
        detector.describe(name="slow")
        evaluate([detector], str(suite), few, out, speedups=half)
        stored: dict[str, object] = json.loads(
            (out / "cells/slow/white-box-pgd/cell.json").read_text()
        )
        return stored

    first = run(half=True)
    assert first["gradients"] == "bfloat16"
    assert "took gradients in bfloat16" in (out / "matrix.md").read_text()
    static = json.loads((out / "cells/slow/static-pgd/cell.json").read_text())
    assert static["gradients"] is None
    for other in ("square", "fmn"):
        cell = json.loads((out / f"cells/slow/white-box-{other}/cell.json").read_text())
        assert cell["gradients"] is None
    shard = out / "cells/slow/white-box-pgd/shard-0000.parquet"
    made = shard.stat().st_mtime_ns
    assert run(half=True) == first
    assert shard.stat().st_mtime_ns == made
    second = run(half=False)
    assert second["gradients"] is None
    assert second["fingerprint"] != first["fingerprint"]
    assert shard.stat().st_mtime_ns != made
    assert "bfloat16" not in (out / "matrix.md").read_text()


def test_another_detector_of_the_same_name_is_tried_itself(tmp_path: Path, few: Dataset) -> None:
    suite = tmp_path / "half.toml"
    suite.write_text(SUITE)
    for kind, expected in ((Slow, True), (Refusing, False)):
        detector = kind(weights(), 0.0)
        detector.describe(name="slow")
        matrix = evaluate([detector], str(suite), few, tmp_path / "run")
        assert detector.half_gradients is expected
        assert (pd.DataFrame(matrix)["status"].str.contains("error")).sum() == 0
