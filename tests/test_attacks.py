import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from robustbench_aigi.attacks import attacks, load_attack
from robustbench_aigi.attacks._engine.oracle import Oracle
from robustbench_aigi.attacks.base import Budget
from robustbench_aigi.attacks.gradient.dct_pgd import DCTPGD
from robustbench_aigi.attacks.score import square
from robustbench_aigi.detectors import load_detector
from robustbench_aigi.detectors._support.randomness import is_random
from robustbench_aigi.errors import BrokenBudgetError, ConfigError, UserError
from robustbench_aigi.testing import check_attack
from tests.conftest import Linear, small


@pytest.mark.parametrize("name", attacks.names())
@pytest.mark.parametrize("full", [False, True])
def test_contract(name: str, full: bool) -> None:
    torch.manual_seed(1)
    detector = load_detector("cifake-cnn")
    side = 8 if name == "one-pixel-exhaustive" else 32
    check_attack(small(name), detector=detector, side=side, full=full)


LINEAR: dict[str, tuple[dict[str, Any], Callable[[Tensor], Tensor]]] = {
    "fgsm": ({"eps": 8}, lambda weight: weight.abs().sum() * 8 / 255),
    "pgd-linf": ({"eps": 8, "step": 2, "steps": 20}, lambda weight: weight.abs().sum() * 8 / 255),
    "apgd-linf": ({"eps": 8, "steps": 20}, lambda weight: weight.abs().sum() * 8 / 255),
    "pgd-l2": ({"eps": 1.0, "step": 0.25, "steps": 20}, lambda weight: weight.norm()),
    "apgd-l2": ({"eps": 1.0, "steps": 20}, lambda weight: weight.norm()),
    "aa-binary-linf": (
        {"eps": 8, "steps": 20, "queries": 5},
        lambda weight: weight.abs().sum() * 8 / 255,
    ),
    "aa-binary-l2": ({"eps": 1.0, "steps": 20, "queries": 5}, lambda weight: weight.norm()),
}
"""White-box attacks, with the closed form of how far they can move a linear detector's logit."""


@pytest.mark.parametrize(
    ("name", "size"), [(n, s) for n in LINEAR for s in (4, 16, 32) if s > 4 or "linf" in n]
)
@pytest.mark.parametrize("batch", [1, 3, 8])
def test_attacks_come_within_5_percent_of_the_optimum_of_a_linear_detector(
    name: str, batch: int, size: int
) -> None:
    numbers, optimum = LINEAR[name]
    rng = torch.Generator().manual_seed(batch + size)
    images = torch.randint(60, 196, (batch, 3, size, size), generator=rng).float() / 255
    labels = torch.randint(0, 2, (batch,), generator=rng)
    weight = torch.randn(3, size, size, generator=rng)
    result = load_attack(name, **numbers)(Linear(weight, 0.0), images, labels, full=True)
    achieved = (result.clean_logits - result.logits) * (2 * labels - 1)
    assert (achieved > float(optimum(weight)) / 1.05).all()


@pytest.mark.parametrize(("low", "high"), [(0.0, 0.5), (0.5, 1.0), (0.2, 0.3)])
def test_dct_pgd_finds_the_optimum_of_its_band(
    low: float, high: float, images: Tensor, labels: Tensor
) -> None:
    weight = torch.randn(3, 32, 32, generator=torch.Generator().manual_seed(0))
    attack = DCTPGD(low=low, high=high, steps=20)
    result = attack(Linear(weight, 0.0), images, labels, full=True)
    achieved = (result.clean_logits - result.logits) * (2 * labels - 1)
    assert (achieved > float(attack.band(weight).norm()) / 1.05).all()


@pytest.mark.parametrize("name", ["square-linf", "square-l2"])
def test_square_comes_closer_with_more_queries(name: str, images: Tensor, labels: Tensor) -> None:
    torch.manual_seed(0)
    detector = load_detector("cifake-cnn")
    moved = []
    for queries in (1, 30, 300):
        result = load_attack(name, queries=queries)(detector, images, labels, full=True)
        moved.append(float(((result.clean_logits - result.logits) * (2 * labels - 1)).mean()))
        assert (result.forwards == queries + 1).all()
    assert moved[0] < moved[1] < moved[2]


