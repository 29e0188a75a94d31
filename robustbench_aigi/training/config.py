"""The numbers of a training run, and what timm makes of them: the optimizer and the schedule of its
rate.
"""

from collections.abc import Mapping
from typing import Any, Literal

import torch
from pydantic import BaseModel, ValidationError
from timm.optim import create_optimizer_v2, param_groups_layer_decay
from timm.scheduler import CosineLRScheduler
from torch import nn

from robustbench_aigi.config.units import (
    Count,
    CountOrNone,
    LinfStep,
    PairCount,
    PartialShare,
    PositiveShare,
    PositiveWeight,
    Rate,
    Share,
    Weight,
    WholeNumber,
)
from robustbench_aigi.detectors._support.parameter_groups import decayed_groups
from robustbench_aigi.detectors.base import Detector
from robustbench_aigi.errors import ConfigError, UserError


class TrainConfig(BaseModel, frozen=True, extra="forbid"):
    """The numbers of a training run. Their units and ranges are those of
    :mod:`~robustbench_aigi.config.units`.

    Attributes:
        rate: at its peak. warmup: share of the steps in which it rises.
        layer_decay: a layer's share of the rate of the one after it, for networks of timm; the
            detector's own if None.
        optimizer: any of timm's. clip: the largest norm of a step's gradient.
        shift: in pixels. mix: the largest share of a second image of the same class. colour: the
            largest change of a channel's contrast. mixup, cutmix: alphas of timm's Mixup and CutMix
            across classes; 0 is none.
        delivered: share of the images that are saved again as JPEG, or reduced and enlarged;
            ``pgd``, ``fast`` and ``mixed`` do not attack these, nor images that a `++` set changed.
        smoothing: of the labels. category: weight of a second loss, for naming what an image shows;
            0 is none.
        fixed_norm: keep the statistics that batch normalisation came with, where a batch is too
            small, or too much alike, to measure them.
        memory: the weights kept are a moving average that forgets after about so many steps; 0
        keeps the last ones. eps, steps: of the inner attack, eps in grey levels (L-inf). ramp:
        share of the training over which eps grows to
            its height; if None half, all of it for few images, none of it for a CLIP tower.
            clean_share: of the batch that stays clean, for ``pgd``, ``fast`` and ``mixed``. beta:
            weight of the second term of ``trades``.
        awp: how far adversarial weight perturbation moves a layer, as a share of its norm; 0 is
            none.
        lora: rank of the low-rank updates that alone are trained, beside the head; 0 trains the
            weights themselves.
        precision: of the passes: no (float32), bf16, or fp16 with a scaled loss. On a processor
            with bfloat16 instructions (``avx512_bf16``) bf16 halved the time of a step; without
            them it is many times slower.
    """

    epochs: Count
    batch: PairCount = 128
    optimizer: str = "adamw"
    rate: Rate = 1e-3
    weight_decay: Weight = 0.05
    layer_decay: PositiveShare | None = None
    warmup: PartialShare = 0.1
    clip: PositiveWeight = 1.0
    shift: CountOrNone = 2
    mix: Share = 0.0
    colour: Share = 0.0
    mixup: Weight = 0.0
    cutmix: Weight = 0.0
    delivered: Share = 0.0
    smoothing: PartialShare = 0.0
    category: Weight = 0.0
    fixed_norm: bool = False
    memory: CountOrNone = 0
    eps: LinfStep = 8
    steps: Count = 3
    ramp: Share | None = None
    clean_share: PartialShare = 0.5
    beta: PositiveWeight = 6.0
    awp: PartialShare = 0.0
    lora: CountOrNone = 0
    precision: Literal["no", "bf16", "fp16"] = "no"
    seed: WholeNumber = 0

    @classmethod
    def of(cls, numbers: Mapping[str, Any]) -> "TrainConfig":
        """A plan of these numbers. Raises ``ConfigError`` for what cannot be."""
        try:
            return cls(**numbers)
        except ValidationError as error:
            lines = (f"{'.'.join(map(str, line['loc']))}: {line['msg']}" for line in error.errors())
            wrong = "; ".join(line.replace("Value error, ", "").rstrip(".") for line in lines)
            raise ConfigError(
                f"numbers of the training: {wrong}. There are: {', '.join(cls.model_fields)}."
            ) from error

    def optimizer_for(
        self, detector: Detector, part: nn.Module | None = None
    ) -> torch.optim.Optimizer:
        """The optimizer of what a detector trains, or of a part of it."""
        groups = (
            detector.parameter_groups(self.weight_decay)
            if part is None
            else decayed_groups(part, self.weight_decay)
        )
        if self.layer_decay is not None and part is None:
            net = getattr(detector, "net", None)
            if not hasattr(net, "group_matcher"):
                raise UserError(
                    "layer_decay is for detectors that are one network of timm;"
                    f" {detector.card.name} is none. Leave it out."
                )
            groups = param_groups_layer_decay(
                net, weight_decay=self.weight_decay, layer_decay=self.layer_decay
            )
        made: torch.optim.Optimizer = create_optimizer_v2(groups, opt=self.optimizer, lr=self.rate)
        return made

    def schedule_for(self, optimizer: torch.optim.Optimizer, total: int) -> CosineLRScheduler:
        """A linear rise, then half a cosine down to zero, over ``total`` steps."""
        rise = max(1, round(total * self.warmup))
        return CosineLRScheduler(
            optimizer,
            t_initial=max(2, total - rise),  # of 1 timm warns
            warmup_t=rise,
            warmup_lr_init=self.rate / rise,
            warmup_prefix=True,
            t_in_epochs=False,
        )
