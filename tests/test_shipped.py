"""The detectors whose weights ship with the package."""

import pytest

from robustbench_aigi.attacks import load_attack
from robustbench_aigi.data import load_data
from robustbench_aigi.detectors import load_detector, shipped_names
from robustbench_aigi.errors import CheckpointError
from robustbench_aigi.pipeline.training_data import arrays_of
from robustbench_aigi.training.arrays import balanced_accuracy
from robustbench_aigi.training.objectives.robustness import robust_accuracy
from tests.conftest import CIFAKE, needs_cifake


@pytest.mark.parametrize("name", shipped_names())
def test_one_line_loads_it(name: str) -> None:
    ready = load_detector(name, weights="cifake")
    assert ready.card.name == name
    assert ready.card.trained_on.startswith("cifake, 98000 images")
    assert not ready.training


@pytest.mark.parametrize("name", ["robust-tinyvit", "swin-t"])
def test_a_name_that_does_not_ship_is_told_with_those_that_do(name: str) -> None:
    with pytest.raises(
        CheckpointError, match=f"no weights of {name} .* Shipped: .*robust-tinyvit-5m"
    ):
        load_detector(name, weights="cifake")


@needs_cifake
def test_the_robust_one_keeps_what_the_undefended_one_loses() -> None:
    data = arrays_of(load_data("cifake", str(CIFAKE), "test", 100))
    attack = load_attack("pgd-linf", eps=8, step=2, steps=10)
    plain, robust = (
        load_detector(name, weights="cifake") for name in ("tinyvit-5m", "robust-tinyvit-5m")
    )
    assert {"pgd-linf", "resize", "resize-50"} <= set(robust.card.seen)
    assert balanced_accuracy(plain, data) > 0.9
    assert balanced_accuracy(robust, data) > 0.85
    assert robust_accuracy(plain, data, attack) < 0.3
    assert robust_accuracy(robust, data, attack) > 0.55
