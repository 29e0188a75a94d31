"""Adversarial training by PGD."""

from typing import final

from robustbench_aigi.training.methods._adversarial import AdversarialTraining
from robustbench_aigi.training.methods.base import methods
from robustbench_aigi.training.objectives.adversarial import AdversarialObjective


@methods.add("pgd")
@final
class PGDTraining(AdversarialTraining):
    """Train on L-inf PGD from a random start. Source: Madry et al., ICLR 2018."""

    summary = "PGD attacks on the detector itself"
    prefix = "robust-"
    objective = AdversarialObjective
