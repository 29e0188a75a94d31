"""A detector records the arguments that it was built with, and a checkpoint stores them."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from robustbench_aigi.detectors import Card, Detector, detectors, load_detector, save_detector
from robustbench_aigi.detectors._support.recording import json_value
from robustbench_aigi.detectors.base import TrainingDefaults
from robustbench_aigi.training import TrainingJob
from robustbench_aigi.training.presets import config_for, training_defaults
from tests.test_detectors import small

STORED_CONFIGS = {
    "aeroblade": (
        '{"false_alarms": 0.05, "autoencoders": ["small-autoencoder"], "distance": '
        '"multiscale-l1", "pretrained": false, "size": null}'
    ),
    "cifake-cnn": '{"filters": 32, "dense": 64}',
    "clip-linear": '{"model": "tiny-clip", "pretrained": null}',
    "clip-mlp": '{"model": "tiny-clip", "pretrained": null, "hidden": 256}',
    "cnndetection": '{"pretrained": false}',
    "commfor-224": (
        '{"size": 32, "short_side": 36, "patch": 8, "width": 48, "depth": 2, "heads": 3, '
        '"pretrained": false}'
    ),
    "commfor-384": (
        '{"size": 32, "short_side": 36, "patch": 8, "width": 48, "depth": 2, "heads": 3, '
        '"pretrained": false}'
    ),
    "convnextv2": (
        '{"model": "convnextv2_atto", "size": 32, "patch": 2, "pretrained": false, "fake_index": 1}'
    ),
    "cvt-13": (
        '{"size": 32, "dims": [16, 24, 32], "depths": [1, 1, 2], "heads": [1, 2, 4], '
        '"stem": 2, "fake_index": 1}'
    ),
    "cvt-c32": '{"dims": [16, 24, 32], "depths": [1, 1, 2], "heads": [1, 2, 4]}',
    "dire": (
        '{"false_alarms": 0.05, "model": "mini-diffusion", "steps": 1, "condition": '
        '"photograph", "head": "mean"}'
    ),
    "fft-vae": '{"width": 32, "latent": 128, "beta": 0.001}',
    "gapl": (
        '{"model": "tiny-clip", "pretrained": null, "rank": 4, "alpha": 32, "dropout": '
        '0.1, "prototypes": 16, "features": 128, "crop": true}'
    ),
    "npr": '{"width": 8, "depths": [1, 1], "stem_stride": 1, "pool": false}',
    "npr-multiscale": (
        '{"width": 8, "depths": [1, 1], "stem_stride": 1, "pool": false, "scales": [0.25, '
        '0.5, 0.75], "channel": true, "spatial": false}'
    ),
    "resnet18-c32": '{"width": 24}',
    "resnet50": '{"size": 32, "pretrained": false, "fake_index": 1}',
    "resnet50-attn-bnn": (
        '{"model": "resnet10t", "pretrained": false, "width": 16, "size": 32, '
        '"cifar_stem": true, "samples": 8, "seed": 0}'
    ),
    "resnet50-bnn": (
        '{"model": "resnet10t", "pretrained": false, "width": 16, "size": 32, '
        '"cifar_stem": true, "samples": 8, "seed": 0}'
    ),
    "resnet50-c32": '{"width": 8}',
    "rigid": (
        '{"false_alarms": 0.05, "draws": 1, "seed": 0, "backbone": "tiny-clip", '
        '"pretrained": false, "size": 224, "noise": 0.05}'
    ),
    "robust-clip": '{"variant": "tiny-clip", "head": "mlp", "hidden": 256, "quick_gelu": false}',
    "spai": (
        '{"window": 32, "patch": 8, "width": 32, "depth": 2, "heads": 2, "projection": '
        '16, "pooling": 32, "pooling_heads": 2, "radius": null, "dropout": 0.1, "frozen": '
        "false}"
    ),
    "swin-c32": '{"patch": 2, "window": 4, "width": 24, "depths": [2, 2], "heads": [2, 4]}',
    "swin-t": (
        '{"size": 32, "patch": 2, "window": 4, "width": 24, "depths": [2, 2], "heads": '
        '[2, 4], "pretrained": false, "fake_index": 0}'
    ),
    "tinyvit-11m": (
        '{"stem_stride": 4, "drop_path": 0.0, "size": 32, "pretrained": false, '
        '"fake_index": 1, "dims": [32, 32, 64, 64]}'
    ),
    "tinyvit-21m": (
        '{"stem_stride": 4, "drop_path": 0.0, "size": 32, "pretrained": false, '
        '"fake_index": 1, "dims": [32, 32, 64, 64]}'
    ),
    "tinyvit-5m": (
        '{"stem_stride": 4, "drop_path": 0.0, "size": 32, "pretrained": false, '
        '"fake_index": 1, "dims": [32, 32, 64, 64]}'
    ),
    "vit-b16": (
        '{"size": 32, "patch": 8, "width": 48, "depth": 2, "heads": 3, "pretrained": '
        'false, "fake_index": 1}'
    ),
    "vit-c32": '{"patch": 4, "width": 48, "depth": 2, "heads": 3}',
    "vit-cnn": (
        '{"size": 32, "patch": 8, "width": 48, "depth": 2, "heads": 3, "pretrained": '
        'false, "frozen": false}'
    ),
    "vit-cnn-c32": '{"patch": 4, "width": 48, "depth": 2, "heads": 3}',
}
"""The configuration in the checkpoint of each small detector that was released, to the byte.

