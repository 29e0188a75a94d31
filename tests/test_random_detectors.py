"""A3: what is reported of a detector that draws at random is what fresh draws say, not what a
search saw.
"""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from robustbench_aigi.attacks import Suite, load_attack
from robustbench_aigi.attacks.result import FRESH_DRAWS
from robustbench_aigi.data import Dataset
from robustbench_aigi.detectors import Card, Detector
from robustbench_aigi.detectors._support.randomness import is_random
from robustbench_aigi.evaluation import evaluate
from robustbench_aigi.evaluation.adequacy.judge import read_flags
from robustbench_aigi.evaluation.worst_case import worst_case
from robustbench_aigi.report import Matrix
from tests.test_adequacy import bright

TRUE_ERROR = 0.0228
"""Of standard normal noise on a margin of 2."""
EPS_ZERO = [
    ("square-linf", {"eps": 0, "queries": 200}),
    ("square-l2", {"eps": 0, "queries": 100}),
    ("hop-skip-jump-linf", {"eps": 0, "queries": 100}),
    ("pgd-linf", {"eps": 0, "steps": 1}),
    ("pgd-linf", {"eps": 0, "steps": 10}),
    ("pgd-l2", {"eps": 0, "steps": 10}),
    ("apgd-linf", {"eps": 0, "steps": 10}),
    ("fgsm", {"eps": 0}),
    ("fab-linf", {"eps": 0, "steps": 10}),
    ("eot", {"numbers": {"eps": 0}, "draws": 2}),
    ("jpeg", {"quality": 100}),
]


class Noisy(Detector):
    """Brightness with standard normal noise on its logit; nothing on its card says so."""

    default_card = Card(name="noisy", source="tests", weights="none")

    def logits(self, images: Tensor) -> Tensor:
        return 20 * (images.mean(dim=(1, 2, 3)) - 0.5) + torch.randn(len(images))


def grey(count: int) -> tuple[Tensor, Tensor]:
    """Flat images, 0.6 for fakes and 0.4 for reals: margins of 2."""
    labels = torch.arange(count) % 2
    levels = torch.where(labels == 1, 153 / 255, 102 / 255)
    return levels.view(-1, 1, 1, 1).expand(-1, 3, 8, 8).contiguous(), labels


@pytest.mark.parametrize(("name", "numbers"), EPS_ZERO)
def test_eps_zero_reports_the_true_error(name: str, numbers: dict[str, Any]) -> None:
    torch.manual_seed(0)
    images, labels = grey(1000)
    result = load_attack(name, **numbers)(Noisy(), images, labels, seed=0)
    assert abs(float(result.fresh.float().mean()) - TRUE_ERROR) < 0.006
    assert abs(float(result.fooled.float().mean()) - TRUE_ERROR) < 0.015
    assert result.fresh.shape == (FRESH_DRAWS, 1000)
    if name == "square-linf":
        assert result.kept.float().mean() > 0.9  # what the search saw, and what was reported


def test_every_attack_is_repeatable(images: Tensor, labels: Tensor) -> None:
    attack = load_attack("square-linf", queries=20)
    first, second = (attack(Noisy(), images, labels, seed=0) for _ in range(2))
    assert torch.equal(first.images, second.images)
    assert torch.equal(first.fresh, second.fresh)


def test_averaged_draws_search_better_and_cost_their_queries() -> None:
    torch.manual_seed(0)
    images, labels = grey(100)

    def result(draws: int) -> tuple[float, int]:
        found = load_attack("square-linf", eps=12, queries=64, draws=draws)(
            Noisy(), images, labels, seed=0
        )
        return float(found.fresh.float().mean()), int(found.forwards.max())

    one, spent = result(1)
    eight, spent_eight = result(8)
    assert eight > one
    assert spent_eight <= 64 + 8
    assert spent <= 64 + 1


class Dropping(nn.Module):
    """Random only for one image in ten, which two passes over a few images need not show."""

    def forward(self, images: Tensor) -> Tensor:
        return images.mean(dim=(1, 2, 3)) + (torch.rand(len(images)) < 0.1)


class Seeded(Detector):
    """Draws, but the same numbers at every call."""

    default_card = Card(name="seeded", source="tests", weights="none")

    def logits(self, images: Tensor) -> Tensor:
        noise = torch.randn(3, 1, 1, generator=torch.Generator().manual_seed(0))
        return ((images + noise) * 3).mean(dim=(1, 2, 3))


