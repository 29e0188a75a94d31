"""A training in progress: its steps, the end of an epoch, and its state on disk."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from torch import Tensor, nn

from robustbench_aigi.detectors import Detector
from robustbench_aigi.detectors._support.fingerprint import fingerprint
from robustbench_aigi.io.hashing import digest, rng_for, weights_digest
from robustbench_aigi.training import guards
from robustbench_aigi.training.arrays import TrainingImages, share_called_fake
from robustbench_aigi.training.batch_source import BatchSource, known_categories
from robustbench_aigi.training.config import TrainConfig
from robustbench_aigi.training.ema import EMA
from robustbench_aigi.training.history import History, Score, StopReason
from robustbench_aigi.training.objectives.base import Loss, Objective
from robustbench_aigi.training.objectives.weight_perturbation import perturbed_weights
from robustbench_aigi.training.streaming import StreamedImages

PRECISION_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
"""Precision of a configuration to the number format of autocast; the others have none."""


class _LossModule(nn.Module):
    """A detector as Accelerate wraps it: its forward pass is the loss itself."""

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, loss: Loss) -> Tensor:
        return loss()


@dataclass
class Epoch:
    """Epoch in progress.

    Attributes:
        order: indices of all images.
        loss_sum: over the images so far.
        seconds: spent on steps so far.
    """

    order: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.int64))
    loss_sum: float = 0.0
    seconds: float = 0.0


class TrainingRun:
    """All that a training step changes.

    Args:
        detector: changed in place.
        train: training images.
        config: hyper-parameters.
        task: name of the training.
        part: module to train instead of what the detector names.
    """

    def __init__(
        self,
        detector: Detector,
        train: TrainingImages,
        config: TrainConfig,
        task: str,
        part: nn.Module | None,
    ) -> None:
        self.detector = detector
        self.train = train
        self.config = config
        self.task = task
        self.part = part
        torch.manual_seed(config.seed)
        self.trained = detector.parts_to_train() if part is None else part.requires_grad_(True)
        self.key = _key(self)
        self.accelerator = _accelerator()
        device = self.accelerator.device
        dtype = PRECISION_DTYPES.get(config.precision)
        self.autocast = torch.autocast(device.type, dtype, enabled=dtype is not None)
        self.scaler = torch.amp.GradScaler(device.type, enabled=config.precision == "fp16")
        detector.to(device)
        optimizer = config.optimizer_for(detector, part)
        self.source = BatchSource(train, config, self.accelerator)
        self.total = config.epochs * self.source.per_epoch
        self.schedule = config.schedule_for(optimizer, self.total)
        self.loss_module, self.optimizer = self.accelerator.prepare(
            _LossModule(detector), optimizer
        )
        self.ema = EMA(self.trained, config.memory)
        self.gradient_monitor = guards.GradientMonitor(self.trained)
        self.collapse_monitor = guards.CollapseMonitor(config)
        self.rng = rng_for(config.seed, "fit", task)
        self.history = History()
        self.step = 0
        self.epoch = Epoch()
        self.best_score = -math.inf
        self.best_weights = self.weights()

    def weights(self) -> dict[str, Tensor]:
        """Return copies of the weights that are trained, on the CPU."""
        return {
            name: tensor.detach().cpu().clone()
            for name, tensor in self.trained.state_dict().items()
        }

    @property
    def is_main(self) -> bool:
        """Whether this process is the one that writes."""
        return bool(self.accelerator.is_main_process)

    @property
    def rate(self) -> float:
        """Learning rate of the first group, at the last step."""
        return float(self.optimizer.param_groups[0]["lr"])

    def advance(self, objective: Objective) -> float:
        """Take one step towards an ``objective``, and return the loss of its batch."""
        began = time.monotonic()
        if self.step % self.source.per_epoch == 0:
            self.epoch = Epoch(self.source.shuffle(self.rng))
        _set_training_mode(self.detector, self.config.fixed_norm or self.part is not None)
        batch, size = self.source.draw(self.epoch.order, self.step, self.rng)
        with self.autocast:
            loss_of = objective(self.detector, batch)
        self.schedule.step_update(self.step)
        loss = self._backward(loss_of)
        self._update()
        self.epoch.loss_sum += loss * size
        self.step += 1
        self.epoch.seconds += time.monotonic() - began
        return loss

    def _backward(self, loss_of: Loss) -> float:
        """Compute the gradients, and return the loss."""
        self.optimizer.zero_grad(set_to_none=True)
        with perturbed_weights(self.trained, loss_of, self.config.awp):
            with self.autocast:
                loss = self.loss_module(loss_of)
            mean = self.accelerator.reduce(loss, "mean")
            value = guards.finite_loss(mean, self.detector, self.step, self.config)
            self.scaler.scale(loss).backward()
        return value

    def _update(self) -> None:
        """Clip the gradients, and move the weights and their average."""
        self.scaler.unscale_(self.optimizer)
        if self.step < guards.GRADIENT_STEPS:
            self.history.without_gradient = self.gradient_monitor.observe(self.detector, self.step)
        torch.nn.utils.clip_grad_norm_(self.trained.parameters(), self.config.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.ema.update(self.step)

    def finish_epoch(
        self,
        validation: TrainingImages,
        score: Score,
        stop_reason: StopReason,
        on_improvement: Callable[[], object],
    ) -> None:
        """Score the weights, and keep them if they are the best so far.

        Args:
            validation: images to score them on.
            score: picks the best epoch.
            stop_reason: may end the training.
            on_improvement: called with the best weights in the detector.

        Raises:
            TrainingCollapsedError: predictions have been constant for too long.
        """
        began = time.monotonic()
        epoch = len(self.history.rows)
        self.detector.eval()
        with self.ema.applied():
            called_fake = share_called_fake(self.detector, validation)
            figures = score(self.detector, validation)
            row = {
                "epoch": epoch,
                "loss": self.epoch.loss_sum / len(self.train.labels),
                **figures,
                "called_fake": called_fake,
                "seconds": self.epoch.seconds + time.monotonic() - began,
            }
            self.history.rows.append(row)
            is_constant = self.part is None and self.collapse_monitor.observe(called_fake)
            if not is_constant and row["score"] > self.best_score:
                self.best_score = row["score"]
                self.best_weights = self.weights()
                self.history.best_epoch = epoch
                if self.is_main:
                    on_improvement()
        self.history.stop_reason = stop_reason(row)
        self.collapse_monitor.check(
            self.detector,
            called_fake,
            epoch + 1,
            has_best=self.history.best_epoch >= 0,
            settled=self.step >= guards.SETTLED_STEPS,
        )

    def end(self) -> None:
        """Load the best weights into the detector, and free the device."""
        self.accelerator.free_memory()
        self.detector.cpu()
        self.trained.load_state_dict(self.best_weights)
        if self.part is not None:
            self.part.requires_grad_(False)
        self.detector.eval()


def _key(run: TrainingRun) -> str:
    """Hash the configuration, the images, and the detector with its weights at the start."""
    tensors = {"labels": run.train.labels}
    streamed = ""
    if isinstance(run.train.images, StreamedImages):
        streamed = run.train.images.key
    else:
        tensors["images"] = run.train.images
    optional = {
        "groups": run.train.groups,
        "categories": known_categories(run.train, run.config),
        "changed": run.train.changed,
    }
    tensors |= {name: tensor for name, tensor in optional.items() if tensor is not None}
    return digest(
        run.task,
        run.config.model_dump(exclude={"workers"}),
        weights_digest({**tensors, **run.weights()}),
        *filter(None, [streamed]),
        fingerprint(run.detector).digest,
    )


def _accelerator() -> Accelerator:
    parallel = DistributedDataParallelKwargs(find_unused_parameters=True)
    # Accelerate's own mixed precision is one setting for the whole process
    return Accelerator(mixed_precision="no", kwargs_handlers=[parallel])


def _set_training_mode(detector: Detector, fixed_norm: bool) -> None:
    detector.train()
    if fixed_norm:
        for module in detector.modules():
            if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
                module.eval()
