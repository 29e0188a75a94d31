"""What is known of other libraries' attacks beyond their constructors."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

from robustbench_aigi.attacks.base import Norm
from robustbench_aigi.config.units import L2Radius, L2Step, LinfRadius, UnroundedStep

DEFAULT_BUDGETS: Mapping[str, Mapping[str, tuple[Any, float]]] = MappingProxyType(
    {
        "linf": {
            "eps": (LinfRadius, 8),
            "max_epsilon": (LinfRadius, 16),
            "alpha": (UnroundedStep, 2),
            "eps_step": (UnroundedStep, 2),
        },
        "l2": {"eps": (L2Radius, 1.0), "alpha": (L2Step, 0.2), "eps_step": (L2Step, 0.25)},
    }
)
"""Norm to the parameters that have its unit: their types, which know it, and their defaults."""
COUNT_PARAMETERS = (
    "steps",
    "nb_steps",
    "nb_iter",
    "num_iter_set",
    "eot_iter",
    "max_iter",
    "max_iterations",
    "max_inner_iter",
    "n_queries",
    "max_eval",
    "restarts",
    "n_restarts",
    "nb_restarts",
    "popsize",
    "batch_size",
)
"""Parameters that libraries count with."""


@dataclass(frozen=True, kw_only=True)
class AttackTraits:
    """What there is to know of an attack beyond its constructor.

    Attributes:
        norm: of the ball it stays in; None if it has none, "any" if its parameter ``norm`` chooses.
        size: the parameter that bounds the change.
        minimises: for an attack that stays in no ball, the norm it makes as small as it can,
            likewise.
        stops_at_boundary: whether it stops at the decision boundary, so that its change is
            stretched until it fools on the grid.
        access: what it needs of a detector.
        defaults: those other than the library's, in our units.
        takes_single_images: whether it takes one image at a time.
        aims_at_label: whether it moves towards the label it is given, not away from it.
        wants_probabilities: whether it wants the softmax of the logits.
        uses_own_verdicts: whether it takes the detector's verdicts instead of labels.
        unsupported: why it cannot attack a detector, and what to use instead; None if it can.
    """

    norm: Norm | Literal["any"] | None = None
    size: str = "eps"
    minimises: Norm | Literal["any"] | None = None
    stops_at_boundary: bool = False
    access: Literal["scores", "gradients"] = "gradients"
    defaults: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    takes_single_images: bool = False
    aims_at_label: bool = False
    wants_probabilities: bool = False
    uses_own_verdicts: bool = False
    unsupported: str | None = None
