"""The training stages of the full pipeline: the jobs of a plan, and the `++` set for them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from robustbench_aigi.attacks import Suite
from robustbench_aigi.data import Dataset
from robustbench_aigi.data.plusplus.build import build_plusplus, load_plusplus
from robustbench_aigi.data.plusplus.parts import Part
from robustbench_aigi.detectors import Detector, load_detector, shipped
from robustbench_aigi.io.hashing import file_digest
from robustbench_aigi.outcomes import Unavailable
from robustbench_aigi.pipeline.detectors import available
from robustbench_aigi.pipeline.stored_training import train_once
from robustbench_aigi.pipeline.training_data import TrainingData, recipe_data
from robustbench_aigi.progress import Progress, Say
from robustbench_aigi.training.plans import PlannedJob, TrainingPlan

SAMPLE_COUNTS = {"train": 100, "validation": 20}
"""Generated images in each split of the `++` set that detectors are trained on."""


@dataclass(frozen=True)
class TrainingStages:
    """The training stages of the full pipeline; what is finished is not trained again.

    Attributes:
        plan: what is trained.
        suite: its shared attacks make the `++` set.
        data: all splits.
        seed: of the recipe, for jobs that have none.
        out: folder of the run.
        progress: called after each item of work.
        say: called with each line for the user.
    """

    plan: TrainingPlan
    suite: Suite
    data: Dataset
    seed: int
    out: Path
    progress: Progress
    say: Say

    def train_all(self) -> dict[str, Detector | Unavailable]:
        """Return the trained detectors by name, unavailable where training collapsed."""
        trained: dict[str, Detector | Unavailable] = {}
        images = StageImages(self)
        for planned in self.plan.jobs:
            job = planned.training_job(self.seed)
            data = images.of(planned, trained)
            start = _start_of(planned, trained)
            if isinstance(start, Unavailable):
                trained[job.name] = Unavailable(
                    f"{planned.start}, which it starts from, is not there"
                )
                continue
            path = self.out / "detectors" / f"{job.name}.safetensors"
            trained[job.name] = train_once(job, data, start, path, self.progress, self.say)
        return trained


@dataclass
class StageImages:
    """The images of each job; those of the last limit stay in memory.

    Attributes:
        stages: whose jobs they are for.
        limit: of the clean images that are in memory.
        built: the `++` set, once a job has asked for it.
    """

    stages: TrainingStages
    limit: int | None = None
    built: TrainingData | None = None

    def __post_init__(self) -> None:
        self._clean = recipe_data(self.stages.data)

    def of(self, job: PlannedJob, trained: Mapping[str, Detector | Unavailable]) -> TrainingData:
        """Return the images of a job.

        Args:
            job: of the plan.
            trained: detectors by name, on which the `++` set is made if it is not built yet.
        """
        if not job.uses_built_set:
            return self._clean_images(job.limit)
        if self.built is None:
            surrogates = {
                name: detector
                for name, detector in available(trained).items()
                if name in self.stages.suite.surrogates
            }
            self.built = build_training_set(self.stages, job.limit, surrogates)
        return self.built

    def _clean_images(self, limit: int | None) -> TrainingData:
        if limit != self.limit:
            self._clean = recipe_data(self.stages.data.limit(limit))
            self.limit = limit
        return self._clean


def build_training_set(
    stages: TrainingStages, limit: int | None, surrogates: Mapping[str, Detector]
) -> TrainingData:
    """Build the `++` set that detectors are trained on.

    Args:
        stages: with the clean images and the suite.
        limit: maximum number of clean images per split.
        surrogates: by name, what the set is made on; rows of others are left out.
    """
    folder = stages.out / "plusplus" / "training"
    few = stages.data.limit(limit)
    parts = {
        split: Part(few.split(split), all_rows=False, samples=count)
        for split, count in SAMPLE_COUNTS.items()
    }
    shared = tuple(
        row for row in stages.suite.rows if row.shared and row.surrogate in (None, *surrogates)
    )
    suite = stages.suite.model_copy(update={"rows": shared})
    build_plusplus(parts, suite, surrogates, folder, stages.progress)
    return TrainingData(
        key=file_digest(folder / "manifest.parquet"),
        name=f"{stages.data.name}++",
        load_splits=lambda: [load_plusplus(folder, split) for split in parts],
        seen=tuple(row.id for row in shared),
    )


def _start_of(
    job: PlannedJob, trained: Mapping[str, Detector | Unavailable]
) -> Detector | Unavailable | None:
    """Return what a job starts from; None for fresh weights."""
    if job.start is None:
        return None
    if job.start in trained:
        return trained[job.start]
    return load_detector(str(shipped(job.name, job.start)))
