"""Train a detector by a method, and describe the training on its card."""

from typing import NamedTuple

import torch

from robustbench_aigi.detectors import Detector, load_detector
from robustbench_aigi.detectors._support.faster import copy_detector
from robustbench_aigi.detectors.base import TRAINED_HERE
from robustbench_aigi.errors import UserError
from robustbench_aigi.progress import Progress, silent
from robustbench_aigi.training.arrays import Arrays, TrainingImages
from robustbench_aigi.training.config import TrainConfig
from robustbench_aigi.training.history import History, clean_score
from robustbench_aigi.training.job import TrainingJob
from robustbench_aigi.training.log import Log
from robustbench_aigi.training.lora import add_lora, merge_lora
from robustbench_aigi.training.methods import methods
from robustbench_aigi.training.objectives.aux_class import add_aux_head, remove_aux_head
from robustbench_aigi.training.presets import config_for
from robustbench_aigi.training.session import TrainingFiles, TrainingSession
from robustbench_aigi.training.transforms import TRANSFORM_NAMES


class Trained(NamedTuple):
    """Result of a training.

    Attributes:
        detector: with the weights of its best epoch, in evaluation mode.
        history: of the last fit.
    """

    detector: Detector
    history: History


def train_detector(
    job: TrainingJob,
    train: TrainingImages,
    validation: TrainingImages,
    *,
    start: Detector | None = None,
    replay_validation: TrainingImages | None = None,
    trained_on: str = "",
    seen: tuple[str, ...] = (),
    progress: Progress = silent,
    files: TrainingFiles | None = None,
) -> Trained:
    """Train a detector, and give it a card that says how.

    Args:
        job: what to train and how.
        train: training images: for the method ``static`` those of a `++` set, for ``adapt`` the
            new ones and the replayed ones.
        validation: images that pick the best epoch.
        start: trained detector to fine-tune; None starts from fresh weights.
        replay_validation: for ``adapt``, validation images of what the detector was trained on.
        trained_on: description of the images, for the card.
        seen: attacks among the images, for the card, besides those of the method and of ``start``.
        progress: called after each step.
        files: where state, log and best checkpoint are stored; None stores nothing.

    Raises:
        UserError: the method does not fit the detector; or see :func:`~.loop.fit`.
    """
    torch.manual_seed(job.seed)
    detector = load_detector(job.detector, **job.config) if start is None else copy_detector(start)
    method = methods.get(job.method)()
    method.check_detector(detector)
    is_frozen = detector.parts_to_train() is not detector
    config = config_for(job, len(train.labels), is_trained=start is not None, is_frozen=is_frozen)
    check_cut(train, config)
    prepare_card(detector, job, config, trained_on, seen, trained_sizes(train, start))
    detector.prepare(train, validation)
    if not any(part.requires_grad for part in detector.parts_to_train().parameters()):
        return _calibrated(detector.eval(), job, validation)
    adapt_modules(detector, config, train)
    files = files or TrainingFiles()
    with Log(files.log) as log:
        session = TrainingSession(
            name=job.name,
            detector=detector,
            train=train,
            validation=validation,
            replay_validation=replay_validation,
            config=config,
            given=job.numbers,
            epochs=job.epochs,
            files=files,
            log=log,
            progress=progress,
            on_improvement=lambda: files.save_best(without_training_modules(detector, config)),
        )
        history = method.fit(session)
    return Trained(without_training_modules(detector, config).eval(), history)


def check_cut(train: TrainingImages, config: TrainConfig) -> None:
    """Check that no setting of how images are cut would be ignored.

    Args:
        train: training images.
        config: of the training.

    Raises:
        UserError: there is such a setting, and the images are in memory.
    """
    if isinstance(train, Arrays) and config.image_policy(train.images.shape[2]) is not None:
        raise UserError(
            "size, fit, jpeg and rescale are settings of images on disk, got images in memory."
            " Leave them out, or pass arrays_of(dataset, policy) of pipeline.training_data."
        )


def prepare_card(
    detector: Detector,
    job: TrainingJob,
    config: TrainConfig,
    trained_on: str,
    seen: tuple[str, ...],
    sizes: tuple[int, int] | None,
) -> None:
    """Describe a training on the card of a detector.

    Args:
        detector: its card is replaced.
        job: names the trained detector.
        config: of the training.
        trained_on: description of the images.
        seen: attacks among the images.
        sizes: smallest and largest side of the images, in pixels; None if unknown.
    """
    categories = "with what they show" if config.aux_class_weight else ""
    before_cut = {"jpeg": config.jpeg, "resize": config.rescale}
    transforms = [name for name, share in before_cut.items() if share]
    if config.transform_share:
        transforms += TRANSFORM_NAMES
    shown = methods.get(job.method).seen_attacks
    detector.describe(
        name=job.name,
        trained_on=", ".join(filter(None, (trained_on, categories))),
        trained_size=sizes,
        seen=tuple(dict.fromkeys((*detector.card.seen, *seen, *shown, *transforms))),
        weights=TRAINED_HERE,
    )


def trained_sizes(train: TrainingImages, start: Detector | None) -> tuple[int, int] | None:
    """Return the smallest and largest side of all training images so far, in pixels.

    Args:
        train: images of this training.
        start: detector that it starts from, with the sizes of earlier trainings on its card.

    Returns:
        None where the sizes of an earlier training are unknown.
    """
    sides = list(train.images.shape[2:])
    if start is not None and start.card.trained_on:
        if start.card.trained_size is None:
            return None
        sides += start.card.trained_size
    return min(sides), max(sides)


def adapt_modules(detector: Detector, config: TrainConfig, train: TrainingImages) -> None:
    """Add the modules that only training needs: a second head, low-rank updates.

    Args:
        detector: changed in place.
        config: says which.
        train: training images, whose categories the second head learns.
    """
    if config.aux_class_weight:
        add_aux_head(detector, train.categories)
    if config.lora:
        add_lora(detector, config.lora)


def without_training_modules(detector: Detector, config: TrainConfig) -> Detector:
    """Return a copy without what :func:`adapt_modules` added, or the detector if it added nothing.

    Args:
        detector: in training; it stays as it is.
        config: of the training.
    """
    if not config.lora and not config.aux_class_weight:
        return detector
    plain = remove_aux_head(copy_detector(detector))
    return merge_lora(plain) if config.lora else plain


def _calibrated(detector: Detector, job: TrainingJob, validation: TrainingImages) -> Trained:
    """Score a detector without weights to train, which its ``prepare`` has calibrated."""
    if not methods.get(job.method).takes_calibration:
        raise UserError(
            f"{job.detector} has no weights to train by {job.method}. Type `train {job.detector}`."
        )
    row = {"epoch": 0, **clean_score(detector, validation)}
    return Trained(detector, History([row], best_epoch=0))
