"""One training loop for every method: AdamW, warm-up and cosine, clipping, best checkpoint by validation."""

import copy
import functools
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from pickle import UnpicklingError

import torch
from torch import Tensor

from robustbench_aigi.detectors import Detector
from robustbench_aigi.errors import BadCheckpoint, Collapsed
from robustbench_aigi.files import write_whole
from robustbench_aigi.grid import from_bytes
from robustbench_aigi.hashing import digest, rng_for, weights_digest
from robustbench_aigi.training.arrays import Arrays, balanced_accuracy, batches, share_called_fake, shuffled
from robustbench_aigi.training.augment import augment
from robustbench_aigi.training.averaging import Averaged

Progress = Callable[[str, int, int], None]
Objective = Callable[[Detector, Tensor, Tensor, int], Tensor]
"""``(detector, images, labels, step) -> loss``: what a training method is."""
Score = Callable[[Detector, Arrays], float]


KEEP_SECONDS = 60
"""Least time between two writings of a training's state, which may be a hundred megabytes."""
SETTLED = 200
"""Steps after which batch statistics and a fresh head have settled, so that one answer for all means collapse."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The numbers of a training run.

    ``shift`` is in pixels; ``mix`` is the largest share of a second image; ``fixed_norm`` keeps the statistics that
    batch normalisation came with, where a batch is too small, or too much alike, to measure them. With ``memory`` the
    weights kept are a moving average that forgets after about so many steps; 0 keeps the last ones.
    """

    epochs: int
    batch: int = 128
    rate: float = 1e-3
    weight_decay: float = 0.05
    warmup: float = 0.1
    clip: float = 1.0
    shift: int = 2
    mix: float = 0.0
    colour: float = 0.0
    fixed_norm: bool = False
    memory: int = 0
    seed: int = 0


@dataclass
class History:
    """What happened: a row an epoch, and the epoch whose weights were kept."""

    rows: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = -1


def own_loss(detector: Detector, images: Tensor, labels: Tensor, step: int) -> Tensor:
    """The detector's own loss on clean images, binary cross-entropy for most: the plain method."""
    return detector.loss(images, labels)


def fit(
    detector: Detector,
    train: Arrays,
    validation: Arrays,
    plan: Plan,
    *,
    objective: Objective = own_loss,
    score: Score | None = None,
    progress: Progress = lambda task, done, total: None,
    task: str = "fit",
    kept: Path | None = None,
) -> History:
    """Train in place; the detector ends with the weights of its best epoch, in evaluation mode.

    Args:
        objective: the training method.
        score: what picks the best epoch, higher is better; balanced accuracy on clean validation images if None.
        kept: a file for the state, from which the same training goes on if it was killed; written after an epoch once
            :data:`KEEP_SECONDS` have passed, and removed at the end.

    Raises:
        Collapsed: the detector gives one answer for (nearly) every validation image for a third of the epochs in a row
            (at least three, after :data:`SETTLED` steps), or in every epoch. Early on this is usual and mends itself.
    """
    run, written = _Run(detector, train, plan, task), time.monotonic()
    if kept is not None:
        run.take_up(kept)
    try:
        while len(run.history.rows) < plan.epochs:
            began = time.monotonic()
            loss = run.epoch(objective, progress)
            run.judge(validation, score or balanced_accuracy, loss, began)
            if kept is not None and time.monotonic() - written >= KEEP_SECONDS:
                run.keep(kept)
                written = time.monotonic()
    except Collapsed:
        _remove(kept)
        raise
    run.trained.load_state_dict(run.best_weights)
    _remove(kept)
    return run.history


def _remove(kept: Path | None) -> None:
    if kept is not None:
        kept.unlink(missing_ok=True)