def test_randomness_is_seen_without_being_declared(images: Tensor) -> None:
    class Own(Detector):
        default_card = Card(name="own", source="tests", weights="none")

        def __init__(self) -> None:
            super().__init__()
            self.rng = torch.Generator().manual_seed(0)

        def logits(self, images: Tensor) -> Tensor:
            return images.mean(dim=(1, 2, 3)) + torch.rand(len(images), generator=self.rng)

    class Wrapping(Detector):
        default_card = Card(name="dropping", source="tests", weights="none")

        def __init__(self) -> None:
            super().__init__()
            self.net = Dropping()

        def logits(self, images: Tensor) -> Tensor:
            return self.net(images)  # type: ignore[no-any-return]

    assert is_random(Noisy(), images)
    assert is_random(Own(), images)
    assert is_random(Wrapping(), images)
    assert not is_random(Seeded(), images)
    before = torch.get_rng_state()
    is_random(Noisy(), images)
    assert torch.equal(torch.get_rng_state(), before)


def test_nothing_changes_for_a_deterministic_detector(images: Tensor, labels: Tensor) -> None:
    detector = Seeded()
    calls = list[int]()
    is_random(detector, images)
    original = detector.logits

    def counted(given: Tensor) -> Tensor:
        calls.append(len(given))
        return original(given)

    detector.logits = counted  # type: ignore[method-assign,assignment]
    result = load_attack("pgd-linf", steps=2, random_start=False)(
        detector, images, labels, seed=0, full=True
    )
    assert sum(calls) == int(result.forwards.sum())
    assert torch.equal(result.fresh[0], result.fooled)
    assert len(result.fresh) == 1
    assert torch.equal(result.kept, result.fooled)


def suite() -> Suite:
    rows = [
        {"id": "square-8", "attack": "square-linf", "with": {"eps": 1, "queries": 150}},
        {"id": "pgd-1", "attack": "pgd-linf", "with": {"eps": 1, "steps": 4}},
        {"id": "jpeg", "attack": "jpeg", "with": {"quality": 100}},
    ]
    return Suite.model_validate({"name": "s", "version": 1, "seed": 0, "attacks": rows})


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return bright(tmp_path_factory.mktemp("images"), least=25, most=26, count=64)


def test_the_matrix_has_the_mean_of_draws_and_the_majority(data: Dataset, tmp_path: Path) -> None:
    matrix = evaluate({"noisy": Noisy()}, suite(), data, tmp_path)
    cell = Matrix(matrix).cell
    for attack, mode in (
        ("clean", "clean"),
        ("square-8", "white-box"),
        ("square-8 at eps 0", "white-box"),
    ):
        row = cell("noisy", attack, mode)
        assert row["accuracy"] > 0.93
        assert row["draws"] == FRESH_DRAWS
        assert row["majority_accuracy"] == 1
        assert row["low"] < row["accuracy"] < row["high"]
    for attack in ("square-8", "square-8 at eps 0"):
        assert cell("noisy", attack, "white-box")["kept_accuracy"] < 0.5
    assert cell("noisy", "worst-case", "white-box")["accuracy"] > 0.9
    assert "kept-not-fresh" in cell("noisy", "square-8", "white-box")["flags"]
    flags = {(flag.attack, flag.kind): flag for flag in read_flags(tmp_path) or []}
    found = flags["square-8", "kept-not-fresh"]
    assert found.evidence["kept"] < 0.5 < 0.93 < found.evidence["fresh"]
    assert found.evidence["control"] < 0.5
    again = evaluate({"noisy": Noisy()}, suite(), data, tmp_path / "again")
    pd.testing.assert_frame_equal(matrix, again)


def test_a_deterministic_detector_has_neither_controls_nor_draws(
    data: Dataset, tmp_path: Path
) -> None:
    matrix = evaluate({"seeded": Seeded()}, suite(), data, tmp_path)
    assert not matrix["attack"].str.contains("eps 0").any()
    assert set(matrix["draws"]) == {1}
    assert matrix["majority_accuracy"].isna().all()


def test_many_attacks_do_not_fool_more_by_chance() -> None:
    rng = torch.Generator().manual_seed(0)

    def table() -> pd.DataFrame:
        wrong = torch.rand(400, FRESH_DRAWS, generator=rng) < TRUE_ERROR
        return pd.DataFrame(
            {
                "id": [str(i) for i in range(400)],
                "label": 1,
                "fooled": wrong[:, 0].tolist(),
                "kept": wrong[:, 0].tolist(),
                "draws": FRESH_DRAWS,
                "wrong": wrong.sum(dim=1).tolist(),
                "wrong_half": wrong[:, : FRESH_DRAWS // 2].sum(dim=1).tolist(),
                "forwards": 1,
                "backwards": 0,
            }
        )

    worst = worst_case(table(), [table() for _ in range(12)])
    assert abs(float((worst["wrong"] / worst["draws"]).mean()) - TRUE_ERROR) < 0.01
