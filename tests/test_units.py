"""Numbers and units (A1): what is on another scale, out of range or no number is rejected where it
is read.
"""

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import pytest
import torch
from torch import Tensor

from robustbench_aigi import catalogue
from robustbench_aigi.attacks import Suite, attacks, load_attack, load_suite
from robustbench_aigi.attacks._engine.oracle import Oracle
from robustbench_aigi.attacks.base import Attack, Budget
from robustbench_aigi.attacks.external import art, torchattacks
from robustbench_aigi.attacks.external.third_party import ThirdParty
from robustbench_aigi.config.quantity import ANY_FLOAT, ANY_INT, quantities
from robustbench_aigi.data import MiniRecipe
from robustbench_aigi.errors import ConfigError
from robustbench_aigi.evaluation.adequacy.probes import probes
from robustbench_aigi.io.hashing import Draws
from robustbench_aigi.report.gate import Policy
from robustbench_aigi.training import TrainConfig, TrainingJob
from robustbench_aigi.training.plans import load_training_plan
from tests.conftest import Linear

ADAPTED = [*art.names(), *torchattacks.names()]
ROOT = Path(__file__).parent.parent
SUITES = sorted({*catalogue.folder("attacks").glob("*.toml"), *ROOT.glob("reports/*/*.toml")})


def made(name: str, field: str, value: Any) -> Attack:
    numbers: dict[str, Any] = {field: value}
    return load_attack(name, **numbers)


@pytest.mark.parametrize("name", attacks.names())
def test_every_number_of_every_attack_has_a_unit_and_a_range(name: str) -> None:
    cls = attacks.get(name)
    numeric = {f.name for f in dataclasses.fields(cls) if type(f.default) in (int, float)}
    assert numeric == set(quantities(cls))
    assert not {
        key for key, quantity in quantities(cls).items() if quantity in (ANY_FLOAT, ANY_INT)
    }


@pytest.mark.parametrize("name", [*attacks.names(), *ADAPTED])
def test_numbers_out_of_range_are_rejected_with_their_unit(name: str) -> None:
    default = load_attack(name)
    for field, quantity in quantities(type(default)).items():
        least, most = (None if math.isinf(end) else end for end in (quantity.least, quantity.most))
        wrong: list[Any] = [math.nan, math.inf, -math.inf, True, None, "high", "8/256", "3%", [8]]
        if least is not None:
            wrong.append(least - 1 if least >= 1 and not quantity.zero else -1)
        if quantity.per_pixel is not None:
            wrong = [given for given in wrong if given != "3%"] + ["101%", "300 rms"]
        wrong += [] if most is None else [int(most) + 1]
        wrong += [2.5, 10.0] if quantity.whole else []
        for value in wrong:
            with pytest.raises(ConfigError) as caught:
                made(name, field, value)
            message = str(caught.value)
            assert message.startswith(f"{name} wants {field} of ")
            assert quantity.unit in message
            assert "got " in message
            with pytest.raises(ConfigError):
                dataclasses.replace(default, **{field: value})


@pytest.mark.parametrize("name", [*attacks.names(), *ADAPTED])
def test_grey_levels_on_the_unit_scale_are_rejected_with_what_was_meant(name: str) -> None:
    """A1: ``eps=8/255`` changed nothing, and passed for robustness."""
    for field, quantity in quantities(load_attack(name).__class__).items():
        if quantity.white == 255:
            for value in (8 / 255, 0.0314, np.float32(8 / 255)):
                with pytest.raises(
                    ConfigError, match=rf"on the \[0, 1\] scale 8/255 is {field} = 8\."
                ):
                    made(name, field, value)
            assert getattr(made(name, field, "8/255"), field) == 8
        elif quantity.white == 1:
            for value in (0.0039, 1e-3):
                with pytest.raises(
                    ConfigError, match=f"{field} = .* cannot change one value by one grey level"
                ):
                    made(name, field, value)
            assert getattr(made(name, field, " 128 / 255.0"), field) == 128 / 255


