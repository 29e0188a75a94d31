"""Suites: which attacks are run, with what numbers, read from ``attacks/*.toml``."""

from contextlib import suppress
from functools import cached_property
from typing import Any, Literal

from pydantic import BaseModel, Field, field_validator, model_validator

from robustbench_aigi import catalogue
from robustbench_aigi.attacks.base import Attack
from robustbench_aigi.attacks.loading import load_attack, plain_numbers
from robustbench_aigi.errors import UserError

FROM = " from "
"""Between the attack and the detector that it was made on, in the name of a column of the transfer
matrix.
"""


class SuiteRow(BaseModel, frozen=True, extra="forbid"):
    """One attack of a suite.

    Attributes:
        id: the name in the matrix, such as ``pgd-linf-8``.
        attack: a registered name, with its numbers in ``with``.
        surrogate: the detector whose gradients or scores make the shared static set; none for
            model-free changes, and for an attack that is to be run white-box only.
        transfer: make the images on each detector under test and show them to all: the transfer
            matrix.
        limit: attack at most this many images per split (a costly attack), classes balanced.
        strength: "boundary" stops at an image once the detector is wrong on it. "full" attacks
            every image to the end, and then AUC, AP, calibration and the rates at frozen thresholds
            stand in the white-box cell too.
    """

    id: str
    attack: str
    numbers: dict[str, Any] = Field(default_factory=dict, alias="with")
    surrogate: str | None = None
    transfer: bool = False
    limit: int | None = Field(default=None, ge=2)
    strength: Literal["boundary", "full"] = "boundary"

    @cached_property
    def built(self) -> Attack:
        """The attack itself."""
        return load_attack(self.attack, **self.numbers)

    @property
    def shared(self) -> bool:
        """Whether its images can be made once and shown to every detector: by a surrogate, or
        without a model.
        """
        return self.surrogate is not None or self.built.access == "none"

    def made_on(self, detector: str) -> "SuiteRow":
        """The row of the images that this attack makes on a detector, to be shown to all."""
        return self.model_copy(
            update={"id": f"{self.id}{FROM}{detector}", "surrogate": detector, "transfer": False}
        )

    def renamed(self, name: str, **numbers: Any) -> "SuiteRow":
        """The row under another name, with some of its numbers changed, aimed at detectors
        alone.
        """
        changed = self.model_dump(by_alias=True) | {"id": name, "with": self.numbers | numbers}
        return SuiteRow.model_validate(changed | {"surrogate": None, "transfer": False})

    def checked(self) -> "SuiteRow":
        """Build the attack and convert numbers written as text. Raises ``UserError`` that names the
        row.
        """
        try:
            plain = plain_numbers(self.built, self.numbers)
        except UserError as error:
            raise type(error)(f"row {self.id}: {error}") from error
        return self if plain == self.numbers else self.model_copy(update={"numbers": plain})

    @model_validator(mode="after")
    def _attacks_a_detector(self) -> "SuiteRow":
        with suppress(UserError):  # of its numbers, which checked() tells better
            if self.transfer and self.built.access == "none":
                raise ValueError(
                    f"{self.id} asks no detector, so nothing transfers; leave transfer out"
                )
        return self


class Suite(BaseModel, frozen=True, extra="forbid"):
    """The attacks of one benchmark, in order. Change a number, bump the version.

    ``policy`` is the ready-made one of the gate whose verdict stands on the page of every run.
    """

    name: str
    version: int = Field(ge=1)
    seed: int = Field(ge=0)
    policy: Literal["quick", "release"] | None = None
    rows: tuple[SuiteRow, ...] = Field(min_length=1, alias="attacks")

    @property
    def surrogates(self) -> set[str]:
        """The names of the detectors that rows are made on."""
        return {row.surrogate for row in self.rows if row.surrogate}

    def checked(self) -> "Suite":
        """Build all attacks and convert numbers written as text. Raises ``UserError`` that names
        the row.
        """
        return self.model_copy(update={"rows": tuple(row.checked() for row in self.rows)})

    @field_validator("rows")
    @classmethod
    def _distinct(cls, rows: tuple[SuiteRow, ...]) -> tuple[SuiteRow, ...]:
        ids = [row.id for row in rows]
        twice = sorted({name for name in ids if ids.count(name) > 1} | ({"clean"} & set(ids)))
        if twice:
            raise ValueError(f"ids must be distinct and not 'clean'; change {', '.join(twice)}")
        return rows


def load_suite(name: str) -> Suite:
    """Read a suite by name or path and build its attacks.

    Raises:
        UnknownNameError, ConfigError, UnavailableError: with the file and the row.
    """
    suite = catalogue.read("attacks", name, Suite)
    try:
        return suite.checked()
    except UserError as error:
        raise type(error)(f"suite {name}, {error}") from error