class _Run:
    """A training under way: all that an epoch changes."""

    def __init__(self, detector: Detector, train: Arrays, plan: Plan, task: str) -> None:
        self.detector, self.train, self.plan, self.task = detector, train, plan, task
        self.trained = detector.parts_to_train()
        self.averaged = Averaged(self.trained, plan.memory)
        self.optimizer = torch.optim.AdamW(detector.parameter_groups(plan.weight_decay), lr=plan.rate)
        self.rng = rng_for(plan.seed, "fit", task)
        self.total = plan.epochs * len(batches(torch.arange(len(train.labels)), plan.batch))
        self.groups = torch.arange(len(train.labels)) if train.groups is None else train.groups
        self.history, self.step, self.collapsed = History(), 0, 0
        self.best, self.best_weights = -math.inf, copy.deepcopy(self.trained.state_dict())
        torch.manual_seed(plan.seed)

    def epoch(self, objective: Objective, progress: Progress) -> float:
        """See every training image once; returns the mean loss."""
        plan, losses = self.plan, 0.0
        _to_training(self.detector, plan.fixed_norm)
        for index in batches(shuffled(self.groups, self.rng), plan.batch):
            share = schedule(self.step, self.total, plan.warmup)
            for group in self.optimizer.param_groups:
                group["lr"] = plan.rate * group.get("lr_scale", 1.0) * share
            images, labels = from_bytes(self.train.images[index]), self.train.labels[index]
            images = augment(
                images, labels, self.rng, self.groups[index], shift=plan.shift, mix=plan.mix, colour=plan.colour
            )
            self.optimizer.zero_grad(set_to_none=True)
            loss = objective(self.detector, images, labels, self.step)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.trained.parameters(), plan.clip)
            self.optimizer.step()
            self.averaged.update(self.step)
            losses += loss.item() * len(index)
            self.step += 1
            progress(self.task, self.step, self.total)
        return losses / len(self.train.labels)

    def judge(self, validation: Arrays, score: Score, loss: float, began: float) -> None:
        """Score the weights as they are, and keep them if they are the best. Raises ``Collapsed``."""
        self.detector.eval()
        with self.averaged:
            positives = share_called_fake(self.detector, validation)
            value = score(self.detector, validation)
            weights = copy.deepcopy(self.trained.state_dict())
        row = {"epoch": len(self.history.rows), "loss": loss, "score": value, "called_fake": positives}
        self.history.rows.append(row | {"seconds": time.monotonic() - began})
        self.collapsed = self.collapsed + 1 if not 0.02 < positives < 0.98 else 0
        if not self.collapsed and value > self.best:
            self.best, self.best_weights, self.history.best_epoch = value, weights, len(self.history.rows) - 1
        _check(self.detector, self.plan, self.history, self.collapsed, settled=self.step >= SETTLED)

    @functools.cached_property
    def key(self) -> str:
        """What makes it this training: plan, images and the weights it begins with."""
        images = {"images": self.train.images, "labels": self.train.labels, "groups": self.groups}
        began = weights_digest({**images, **self.best_weights})
        return digest(self.task, asdict(self.plan), began)

    def keep(self, path: Path) -> None:
        """Write the state to ``path``."""
        state = {
            "key": self.key,
            "trained": self.trained.state_dict(),
            "averaged": self.averaged.average,
            "optimizer": self.optimizer.state_dict(),
            "draws": (self.rng.get_state(), torch.get_rng_state()),
            "counts": (self.step, self.collapsed, self.history.best_epoch),
            "rows": self.history.rows,
            "best": (self.best, self.best_weights),
        }

        def write(temporary: Path) -> None:
            with temporary.open("wb") as file:  # torch's own file has no word for a full disk
                torch.save(state, file)

        write_whole(path, write)

    def take_up(self, path: Path) -> None:
        """Go on from the state in ``path`` if it is one of this training; another's is left to be overwritten.

        Raises:
            BadCheckpoint: the file is damaged.
        """
        key = self.key
        if not path.is_file():
            return
        try:
            state = torch.load(path, weights_only=True)
        except (UnpicklingError, RuntimeError, EOFError) as error:
            raise BadCheckpoint(
                f"{path}, the state of a killed training, is damaged: {str(error).splitlines()[0]}. Delete it, and the "
                "training begins anew."
            ) from error
        if state["key"] != key:
            return
        self.trained.load_state_dict(state["trained"])
        self.averaged.average = state["averaged"]
        self.optimizer.load_state_dict(state["optimizer"])
        self.rng.set_state(state["draws"][0])
        torch.set_rng_state(state["draws"][1])
        self.step, self.collapsed, self.history.best_epoch = state["counts"]
        self.history.rows = state["rows"]
        self.best, self.best_weights = state["best"]


def _to_training(detector: Detector, fixed_norm: bool) -> None:
    detector.train()
    for module in detector.modules():
        if fixed_norm and isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.eval()


def _check(detector: Detector, plan: Plan, history: History, collapsed: int, *, settled: bool) -> None:
    stuck = settled and collapsed >= max(3, plan.epochs // 3)
    never = len(history.rows) == plan.epochs and history.best_epoch < 0
    if stuck or never:
        raise Collapsed(
            f"training {detector.card.name} collapsed: after epoch {len(history.rows)} it calls "
            f"{history.rows[-1]['called_fake']:.0%} of the validation images AI-generated. "
            f"Lower the rate ({plan.rate:g}) or eps, or begin from a fitted detector: --start CHECKPOINT."
        )


def schedule(step: int, total: int, warmup: float) -> float:
    """Share of the peak rate at a step: a linear warm-up, then half a cosine down to zero."""
    ramp = max(1, round(total * warmup))
    if step < ramp:
        return (step + 1) / ramp
    return 0.5 * (1 + math.cos(math.pi * (step - ramp) / max(1, total - ramp)))
