"""Families of attacks: whether a detector has met an attack's kind in training."""

from collections.abc import Sequence

from robustbench_aigi.attacks import Attack, attacks, load_attack
from robustbench_aigi.errors import UserError


def family(attack: Attack) -> str:
    """The ball an attack moves in (L-inf, L2 or L0), or its own name if it keeps none."""
    budget = attack.budget()
    balls = {"L-inf": budget.linf, "L2": budget.l2, "L0": budget.l0}
    return next((name for name, most in balls.items() if most is not None), attack.name)


def met(attack: Attack, seen: Sequence[str]) -> bool:
    """Whether a card's ``seen``, names of attacks or of suites' rows, has one of the attack's
    family.
    """
    return family(attack) in {_family_of(name) for name in seen}


def _family_of(name: str) -> str:
    """Of a row such as ``pgd-linf-16``: that of the attack whose name it begins with; else the name
    itself.
    """
    known = [own for own in attacks.names() if name == own or name.startswith(f"{own}-")]
    try:
        return family(load_attack(max(known, key=len))) if known else name
    except UserError:  # an attack without usual numbers
        return name