def test_the_message_says_what_came_what_was_expected_and_what_was_meant() -> None:
    with pytest.raises(ConfigError) as caught:
        load_attack("pgd-linf", eps=0.0314)
    assert (
        str(caught.value) == "pgd-linf wants eps of 0, or 1 to 255 grey levels, got 0.0314. "
        "eps = 0.0314 is below one grey level; on the [0, 1] scale 8/255 is eps = 8."
    )


@pytest.mark.parametrize(
    ("name", "numbers", "message"),
    [
        ("jpeg", {"quality": 0.75}, "quality is 1 to 100; 0.75 probably means 75"),
        ("webp", {"quality": 0.9}, "0.9 probably means 90"),
        ("resize", {"scale": 50}, "scale is a share; 50 probably means 0.50"),
        ("crop", {"cut": 30}, "cut is a share; 30 probably means 0.30"),
        ("brightness", {"factor": 125}, "125 probably means 1.25"),
        ("impulse-noise", {"share": 3}, "3 probably means 0.03"),
        (
            "square-linf",
            {"queries": 1e3},
            r"type int \(1 or more queries per image\), got 1000.0. Write .* = 1000",
        ),
        ("pgd-linf", {"steps": 10.0}, "Write steps = 10"),
        ("pgd-linf", {"step": 0}, "step of 1 to 255 grey levels, got 0"),
        ("k-pixel", {"pixels": 0}, "1 or more pixels, got 0"),
        ("pgd-linf", {"eps": "0.5/255"}, "1 to 255 grey levels, got '0.5/255'"),
        ("dct-pgd", {"low": 0.5, "high": 0.25}, "low must not exceed high"),
        ("survives", {"numbers": {"eps": 8 / 255}}, "8/255 is eps = 8"),
        ("eot", {"numbers": {"eps": 8 / 255}}, "8/255 is eps = 8"),
        ("survives", {"settings": {"quality": 0.5}}, "0.5 probably means 50"),
        ("dct-noise", {"severity": 0}, "severity of 1"),
    ],
)
def test_likely_meanings(name: str, numbers: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_attack(name, **numbers)


@pytest.mark.parametrize(
    "eps", [0, 1, 2.5, 8, 8.0, 255, "8/255", np.float32(8), np.int64(8), np.float64(2.5)]
)
def test_numbers_that_make_sense_are_taken_and_become_plain(eps: Any) -> None:
    attack = load_attack("pgd-linf", eps=eps)
    assert type(attack.budget().linf) in (int, float)
    assert attack == load_attack("pgd-linf", eps=8 if isinstance(eps, str) else float(eps))
    assert repr(load_attack("pgd-linf", eps="8/255")) == repr(load_attack("pgd-linf", eps=8))
    assert repr(load_attack("pgd-linf", eps=8)).startswith("PGDLinf(eps=8, step=2, ")
    assert made("jpeg", "severity", np.int64(2)) == load_attack("jpeg", quality=75)


def test_text_inside_a_wrapped_attack_is_understood() -> None:
    inner = {"eps": "8/255", "step": "2/255"}
    assert load_attack("eot", numbers=inner) == load_attack("eot", numbers={"eps": 8, "step": 2})
    assert load_attack("survives", attack="pgd-l2", numbers={"eps": "255/255"}) == load_attack(
        "survives", attack="pgd-l2", numbers={"eps": 1}
    )


def test_numbers_reach_other_libraries_in_their_scale() -> None:
    attack = load_attack("art:ProjectedGradientDescent", eps="8/255", eps_step=0.5)
    assert isinstance(attack, ThirdParty)
    assert attack.arguments()["eps"] == 8 / 255
    assert attack.arguments()["eps_step"] == 0.5 / 255


def test_l2_sizes_beyond_any_change_of_the_images_are_rejected(
    images: Tensor, labels: Tensor
) -> None:
    """A1: 128 grey levels where the [0, 1] norm is meant; which images they are for is known when
    they come.
    """
    detector = Linear(torch.zeros(3, 32, 32), 0.0)
    for name, numbers in (
        ("pgd-l2", {"eps": 128}),
        ("eot", {"attack": "square-l2", "numbers": {"eps": 128}}),
    ):
        with pytest.raises(
            ConfigError,
            match=r"eps of 55.43 .* at most for images of 32 x 32 .*128/255 is eps = 0.502",
        ):
            load_attack(name, **numbers)(detector, images, labels)
    with pytest.raises(ConfigError, match="pixels of 1024 pixels at most"):
        load_attack("pgd-l0", pixels=5000)(detector, images, labels)
    assert load_attack("fmn-l2", steps=1)(detector, images, labels).fooled.any()


@final
@dataclass(frozen=True, kw_only=True)
class Plugged(Attack):
    """An attack of somebody else, whose number has no unit."""

    eps: float = 8
    access = "scores"

    def perturb(self, oracle: Oracle, rngs: Draws) -> None: ...

    def budget(self) -> Budget:
        return Budget(linf=self.eps)


def test_a_budget_on_another_scale_is_rejected_too(images: Tensor, labels: Tensor) -> None:
    attack, detector = Plugged(eps=8 / 255), Linear(torch.zeros(3, 32, 32), 0.0)
    with pytest.raises(
        ConfigError, match=r"linf = 0.03137 is below one grey level; .* 8/255 is linf = 8"
    ):
        attack(detector, images, labels)
    with pytest.raises(ConfigError, match="any finite number, got nan"):
        Plugged(eps=math.nan)


def suite_of(folder: Path, numbers: str, attack: str = "pgd-linf") -> str:
    path = folder / "own.toml"
    row = f'id = "first"\nattack = "{attack}"\nwith = {numbers}\n'
    path.write_text(f'name = "own"\nversion = 1\nseed = 0\n[[attacks]]\n{row}')
    return str(path)


@pytest.mark.parametrize(
    ("numbers", "attack"),
    [
        ("{ eps = 0.0314 }", "pgd-linf"),
        ("{ eps = 0.0314 }", "art:SquareAttack"),
        ('{ attack = "fgsm", numbers = { eps = 0.0314 } }', "survives"),
        ("{ eps = 0.0314 }\ntransfer = true", "pgd-linf"),
    ],
)
def test_a_suite_on_another_scale_names_the_file_and_the_row(
    tmp_path: Path, numbers: str, attack: str
) -> None:
    name = suite_of(tmp_path, numbers, attack)
    with pytest.raises(
        ConfigError, match=r"suite .*own.toml, row first: .* on the \[0, 1\] scale 8/255 is eps = 8"
    ) as caught:
        load_suite(name)
    assert "pydantic" not in str(caught.value)
    rows = [{"id": "first", "attack": "pgd-linf", "with": {"eps": 0.0314}}]
    with pytest.raises(ConfigError, match="row first: pgd-linf wants eps"):
        Suite.model_validate({"name": "x", "version": 1, "seed": 0, "attacks": rows}).checked()


def test_text_in_a_suite_becomes_a_number(tmp_path: Path) -> None:
    (row,) = load_suite(suite_of(tmp_path, '{ eps = "8/255", steps = 3 }')).rows
    assert row.numbers == {"eps": 8, "steps": 3}
    assert row.built == load_attack("pgd-linf", eps=8, steps=3)


@pytest.mark.parametrize("path", SUITES, ids=lambda path: path.stem)
def test_every_shipped_suite_still_loads(path: Path) -> None:
    if "[[attacks]]" in path.read_text():
        assert load_suite(str(path)).rows


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"eps": 0.03}, r"eps: wants 1 to 255 grey levels, got 0.03. .* 8/255 is eps = 8"),
        ({"eps": 0}, "eps: wants 1 to 255 grey levels, got 0"),
        ({"eps": "3%"}, 'text such as eps = "8/255"'),
        ({"steps": 2.0}, "Write steps = 2"),
        ({"steps": True}, r"steps: wants type int \(1 or more\), got True"),
        ({"epochs": 0}, "epochs: wants 1 or more, got 0"),
        ({"rate": math.nan}, "rate: wants above 0 to 10, got nan"),
        ({"weight_decay": math.inf}, "weight_decay: wants 0 or more, got inf"),
        ({"clean_share": 50}, "clean_share is a share; 50 probably means 0.50"),
        ({"warmup": 1}, "warmup: wants 0 to below 1, got 1"),
        ({"seed": 0.5}, "seed: wants type int"),
    ],
)
def test_numbers_of_a_training_are_rejected_with_their_unit(
    numbers: dict[str, Any], message: str
) -> None:
    """A1: ``train --plan '{"eps": 0.03}'`` trained against nothing."""
    with pytest.raises(ConfigError, match=message):
        TrainingJob(detector="cifake-cnn", method="pgd", epochs=1, numbers=numbers)


