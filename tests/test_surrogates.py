"""Surrogates as they are given: by the names that a suite's rows want, each once."""

import pytest

from robustbench_aigi.attacks import load_suite
from robustbench_aigi.data.plusplus.surrogates import load_surrogates
from robustbench_aigi.errors import UserError


@pytest.mark.parametrize(
    ("suite", "given", "message"),
    [
        (
            "quick",
            ["cifake-cnn", "own=cifake-cnn"],
            "suite quick does not use the surrogate own; it uses cifake-cnn. Leave it out",
        ),
        (
            "quick",
            ["cifake-cnn", "cifake-cnn=clip-mlp"],
            "two surrogates are called cifake-cnn. Give one",
        ),
        ("delivery", ["cifake-cnn"], "it uses none. Leave"),
    ],
)
def test_a_surrogate_that_no_row_names_and_a_second_one_are_refused(
    suite: str, given: list[str], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        load_surrogates(load_suite(suite), given)


def test_a_surrogate_may_be_given_the_name_that_a_row_wants() -> None:
    assert list(load_surrogates(load_suite("quick"), ["cifake-cnn=clip-mlp"])) == ["cifake-cnn"]
