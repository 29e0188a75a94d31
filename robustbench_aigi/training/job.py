"""What to train and how."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from robustbench_aigi.detectors.external.outputs import slug
from robustbench_aigi.errors import UserError
from robustbench_aigi.training.config import TrainConfig
from robustbench_aigi.training.methods import methods


@dataclass(frozen=True, kw_only=True)
class TrainingJob:
    """What to train and how.

    Attributes:
        detector: registered name or address.
        method: registered name of a training method, or ``module:Class``.
        epochs: passes over the training images.
        seed: of all random draws.
        config: arguments of the detector, where it starts from fresh weights.
        numbers: fields of :class:`TrainConfig` that replace the preset ones.

    Raises:
        UserError: an unknown method, or numbers that do not fit it.
        ConfigError: an unknown field, or a value out of its range.

    Example:
        >>> TrainingJob(detector="tinyvit-5m", method="pgd", epochs=2).name
        'robust-tinyvit-5m'
    """

    detector: str
    method: str = "plain"
    epochs: int
    seed: int = 0
    config: Mapping[str, Any] = field(default_factory=dict)
    numbers: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        method = methods.get(self.method)
        config = TrainConfig.from_numbers({"epochs": self.epochs, **self.numbers})
        if config.aux_class_weight and (not method.takes_aux_class or config.lora):
            able = [name for name in methods.names() if methods.get(name).takes_aux_class]
            raise UserError(
                f"aux_class_weight goes with the methods {' and '.join(able)}, without lora; got"
                f" {self.method}, lora={config.lora}. Leave one of them out."
            )

    @property
    def name(self) -> str:
        """Name of the trained detector, such as ``robust-tinyvit-5m`` or ``fare-robust-clip``."""
        prefix = methods.get(self.method).prefix
        own = slug(self.detector)
        if prefix and own.startswith(prefix):
            prefix = f"{self.method}-"
        return prefix + own