def test_a_training_takes_text_and_whole_levels() -> None:
    assert (
        TrainConfig.from_numbers({"epochs": 1, "eps": "8/255"})
        == TrainConfig.from_numbers({"epochs": np.int64(1), "eps": np.float32(8)})
        == TrainConfig(epochs=1)
    )


def test_a_training_plan_on_another_scale_names_file_and_key(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    text = (catalogue.folder("training_plans") / "default.toml").read_text()
    path.write_text(text.replace("eps = 8", "eps = 0.03"))
    with pytest.raises(ConfigError, match=r"own.toml .*jobs.5.numbers: .*8/255 is eps = 8"):
        load_training_plan(str(path))
    path.write_text(text.replace("eps = 8", 'eps = "8/255"'))
    assert load_training_plan(str(path)).jobs[5].numbers["eps"] == 8


def test_a_recipe_on_another_scale_names_file_and_key(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    text = Path(catalogue.folder("datasets") / "mini.toml").read_text()
    path.write_text(text.replace("sampled_share = 0.75", "sampled_share = 75"))
    with pytest.raises(ConfigError, match=r"75 probably means 0\.75"):
        catalogue.read("datasets", str(path), MiniRecipe)


@pytest.mark.parametrize("end", ["at_least", "at_most"])
def test_bounds_of_a_policy_are_shares_and_counts(end: str) -> None:
    cell = {"attack": "clean", "mode": "clean"}

    def policy(metric: str, limit: Any) -> Policy:
        return Policy.model_validate(
            {"name": "x", "version": 1, "rules": [{"metric": metric, end: limit, **cell}]}
        )

    for metric in ("accuracy", "success_rate", "auc", "calibration_error"):
        with pytest.raises(ValueError, match=f"{metric} is a share; 90 probably means 0.90"):
            policy(metric, 90)
        for limit in (-0.1, 1.1, math.nan, True, "90%"):
            with pytest.raises(ValueError, match="wants"):
                policy(metric, limit)
        assert policy(metric, 1)
    assert policy("mean_forwards", 500.5)
    with pytest.raises(ValueError, match="passes per image"):
        policy("mean_forwards", -1)


@pytest.mark.parametrize("eps", [1, 1.5, 2, 3, 8, 200, 255])
def test_probes_stay_in_the_range_of_their_numbers(eps: float) -> None:
    attack = load_attack("pgd-linf", eps=eps, step=min(255.0, 2 * eps))
    found = {name: probe.eps for name, probe in probes(attack).items()}  # type: ignore[arg-type]
    assert found["eps-zero"] == 0
    assert found["eps-half"] == (eps / 2 if eps >= 2 else 0)
