"""Hyper-parameters of a training, and the timm optimizer and schedule that follow from them."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import torch
from pydantic import BaseModel, ValidationError
from torch import nn

from robustbench_aigi.config.units import (
    Count,
    CountOrNone,
    ImageSide,
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
from robustbench_aigi.training.image_policy import Fit, ImagePolicy

if TYPE_CHECKING:
    from timm.scheduler import CosineLRScheduler


class TrainConfig(BaseModel, frozen=True, extra="forbid"):
    """Hyper-parameters of a training, in the units of :mod:`~robustbench_aigi.config.units`.

    Attributes:
        epochs: passes over the training images.
        batch: images per step.
        optimizer: name of a timm optimizer.
        rate: peak learning rate.
        weight_decay: of matrices; biases and norms have none.
        layer_decay: factor from a layer's rate to that of the layer before it, for detectors
            that are one timm network. None uses one rate for all layers.
        warmup: share of the steps in which the rate rises linearly.
        clip: maximum norm of a step's gradient.
        shift: maximum translation, in pixels.
        intra_class_mixup: maximum share of a second image of the same class.
        colour: maximum relative change of a channel's contrast.
        mixup: alpha of timm's Mixup across classes; 0 switches it off.
        cutmix: alpha of timm's CutMix across classes; 0 switches it off.
        size: side in pixels that images of other sizes are cut to, on disk; None takes images of
            one size as they are, and the detector's input size for others. See
            :class:`~robustbench_aigi.training.image_policy.ImagePolicy` for this and the next
            three.
        fit: how images are cut to ``size``: crop, resize or pad.
        jpeg: share of the images that are saved again as JPEG before the cut.
        rescale: share of the images that are resized before the cut.
        workers: processes that decode images on disk; None uses all cores but one. The result does
            not depend on it.
        transform_share: share of the images that are saved again as JPEG or resized. The methods
            ``pgd``, ``fast`` and ``mixed`` attack neither these nor images that a `++` set changed.
        smoothing: label smoothing.
        aux_class_weight: weight of the loss of a second head, which classifies what an image
            shows; 0 leaves it out.
        fixed_norm: freeze the statistics of batch normalisation, where batches are too small or
            too uniform to measure them.
        memory: steps that the moving average of the weights reaches back; 0 uses the last weights.
        eps: L-inf radius of the inner attack, in grey levels.
        steps: of the inner attack.
        ramp: share of the training in which eps grows to its full size. None means half of it,
            all of it for few images, and none of it for a CLIP encoder.
        clean_share: share of a batch that is not attacked, for ``pgd``, ``fast`` and ``mixed``.
        beta: weight of the second term of ``trades``.
        awp: adversarial weight perturbation, as a share of a layer's norm; 0 leaves it out.
        lora: rank of low-rank updates, trained instead of the weights; 0 trains the weights.
        precision: of forward and backward passes: ``no`` is float32, ``fp16`` scales the loss.
            ``bf16`` halves the time of a step on a CPU with ``avx512_bf16`` and is many times
            slower on others.
        seed: of all random draws.
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
    intra_class_mixup: Share = 0.0
    colour: Share = 0.0
    mixup: Weight = 0.0
    cutmix: Weight = 0.0
    size: ImageSide | None = None
    fit: Fit | None = None
    jpeg: Share = 0.0
    rescale: Share = 0.0
    workers: CountOrNone | None = None
    transform_share: Share = 0.0
    smoothing: PartialShare = 0.0
    aux_class_weight: Weight = 0.0
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
    def from_numbers(cls, numbers: Mapping[str, Any]) -> "TrainConfig":
        """Build a configuration from field names and values.

        Raises:
            ConfigError: an unknown field, or a value out of its range.

        Example:
            >>> TrainConfig.from_numbers({"epochs": 3, "eps": 4}).eps
            4.0
        """
        try:
            return cls(**numbers)
        except ValidationError as error:
            faults = "; ".join(_fault_text(fault) for fault in error.errors())
            raise ConfigError(
                f"training configuration: {faults}. Fields: {', '.join(cls.model_fields)}."
            ) from error

    def image_policy(self, input_size: int) -> ImagePolicy | None:
        """Return how images are cut to one size; None if they are to be taken as they are.

        Args:
            input_size: side in pixels of what the detector sees, where ``size`` is None.
        """
        named = {"size": self.size, "fit": self.fit, "jpeg": self.jpeg, "rescale": self.rescale}
        given = {name: value for name, value in named.items() if value}
        return ImagePolicy.model_validate({"size": input_size} | given) if given else None

    def optimizer_for(
        self, detector: Detector, part: nn.Module | None = None
    ) -> torch.optim.Optimizer:
        """Return the optimizer of a detector, or of a part of it.

        Args:
            detector: its ``parameter_groups`` are trained where there is no ``part``.
            part: module of the detector to train instead.

        Raises:
            UserError: ``layer_decay`` for a detector that is not one timm network.
        """
        from timm.optim import create_optimizer_v2  # takes seconds

        if part is not None:
            groups = decayed_groups(part, self.weight_decay)
        elif self.layer_decay is not None:
            groups = self._layer_groups(detector, self.layer_decay)
        else:
            groups = detector.parameter_groups(self.weight_decay)
        optimizer: torch.optim.Optimizer = create_optimizer_v2(
            groups, opt=self.optimizer, lr=self.rate
        )
        return optimizer

    def _layer_groups(self, detector: Detector, layer_decay: float) -> list[dict[str, Any]]:
        from timm.optim import param_groups_layer_decay

        net = getattr(detector, "net", None)
        if not hasattr(net, "group_matcher"):
            raise UserError(
                "layer_decay is for detectors that are one timm network, got"
                f" {detector.card.name}. Leave layer_decay out."
            )
        groups: list[dict[str, Any]] = param_groups_layer_decay(
            net, weight_decay=self.weight_decay, layer_decay=layer_decay
        )
        return groups

    def schedule_for(self, optimizer: torch.optim.Optimizer, total: int) -> "CosineLRScheduler":
        """Return a schedule of the rate: a linear rise, then half a cosine down to zero.

        Args:
            optimizer: its rates are changed.
            total: steps of the training.
        """
        from timm.scheduler import CosineLRScheduler

        rise = max(1, round(total * self.warmup))
        return CosineLRScheduler(
            optimizer,
            t_initial=max(2, total - rise),  # timm warns of 1
            warmup_t=rise,
            warmup_lr_init=self.rate / rise,
            warmup_prefix=True,
            t_in_epochs=False,
        )


def _fault_text(fault: Mapping[str, Any]) -> str:
    field = ".".join(map(str, fault["loc"]))
    return f"{field}: {fault['msg'].replace('Value error, ', '').rstrip('.')}"
