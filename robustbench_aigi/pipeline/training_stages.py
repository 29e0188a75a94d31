"""The training stages of the main job: fit plainly, build the `++` set, fine-tune against attacks;
each is kept.
"""

import functools
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import torch

from robustbench_aigi.attacks import Suite
from robustbench_aigi.data import Dataset, Recipe, describe_counts, load_data
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
from robustbench_aigi.progress import Progress, Say
from robustbench_aigi.training.arrays import Arrays
from robustbench_aigi.training.presets import Files, TrainingJob, method_of, train_detector
from robustbench_aigi.training.replay import rehearsed
from robustbench_aigi.training.training_run import History

PLAIN = ("cifake-cnn", "resnet18-c32", "tinyvit-5m", "clip-mlp")
"""What the main job fits; then it fine-tunes two of them: TinyViT in two ways, and the CLIP tower.
"""


@dataclass(frozen=True)
class TrainingData:
    """What a detector is trained on: a key of the images, how to find them, their name, and the
    attacks among them.

    ``parts`` gives the training and the validation images.
    """

    key: str
    parts: Callable[[], list[Dataset]]
    name: str
    seen: tuple[str, ...] = ()

    @functools.cached_property
    def sets(self) -> list[Arrays]:
        """Training and validation images, in memory."""
        return [sets_of(part) for part in self.parts()]


def fit_plain(
    recipe: Recipe, data: Dataset, folder: Path, progress: Progress, say: Say
) -> dict[str, Detector | Unavailable]:
    """The undefended detectors by name, kept in ``folder``; where training collapsed, what it
    said.
    """
    clean = TrainingData(data.key, lambda: _splits(data), data.name)
    fitted: dict[str, Detector | Unavailable] = {}
    for name in PLAIN:
        made = TrainingJob(
            detector=name, epochs=epochs_of(recipe.training, name, "plain"), seed=recipe.seed
        )
        fitted[name] = _kept(made, clean, begun(name, recipe.training.start), folder, progress, say)
    return fitted


def fine_tune(
    recipe: Recipe,
    suite: Suite,
    makers: Mapping[str, Detector],
    fitted: Mapping[str, Detector | Unavailable],
    data: Dataset,
    out: Path,
    progress: Progress,
    say: Say,
) -> dict[str, Detector | Unavailable]:
    """The fine-tuned detectors by name; where training collapsed, what it said."""
    own, folder = recipe.training, out / "plusplus" / "training"
    few = data.limit(own.adversarial_limit)
    parts = {
        s: Part(few.split(s), all_rows=False, samples=n)
        for s, n in (("train", 100), ("validation", 20))
    }
    shared = tuple(row for row in suite.rows if row.shared and row.surrogate in (None, *makers))
    possible = suite.model_copy(update={"rows": shared})
    build_plusplus(parts, possible, makers, folder, progress)
    built = TrainingData(
        key=file_digest(folder / "manifest.parquet"),
        parts=lambda: [load_plusplus(folder, split) for split in parts],
        name=f"{data.name}++",
        seen=tuple(row.id for row in possible.rows),
    )
    clean = TrainingData(few.key, lambda: _splits(few), data.name)
    numbers = attack_of(own)
    gentle = numbers | {"eps": max(1, own.adversarial_eps / 2)}
    robust_epochs = own.epochs.get("robust-tinyvit-5m", own.adversarial_epochs)
    plans = [
        (TrainingJob(detector="tinyvit-5m", method="static", epochs=own.static_epochs), built),
        (
            TrainingJob(detector="tinyvit-5m", method="pgd", epochs=robust_epochs, numbers=numbers),
            clean,
        ),
        (
            TrainingJob(detector="clip-mlp", method="fare", epochs=own.fare_epochs, numbers=gentle),
            clean,
        ),
    ]
    kept = out / "detectors"
    starts = {made.name: begun(made.name, own.start) or fitted[made.detector] for made, _ in plans}
    return {
        made.name: _kept(made, lesson, starts[made.name], kept, progress, say)
        for made, lesson in plans
    }


def _kept(
    made: TrainingJob,
    lesson: TrainingData,
    start: Detector | Unavailable | None,
    folder: Path,
    progress: Progress,
    say: Say,
) -> Detector | Unavailable:
    """The kept detector if all it depends on is the same, else one trained now; text says why there
    is none.
    """
    if isinstance(start, Unavailable):
        return Unavailable(f"{made.detector}, which it starts from, is not there")
    key = digest(asdict(made), lesson.key, "fresh" if start is None else fingerprint(start).digest)
    path = folder / f"{made.name}.safetensors"
    note = path.with_suffix(".json")
    if path.is_file() and note.is_file() and json.loads(note.read_text())["key"] == key:
        return load_detector(str(path))
    train_set, validation = lesson.sets
    line, state = (
        trained_on(lesson.name, len(train_set.labels), start),
        path.with_suffix(".training"),
    )
    files = Files(state, path.with_suffix(".csv"))
    try:
        detector, history = train_detector(
            made,
            train_set,
            validation,
            start=start,
            trained_on=line,
            seen=lesson.seen,
            progress=progress,
            files=files,
        )
    except TrainingCollapsedError as error:
        say(f"{error} It becomes a row without numbers.")
        return Unavailable(str(error))
    note.unlink(missing_ok=True)
    save_detector(detector, path)
    write_text(
        note, json.dumps({"key": key, "recipe": asdict(made), "epochs": history.rows}, indent=2)
    )
    shutil.rmtree(state, ignore_errors=True)
    say(told(detector, history))
    return load_detector(str(path))


