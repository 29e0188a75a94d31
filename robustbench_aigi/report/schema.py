"""The schema of ``matrix.json``."""

from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, create_model, model_validator

from robustbench_aigi.attacks import Suite
from robustbench_aigi.detectors import Card
from robustbench_aigi.evaluation.columns import MATRIX_COLUMNS, MATRIX_METRICS, Column

SCHEMA_VERSION: Literal[5] = 5
"""Version of ``matrix.json``; another one has other columns."""


class MatrixRow(BaseModel):
    """A row of the matrix; a number that a row does not have is null. Shares are in [0, 1].

    Declared here are the fields that code reads by name; ``evaluation.columns.MATRIX_COLUMNS`` adds
    all others.
    """

    model_config = ConfigDict(extra="forbid")

    detector: str
    mode: Literal["clean", "static", "transfer", "white-box"] | None
    attack: str | None
    direction: Literal["evasion", "framing", "both"] | None
    status: str
    n: int | None
    accuracy: float | None = Field(ge=0, le=1)
    low: float | None
    high: float | None
    flags: str | None

    @model_validator(mode="after")
    def _check_companions(self) -> Self:
        for metric in MATRIX_METRICS:
            lost = [name for name in metric.companions if getattr(self, name) is None]
            if getattr(self, metric.name) is not None and lost:
                raise ValueError(
                    f"{self.detector}, {self.attack}: {metric.name} without {', '.join(lost)}"
                )
        return self


def _field(column: Column) -> tuple[Any, Any]:
    """Return the pydantic field of a column, which may be null."""
    return column.kind | None, Field(description=column.about or None)


if TYPE_CHECKING:
    FullRow = MatrixRow
else:
    _OTHERS = [column for column in MATRIX_COLUMNS if column.name not in MatrixRow.model_fields]
    FullRow = create_model(
        "MatrixRow",
        __base__=MatrixRow,
        __doc__="A row of the matrix; a number that a row does not have is null.",
        **{column.name: _field(column) for column in _OTHERS},
    )


class Of(BaseModel):
    """What was run; empty where the run does not say."""

    model_config = ConfigDict(extra="forbid")

    suite: str = ""
    suite_version: int = 0
    data: str = ""
    data_key: str = Field(
        default="", description="hash of the images; runs are comparable where it is the same"
    )
    images: int = 0

    @property
    def title(self) -> str:
        """In a line."""
        return f"{self.suite} version {self.suite_version} on {self.images} images of {self.data}"


class Data(BaseModel):
    """What a run was on."""

    name: str
    images: int
    key: str


class Facts(BaseModel):
    """What reports take from ``run.json``."""

    suite: Suite
    data: Data
    detectors: dict[str, Card | dict[Literal["unavailable"], str]]
    versions: dict[str, str]


class MatrixFile(BaseModel):
    """All rows of a run."""

    model_config = ConfigDict(extra="forbid", title="robustbench-aigi matrix")

    version: Literal[5] = Field(default=SCHEMA_VERSION, alias="schema")
    of: Of = Of()
    rows: list[FullRow]
