"""Suites: which attacks are run, with what numbers, read from ``attacks/*.toml``."""

from contextlib import suppress
from functools import cached_property
from typing import Any, Literal

from pydantic import BaseModel, Field, field_validator, model_validator

from robustbench_aigi import catalogue
from robustbench_aigi.attacks.base import Attack
from robustbench_aigi.attacks.loading import load_attack, plain_numbers
from robustbench_aigi.config.relative_size import RMS_LEVELS
from robustbench_aigi.errors import UserError

SURROGATE_SEPARATOR = " from "
"""Stands between the attack and the detector it was made on, in a column of the transfer matrix."""


class SuiteRow(BaseModel, frozen=True, extra="forbid"):
    """One attack of a suite.

    Attributes:
        id: the name in the matrix, such as ``pgd-linf-8``.
        attack: a registered name, with its parameters in ``with``.
        numbers: those parameters.
        surrogate: the detector whose gradients or scores make the shared static set; None for a
            perturbation, and for an attack that is to be run white-box only.
        transfer: whether to make the images on each detector under test and show them to all: the
            transfer matrix.
        limit: maximum number of images per split, class-balanced, for a costly attack.
        strength: "boundary" stops at an image once the detector is wrong on it. "full" attacks
            every image to the end; then AUC, AP, calibration and the rates at frozen thresholds are
            in the white-box cell too.
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
        """Whether its images can be made once, by a surrogate or no model, and shown to all."""
        return self.surrogate is not None or self.built.access == "none"

    def eps_at(self, height: int, width: int) -> float | None:
        """Return the parameter ``eps`` for an image; None if the row has none. No attack is built.

        Args:
            height: of the image, in pixels.
            width: of the image, in pixels.
        """
        given = self.numbers.get("eps")
        relative = RMS_LEVELS.parse(given) if isinstance(given, str) else None
        return given if relative is None else relative.at(height, width)

    def content(self, *, by_alias: bool = False) -> dict[str, Any]:
        """Return what the row's images depend on, for the key of what is computed with it.

        Args:
            by_alias: whether fields are called as in the file.
        """
        revision = self.built.revision
        return self.model_dump(by_alias=by_alias) | (
            {} if revision == 1 else {"revision": revision}
        )

    def made_on(self, detector: str) -> "SuiteRow":
        """Return the row of the images that this attack makes on a detector, to be shown to all.

        Args:
            detector: its name.
        """
        name = f"{self.id}{SURROGATE_SEPARATOR}{detector}"
        return self.model_copy(update={"id": name, "surrogate": detector, "transfer": False})

    def renamed(self, name: str, **numbers: Any) -> "SuiteRow":
        """Return the row under another name, without a surrogate.

        Args:
            name: the new id.
            numbers: parameters that are changed.
        """
        changed = self.model_dump(by_alias=True) | {"id": name, "with": self.numbers | numbers}
        return SuiteRow.model_validate(changed | {"surrogate": None, "transfer": False})

    def checked(self) -> "SuiteRow":
        """Build the attack, and return the row with parameters converted from text.

        Raises:
            UserError: the attack or a parameter is wrong; the message names the row.
        """
        try:
            plain = plain_numbers(self.built, self.numbers)
        except UserError as error:
            raise type(error)(f"row {self.id}: {error}") from error
        return self if plain == self.numbers else self.model_copy(update={"numbers": plain})

    @model_validator(mode="after")
    def _attacks_a_detector(self) -> "SuiteRow":
        with suppress(UserError):  # checked() reports wrong parameters, and names the row
            if self.transfer and self.built.access == "none":
                raise ValueError(
                    f"{self.id} asks no detector, so nothing transfers; leave transfer out"
                )
        return self


class Suite(BaseModel, frozen=True, extra="forbid"):
    """The attacks of one benchmark, in order. Change a number, bump the version.

    Attributes:
        name: of the suite.
        version: raised with every change of a row.
        seed: of all random numbers.
        policy: name of the release policy whose verdict is on the page of every run, or its path.
        rows: the attacks, ``[[attacks]]`` in the file.
    """

    name: str
    version: int = Field(ge=1)
    seed: int = Field(ge=0)
    policy: str | None = None
    rows: tuple[SuiteRow, ...] = Field(min_length=1, alias="attacks")

    @property
    def surrogates(self) -> set[str]:
        """The names of the detectors that rows are made on."""
        return {row.surrogate for row in self.rows if row.surrogate}

    def checked(self) -> "Suite":
        """Build all attacks, and return the suite with parameters converted from text.

        Raises:
            UserError: an attack or a parameter is wrong; the message names the row.
            UnknownNameError: there is no such policy.
        """
        if self.policy is not None:
            catalogue.find("policies", self.policy)
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
    """Read a suite and build its attacks.

    Args:
        name: of a suite that ships, or a path such as ``./mine.toml``.

    Raises:
        UnknownNameError: there is no such suite or policy, or no such attack in a row.
        ConfigError: a parameter of a row is wrong.
        UnavailableError: the library of a row's attack is not installed.
    """
    suite = catalogue.read("attacks", name, Suite)
    try:
        return suite.checked()
    except UserError as error:
        raise type(error)(f"suite {name}, {error}") from error
