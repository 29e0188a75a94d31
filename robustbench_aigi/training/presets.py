"""Preset hyper-parameters, by the number of images and by what is trained."""

import math
from typing import Any, NamedTuple

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
RATES = {"resnet18-c32": 2e-3}
"""Peak rates of AdamW; 1e-3 for the others."""
FEW_RATES = {"cifake-cnn": 2e-3}
"""Peak rates for few images, where that of many is too low: halved, the CNN is far from done after
30 epochs.
"""
GENTLE = ("tinyvit-5m", "tinyvit-11m", "tinyvit-21m")
"""Detectors whose batch statistics few images upset: these are kept, and the rate is lower, when
fine-tuning on few.
"""


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
    is_gentle = is_trained and size.is_few and not method.is_adversarial and job.detector in GENTLE
    numbers: dict[str, Any] = {
        "epochs": job.epochs,
        "batch": _batch(size, method, is_frozen),
        "rate": _rate(job, size, is_trained, is_gentle),
        "intra_class_mixup": size.intra_class_mixup,
        "colour": 0.0 if is_frozen else size.colour,
        "fixed_norm": is_gentle,
        "memory": size.memory_attacked if method.is_adversarial else size.memory,
        "seed": job.seed,
    }
    own = method().preset(_base_rate(job))
    return TrainConfig.from_numbers({**numbers, **own, **job.numbers})


def _batch(size: SizePreset, method: type[TrainingMethod], is_frozen: bool) -> int:
    if is_frozen:
        return size.batch_frozen
    return size.batch_attacked if method.is_adversarial else size.batch


def _base_rate(job: TrainingJob) -> float:
    return RATES.get(job.detector, 1e-3)


def _rate(job: TrainingJob, size: SizePreset, is_trained: bool, is_gentle: bool) -> float:
    """Return the peak rate."""
    if size.is_few and not methods.get(job.method).is_adversarial and job.detector in FEW_RATES:
        return FEW_RATES[job.detector]
    if is_gentle:
        return _base_rate(job) * GENTLE_RATE_SHARE
    return _base_rate(job) * (TRAINED_RATE_SHARE if is_trained else 1.0)
