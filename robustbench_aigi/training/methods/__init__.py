"""Ways to train a detector, one file each: adding a file registers its method.

Other packages add theirs through the entry point group ``robustbench_aigi.training.methods``, or
are named as ``module:Class``.
"""

from robustbench_aigi.training.methods.base import TrainingMethod, methods

__all__ = ["TrainingMethod", "methods"]
