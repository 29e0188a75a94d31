"""Preset hyper-parameters, by the number of images and by what is trained."""

import math
from typing import Any, NamedTuple

from robustbench_aigi.detectors import detectors
from robustbench_aigi.detectors.base import TrainingDefaults
from robustbench_aigi.training.config import TrainConfig
from robustbench_aigi.training.job import TrainingJob
from robustbench_aigi.training.methods import TrainingMethod, methods


class SizePreset(NamedTuple):
    """Hyper-parameters for training sets up to a size.

    Few images need many steps and strong augmentation. Attacked images, or few, throw the weights
    about, so that a moving average does better than the last weights.

    Attributes:
        max_images: largest training set that this preset is for.
        is_few: whether the images are few for a detector of millions of weights.
        batch: images per step.
        batch_attacked: the same, for adversarial methods.
        batch_frozen: the same, where only a part of the detector is trained.
        intra_class_mixup: maximum share of a second image of the same class.
        colour: maximum relative change of a channel's contrast. A frozen encoder, which knows
            photographs as they are, gets none.
        memory: steps of the moving average of the weights.
        memory_attacked: the same, for adversarial methods.
    """

    max_images: float
    is_few: bool
    batch: int
    batch_attacked: int
    batch_frozen: int
    intra_class_mixup: float
    colour: float
    memory: int
    memory_attacked: int


SIZE_PRESETS = (
    #          up to     few    batch attacked frozen  mixup  colour memory attacked
    SizePreset(5_000,    True,  16,   32,      64,     0.0,   0.4,   100,   60),
    SizePreset(20_000,   True,  64,   64,      64,     0.0,   0.4,   100,   60),
    SizePreset(math.inf, False, 128,  128,     128,    0.1,   0.0,   0,     500),
)  # fmt: skip
"""In order of size; the first that is large enough holds."""
TRAINED_RATE_SHARE = 0.5
"""Share of the peak rate, from trained weights."""
GENTLE_RATE_SHARE = 0.2
"""Share of the peak rate, from trained weights of a detector whose batch statistics are frozen."""


def config_for(job: TrainingJob, images: int, *, is_trained: bool, is_frozen: bool) -> TrainConfig:
    """Return the hyper-parameters of a job: presets, replaced by the method's and the user's.

    Args:
        job: what to train.
        images: number of training images.
        is_trained: whether the detector starts from trained weights.
        is_frozen: whether only a part of the detector is trained.

    Raises:
        ConfigError: a number of the user is out of its range.
    """
    method = methods.get(job.method)
    size = next(preset for preset in SIZE_PRESETS if images <= preset.max_images)
    is_trained = is_trained and not method.resets_rate
    defaults = training_defaults(job.detector)
    is_few_clean = size.is_few and not method.is_adversarial
    is_gentle = is_trained and is_few_clean and defaults.keeps_batch_statistics
    numbers: dict[str, Any] = {
        "epochs": job.epochs,
        "batch": _batch(size, method, is_frozen),
        "rate": _rate(defaults, is_few_clean, is_trained, is_gentle),
        "intra_class_mixup": size.intra_class_mixup,
        "colour": 0.0 if is_frozen else size.colour,
        "fixed_norm": is_gentle,
        "memory": size.memory_attacked if method.is_adversarial else size.memory,
        "seed": job.seed,
    }
    own = method().preset(defaults.rate)
    return TrainConfig.from_numbers({**numbers, **own, **job.numbers})


def _batch(size: SizePreset, method: type[TrainingMethod], is_frozen: bool) -> int:
    if is_frozen:
        return size.batch_frozen
    return size.batch_attacked if method.is_adversarial else size.batch


def _rate(
    defaults: TrainingDefaults, is_few_clean: bool, is_trained: bool, is_gentle: bool
) -> float:
    """Return the peak rate."""
    if is_few_clean and defaults.rate_on_few is not None:
        return defaults.rate_on_few
    if is_gentle:
        return defaults.rate * GENTLE_RATE_SHARE
    return defaults.rate * (TRAINED_RATE_SHARE if is_trained else 1.0)


def training_defaults(detector: str) -> TrainingDefaults:
    """Return the training defaults of a registered detector, and the usual ones for all others.

    Args:
        detector: registered name or address.
    """
    if detector in detectors.names():
        return detectors.get(detector).training_defaults
    return TrainingDefaults()
