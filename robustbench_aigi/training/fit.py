"""One training loop for every method: AdamW, warm-up and cosine, clipping, best checkpoint by validation."""

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from robustbench_aigi.detectors import Detector
from robustbench_aigi.errors import Collapsed
from robustbench_aigi.grid import from_bytes
from robustbench_aigi.hashing import rng_for

Progress = Callable[[str, int, int], None]
Objective = Callable[[Detector, Tensor, Tensor, int], Tensor]
"""``(detector, images, labels, step) -> loss``: what a training method is."""
Score = Callable[[Detector, "Arrays"], float]


SETTLED = 200
"""Steps after which batch statistics and a fresh head have settled, so that one answer for all means collapse."""


class Arrays(NamedTuple):
    """``images`` uint8 ``(N, 3, H, W)``, ``labels`` int64 ``(N,)`` (1 = AI-generated), ``groups`` int64 ``(N,)``.

    Images of one group show the same content, such as a photograph and its reconstruction. They are put into one batch
    and changed alike, so that content cancels and what is left to learn is the generator's trace.
    """

    images: Tensor
    labels: Tensor
    groups: Tensor | None = None


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
) -> History:
    """Train in place; the detector ends with the weights of its best epoch, in evaluation mode.

    Args:
        objective: the training method.
        score: what picks the best epoch, higher is better; balanced accuracy on clean validation images if None.

    Raises:
        Collapsed: the detector gives one answer for (nearly) every validation image for a third of the epochs in a row
            (at least three, after :data:`SETTLED` steps), or in every epoch. Early on this is usual and mends itself.
    """
    trained = detector.parts_to_train()
    averaged = Averaged(trained, plan.memory)
    optimizer = torch.optim.AdamW(detector.parameter_groups(plan.weight_decay), lr=plan.rate)
    rng = rng_for(plan.seed, "fit", task)
    total = plan.epochs * len(batches(torch.arange(len(train.labels)), plan.batch))
    history, collapsed = History(), 0
    best, best_weights = -math.inf, copy.deepcopy(trained.state_dict())
    groups = torch.arange(len(train.labels)) if train.groups is None else train.groups
    torch.manual_seed(plan.seed)
    step = 0
    for epoch in range(plan.epochs):
        _to_training(detector, plan.fixed_norm)
        began, losses = time.monotonic(), 0.0
        for index in batches(shuffled(groups, rng), plan.batch):
            for group in optimizer.param_groups:
                group["lr"] = plan.rate * group.get("lr_scale", 1.0) * schedule(step, total, plan.warmup)
            images, labels = from_bytes(train.images[index]), train.labels[index]
            images = augment(images, labels, plan, rng, groups[index])
            optimizer.zero_grad(set_to_none=True)
            loss = objective(detector, images, labels, step)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(trained.parameters(), plan.clip)
            optimizer.step()
            averaged.update(step)
            losses += loss.item() * len(index)
            step += 1
            progress(task, step, total)
        detector.eval()
        with averaged:
            positives = share_called_fake(detector, validation)
            value = balanced_accuracy(detector, validation) if score is None else score(detector, validation)
            weights = copy.deepcopy(trained.state_dict())
        row = {"epoch": epoch, "loss": losses / len(train.labels), "score": value, "called_fake": positives}
        history.rows.append(row | {"seconds": time.monotonic() - began})
        collapsed = collapsed + 1 if not 0.02 < positives < 0.98 else 0
        if not collapsed and value > best:
            best, history.best_epoch, best_weights = value, epoch, weights
        _check(detector, plan, history, collapsed, settled=step >= SETTLED)
    trained.load_state_dict(best_weights)
    return history


