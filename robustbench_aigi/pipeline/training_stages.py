"""The training stages of the full pipeline: plain fits, the `++` set, adversarial fine-tuning."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from robustbench_aigi.attacks import Suite
from robustbench_aigi.data import Dataset, Recipe
from robustbench_aigi.data.plusplus.build import build_plusplus, load_plusplus
from robustbench_aigi.data.plusplus.parts import Part
from robustbench_aigi.data.recipes import Training
from robustbench_aigi.data.suggestions import load_recipe
from robustbench_aigi.detectors import (
    Detector,
    load_detector,
    save_detector,
    shipped,
    shipped_names,
)
from robustbench_aigi.detectors._support.fingerprint import fingerprint
from robustbench_aigi.errors import TrainingCollapsedError
from robustbench_aigi.io.files import write_text
from robustbench_aigi.io.hashing import digest, file_digest
from robustbench_aigi.outcomes import Unavailable
from robustbench_aigi.pipeline.training_data import TrainingData, recipe_data
from robustbench_aigi.progress import Progress, Say
from robustbench_aigi.training import Trained, TrainingFiles, TrainingJob, methods, train_detector

PLAIN_DETECTORS = ("cifake-cnn", "resnet18-c32", "tinyvit-5m", "clip-mlp")
"""Detectors that the full pipeline fits plainly; :func:`fine_tuning_jobs` continues with some."""
DEFAULT_EPOCHS = 5
"""Epochs of a plain fit, where the recipe has no number for the detector."""
SAMPLE_COUNTS = {"train": 100, "validation": 20}
"""Generated images in each split of the `++` set that detectors are fine-tuned on."""
MAX_NAMES = 3
"""Names of weights that a summary lists."""


@dataclass(frozen=True)
class TrainingStages:
    """The training stages of the full pipeline; what is finished is not trained again.

    Attributes:
        recipe: of the dataset.
        data: all splits.
        out: folder of the run.
        progress: called after each item of work.
        say: called with each line for the user.
    """

    recipe: Recipe
    data: Dataset
    out: Path
    progress: Progress
    say: Say

    def fit_plain(self) -> dict[str, Detector | Unavailable]:
        """Return the plainly trained detectors by name, unavailable where training collapsed."""
        settings = self.recipe.training
        clean = recipe_data(self.data)
        fitted: dict[str, Detector | Unavailable] = {}
        for name in PLAIN_DETECTORS:
            job = TrainingJob(
                detector=name,
                epochs=epochs_for(settings, name, "plain"),
                seed=self.recipe.seed,
            )
            fitted[name] = self._train_once(job, clean, shipped_start(name, settings.start))
        return fitted

    def fine_tune(
        self,
        suite: Suite,
        surrogates: Mapping[str, Detector],
        fitted: Mapping[str, Detector | Unavailable],
    ) -> dict[str, Detector | Unavailable]:
        """Return the fine-tuned detectors by name, unavailable where training collapsed.

        Args:
            suite: its shared attacks make the `++` set.
            surrogates: by name, what the `++` set is made on.
            fitted: what :meth:`fit_plain` returned, to start from.
        """
        settings = self.recipe.training
        few = self.data.limit(settings.adversarial_limit)
        built = self._build_training_set(few, suite, surrogates)
        clean = recipe_data(few)
        jobs = fine_tuning_jobs(settings)
        starts = {
            job.name: shipped_start(job.name, settings.start) or fitted[job.detector]
            for job in jobs
        }
        return {
            job.name: self._train_once(
                job, built if methods.get(job.method).uses_built_set else clean, starts[job.name]
            )
            for job in jobs
        }

    def _build_training_set(
        self, few: Dataset, suite: Suite, surrogates: Mapping[str, Detector]
    ) -> TrainingData:
        """Build the `++` set that detectors are fine-tuned on."""
        folder = self.out / "plusplus" / "training"
        parts = {
            split: Part(few.split(split), all_rows=False, samples=count)
            for split, count in SAMPLE_COUNTS.items()
        }
        shared = tuple(
            row for row in suite.rows if row.shared and row.surrogate in (None, *surrogates)
        )
        build_plusplus(
            parts, suite.model_copy(update={"rows": shared}), surrogates, folder, self.progress
        )
        return TrainingData(
            key=file_digest(folder / "manifest.parquet"),
            name=f"{self.data.name}++",
            load_splits=lambda: [load_plusplus(folder, split) for split in parts],
            seen=tuple(row.id for row in shared),
        )

    def _train_once(
        self, job: TrainingJob, data: TrainingData, start: Detector | Unavailable | None
    ) -> Detector | Unavailable:
        """Return the stored detector if all it depends on is the same, else train it now."""
        if isinstance(start, Unavailable):
            return Unavailable(f"{job.detector}, which it starts from, is not there")
        beginning = "fresh" if start is None else fingerprint(start).digest
        key = digest(asdict(job), data.key, beginning)
        path = self.out / "detectors" / f"{job.name}.safetensors"
        if _stored_key(path) == key:
            return load_detector(str(path))
        state = path.with_suffix(".training")
        try:
            trained = train_detector(
                job,
                data.train,
                data.validation,
                start=start,
                trained_on=describe_training_data(data.name, len(data.train.labels), start),
                seen=data.seen,
                progress=self.progress,
                files=TrainingFiles(state, path.with_suffix(".csv")),
            )
        except TrainingCollapsedError as error:
            self.say(f"{error} It becomes a row without numbers.")
            return Unavailable(str(error))
        _store(trained, path, job, key)
        shutil.rmtree(state, ignore_errors=True)
        self.say(training_summary(trained))
        return load_detector(str(path))


def fine_tuning_jobs(settings: Training) -> list[TrainingJob]:
    """Return what the full pipeline fine-tunes: TinyViT in two ways, and the CLIP encoder.

    Args:
        settings: of the recipe.
    """
    numbers = attack_numbers(settings)
    gentle = numbers | {"eps": max(1, settings.adversarial_eps / 2)}
    pgd = TrainingJob(
        detector="tinyvit-5m", method="pgd", epochs=settings.adversarial_epochs, numbers=numbers
    )
    return [
        TrainingJob(detector="tinyvit-5m", method="static", epochs=settings.static_epochs),
        replace(pgd, epochs=settings.epochs.get(pgd.name, pgd.epochs)),
        TrainingJob(
            detector="clip-mlp", method="fare", epochs=settings.fare_epochs, numbers=gentle
        ),
    ]


def _stored_key(path: Path) -> str | None:
    """Return the key that a stored detector was trained under; None if there is none."""
    note = path.with_suffix(".json")
    if not (path.is_file() and note.is_file()):
        return None
    return str(json.loads(note.read_text())["key"])


def _store(trained: Trained, path: Path, job: TrainingJob, key: str) -> None:
    """Write a checkpoint, then the note that makes it valid."""
    note = path.with_suffix(".json")
    note.unlink(missing_ok=True)
    save_detector(trained.detector, path)
    content = {"key": key, "recipe": asdict(job), "epochs": trained.history.rows}
    write_text(note, json.dumps(content, indent=2))


def training_summary(trained: Trained) -> str:
    """Return the result of a training, in one line or a few.

    Args:
        trained: what ``train_detector`` returned.
    """
    history = trained.history
    best = history.rows[history.best_epoch]
    lines = [
        f"{trained.detector.card.name}: kept epoch {history.best_epoch + 1} of"
        f" {len(history.rows)}, score {best['score']:.4f}"
    ]
    if history.stop_reason:
        lines.append(f"stopped early: {history.stop_reason}")
    if history.without_gradient:
        count = len(history.without_gradient)
        names = ", ".join(history.without_gradient[:MAX_NAMES])
        more = ", ..." if count > MAX_NAMES else ""
        lines.append(f"{count} weights without a gradient in the first steps: {names}{more}")
    return "\n  ".join(lines)


def training_settings(dataset: str) -> Training:
    """Return a recipe's numbers for training; the default ones for a folder that ``build`` wrote.

    Args:
        dataset: name or path of a recipe, or the folder.
    """
    is_built = Path(dataset, "manifest.parquet").is_file()
    return Training() if is_built else load_recipe(dataset).training


def epochs_for(settings: Training, detector: str, method: str) -> int:
    """Return the epochs of a training, by the recipe.

    Args:
        settings: of the recipe.
        detector: registered name or address.
        method: registered name of a training method.

    Raises:
        UnknownNameError: no method has this name.
    """
    field = methods.get(method).epochs_field
    if field is None:
        return settings.epochs.get(detector, DEFAULT_EPOCHS)
    return int(getattr(settings, field))


def attack_numbers(settings: Training) -> dict[str, float]:
    """Return the eps and the steps of the inner attack.

    Args:
        settings: of the recipe.
    """
    return {"eps": settings.adversarial_eps, "steps": settings.adversarial_steps}


def shipped_start(name: str, dataset: str | None) -> Detector | None:
    """Return a shipped detector to start from; None if there is none, or it trains a head alone.

    A head on a frozen encoder is soon fitted, and better from fresh weights: 79% on ``mini``,
    against 72% from CIFAKE's.

    Args:
        name: of the detector.
        dataset: that it was trained on; None for no start.
    """
    if dataset is None or name not in shipped_names(dataset):
        return None
    ready = load_detector(str(shipped(name, dataset)))
    return ready if ready.parts_to_train() is ready else None


def describe_training_data(name: str, images: int, start: Detector | None) -> str:
    """Return a card's line on training: the images of each stage, the first stage first.

    Args:
        name: of the images.
        images: number of training images.
        start: detector that the training starts from.

    Example:
        >>> describe_training_data("mini", 2000, None)
        'mini, 2000 images'
    """
    stage = f"{name}, {images} images"
    if start is None or not start.card.trained_on:
        return stage
    return f"{start.card.trained_on}; then {stage}"
