"""Training plans: which detectors the full pipeline trains, and how long."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self

from pydantic import BaseModel, Field, field_validator, model_validator

from robustbench_aigi import catalogue
from robustbench_aigi.config.units import Count, PairCount, WholeNumber
from robustbench_aigi.detectors import detectors, shipped_names
from robustbench_aigi.detectors.loading import address_of
from robustbench_aigi.errors import UserError
from robustbench_aigi.training.config import TrainConfig
from robustbench_aigi.training.job import TrainingJob
from robustbench_aigi.training.methods import methods

DEFAULT_PLAN = "default"
"""Plan of images that no recipe describes, such as those of a `++` set."""


class PlannedJob(BaseModel, frozen=True, extra="forbid"):
    """One training of a plan.

    Attributes:
        detector: registered name.
        method: registered name of a training method, or ``module:Class``.
        epochs: passes over the training images.
        start: name of an earlier job of the plan, or a dataset for which weights of what is
            trained ship; fresh weights if None.
        seed: of all random draws; the recipe's if None.
        limit: maximum number of images per split; all of them if None.
        numbers: fields of :class:`TrainConfig` that replace the preset ones, such as ``eps``.
    """

    detector: str
    method: str = "plain"
    epochs: Count
    start: str | None = None
    seed: WholeNumber | None = None
    limit: PairCount | None = None
    numbers: dict[str, Any] = Field(default_factory=dict)

    @property
    def name(self) -> str:
        """Name of the trained detector, such as ``robust-tinyvit-5m``."""
        return self.training_job(0).name

    @property
    def uses_built_set(self) -> bool:
        """Whether the detector is trained on a `++` set."""
        return methods.get(self.method).uses_built_set

    def training_job(self, seed: int) -> TrainingJob:
        """Return what to train and how.

        Args:
            seed: of the recipe, for a job that has none.
        """
        return TrainingJob(
            detector=self.detector,
            method=self.method,
            epochs=self.epochs,
            seed=seed if self.seed is None else self.seed,
            numbers=self.numbers,
        )

    @field_validator("detector")
    @classmethod
    def _check_detector(cls, detector: str) -> str:
        with _faults_as_value_errors():
            if address_of(detector).is_bare:
                detectors.get(detector)
        return detector

    @field_validator("method")
    @classmethod
    def _check_method(cls, method: str) -> str:
        with _faults_as_value_errors():
            needs_replay = methods.get(method).needs_replay
        if needs_replay:
            raise ValueError(
                f"{method} needs images of two recipes, and a plan is for one. Type"
                f" `robustbench-aigi train DETECTOR --method {method} --start CHECKPOINT --data NEW"
                " --rehearse OLD --out FILE.safetensors`."
            )
        return method

    @field_validator("numbers")
    @classmethod
    def _check_numbers(cls, numbers: dict[str, Any]) -> dict[str, Any]:
        return checked_numbers(numbers)

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        with _faults_as_value_errors():
            self.training_job(0)
        return self


class TrainDefaults(BaseModel, frozen=True, extra="forbid"):
    """What the command ``train`` takes where the user gives nothing.

    Attributes:
        epochs: by the name of a method.
        numbers: fields of :class:`TrainConfig` that replace the preset ones.
    """

    epochs: dict[str, Count] = Field(default_factory=dict)
    numbers: dict[str, Any] = Field(default_factory=dict)

    @field_validator("epochs")
    @classmethod
    def _check_epochs(cls, epochs: dict[str, int]) -> dict[str, int]:
        with _faults_as_value_errors():
            for method in epochs:
                methods.get(method)
        return epochs

    @field_validator("numbers")
    @classmethod
    def _check_numbers(cls, numbers: dict[str, Any]) -> dict[str, Any]:
        return checked_numbers(numbers)


class TrainingPlan(BaseModel, frozen=True, extra="forbid"):
    """What the full pipeline trains on a dataset, in order.

    Attributes:
        name: as the file is called.
        version: raised with every change of what is trained.
        train: what the command ``train`` takes where the user gives nothing.
        jobs: the trainings, in order. The `++` set is made on detectors of the jobs before the
            first one that uses it.
    """

    name: str
    version: int = Field(ge=1)
    train: TrainDefaults = TrainDefaults()
    jobs: tuple[PlannedJob, ...] = Field(min_length=1)

    def epochs_for(self, detector: str, method: str) -> int:
        """Return the default epochs of a training: by method, by job, or the method's own.

        Args:
            detector: registered name or address.
            method: registered name of a training method.

        Raises:
            UnknownNameError: no method has this name.
        """
        own = methods.get(method).default_epochs
        of_jobs = {(job.detector, job.method): job.epochs for job in self.jobs}
        return self.train.epochs.get(method, of_jobs.get((detector, method), own))

    @model_validator(mode="after")
    def _check_jobs(self) -> Self:
        earlier: dict[str, str] = {}
        for job in self.jobs:
            if job.name in earlier:
                raise ValueError(f"two jobs train {job.name}. Leave one of them out.")
            _check_start(job, earlier)
            earlier[job.name] = job.detector
        limits = {job.limit for job in self.jobs if job.uses_built_set}
        if len(limits) > 1:
            raise ValueError(
                "jobs on the `++` set share it, and need one limit; got"
                f" {', '.join(sorted(str(limit or 'none') for limit in limits))}. Write the same"
                " limit in each of them."
            )
        return self


def load_training_plan(name: str) -> TrainingPlan:
    """Read a training plan.

    Args:
        name: of a plan that ships, or a path that ends in ``.toml``.

    Raises:
        UnknownNameError: there is no such plan.
        ConfigError: it does not fit.

    Example:
        >>> [job.name for job in load_training_plan("mini").jobs][-2:]
        ['robust-tinyvit-5m', 'robust-clip-mlp']
    """
    return catalogue.read("training_plans", name, TrainingPlan)


def checked_numbers(numbers: Mapping[str, Any]) -> dict[str, Any]:
    """Return numbers of a training in their units.

    Args:
        numbers: fields of :class:`TrainConfig` with values, as in a file.

    Raises:
        ValueError: an unknown field, or a value out of its range.

    Example:
        >>> checked_numbers({"eps": "8/255"})
        {'eps': 8.0}
    """
    with _faults_as_value_errors():
        config = TrainConfig.from_numbers({"epochs": 1, **numbers})
    return {name: getattr(config, name) for name in numbers}


def _check_start(job: PlannedJob, earlier: Mapping[str, str]) -> None:
    """Raise ``ValueError`` if a job cannot start from what it names.

    Args:
        job: to check.
        earlier: names of the jobs before it, with their detectors.
    """
    if job.start is None:
        return
    if job.start in earlier:
        if earlier[job.start] != job.detector:
            raise ValueError(
                f"{job.name} trains {job.detector} and starts from {job.start}, which is a"
                f" {earlier[job.start]}. Name an earlier job of {job.detector}."
            )
        return
    if job.name not in shipped_names(job.start):
        raise ValueError(
            f"start of {job.name}: expected an earlier job ({', '.join(earlier) or 'none here'}) or"
            f" a dataset for which weights of {job.name} ship, got {job.start!r}. Leave start out"
            " for fresh weights."
        )


@contextmanager
def _faults_as_value_errors() -> Iterator[None]:
    """Raise a ``ValueError``, which pydantic reports with its place, for a ``UserError``."""
    try:
        yield
    except UserError as error:
        raise ValueError(str(error)) from error