A detector that is not listed is held by ``test_detectors.py`` alone: it loads what it saved.
"""


def test_every_stored_configuration_is_of_a_detector() -> None:
    assert set(STORED_CONFIGS) <= set(detectors.names())


@pytest.mark.parametrize("name", sorted(STORED_CONFIGS))
def test_a_checkpoint_stores_the_arguments(name: str, tmp_path: Path) -> None:
    detector = small(name)
    save_detector(detector, tmp_path / "saved.safetensors")
    with safe_open(tmp_path / "saved.safetensors", "pt") as file:
        metadata = file.metadata()
    assert metadata["detector"] == name
    assert metadata["config"] == STORED_CONFIGS[name]
    assert Card.model_validate_json(metadata["card"]) == detector.card


class Scaled(Detector):
    """Brightness times a factor."""

    default_card = Card(name="scaled", source="tests")

    def __init__(self, factor: float, sizes: tuple[int, ...] = (1, 2), **more: Any) -> None:
        super().__init__()
        self.factor = factor

    def logits(self, images: Tensor) -> Tensor:
        return self.factor * images.mean(dim=(1, 2, 3))


class Doubled(Scaled):
    """A subclass with arguments of its own."""

    def __init__(self, shift: float = 0.5) -> None:
        super().__init__(2.0, sizes=(9,))
        self.seen_while_building = dict(self.config)


class Renamed(Scaled):
    """A subclass that records something else than its arguments."""

    def __init__(self, names: str) -> None:
        super().__init__(1.0)
        self.config["names"] = names.split(",")


class Explicit(Detector):
    """A class that passes on what to record."""

    default_card = Card(name="explicit", source="tests")

    def __init__(self, level: float, secret: str = "") -> None:
        super().__init__(level=level)

    def logits(self, images: Tensor) -> Tensor:
        return images.mean(dim=(1, 2, 3))


class Inheriting(Doubled):
    """A subclass without a constructor."""


def test_arguments_are_recorded_with_their_defaults() -> None:
    assert Scaled(3).config == {"factor": 3, "sizes": [1, 2]}
    assert Scaled(factor=3, sizes=(4,), extra="a").config == {
        "factor": 3,
        "sizes": [4],
        "extra": "a",
    }
    assert list(Scaled(sizes=(4,), factor=3).config) == ["factor", "sizes"]


def test_the_outermost_constructor_records() -> None:
    assert Doubled().config == {"shift": 0.5}
    assert Doubled(1).seen_while_building == {"shift": 1}
    assert Inheriting(shift=2).config == {"shift": 2}


def test_a_class_may_record_something_else() -> None:
    assert Renamed("a,b").config == {"names": ["a", "b"]}
    assert Explicit(1.0, secret="hidden").config == {"level": 1.0}


def test_nothing_is_recorded_that_json_cannot_hold() -> None:
    assert Scaled(2.0, weight=torch.zeros(1)).config == {}
    with pytest.raises(TypeError, match="JSON cannot hold bytes"):
        json_value([1, b"a"])
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'factor'"):
        Scaled()  # type: ignore[call-arg]


def test_a_saved_class_is_built_with_its_arguments(images: Tensor, tmp_path: Path) -> None:
    detector = load_detector(f"{__name__}:Scaled", factor=3.0)
    save_detector(detector, tmp_path / "scaled.safetensors")
    again = load_detector(str(tmp_path / "scaled.safetensors"))
    assert again.config == {"factor": 3.0, "sizes": [1, 2]}
    assert torch.equal(again.logits(images), detector.logits(images))


def test_a_card_is_described_by_its_own_fields() -> None:
    detector = Scaled(1.0)
    detector.describe(summary="brightness", threshold=0.5)
    assert (detector.card.summary, detector.threshold) == ("brightness", 0.5)
    assert Scaled.default_card.summary == ""
    with pytest.raises(TypeError, match="a card has no sumary"):
        detector.describe(sumary="brightness")


TRAINING_RATES = {
    "cifake-cnn": (2e-3, 2e-3, 1e-3, 5e-4, 2e-4, False),
    "resnet18-c32": (2e-3, 1e-3, 2e-3, 1e-3, 4e-4, False),
    "tinyvit-5m": (1e-3, 2e-4, 1e-3, 5e-4, 2e-4, True),
    "tinyvit-11m": (1e-3, 2e-4, 1e-3, 5e-4, 2e-4, True),
    "tinyvit-21m": (1e-3, 2e-4, 1e-3, 5e-4, 2e-4, True),
}
"""Learning rates on few images (fresh, fine-tuned) and on many (fresh, fine-tuned), and of adapting
to new images; whether fine-tuning on few keeps the statistics of batch normalisation.
"""
USUAL_RATES = (1e-3, 5e-4, 1e-3, 5e-4, 2e-4, False)
USUAL_DETECTORS = [
    name
    for name in detectors.names()
    if name not in TRAINING_RATES and detectors.get(name).training_defaults == TrainingDefaults()
]


@pytest.mark.parametrize("name", [*TRAINING_RATES, *USUAL_DETECTORS, "runs/mine.safetensors"])
def test_training_defaults_are_those_of_the_class(name: str) -> None:
    plain = TrainingJob(detector=name, epochs=3)
    adapting = TrainingJob(detector=name, method="adapt", epochs=3)
    few = [config_for(plain, 1_000, is_trained=known, is_frozen=False) for known in (False, True)]
    many = [
        config_for(plain, 100_000, is_trained=known, is_frozen=False) for known in (False, True)
    ]
    adapted = config_for(adapting, 100_000, is_trained=True, is_frozen=False)
    rates = [config.rate for config in (*few, *many, adapted)]
    *expected, keeps_statistics = TRAINING_RATES.get(name, USUAL_RATES)
    assert rates == pytest.approx(expected)
    assert [one.fixed_norm for one in (*few, *many)] == [False, keeps_statistics, False, False]


def test_attacks_in_training_leave_out_the_rate_on_few() -> None:
    job = TrainingJob(detector="cifake-cnn", method="pgd", epochs=3)
    assert training_defaults("cifake-cnn").rate_on_few == 2e-3
    assert config_for(job, 1_000, is_trained=False, is_frozen=False).rate == 1e-3
