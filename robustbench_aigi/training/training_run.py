"""A training under way: its steps, its judgement after an epoch, and its state on disk."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from torch import Tensor, nn

from robustbench_aigi.detectors import Detector
from robustbench_aigi.detectors._support.fingerprint import fingerprint
from robustbench_aigi.imaging.pixels import from_bytes
from robustbench_aigi.io.hashing import digest, rng_for, weights_digest
from robustbench_aigi.training import guards, saved_state
from robustbench_aigi.training.arrays import Arrays, batches, share_called_fake, shuffled
from robustbench_aigi.training.augment import augment
from robustbench_aigi.training.config import TrainConfig
from robustbench_aigi.training.ema import EMA
from robustbench_aigi.training.mixing import targets_of
from robustbench_aigi.training.objectives.base import Loss, Objective, TrainingBatch
from robustbench_aigi.training.objectives.weight_perturbation import moved_weights
from robustbench_aigi.training.transforms import delivered

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
Score = Callable[[Detector, Arrays], Mapping[str, float]]
"""Figures of a detector on validation images, "score" among them: it picks the epoch, higher is
better.
"""


@dataclass
class History:
    """What happened: a row an epoch, the epoch whose weights were kept, the weights that no
    gradient came to, and why it ended early.
    """

    rows: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = -1
    silent: list[str] = field(default_factory=list)
    stopped: str = ""


class _Trained(nn.Module):
    """A detector as Accelerate wraps it: the pass that gradients are taken of is the loss
    itself.
    """

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, loss: Loss) -> Tensor:
        return loss()


class TrainingRun:
    """A training under way: all that a step changes."""

    def __init__(
        self,
        detector: Detector,
        train: Arrays,
        plan: TrainConfig,
        task: str,
        part: nn.Module | None,
    ) -> None:
        self.detector, self.train, self.plan, self.task, self.part = (
            detector,
            train,
            plan,
            task,
            part,
        )
        torch.manual_seed(plan.seed)
        self.trained = detector.parts_to_train() if part is None else part.requires_grad_(True)
        told = train.categories if plan.category else None
        self.categories = None if told is None else torch.eye(int(told.max()) + 1)[told]
        self.key = self._key()
        ddp = DistributedDataParallelKwargs(find_unused_parameters=True)
        self.accelerator = Accelerator(
            mixed_precision="no", kwargs_handlers=[ddp]
        )  # its own is one a process
        kind = self.accelerator.device.type
        self.autocast = torch.autocast(
            kind, DTYPES.get(plan.precision), enabled=plan.precision in DTYPES
        )
        self.scaler = torch.amp.GradScaler(kind, enabled=plan.precision == "fp16")
        detector.to(self.accelerator.device)
        optimizer = plan.optimizer_for(detector, part)
        self.groups = torch.arange(len(train.labels)) if train.groups is None else train.groups
        self.per_epoch = len(batches(torch.arange(len(train.labels)), plan.batch))
        self.total = plan.epochs * self.per_epoch
        self.schedule = plan.schedule_for(optimizer, self.total)
        self.whole, self.optimizer = self.accelerator.prepare(_Trained(detector), optimizer)
        self.averaged, self.flow = (
            EMA(self.trained, plan.memory),
            guards.GradientMonitor(self.trained),
        )
        self.rng = rng_for(plan.seed, "fit", task)
        self.history, self.step, self.one_sided = History(), 0, guards.CollapseMonitor(plan)
        self.order, self.losses, self.seconds = torch.empty(0, dtype=torch.int64), 0.0, 0.0
        self.best, self.best_weights = -math.inf, self._weights()

    def _key(self) -> str:
        """What makes it this training: plan, images, and the detector with the weights it begins
        with.
        """
        images = {"images": self.train.images, "labels": self.train.labels}
        images |= {} if self.train.groups is None else {"groups": self.train.groups}
        images |= {} if self.categories is None else {"categories": self.categories}
        images |= {} if self.train.changed is None else {"changed": self.train.changed}
        own = fingerprint(self.detector).digest
        return digest(
            self.task, self.plan.model_dump(), weights_digest({**images, **self._weights()}), own
        )

    def _weights(self) -> dict[str, Tensor]:
        return {
            name: tensor.detach().cpu().clone()
            for name, tensor in self.trained.state_dict().items()
        }

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes."""
        return bool(self.accelerator.is_main_process)

    @property
    def rate(self) -> float:
        """Of the first group, at the last step."""
        return float(self.optimizer.param_groups[0]["lr"])

    def advance(self, objective: Objective) -> float:
        """Take one step; returns its loss."""
        began, plan, place = time.monotonic(), self.plan, self.step % self.per_epoch
        if place == 0:
            self.order, self.losses, self.seconds = shuffled(self.groups, self.rng), 0.0, 0.0
        _to_training(self.detector, plan.fixed_norm or self.part is not None)
        index = batches(self.order, plan.batch)[place]
        batch = self._batch(index)
        with self.autocast:
            loss_of = objective(self.detector, batch)
        self.schedule.step_update(self.step)
        self.optimizer.zero_grad(set_to_none=True)
        with moved_weights(self.trained, loss_of, plan.awp):
            with self.autocast:
                loss = self.whole(loss_of)
            value = guards.finite(
                self.accelerator.reduce(loss, "mean"), self.detector, self.step, plan
            )
            self.scaler.scale(loss).backward()
        self.scaler.unscale_(self.optimizer)
        if self.step < guards.FLOW:
            self.history.silent = self.flow.observe(self.detector, self.step)
        torch.nn.utils.clip_grad_norm_(self.trained.parameters(), plan.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.averaged.update(self.step)
        self.losses += value * len(index)
        self.step += 1
        self.seconds += time.monotonic() - began
        return value

    def _batch(self, index: Tensor) -> TrainingBatch:
        """This process's share of a batch that all draw and change alike."""
        plan, labels = self.plan, self.train.labels[index]
        images = from_bytes(self.train.images[index].to(self.accelerator.device))
        groups = self.groups[index]
        images = augment(
            images, labels, self.rng, groups, shift=plan.shift, mix=plan.mix, colour=plan.colour
        )
        changed = None if self.train.changed is None else self.train.changed[index]
        if plan.delivered:
            before = torch.zeros(len(index), dtype=torch.bool) if changed is None else changed
            images, now = delivered(
                images, (~before).nonzero().squeeze(1), plan.delivered, self.rng
            )
            changed = before | now
        mixing = {"mixup": plan.mixup, "cutmix": plan.cutmix, "smoothing": plan.smoothing}
        known = None if self.categories is None else self.categories[index]
        images, targets, known = targets_of(images, labels, self.rng, **mixing, categories=known)
        own = slice(self.accelerator.process_index, None, self.accelerator.num_processes)
        drawn = (images, labels, targets, known)
        images, labels, targets, known = (
            tensor[own].to(self.accelerator.device) for tensor in drawn
        )
        return TrainingBatch(
            images, labels, targets, self.step, known, None if changed is None else changed[own]
        )

    def judge(
        self,
        validation: Arrays,
        score: Score,
        alarm: Callable[[Mapping[str, float]], str],
        improved: Callable[[], object],
    ) -> None:
        """Score the weights as they are, and keep them if they are the best. Raises
        ``TrainingCollapsedError``.
        """
        began, epoch = time.monotonic(), len(self.history.rows)
        self.detector.eval()
        with self.averaged.worn():
            called_fake, figures = (
                share_called_fake(self.detector, validation),
                score(self.detector, validation),
            )
            seconds = self.seconds + time.monotonic() - began
            loss = self.losses / len(self.train.labels)
            row = {
                "epoch": epoch,
                "loss": loss,
                **figures,
                "called_fake": called_fake,
                "seconds": seconds,
            }
            self.history.rows.append(row)
            one_sided = self.part is None and self.one_sided.observe(called_fake)
            if not one_sided and row["score"] > self.best:
                self.best, self.best_weights, self.history.best_epoch = (
                    row["score"],
                    self._weights(),
                    epoch,
                )
                if self.first:
                    improved()
        self.history.stopped = alarm(row)
        settled = self.step >= guards.SETTLED
        self.one_sided.check(
            self.detector,
            called_fake,
            epoch + 1,
            kept=self.history.best_epoch >= 0,
            settled=settled,
        )

    def end(self) -> None:
        """Give the detector its best weights, and let go of the device."""
        self.accelerator.free_memory()
        self.detector.cpu()
        self.trained.load_state_dict(self.best_weights)
        if self.part is not None:
            self.part.requires_grad_(False)
        self.detector.eval()

    def _file(self, folder: Path) -> Path:
        return folder / f"{self.task.replace(' ', '-')}.pt"

    def keep(self, folder: Path) -> None:
        """Write the state."""
        kept: dict[str, Any] = {
            "key": self.key,
            "trained": self.trained.state_dict(),
            "averaged": self.averaged.state,
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "draws": (self.rng.get_state(), torch.get_rng_state()),
            "epoch": (self.order, self.losses, self.seconds),
            "counts": (self.step, self.one_sided.count, self.history.best_epoch),
            "rows": self.history.rows,
            "ends": (self.history.silent, self.history.stopped),
            "best": (self.best, self.best_weights),
        }
        if self.first:
            saved_state.save(self._file(folder), kept)

    def take_up(self, folder: Path) -> None:
        """Go on from the state in a folder, if there is one. Raises ``CheckpointError`` for a
        damaged one.
        """
        kept = saved_state.load(self._file(folder), self.key)
        if kept is None:
            return
        self.trained.load_state_dict(kept["trained"])
        self.averaged.take_up(kept["averaged"])
        self.optimizer.load_state_dict(kept["optimizer"])
        if kept["scaler"]:
            self.scaler.load_state_dict(kept["scaler"])
        self.rng.set_state(kept["draws"][0])
        torch.set_rng_state(kept["draws"][1])
        self.order, self.losses, self.seconds = kept["epoch"]
        self.step, self.one_sided.count, self.history.best_epoch = kept["counts"]
        self.history.rows = kept["rows"]
        self.history.silent, self.history.stopped = kept["ends"]
        self.best, self.best_weights = kept["best"]


def _to_training(detector: Detector, fixed_norm: bool) -> None:
    detector.train()
    for module in detector.modules():
        if fixed_norm and isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.eval()
