import dataclasses
import pickle
import random
import re
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from robustbench_aigi.attacks import Attack, SuiteRow, load_attack
from robustbench_aigi.attacks.external import art, torchattacks
from robustbench_aigi.attacks.external.third_party import ThirdParty
from robustbench_aigi.detectors import load_detector
from robustbench_aigi.errors import (
    BrokenBudgetError,
    ConfigError,
    LogitsError,
    UnavailableError,
    UnknownNameError,
    UserError,
)
from robustbench_aigi.extras import install_command
from robustbench_aigi.imaging.pixels import on_grid
from tests.conftest import Linear

ART_NAMES = art.names()
TORCHATTACKS_NAMES = torchattacks.names()
needs_torchattacks = pytest.mark.skipif(
    not TORCHATTACKS_NAMES, reason=f"torchattacks is an extra: {install_command('torchattacks')}"
)
MISSING_LIBRARY = pytest.param("torchattacks:PGD", marks=needs_torchattacks)
ALL: list[Any] = (
    [*ART_NAMES, *TORCHATTACKS_NAMES] if TORCHATTACKS_NAMES else [*ART_NAMES, MISSING_LIBRARY]
)
TINY: dict[str, Any] = {
    **dict.fromkeys(
        (
            "steps",
            "max_iter",
            "nb_steps",
            "max_inner_iter",
            "eps_iter",
            "max_doubling",
            "max_halving",
        ),
        2,
    ),
    **dict.fromkeys(("binary_search_steps", "noise_batch_size", "num_trial", "sample_size"), 2),
    **dict.fromkeys(("nb_iter", "restarts", "nb_random_init"), 1),
    **dict.fromkeys(("popsize", "nb_parallel", "nb_sample", "batch_size", "init_size"), 4),
    **dict.fromkeys(("max_iterations", "n_queries", "init_eval", "max_eval"), 10),
    **dict.fromkeys(("conjugate_sinkhorn_max_iter", "projected_sinkhorn_max_iter"), 5),
    "gamma": 0.01,
    "largest_const": 1e-4,
    "attacker": "fgsm",
    "freq_dim": 8,
}
SLOW_ATTACKS = ("art:VirtualAdversarialMethod", "torchattacks:JSMA")
"""Quadratic in the pixels, or nearly."""


def tiny(name: str, **more: Any) -> Attack:
    numbers = {f.name for f in dataclasses.fields(load_attack(name))}
    numbers -= {"batch_size"} if name == "art:SimBA" else set()  # which takes one at a time
    return load_attack(
        name, **{key: value for key, value in TINY.items() if key in numbers}, **more
    )


def even(images: Tensor) -> tuple[Linear, Tensor]:
    """A linear detector that is right on all images, and its labels, of both kinds."""
    weight = torch.randn(images.shape[1:], generator=torch.Generator().manual_seed(0)) / 10
    sums = (images * weight).sum(dim=(1, 2, 3))
    return Linear(weight, -float(sums.mean())), (sums > sums.mean()).long()


def global_state() -> list[Any]:
    numpy = np.random.get_state(legacy=False)  # noqa: NPY002
    return [torch.get_rng_state().tolist(), random.getstate(), str(numpy)]


@pytest.mark.parametrize("name", ALL)
def test_contract(name: str, images: Tensor, capfd: pytest.CaptureFixture[str]) -> None:
    images = images[..., :8, :8] if name in SLOW_ATTACKS else images
    detector, labels = even(images)
    attack = tiny(name)
    before = global_state()
    try:
        result = attack(detector, images, labels, seed=3)
    except UnavailableError as error:
        pytest.skip(str(error))
    assert global_state() == before
    assert capfd.readouterr() == ("", "")
    assert on_grid(result.images)
    assert (
        (result.logits - result.clean_logits) * (2 * labels - 1) <= 1e-5
    ).all() or attack.minimises
    assert (result.linf[~result.fooled] == 0).all() or not attack.minimises
    assert (result.forwards >= 2).all()
    assert (result.backwards > 0).all() == (attack.access == "gradients")
    assert torch.equal(result.images, attack(detector, images, labels, seed=3).images)
    again = pickle.loads(pickle.dumps(attack))
    assert again == attack
    assert hash(again) == hash(attack)
    assert attack.name == name


