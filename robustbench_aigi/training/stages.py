"""The training stages of the main job: fit plainly, build the `++` set, fine-tune against attacks; each is kept."""

import functools
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd

from robustbench_aigi import catalogue
from robustbench_aigi.attacks import Suite
from robustbench_aigi.data import Dataset, Recipe, counts, load_data
from robustbench_aigi.data.builder import Part, build_plusplus, plusplus
from robustbench_aigi.data.recipes import Training
from robustbench_aigi.detectors import Detector, load_detector, save_detector, shipped, shipped_names
from robustbench_aigi.errors import Collapsed
from robustbench_aigi.files import write_text
from robustbench_aigi.hashing import digest, file_digest
from robustbench_aigi.training.arrays import Arrays
from robustbench_aigi.training.methods import Recipe as TrainingRecipe
from robustbench_aigi.training.methods import train_detector

Progress = Callable[[str, int, int], None]
Say = Callable[[str], None]
PLAIN = ("cifake-cnn", "resnet18-c32", "tinyvit-5m", "clip-mlp")
"""What the main job fits; then it fine-tunes two of them: TinyViT in two ways, and the CLIP tower."""


@dataclass(frozen=True)
class Lesson:
    """What a detector is trained on: a key of the images, how to read them, their name, and the attacks among them."""

    key: str
    sets: Callable[[], list[Arrays]]
    name: str
    seen: tuple[str, ...] = ()


def fit_plain(recipe: Recipe, data: Dataset, folder: Path, progress: Progress, say: Say) -> dict[str, Detector | str]:
    """The undefended detectors by name, kept in ``folder``; where training collapsed, what it said."""
    clean = Lesson(data.key, functools.cache(lambda: _sets(data)), data.name)
    fitted: dict[str, Detector | str] = {}
    for name in PLAIN:
        made = TrainingRecipe(detector=name, epochs=epochs_of(recipe.training, name, "plain"), seed=recipe.seed)
        fitted[name] = _kept(made, clean, begun(name, recipe.training.start), folder, progress, say)
    return fitted


def fine_tune(
    recipe: Recipe,
    suite: Suite,
    makers: Mapping[str, Detector],
    fitted: Mapping[str, Detector | str],
    data: Dataset,
    out: Path,
    progress: Progress,
    say: Say,
) -> dict[str, Detector | str]:
    """The fine-tuned detectors by name; where training collapsed, what it said."""
    own, folder = recipe.training, out / "plusplus" / "training"
    few = data.limit(own.adversarial_limit)
    parts = {s: Part(few.split(s), all_rows=False, samples=n) for s, n in (("train", 100), ("validation", 20))}
    shared = tuple(row for row in suite.rows if row.shared and row.surrogate in (None, *makers))
    possible = suite.model_copy(update={"rows": shared})
    build_plusplus(parts, possible, makers, folder, progress)
    built = Lesson(
        key=file_digest(folder / "manifest.parquet"),
        sets=lambda: [sets_of(plusplus(folder, split)) for split in parts],
        name=f"{data.name}++",
        seen=tuple(row.id for row in possible.rows),
    )
    clean = Lesson(few.key, functools.cache(lambda: _sets(few)), data.name)
    steps, eps = own.adversarial_steps, own.adversarial_eps
    plans = [
        (TrainingRecipe(detector="tinyvit-5m", method="static", epochs=own.static_epochs), built),
        (
            TrainingRecipe(detector="tinyvit-5m", method="pgd", epochs=own.adversarial_epochs, eps=eps, steps=steps),
            clean,
        ),
        (TrainingRecipe(detector="clip-mlp", method="fare", epochs=own.fare_epochs, eps=eps / 2, steps=steps), clean),
    ]
    kept = out / "detectors"
    return {made.name: _kept(made, lesson, fitted[made.detector], kept, progress, say) for made, lesson in plans}


def _kept(
    made: TrainingRecipe, lesson: Lesson, start: Detector | str | None, folder: Path, progress: Progress, say: Say
) -> Detector | str:
    """The kept detector if all it depends on is the same, else one trained now; text says why there is none."""
    if isinstance(start, str):
        return f"{made.detector}, which it starts from, is not there"
    key = digest(asdict(made), lesson.key, start.card.weights if start is not None else "fresh")
    path = folder / f"{made.name}.safetensors"
    note = path.with_suffix(".json")
    if path.is_file() and note.is_file() and json.loads(note.read_text())["key"] == key:
        return load_detector(str(path))
    train_set, validation = lesson.sets()
    line, kept = trained_on(lesson.name, len(train_set.labels), start), path.with_suffix(".training")
    try:
        detector, history = train_detector(
            made,
            train_set,
            validation,
            start=start,
            trained_on=line,
            seen=lesson.seen,
            progress=progress,
            kept=kept,
        )
    except Collapsed as error:
        say(f"{error} It becomes a row without numbers.")
        return str(error)
    note.unlink(missing_ok=True)
    save_detector(detector, path)
    write_text(note, json.dumps({"key": key, "recipe": asdict(made), "epochs": history.rows}, indent=2))
    best = history.rows[history.best_epoch]
    say(
        f"{detector.card.name}: validation score {best['score']:.3f}, "
        f"epoch {history.best_epoch + 1} of {len(history.rows)}"
    )
    return load_detector(str(path))


def training_on(dataset: str) -> Training:
    """How long to train: a recipe's numbers; the usual ones for a folder that ``build`` wrote."""
    built = Path(dataset, "manifest.parquet")
    return Training() if built.is_file() else catalogue.read("datasets", dataset, Recipe).training


def lesson_on(
    dataset: str, source: str | None, limit: int | None, skipped: Path, progress: Progress, say: Say
) -> Lesson:
    """What to train on: a recipe's images, or the `++` set in a folder that ``build`` wrote."""
    built = Path(dataset, "manifest.parquet")
    if built.is_file():
        attacks = set(pd.read_parquet(built, columns=["attack"])["attack"])
        sets = [plusplus(Path(dataset), split) for split in ("train", "validation")]
        key, name, seen = file_digest(built), "++ set", tuple(sorted(attacks - {"clean"}))
    else:
        data = load_data(dataset, source, ("train", "validation"), limit, skipped, progress)
        say(counts(data, skipped))
        sets = [data.split(split) for split in ("train", "validation")]
        key, name, seen = data.key, data.name, ()
    return Lesson(key, lambda: [sets_of(part) for part in sets], name, seen)


def begun(name: str, dataset: str | None) -> Detector | None:
    """The weights shipped for a detector, trained on ``dataset``; None if there are none."""
    if dataset is None or name not in shipped_names(dataset):
        return None
    return load_detector(name, shipped(name, dataset))


def trained_on(name: str, images: int, start: Detector | None) -> str:
    """A card's line on training: the images of each stage, the first one first."""
    before = f"{start.card.trained_on}; then " if start is not None and start.card.trained_on else ""
    return f"{before}{name}, {images} images"


def _sets(data: Dataset) -> list[Arrays]:
    return [sets_of(data.split(split)) for split in ("train", "validation")]


def sets_of(data: Dataset) -> Arrays:
    """Images, labels and groups of a dataset, in memory."""
    return Arrays(*data.arrays(), data.groups())


def epochs_of(own: Training, detector: str, method: str) -> int:
    """Epochs of a method for a detector, by the recipe."""
    other = {
        "static": own.static_epochs,
        "pgd": own.adversarial_epochs,
        "fare": own.fare_epochs,
        "tecoa": own.fare_epochs,
    }
    return other.get(method) or own.epochs.get(detector, 5)
