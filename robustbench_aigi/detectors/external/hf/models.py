"""Published facts of popular detectors on the hub: labels, licences, thresholds."""

import math
import tomllib
from collections.abc import Mapping
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

from pydantic import BaseModel, Field

from robustbench_aigi.errors import UserError

TABLE_PATH = Path(__file__).with_name("models.toml")


class HubModel(BaseModel, frozen=True, extra="forbid"):
    """Published facts of one model, or of the models of one pattern.

    Attributes:
        labels: names of the outputs, in their order; none for a model of one output, high meaning
            AI-generated.
        ordered: False where the names were published, and not which output is which.
        fake: those labels that mean AI-generated.
        licence: of the weights; ``unknown`` where it was not looked up.
        commercial: whether that licence is known to permit commercial use.
        processor: hub id of the image processor to borrow, where none is beside the weights.
        threshold: the published probability of AI-generated above which an image is called that.
        revision: the commit that these facts are of.
        note: what else a user should know.
    """

    labels: tuple[str, ...] = ()
    ordered: bool = True
    fake: tuple[str, ...] = ()
    licence: str = "unknown"
    commercial: bool = False
    processor: str | None = None
    threshold: float | None = Field(default=None, gt=0, lt=1)
    revision: str | None = None
    note: str = ""

    def check(self, labels: Mapping[int, str], model: str) -> None:
        """Raise ``UserError`` where the labels of a config are others, or in another order.

        Args:
            labels: names of the outputs, by their index.
            model: its address after ``hf:``, for messages.
        """
        theirs = [labels[index] for index in sorted(labels)]
        if not self.labels:
            same = len(theirs) == 1
        elif self.ordered:
            same = theirs == list(self.labels)
        else:
            same = sorted(theirs) == sorted(self.labels)
        if not same:
            wanted = ", ".join(self.labels) or "one output, high for AI-generated"
            argument = "fake_labels=LABEL,LABEL"
            if len(theirs) < 3:
                argument = "fake_index=1 or fake_index=0"
            raise UserError(
                f"the labels of {model} are {', '.join(theirs)}, and published were {wanted}: what"
                f" they mean may have changed. Read its card, and write hf:{model}? with"
                f" {argument}, or with revision= and an earlier commit."
            )


@cache
def hub_models() -> dict[str, HubModel]:
    """Return the table, by hub id; a ``*`` in an id stands for any text."""
    with TABLE_PATH.open("rb") as file:
        return {name: HubModel(**facts) for name, facts in tomllib.load(file).items()}


def published_facts(model: str) -> HubModel | None:
    """Return what is published of a model; None if it is not in the table.

    Args:
        model: a hub id.

    Example:
        >>> published_facts("Organika/sdxl-detector").fake
        ('artificial',)
    """
    table = hub_models()
    return table.get(model) or next(
        (facts for name, facts in table.items() if fnmatchcase(model, name)), None
    )


def logit(probability: float) -> float:
    """Return the logit of a probability.

    Args:
        probability: in (0, 1).

    Example:
        >>> round(logit(0.58), 4)
        0.3228
    """
    return math.log(probability / (1 - probability))
