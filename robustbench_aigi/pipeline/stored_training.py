"""A training of the full pipeline whose detector is stored, and not trained again."""

import json
import shutil
from dataclasses import asdict
from pathlib import Path

from robustbench_aigi.detectors import Detector, load_detector, save_detector
from robustbench_aigi.detectors._support.fingerprint import fingerprint
from robustbench_aigi.errors import TrainingCollapsedError
from robustbench_aigi.io.files import write_text
from robustbench_aigi.io.hashing import digest
from robustbench_aigi.outcomes import Unavailable
from robustbench_aigi.pipeline.training_data import TrainingData
from robustbench_aigi.pipeline.training_summary import describe_training_data, training_summary
from robustbench_aigi.progress import Progress, Say
from robustbench_aigi.training import Trained, TrainingFiles, TrainingJob, train_detector


def train_once(
    job: TrainingJob,
    data: TrainingData,
    start: Detector | None,
    path: Path,
    progress: Progress,
    say: Say,
) -> Detector | Unavailable:
    """Return the stored detector if all it depends on is the same, else train it now.

    Args:
        job: what to train.
        data: images to train on.
        start: detector to start from; fresh weights if None.
        path: of the checkpoint. Beside it are a note, the log and, until the end, the state.
        progress: called after each step.
        say: called with each line for the user.

    Returns:
        The detector, or why it is unavailable where training collapsed.
    """
    beginning = "fresh" if start is None else fingerprint(start).digest
    key = digest(asdict(job), data.key, beginning)
    if _stored_key(path) == key:
        return load_detector(str(path))
    state = path.with_suffix(".training")
    beginner = load_detector(job.detector, **job.config) if start is None else start
    data = data.cut_for(job, beginner.card.input_size)
    try:
        trained = train_detector(
            job,
            data.train,
            data.validation,
            start=start,
            trained_on=describe_training_data(data.name, len(data.train.labels), start),
            seen=data.seen,
            progress=progress,
            files=TrainingFiles(state, path.with_suffix(".csv")),
        )
    except TrainingCollapsedError as error:
        say(f"{error} It becomes a row without numbers.")
        return Unavailable(str(error))
    _store(trained, path, job, key)
    shutil.rmtree(state, ignore_errors=True)
    say(training_summary(trained))
    return load_detector(str(path))


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