class Waves(Linear):
    """Neither linear nor monotonous, the same in any batch; counts what it is shown."""

    shown = 0
    passes = 0

    def logits(self, images: Tensor) -> Tensor:
        self.shown += len(images)
        self.passes += 1
        parts = (images.double() * self.weight).sum(dim=1).flatten(1)
        return (50 * parts).sin().sum(dim=1).round(decimals=6).float() / 10

    def looked_at(self, images: Tensor) -> "Waves":
        """Itself, after the one look at a detector that tells whether it draws at random."""
        assert not is_random(self, images)
        self.shown = 0
        self.passes = 0
        return self


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("name", ["square-linf", "square-l2"])
def test_squares_scored_ahead_change_nothing(
    name: str, full: bool, images: Tensor, labels: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    weight = torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(0))
    attack = load_attack(name, eps=2 if name == "square-linf" else 0.3, queries=200)
    results = []
    passes = []
    for ahead in (square.MAX_AHEAD, 1):
        monkeypatch.setattr(square, "MAX_AHEAD", ahead)
        detector = Waves(weight, 0.0).looked_at(images)
        results.append(attack(detector, images, labels, full=full))
        passes.append(detector.passes)
    for field in ("images", "logits", "forwards"):
        assert torch.equal(getattr(results[0], field), getattr(results[1], field))
    assert passes[0] < passes[1] / 1.5
    assert detector.shown == int(results[1].forwards.sum())


def test_a_black_box_is_asked_no_square_ahead(images: Tensor, labels: Tensor) -> None:
    detector = Waves(torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(0)), 0.0)
    detector.describe(gradient="none")
    result = load_attack("square-linf", eps=2, queries=50)(
        detector.looked_at(images), images, labels, full=True
    )
    assert detector.shown == int(result.forwards.sum()) == 51 * len(images)


@pytest.mark.parametrize("name", ["pgd-linf", "square-linf", "one-pixel"])
def test_known_clean_logits_spare_a_pass_and_change_nothing_else(
    name: str, images: Tensor, labels: Tensor
) -> None:
    detector = Waves(
        torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(0)), 0.0
    ).looked_at(images)
    whole = small(name)(detector, images, labels)
    shown = detector.shown
    detector.shown = 0
    cheaper = small(name)(detector, images, labels, clean_logits=whole.clean_logits)
    assert detector.shown == shown - len(images)
    for field in ("images", "logits", "clean_logits", "forwards"):
        assert torch.equal(getattr(whole, field), getattr(cheaper, field))


def test_pgd_does_not_go_in_circles() -> None:
    weight = torch.randn(3, 16, 16, generator=torch.Generator().manual_seed(0))
    images = torch.full((2, 3, 16, 16), 128 / 255)
    result = load_attack("pgd-linf", steps=1000)(
        Linear(weight, 0.0), images, torch.tensor([0, 1]), full=True
    )
    assert (result.forwards < 15).all()


def test_active_set_stops_at_the_first_success_and_full_strength_does_not(
    images: Tensor, labels: Tensor
) -> None:
    weight = torch.randn(3, 32, 32, generator=torch.Generator().manual_seed(0))
    detector = Linear(weight, -float((images * weight).sum(dim=(1, 2, 3)).mean()))
    attack = load_attack("pgd-linf", eps=8, step=2, steps=10)
    quick = attack(detector, images, labels)
    whole = attack(detector, images, labels, full=True)
    assert torch.equal(quick.fooled, whole.fooled)
    assert quick.fooled.all()
    wrong = (quick.clean_logits > 0) != (labels == 1)
    assert (quick.forwards[wrong] == 1).all()
    assert torch.equal(quick.images[wrong], images[wrong])
    assert (whole.forwards > quick.forwards).all()
    assert (
        load_attack("pgd-l2", steps=10)(detector, images, labels, full=True).forwards == 12
    ).all()
    assert (whole.logits.abs() >= quick.logits.abs()).all()


