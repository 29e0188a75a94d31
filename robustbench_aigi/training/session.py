"""The fits of one training: what they share, and how a training method starts one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from robustbench_aigi.detectors import Detector
from robustbench_aigi.progress import Progress
from robustbench_aigi.training.arrays import TrainingImages
from robustbench_aigi.training.config import TrainConfig
from robustbench_aigi.training.history import History, Score, StopReason, clean_score, never_stop
from robustbench_aigi.training.log import Log
from robustbench_aigi.training.loop import fit, ignore_improvement
from robustbench_aigi.training.objectives.base import Objective, own_loss


@dataclass(frozen=True)
class FitGoal:
    """What a fit lowers, and how its epochs are judged.

    Attributes:
        objective: the loss to lower.
        score: picks the best epoch.
        stop_reason: ends the fit early.
    """

    objective: Objective = own_loss
    score: Score = clean_score
    stop_reason: StopReason = never_stop


def ignore_best(detector: Detector) -> None:
    """Save nothing of a ``detector``."""


@dataclass(frozen=True)
class TrainingFiles:
    """Where a training stores what it needs.

    Attributes:
        state: folder for the state that a killed training resumes from; None stores none.
        log: CSV file of the epochs; None writes none.
        save_best: called with the detector in its best state so far.
    """

    state: Path | None = None
    log: Path | None = None
    save_best: Callable[[Detector], object] = ignore_best


@dataclass(frozen=True, kw_only=True)
class TrainingSession:
    """One training, as a training method sees it.

    Attributes:
        name: of the trained detector.
        detector: changed in place.
        train: training images.
        validation: images that pick the best epoch.
        replay_validation: validation images of what the detector was trained on before; None if
            the method has no replay.
        config: hyper-parameters.
        given: the hyper-parameters that the user set, among them.
        epochs: that the job asks for.
        files: where state and log are stored.
        log: of all fits.
        progress: called after each step.
        on_improvement: called when the detector is in its best state so far.
    """

    name: str
    detector: Detector
    train: TrainingImages
    validation: TrainingImages
    replay_validation: TrainingImages | None
    config: TrainConfig
    given: Mapping[str, Any]
    epochs: int
    files: TrainingFiles
    log: Log
    progress: Progress
    on_improvement: Callable[[], object]

    @property
    def images(self) -> int:
        """Number of training images."""
        return len(self.train.labels)

    def fit(self, config: TrainConfig, goal: FitGoal) -> History:
        """Train the detector.

        Args:
            config: of this fit.
            goal: what to lower.
        """
        return self._fit(config, goal, f"fit {self.name}", None, self.on_improvement)

    def fit_part(self, config: TrainConfig, goal: FitGoal, part: nn.Module, kind: str) -> History:
        """Train a part of the detector alone, before the fit of the whole.

        Args:
            config: of this fit.
            goal: what to lower.
            part: module of the detector.
            kind: of the part, for the name of the fit.
        """
        return self._fit(config, goal, f"{kind} {self.name}", part, ignore_improvement)

    def _fit(
        self,
        config: TrainConfig,
        goal: FitGoal,
        task: str,
        part: nn.Module | None,
        on_improvement: Callable[[], object],
    ) -> History:
        return fit(
            self.detector,
            self.train,
            self.validation,
            config,
            objective=goal.objective,
            score=goal.score,
            stop_reason=goal.stop_reason,
            part=part,
            progress=self.progress,
            task=task,
            state_folder=self.files.state,
            log=self.log,
            on_improvement=on_improvement,
        )