def told(detector: Detector, history: History) -> str:
    """What came of a training, in a line or two."""
    best = history.rows[history.best_epoch]
    line = (
        f"{detector.card.name}: kept epoch {history.best_epoch + 1} of {len(history.rows)}, score"
        f" {best['score']:.4f}"
    )
    if history.stopped:
        line += f"\n  stopped early: {history.stopped}"
    if history.silent:
        few = ", ".join(history.silent[:3]) + (", ..." if len(history.silent) > 3 else "")
        line += f"\n  {len(history.silent)} weights without a gradient in the first steps: {few}"
    return line


def training_on(dataset: str) -> Training:
    """How long to train: a recipe's numbers; the usual ones for a folder that ``build`` wrote."""
    built = Path(dataset, "manifest.parquet")
    return Training() if built.is_file() else load_recipe(dataset).training


def load_training_data(
    dataset: str,
    source: str | None,
    limit: int | None,
    skipped: Path,
    progress: Progress,
    say: Say,
    convert: bool = False,
) -> TrainingData:
    """What to train on: a recipe's images, or the `++` set in a folder that ``build`` wrote."""
    built = Path(dataset, "manifest.parquet")
    if built.is_file():
        attacks = set(pd.read_parquet(built, columns=["attack"])["attack"])
        parts = [load_plusplus(Path(dataset), split) for split in ("train", "validation")]
        return TrainingData(
            file_digest(built), lambda: parts, "++ set", tuple(sorted(attacks - {"clean"}))
        )
    data = load_data(dataset, source, ("train", "validation"), limit, skipped, progress, convert)
    say(describe_counts(data, skipped))
    return TrainingData(data.key, lambda: _splits(data), data.name)


class Course(NamedTuple):
    """Images to train on and to choose the best epoch by, with their name and the attacks among
    them.

    ``known`` are validation images of what the detector knows already, for the method ``adapt``.
    """

    train: Arrays
    validation: Arrays
    name: str
    seen: tuple[str, ...] = ()
    known: Arrays | None = None


def course_of(lesson: TrainingData, old: TrainingData | None) -> Course:
    """A lesson, with images of an older one rehearsed if there is one."""
    if old is None:
        train, validation = lesson.sets
        return Course(train, validation, lesson.name, lesson.seen)
    train, validation, known = with_rehearsal(lesson, old)
    return Course(train, validation, f"{lesson.name} with {old.name} rehearsed", lesson.seen, known)


def with_rehearsal(
    new: TrainingData, old: TrainingData, seed: int = 0
) -> tuple[Arrays, Arrays, Arrays]:
    """What the method ``adapt`` trains on and is judged by: the new images and some of the old,
    validation of both.

    Old images are drawn from each class of each generator alike.
    """
    known = old.parts()[0].manifest
    strata = torch.tensor(known.groupby(["label", "generator"], dropna=False).ngroup().to_numpy())
    return rehearsed(new.sets[0], old.sets[0], strata, seed), new.sets[1], old.sets[1]


def begun(name: str, dataset: str | None) -> Detector | None:
    """The weights shipped for a detector, trained on ``dataset``; None if there are none, or a head
    alone is trained.

    A head on a frozen tower is soon fitted, and better afresh (79% of ``mini``; 72% begun from
    CIFAKE's).
    """
    if dataset is None or name not in shipped_names(dataset):
        return None
    ready = load_detector(str(shipped(name, dataset)))
    return ready if ready.parts_to_train() is ready else None


def trained_on(name: str, images: int, start: Detector | None) -> str:
    """A card's line on training: the images of each stage, the first one first."""
    before = (
        f"{start.card.trained_on}; then " if start is not None and start.card.trained_on else ""
    )
    return f"{before}{name}, {images} images"


def _splits(data: Dataset) -> list[Dataset]:
    return [data.split(split) for split in ("train", "validation")]


def sets_of(data: Dataset) -> Arrays:
    """A dataset in memory; images of no known category are of one more."""
    categories = torch.tensor(
        pd.factorize(data.manifest["category"], sort=True, use_na_sentinel=False)[0]
    )
    attack = data.manifest.get("attack")
    changed = None if attack is None else torch.tensor((attack != "clean").to_numpy())
    return Arrays(*data.arrays(), data.groups(), categories, changed)


def epochs_of(own: Training, detector: str, method: str) -> int:
    """Epochs of a method for a detector, by the recipe."""
    if method_of(method).attacks is not None:
        return own.adversarial_epochs
    if method_of(method).tower is not None:
        return own.fare_epochs
    return own.static_epochs if method in ("static", "adapt") else own.epochs.get(detector, 5)


def attack_of(own: Training) -> dict[str, float]:
    """Numbers of the inner attack, by the recipe."""
    return {"eps": own.adversarial_eps, "steps": own.adversarial_steps}
