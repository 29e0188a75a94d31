"""Plain training on the images of a recipe."""

from typing import final

from robustbench_aigi.training.methods.base import TrainingMethod, methods


@methods.add("plain")
@final
class PlainTraining(TrainingMethod):
    """Train on images as they are."""

    summary = "clean images"
    takes_aux_class = True
    takes_calibration = True