class Averaged:
    """A moving average of a module's weights and buffers; inside its context the module has the average."""

    def __init__(self, module: torch.nn.Module, memory: int) -> None:
        self._module, self._memory = module, memory
        self._average = copy.deepcopy(module.state_dict()) if memory else {}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move the average towards the weights after training step ``step``; early on it forgets sooner."""
        share = 1 / min(self._memory or 1, 1 + step / 9)
        now = self._module.state_dict()
        for name, mean in self._average.items():
            mean.lerp_(now[name], share) if mean.is_floating_point() else mean.copy_(now[name])

    def __enter__(self) -> None:
        self._now = copy.deepcopy(self._module.state_dict())
        self._module.load_state_dict(self._average or self._now)

    def __exit__(self, *error: object) -> None:
        self._module.load_state_dict(self._now)


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


def batches(index: Tensor, size: int) -> list[Tensor]:
    """Parts of ``size``; a last part of one joins the one before it, because batch statistics need two."""
    parts = list(index.split(size))
    return parts if len(parts) < 2 or len(parts[-1]) > 1 else [*parts[:-2], torch.cat(parts[-2:])]


def shuffled(groups: Tensor, rng: torch.Generator) -> Tensor:
    """Indices of all images in random order, those of one group side by side."""
    place = torch.randperm(int(groups.max()) + 1, generator=rng)
    return place[groups].argsort(stable=True)


def augment(images: Tensor, labels: Tensor, plan: Plan, rng: torch.Generator, groups: Tensor | None = None) -> Tensor:
    """Flip, shift by whole pixels, mix mildly within a class: changes that leave a generator's traces in place.

    Neighbours of one group are flipped, shifted and recoloured alike.
    """
    own = torch.arange(len(images)) if groups is None else groups.unique_consecutive(return_inverse=True)[1]
    count = int(own.max()) + 1
    flips = (torch.rand(count, generator=rng) < 0.5)[own]
    images = torch.where(flips.view(-1, 1, 1, 1), images.flip(3), images)
    if plan.shift:
        images = shift(images, torch.randint(0, 2 * plan.shift + 1, (2, count), generator=rng)[:, own], plan.shift)
    if plan.colour:
        images = recolour(images, plan.colour, rng, own)
    if plan.mix:
        partner = partners(labels, rng)
        share = plan.mix * torch.rand(len(images), 1, 1, 1, generator=rng)
        images = images.lerp(images[partner], share)
    return images


def shift(images: Tensor, corners: Tensor, most: int) -> Tensor:
    """Move each image so that its corner is at ``corners`` ``(2, N)``, 0 to 2 ``most``; the border is mirrored."""
    padded = F.pad(images, (most, most, most, most), mode="reflect")
    size_y, size_x = images.shape[-2:]
    rows = corners[0].view(-1, 1) + torch.arange(size_y)
    columns = corners[1].view(-1, 1) + torch.arange(size_x)
    which = torch.arange(len(images)).view(-1, 1, 1)
    return padded.permute(0, 2, 3, 1)[which, rows.unsqueeze(2), columns.unsqueeze(1)].permute(0, 3, 1, 2).contiguous()


def recolour(images: Tensor, most: float, rng: torch.Generator, own: Tensor) -> Tensor:
    """Stretch each channel's contrast and shift it, by up to ``most``: content changes, traces stay.

    Args:
        own: ``(N,)`` which of the draws an image takes.
    """
    count = int(own.max()) + 1
    gain, offset = (2 * torch.rand(2, count, 3, 1, 1, generator=rng) - 1)[:, own]
    stretched: Tensor = (images - 0.5) * (1 + most * gain) + 0.5 + most / 2 * offset
    return stretched.clamp(0, 1)


def partners(labels: Tensor, rng: torch.Generator) -> Tensor:
    """For each image the index of a random one of its own class."""
    partner = torch.empty_like(labels)
    for label in labels.unique():
        places = (labels == label).nonzero().squeeze(1)
        partner[places] = places[torch.randperm(len(places), generator=rng)]
    return partner


@torch.no_grad()
def predict(detector: Detector, images: Tensor, batch: int = 500) -> Tensor:
    """Logits of uint8 ``(N, 3, H, W)`` images."""
    return torch.cat([detector.logits(from_bytes(part)) for part in images.split(batch)])


def balanced_accuracy(detector: Detector, data: Arrays) -> float:
    """Mean of the accuracies on reals and on fakes, at the detector's threshold."""
    right = (predict(detector, data.images) > detector.threshold) == (data.labels == 1)
    return float(torch.stack([right[data.labels == label].float().mean() for label in (0, 1)]).mean())


def share_called_fake(detector: Detector, data: Arrays) -> float:
    """Share of images the detector calls AI-generated."""
    return float((predict(detector, data.images) > detector.threshold).float().mean())
