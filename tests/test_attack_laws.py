"""Laws that hold for every attack, every image and every seed."""

import hashlib
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from robustbench_aigi.attacks import attacks, load_attack
from robustbench_aigi.attacks._engine.norm_balls import Ball, L2Ball, LinfBall, length
from robustbench_aigi.attacks.gradient.pgd import PGDL2, PGDLinf
from robustbench_aigi.imaging.norms import norms
from robustbench_aigi.imaging.pixels import on_grid
from tests.conftest import Linear, small

LINF_NAMES = [name for name in attacks.names() if issubclass(attacks.get(name), LinfBall)]
L2_NAMES = [name for name in attacks.names() if issubclass(attacks.get(name), L2Ball)]
QUICK_NAMES = [name for name in attacks.names() if name != "one-pixel-exhaustive"]
ANY_SEED = st.integers(0, 2**31 - 1)


def scene(seed: int, count: int = 3, size: int = 9) -> tuple[Linear, Tensor, Tensor]:
    """A linear detector, random images of all grey levels, and labels."""
    rng = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (count, 3, size, size), generator=rng).float() / 255
    labels = torch.randint(0, 2, (count,), generator=rng)
    return Linear(torch.randn(3, size, size, generator=rng), 0.0, centre=0.5), images, labels


@pytest.mark.parametrize("name", LINF_NAMES)
@settings(max_examples=8, deadline=None)
@given(seed=ANY_SEED, eps=st.just(0) | st.floats(1, 255), full=st.booleans())
def test_linf_budget_holds_in_whole_grey_levels(
    name: str, seed: int, eps: float, full: bool
) -> None:
    detector, images, labels = scene(seed)
    result = small(name, eps=eps)(detector, images, labels, seed=seed, full=full)
    change = (result.images * 255).round().long() - (images * 255).round().long()
    assert change.abs().max() <= eps
    assert on_grid(result.images)
    assert torch.equal(change.abs().flatten(1).amax(dim=1), result.linf)


@pytest.mark.parametrize("name", L2_NAMES)
@settings(max_examples=8, deadline=None)
@given(seed=ANY_SEED, eps=st.just(0) | st.floats(1 / 255, 6), full=st.booleans())
def test_l2_budget_holds_on_integers(name: str, seed: int, eps: float, full: bool) -> None:
    detector, images, labels = scene(seed)
    result = small(name, eps=eps)(detector, images, labels, seed=seed, full=full)
    change = (result.images * 255).round().long() - (images * 255).round().long()
    assert (change.square().sum(dim=(1, 2, 3)) <= (eps * 255) ** 2 + 1e-6).all()
    assert on_grid(result.images)


@pytest.mark.parametrize("name", [*LINF_NAMES, *L2_NAMES])
@settings(max_examples=4, deadline=None)
@given(seed=ANY_SEED)
def test_eps_zero_is_the_identity(name: str, seed: int) -> None:
    detector, images, labels = scene(seed)
    result = small(name, eps=0)(detector, images, labels, seed=seed, full=True)
    assert torch.equal(result.images, images)
    assert torch.equal(result.logits, result.clean_logits)


@pytest.mark.parametrize("name", QUICK_NAMES)
@settings(max_examples=4, deadline=None)
@given(seed=ANY_SEED)
def test_nothing_depends_on_batch_or_order(name: str, seed: int) -> None:
    """The detector's sums do not depend on the batch, so what differs would be the draws."""
    detector, images, labels = scene(seed)
    attack = small(name)
    ids = list("abc")
    whole = attack(detector, images, labels, ids=ids, seed=seed)
    turned = attack(detector, images.flip(0), labels.flip(0), ids=ids[::-1], seed=seed).images.flip(
        0
    )
    alone = [
        attack(detector, images[[i]], labels[[i]], ids=[ids[i]], seed=seed).images for i in range(3)
    ]
    assert torch.equal(whole.images, turned)
    assert torch.equal(whole.images, torch.cat(alone))


def results() -> str:
    """Hash of what every attack makes of one scene."""
    detector, images, labels = scene(1)
    total = hashlib.sha256()
    for name in QUICK_NAMES:
        result = small(name)(detector, images, labels, seed=1)
        total.update((result.images * 255).round().to(torch.uint8).numpy().tobytes())
    return total.hexdigest()


def test_a_repeated_shard_gives_identical_bytes_in_another_worker() -> None:
    code = "from tests.test_attack_laws import results; print(results())"
    worker = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert worker.stdout.split()[-1] == results() == results()


@pytest.mark.parametrize(
    "name", ["square-linf", "square-l2", "hop-skip-jump-linf", "hop-skip-jump-l2"]
)
def test_query_budgets_are_kept_and_reported(name: str) -> None:
    detector, images, labels = scene(2)
    attack = load_attack(name, eps=0 if "linf" in name else 0.01, queries=50)
    assert isinstance(attack, Ball)
    assert attack.budget().queries == 50
    result = attack(detector, images, labels, full=True)
    assert (result.forwards <= 51).all()
    assert (result.forwards > 1).any()


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**31 - 1), eps=st.just(0) | st.floats(1 / 255, 4.0))
def test_l2_projection_lands_on_the_grid_in_the_ball(seed: int, eps: float) -> None:
    rng = torch.Generator().manual_seed(seed)
    clean = torch.randint(0, 256, (3, 3, 7, 5), generator=rng).float()
    change = 300 * torch.randn(3, 3, 7, 5, generator=rng)
    attack = PGDL2(eps=eps)
    inside = attack.project(change, clean)
    assert (length(inside.double()) <= eps * 255 * (1 + 1e-5)).all()
    torch.testing.assert_close(attack.project(inside, clean), inside, rtol=1e-5, atol=1e-4)
    shown = attack.quantise(inside, clean)
    assert torch.equal(shown, shown.round())
    assert shown.min() >= 0
    assert shown.max() <= 255
    assert (norms(shown, clean)[1] <= eps + 1e-9).all()


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**31 - 1), eps=st.integers(0, 255))
def test_linf_projection_lands_in_the_ball_and_stays(seed: int, eps: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    clean = torch.randint(0, 256, (2, 3, 4, 5), generator=rng).float()
    attack = PGDLinf(eps=eps)
    inside = attack.project(torch.randint(-300, 301, clean.shape, generator=rng).float(), clean)
    assert inside.abs().max() <= eps
    assert (clean + inside).min() >= 0
    assert (clean + inside).max() <= 255
    assert torch.equal(attack.project(inside, clean), inside)