WITH_NORM = [
    name
    for name in [*ART_NAMES, *TORCHATTACKS_NAMES]
    if "norm" in {f.name for f in dataclasses.fields(load_attack(name))}
]


@pytest.mark.parametrize("name", [name for name in WITH_NORM if name != "art:Wasserstein"])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_attacks_with_two_norms_keep_to_the_one_asked_for(
    name: str, norm: str, images: Tensor
) -> None:
    detector, labels = even(images)
    attack = tiny(name, norm=norm)
    result = attack(detector, images, labels, full=True)
    assert attack.minimises in (None, norm)
    assert attack.minimises or getattr(attack.budget(), norm) == (8 if norm == "linf" else 1.0)
    assert (result.forwards >= 2).all()


def unsupported(base: type[ThirdParty]) -> list[str]:
    return [f"{base.library}:{kind}" for kind, known in base.table.items() if known.unsupported]


@pytest.mark.parametrize("name", unsupported(art.ART))
def test_art_attacks_that_cannot_work_say_why(name: str) -> None:
    if name.partition(":")[2] not in art.ART.sources():
        pytest.skip("this installation of ART does not export it")
    with pytest.raises(ConfigError, match=f"{name} cannot attack a detector: "):
        load_attack(name)


@needs_torchattacks
@pytest.mark.parametrize("name", unsupported(torchattacks.Torchattacks))
def test_torchattacks_attacks_that_cannot_work_say_why(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} cannot attack a detector: "):
        load_attack(name)


def test_every_attack_of_art_is_offered_or_unsupported() -> None:
    offered = {name.partition(":")[2] for name in ART_NAMES}
    assert len(offered) >= 27
    assert set(art.ART.sources()) - offered <= {n.partition(":")[2] for n in unsupported(art.ART)}


def test_wrong_names_and_numbers_get_near_misses() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean art:HopSkipJump"):
        load_attack("art:hopskipjump")
    with pytest.raises(UnknownNameError, match="Known: art:AutoConjugateGradient"):
        load_attack("art:zzz")
    with pytest.raises(ConfigError, match="Did you mean max_iter"):
        load_attack("art:HopSkipJump", max_itr=3)
    with pytest.raises(ConfigError, match=r"norm must be .linf. or .l2., got '1'"):
        load_attack("art:SquareAttack", norm=1)
    with pytest.raises(ConfigError, match="wants eps of 0, or 1 to 255 grey levels, got -1"):
        load_attack("art:SquareAttack", eps=-1)


@needs_torchattacks
def test_wrong_names_and_numbers_of_torchattacks_get_near_misses() -> None:
    with pytest.raises(UnknownNameError, match="torchattacks:PGD"):
        load_attack("torchattacks:pgd")
    with pytest.raises(ConfigError, match="Did you mean steps"):
        load_attack("torchattacks:PGD", stepps=3)
    with pytest.raises(ConfigError, match="DLR loss needs four logits"):
        load_attack("torchattacks:APGD", loss="dlr")


def test_numbers_are_in_our_units_and_reach_the_library_in_its_own() -> None:
    linf = load_attack("art:SquareAttack", eps=4)
    l2 = load_attack("art:SquareAttack", norm="l2")
    assert isinstance(linf, ThirdParty)
    assert isinstance(l2, ThirdParty)
    assert linf.arguments()["eps"] == 4 / 255
    assert linf.arguments()["norm"] == np.inf
    assert linf.budget().linf == 4
    assert load_attack("art:SquareAttack", eps=2.5).budget().linf == 2.5
    assert l2.arguments()["eps"] == 1.0
    assert l2.arguments()["norm"] == 2
    assert l2.budget().l2 == 1.0


