"""The small functions and traits that attacks are made of."""

import doctest
import importlib
import pkgutil

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import robustbench_aigi.attacks as package
from robustbench_aigi.attacks import attacks, load_attack
from robustbench_aigi.attacks._engine.norm_balls import Ball, L2Ball, LinfBall
from robustbench_aigi.attacks.gradient.pgd import CycleDetector, PGDState
from robustbench_aigi.attacks.score._square_state import first_improvement
from robustbench_aigi.attacks.score.random_linf import RandomLinf
from robustbench_aigi.io.hashing import rng_for
from tests.conftest import Linear

ATTACK_MODULES = [
    found.name for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
]


@pytest.mark.parametrize("name", ATTACK_MODULES)
def test_examples_in_docstrings_hold(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0


@given(st.integers(1, 5), st.integers(0, 2**31 - 1))
def test_first_improvement_is_the_first_score_below_the_margin(ahead: int, seed: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    scores = torch.randint(0, 4, (6, ahead), generator=rng).float()
    margins = torch.randint(0, 4, (6,), generator=rng).float()
    expected = [
        next((place for place, score in enumerate(own) if score < margin), ahead)
        for own, margin in zip(scores.tolist(), margins.tolist(), strict=True)
    ]
    assert first_improvement(scores, margins).tolist() == expected


def test_a_cycle_is_found_per_image() -> None:
    cycles = CycleDetector(3)
    first = torch.arange(3 * 12).view(3, 3, 2, 2).float()
    which = torch.arange(3)
    assert cycles.is_new(first, which).tolist() == [True, True, True]
    assert cycles.is_new(first.flip(0), which).tolist() == [True, False, True]
    assert cycles.is_new(first[2:] + 1, torch.tensor([2])).tolist() == [True]
    assert cycles.is_new(first[:1], torch.tensor([0])).tolist() == [False]


def test_a_state_drops_rows_of_everything_and_copies_nothing_when_all_stay() -> None:
    rows = [torch.arange(3), *torch.rand(3, 3, 3, 2, 2), torch.rand(3)]
    state = PGDState(*rows)
    assert state.only(torch.ones(3, dtype=torch.bool)) is state
    kept = state.only(torch.tensor([True, False, True]))
    for value, whole in zip(vars(kept).values(), rows, strict=True):
        assert torch.equal(value, whole[[0, 2]])


def test_traits_of_attacks() -> None:
    classes = {name: attacks.get(name) for name in attacks.names()}
    assert [n for n, cls in classes.items() if not cls.covers_whole_ball] == ["dct-pgd"]
    assert [n for n, cls in classes.items() if cls.is_single_step] == ["fgsm"]
    assert {n: cls.minimises for n, cls in classes.items() if cls.minimises is not None} == {
        "fmn-linf": "linf",
        "fmn-l2": "l2",
    }
    for cls in classes.values():
        if issubclass(cls, Ball):
            assert cls.deterministic_steps == issubclass(cls, LinfBall) != issubclass(cls, L2Ball)


class Recorder(Linear):
    """Remembers the batch it saw last."""

    last: Tensor

    def logits(self, images: Tensor) -> Tensor:
        self.last = images
        return super().logits(images)


def test_random_noise_draws_what_it_drew_before_it_was_registered(
    images: Tensor, labels: Tensor
) -> None:
    attack = load_attack("random-linf", eps=8, looks=1)
    assert isinstance(attack, RandomLinf)
    assert attack.name == "random-linf"
    detector = Recorder(torch.zeros(3, 32, 32), 0.0)
    attack(detector, images, labels, ids=list("abcd"), seed=5, full=True)
    rng = rng_for(5, "robustbench_aigi.evaluation.probes:Noise", "c")
    noise = torch.randint(-8, 9, (3, 32, 32), generator=rng)
    expected = ((images[2] * 255).round() + noise).clamp(0, 255) / 255
    torch.testing.assert_close(detector.last[2], expected)