def test_more_eps_and_more_steps_never_help_the_detector(images: Tensor, labels: Tensor) -> None:
    torch.manual_seed(2)
    detector = load_detector("resnet18-c32")
    margins = []
    for eps, steps in ((0, 5), (2, 5), (8, 5), (8, 20), (255, 20)):
        attack = load_attack(
            "pgd-linf", eps=eps, step=max(1, eps // 4), steps=steps, random_start=False
        )
        result = attack(detector, images, labels, full=True)
        margins.append(float((result.logits * (2 * labels - 1)).mean()))
    assert margins == sorted(margins, reverse=True)


def test_one_pixel_finds_a_planted_pixel() -> None:
    """Only one pixel counts, and only its red; the attack must find it among 64 and push it to the
    end of its range.
    """
    images = torch.full((2, 3, 8, 8), 128 / 255)
    labels = torch.tensor([1, 0])
    weight = torch.zeros(3, 8, 8)
    weight[0] = torch.linspace(0, 1, 64).reshape(8, 8) ** 4
    detector = Linear(weight, 0.0)
    result = load_attack("one-pixel", population=60, generations=30)(
        detector, images, labels, full=True
    )
    gain = (result.clean_logits - result.logits) * (2 * labels - 1)
    assert (result.l0 <= 1).all()
    assert (gain >= 0.9 * torch.tensor([128 / 255, 127 / 255])).all()


def test_jpeg_is_pillow_and_resize_keeps_flat_images(images: Tensor) -> None:
    flat = torch.full((1, 3, 32, 32), 77 / 255)
    assert torch.equal(load_attack("resize").apply(flat, ["a"]), flat)  # type: ignore[attr-defined]
    first, again = (load_attack("jpeg", quality=q).apply(images, list("abcd")) for q in (95, 10))  # type: ignore[attr-defined]
    assert float((first - images).abs().mean()) < float((again - images).abs().mean())


def test_dct_noise_has_the_amplitude_it_says() -> None:
    flat = torch.full((8, 3, 64, 64), 128 / 255)
    changed = load_attack("dct-noise", eps=15).apply(flat, [str(i) for i in range(8)])  # type: ignore[attr-defined]
    rms = float(((changed - flat) * 255).square().mean().sqrt())
    assert rms == pytest.approx(15 / math.sqrt(3), rel=0.03)


def test_a_broken_budget_is_loud(
    images: Tensor, labels: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    cls = attacks.get("pgd-linf")
    monkeypatch.setattr(cls, "budget", lambda self: Budget(linf=1))
    with pytest.raises(BrokenBudgetError, match="must not be used"):
        load_attack("pgd-linf")(load_detector("cifake-cnn"), images, labels, full=True)


def test_bad_calls_say_what_was_expected(images: Tensor, labels: Tensor) -> None:
    detector = load_detector("cifake-cnn")
    attack = load_attack("jpeg")
    with pytest.raises(UserError, match="grid"):
        attack(detector, images + 0.001, labels)
    with pytest.raises(UserError, match="N, 3, H, W"):
        attack(detector, images[0], labels)
    with pytest.raises(UserError, match=r"0 .real. or 1"):
        attack(detector, images, labels + 1)
    with pytest.raises(UserError, match="as many labels"):
        attack(detector, images, labels[:2])
    with pytest.raises(UserError, match="as many clean_logits"):
        attack(detector, images, labels, clean_logits=torch.zeros(1))
    with pytest.raises(ConfigError, match="Did you mean eps"):
        load_attack("pgd-linf", epss=3)
    with pytest.raises(ConfigError, match="of type int"):
        load_attack("jpeg", quality="high")


def test_oracle_keeps_the_best_of_repeated_candidates(images: Tensor, labels: Tensor) -> None:
    weight = torch.ones(3, 32, 32)
    levels = (images * 255).round()
    with Oracle(Linear(weight, -1500.0), levels, labels, full=True) as oracle:
        darker = (levels[1] - 5).clamp(0, 255)
        lighter = (levels[1] + 5).clamp(0, 255)
        oracle.submit(torch.stack([lighter, darker, darker - 1]), torch.tensor([1, 1, 1]))
        assert torch.equal(oracle.best[1], darker - 1)
        assert torch.equal(oracle.best[0], levels[0])
        assert oracle.forwards.tolist() == [1, 4, 1, 1]