def test_a_row_of_a_suite_names_them() -> None:
    numbers = {"eps": 4, "eps_step": 1, "max_iter": 3}
    row = SuiteRow.model_validate(
        {"id": "x", "attack": "art:ProjectedGradientDescentPyTorch", "with": numbers}
    )
    assert row.built == load_attack("art:ProjectedGradientDescentPyTorch", **numbers)
    assert row.model_dump()["numbers"] == numbers


REFERENCES: dict[str, dict[str, Any]] = {
    "art:ProjectedGradientDescentPyTorch": {
        "eps": 8,
        "eps_step": 2,
        "max_iter": 20,
        "num_random_init": 1,
    },
    "torchattacks:PGD": {"eps": 8, "alpha": 2, "steps": 20},
    "pgd-linf": {"eps": 8, "step": 2, "steps": 20},
}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=needs_torchattacks) if "torch" in n else n for n in REFERENCES]
)
def test_the_same_attack_finds_the_same_optimum_in_every_library(
    name: str, images: Tensor, labels: Tensor
) -> None:
    detector, _ = even(images)
    result = load_attack(name, **REFERENCES[name])(detector, images, labels, full=True)
    moved = (result.clean_logits - result.logits) * (2 * labels - 1)
    assert (moved > float(detector.weight.detach().abs().sum()) * 8 / 255 / 1.01).all()


def test_leaving_the_budget_is_loud_and_a_float_error_is_not(
    images: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    detector, labels = even(images)
    attack = load_attack("art:SquareAttack", eps=8)
    away = (1 - 2 * labels).view(-1, 1, 1, 1) * detector.weight.detach().sign()
    monkeypatch.setattr(type(attack), "attacked", lambda *_: images + away * 8.001 / 255)
    assert (attack(detector, images, labels).linf == 8).all()
    monkeypatch.setattr(type(attack), "attacked", lambda *_: images + away * 9 / 255)
    with pytest.raises(BrokenBudgetError, match="art:SquareAttack broke its L-inf budget of 8"):
        attack(detector, images, labels)


def test_failures_inside_a_library_name_the_attack(
    images: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    detector, labels = even(images)
    attack = load_attack("art:SquareAttack")
    monkeypatch.setattr(
        type(attack), "attacked", lambda self, view, images, *_: view(images * float("nan"))
    )
    with pytest.raises(
        UserError, match="art:SquareAttack failed inside art: FloatingPointError: an image it made"
    ):
        attack(detector, images, labels)
    detector.bias = float("nan")
    with pytest.raises(LogitsError, match="nan"):
        attack(detector, images, labels)


def test_a_black_box_is_not_asked_for_gradients(images: Tensor, labels: Tensor) -> None:
    detector, _ = even(images)
    detector.describe(gradient="none")
    with pytest.raises(LogitsError, match="has none"):
        load_attack("art:DeepFool")(detector, images, labels)


def test_without_the_package_the_error_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "torchattacks", None)
    assert torchattacks.names() == []
    with pytest.raises(UnavailableError, match=re.escape(install_command("torchattacks"))):
        load_attack("torchattacks:PGD")


def test_the_libraries_are_imported_only_when_asked_for() -> None:
    code = "import sys; from robustbench_aigi.attacks.external import art, torchattacks; "
    code += "sys.exit('torchattacks' in sys.modules or 'art' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_shipped_detector_is_fooled(images: Tensor) -> None:
    detector = load_detector("resnet18-c32", weights="cifake")
    with torch.no_grad():
        labels = (detector.logits(images) > 0).long()
    numbers = {"eps": 8, "eps_step": 2, "max_iter": 5}
    result = load_attack("art:ProjectedGradientDescentPyTorch", **numbers)(detector, images, labels)
    assert result.fooled.any()
    assert detector.training is False
