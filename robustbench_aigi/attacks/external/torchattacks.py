"""The image attacks of torchattacks, as ``torchattacks:NAME``."""

import inspect
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any, cast

from torch import Tensor

from robustbench_aigi.attacks.external import adapters
from robustbench_aigi.attacks.external.third_party import ThirdParty
from robustbench_aigi.attacks.external.traits import AttackTraits
from robustbench_aigi.attacks.external.two_logit import TwoLogits
from robustbench_aigi.errors import UnavailableError
from robustbench_aigi.extras import install_command

DLR_REASON = "its DLR loss needs four logits and a detector gives two; use"
TRAITS_TABLE: Mapping[str, AttackTraits] = MappingProxyType(
    {
        "VANILA": AttackTraits(access="scores"),
        "GN": AttackTraits(access="scores"),
        "FFGSM": AttackTraits(norm="linf", defaults={"alpha": 10}),
        "PIFGSM": AttackTraits(norm="linf", size="max_epsilon"),
        "PIFGSMPP": AttackTraits(norm="linf", size="max_epsilon"),
        "PGDL2": AttackTraits(norm="l2"),
        "PGDRSL2": AttackTraits(norm="l2"),
        "SPSA": AttackTraits(norm="linf", access="scores"),
        "Square": AttackTraits(norm="any", access="scores"),
        "FAB": AttackTraits(norm="any", stops_at_boundary=True),
        "CW": AttackTraits(minimises="l2", stops_at_boundary=True),
        "DeepFool": AttackTraits(minimises="l2", stops_at_boundary=True),
        "EADEN": AttackTraits(minimises="l2", stops_at_boundary=True),
        "EADL1": AttackTraits(minimises="l2", stops_at_boundary=True),
        "SparseFool": AttackTraits(minimises="l0", stops_at_boundary=True),
        # By default it aims at the class of the next higher number, which need not exist.
        "JSMA": AttackTraits(aims_at_label=True),
        "OnePixel": AttackTraits(norm="l0", size="pixels", access="scores"),
        "Pixle": AttackTraits(access="scores"),
        "APGDT": AttackTraits(
            unsupported=(
                f"{DLR_REASON} torchattacks:APGD, whose cross-entropy has one other class to climb"
                " to"
            )
        ),
        "AutoAttack": AttackTraits(unsupported=f"{DLR_REASON} aa-binary-linf or aa-binary-l2"),
        "MultiAttack": AttackTraits(
            unsupported="it is a list of other attacks; write each as a row of a suite"
        ),
        "LGV": AttackTraits(
            unsupported=(
                "it trains copies of the detector on a training set; use transfer from another"
                " detector"
            )
        ),
    }
)


@dataclass(frozen=True, kw_only=True)
class Torchattacks(ThirdParty):
    """An attack of torchattacks. Source: Kim, Torchattacks, arXiv 2010.01950."""

    library = "torchattacks"
    table = TRAITS_TABLE
    spelling = MappingProxyType({"linf": "Linf", "l2": "L2"})
    fixed = MappingProxyType({"verbose": False, "n_classes": 2, "seed": 0})

    @classmethod
    def sources(cls) -> dict[str, type]:
        """Return the classes that torchattacks exports.

        Raises:
            UnavailableError: it is not installed.
        """
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                import torchattacks
        except ImportError as error:
            raise UnavailableError(
                f"torchattacks cannot be imported ({error}). Type:"
                f" {install_command('torchattacks')}"
            ) from error
        classes = {name: getattr(torchattacks, name) for name in torchattacks.__all__}
        return {name: source for name, source in classes.items() if inspect.isclass(source)}

    def attacked(self, view: TwoLogits, images: Tensor, labels: Tensor, seed: int) -> Tensor:
        """Run the attack on ``view`` with ``images``, ``labels`` and ``seed``."""
        attack: Any = self.source(view, **self.arguments(seed=seed))
        if self.traits.aims_at_label:
            attack.set_mode_targeted_by_function(lambda images, labels: 1 - labels, quiet=True)
        return cast("Tensor", attack(images, labels.long()))


names = partial(adapters.names, Torchattacks)
attack_class = partial(adapters.attack_class, Torchattacks)
