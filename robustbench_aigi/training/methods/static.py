"""Training on a `++` set, whose attacked images were made beforehand."""

from typing import final

from robustbench_aigi.training.methods.base import TrainingMethod, methods


@methods.add("static")
@final
class StaticTraining(TrainingMethod):
    """Train on the images of a `++` set, as they are."""

    summary = "a `++` set that build wrote"
    prefix = "static-"
    default_epochs = 2
    uses_built_set = True
    takes_aux_class = True
    takes_calibration = True
