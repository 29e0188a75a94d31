"""Each way to train a detector, and the errors of trainings that go wrong."""

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from robustbench_aigi.attacks import load_attack
from robustbench_aigi.detectors import Detector, load_detector, save_detector
from robustbench_aigi.errors import (
    ConfigError,
    DataError,
    LogitsError,
    TrainingDivergedError,
    UserError,
)
from robustbench_aigi.imaging.pixels import from_bytes
from robustbench_aigi.training import (
    Arrays,
    TrainConfig,
    TrainingFiles,
    TrainingJob,
    fit,
    train_detector,
)
from robustbench_aigi.training.arrays import balanced_accuracy
from robustbench_aigi.training.methods._adversarial import AdversarialTraining
from robustbench_aigi.training.methods.fast import FastTraining, overfitting_reason
from robustbench_aigi.training.methods.mixed import THREAT_NAMES, MixedObjective, MixedTraining
from robustbench_aigi.training.methods.trades import TradesObjective, TradesTraining, divergence
from robustbench_aigi.training.objectives.adversarial import Ramp
from robustbench_aigi.training.objectives.base import Loss, TrainingBatch
from robustbench_aigi.training.objectives.pgd_inner import inner_maximisation
from robustbench_aigi.training.objectives.robustness import robust_accuracy
from robustbench_aigi.training.objectives.weight_perturbation import perturbed_weights
from robustbench_aigi.training.replay import ReplayScore, add_replay
from tests.conftest import Linear
from tests.processes import trained_weights
from tests.test_training import cnn, easy, tempting


@pytest.mark.parametrize("method", [TradesTraining(), FastTraining(), MixedTraining()])
def test_adversarial_methods_make_a_detector_robust(method: AdversarialTraining) -> None:
    train, validation = tempting(384), tempting(96, seed=1)
    judge = load_attack("pgd-linf", eps=8, step=2, steps=10)
    robust = Linear(torch.zeros(3, 32, 32), 0.0, centre=0.5)
    plan = TrainConfig(epochs=10, batch=32, rate=3e-3, shift=0, clean_share=0, beta=12)
    fit(
        robust,
        train,
        validation,
        plan,
        objective=method.objective(plan, Ramp(20)),
        score=method.score(plan),
    )
    assert (
        robust_accuracy(robust, validation, judge) > 0.8
    )  # plain training: below 0.1 (test_training)


def test_inner_attacks_stay_in_their_ball_and_raise_the_loss() -> None:
    detector, images = cnn().eval(), from_bytes(easy(8).images)
    for norm, eps, radius in (("linf", 8.0, 8 / 255), ("l2", 1.0, 1.0)):
        rng = torch.Generator().manual_seed(0)
        numbers: Any = {"eps": eps, "steps": 4, "norm": norm}
        attacked = inner_maximisation(detector, images, detector.logits, rng, **numbers)
        order = math.inf if norm == "linf" else 2
        assert float((attacked - images).flatten(1).norm(order, dim=1).max()) <= radius + 1e-5
        assert bool((detector.logits(attacked) > detector.logits(images)).all())
    assert not any(p.grad is not None for p in detector.parameters())


def test_trades_attacks_the_answer_not_the_label() -> None:
    one, other = torch.tensor([2.0, -1.0]), torch.tensor([0.5, 3.0])
    p, q = one.sigmoid(), other.sigmoid()
    torch.testing.assert_close(
        divergence(one, other), p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()
    )
    detector, data = cnn(), easy(8)
    images = from_bytes(data.images)
    plan = TrainConfig(epochs=1, beta=3.0)
    pulls = []
    for labels in (data.labels, 1 - data.labels):
        loss = TradesObjective(plan, Ramp(1))(
            detector, TrainingBatch(images, labels, labels.float(), 5)
        )()
        pulls.append((loss - detector.loss(images, labels.float())).item())
    assert pulls[0] > 0
    assert pulls[0] == pytest.approx(pulls[1])


def test_mixed_training_meets_every_threat() -> None:
    detector, data = cnn().eval(), easy(4)
    images = from_bytes(data.images)
    drawn = {
        float(
            (MixedObjective(TrainConfig(epochs=1), Ramp(1)).attacked(detector, b) != images)
            .float()
            .mean()
        )
        for b in (
            TrainingBatch(images, data.labels, data.labels.float(), step) for step in range(40)
        )
    }
    assert len(drawn) > len(THREAT_NAMES)
    assert any(0 < share <= 3 / 3072 for share in drawn)  # one pixel


def test_weights_are_moved_uphill_and_put_back() -> None:
    detector, data = cnn(), easy(16)

    def loss() -> Tensor:
        return detector.loss(from_bytes(data.images), data.labels.float())

    before, low = {k: v.clone() for k, v in detector.state_dict().items()}, loss().item()
    with perturbed_weights(detector, loss, 0.02):
        assert loss().item() > low
        weight, old = next(iter(detector.parameters())), next(iter(before.values()))
        assert ((weight - old).norm() / old.norm()).item() == pytest.approx(0.02, rel=1e-3)
    assert all(torch.equal(value, before[key]) for key, value in detector.state_dict().items())


def test_one_step_training_that_overfits_is_stopped() -> None:
    assert overfitting_reason({"score": 0.5, "one_step": 0.7}) is None
    assert "accuracy of 90.0% under the one-step attack" in str(
        overfitting_reason({"score": 0.1, "one_step": 0.9})
    )
    score = lambda detector, data: {"score": 0.1, "one_step": 0.9}  # noqa: E731
    history = fit(
        cnn(),
        easy(64),
        easy(32, seed=1),
        TrainConfig(epochs=5, batch=32),
        score=score,
        stop_reason=overfitting_reason,
    )
    assert len(history.rows) == 1
    assert "catastrophic overfitting" in str(history.stop_reason)


def test_old_images_are_replayed_one_in_nine_each_stratum_alike() -> None:
    new, old = easy(160), easy(1000, seed=1)
    strata = 10 * old.labels + (torch.arange(1000) < 300)
    old = old._replace(
        images=(200 + strata).to(torch.uint8).view(-1, 1, 1, 1).expand(1000, 3, 32, 32)
    )
    joined = add_replay(new, old, strata)
    assert isinstance(joined, Arrays)
    assert torch.equal(joined.images[:160], new.images)
    drawn = (joined.images[160:, 0, 0, 0].to(torch.int64) - 200).tolist()
    assert {kind: drawn.count(kind) for kind in (0, 1, 10, 11)} == {
        0: 7,
        1: 3,
        10: 7,
        11: 3,
    }  # of 350, 150, 350, 150
    assert joined.labels[160:].tolist() == [kind // 10 for kind in drawn]


def test_adapting_keeps_what_was_known() -> None:
    """Old fakes are brighter in red, new ones in blue; without replay the old are forgotten."""

    def only(channel: int, count: int, seed: int) -> Arrays:
        data = easy(count, seed)
        images = torch.full_like(data.images, 60)
        images[:, channel] = data.images[:, channel]
        return Arrays(images, data.labels)

    old, old_validation = only(0, 256, 0), only(0, 64, 1)
    known = cnn()
    fit(known, old, old_validation, TrainConfig(epochs=6, batch=32))
    assert balanced_accuracy(known, old_validation) > 0.95
    joined = add_replay(only(2, 256, 2), old, old.labels)
    recipe = TrainingJob(detector="cifake-cnn", method="adapt", epochs=8, numbers={"rate": 1e-3})
    made, history = train_detector(
        recipe, joined, only(2, 64, 3), start=known, replay_validation=old_validation
    )
    assert made.card.name == "adapted-cifake-cnn"
    assert ReplayScore(old_validation)(made, only(2, 64, 3))["score"] == max(
        row["score"] for row in history.rows
    )
    assert balanced_accuracy(made, only(2, 64, 3)) > 0.9
    assert balanced_accuracy(made, old_validation) > 0.9


def test_low_rank_training_ends_in_a_plain_detector(tmp_path: Path) -> None:
    start, saved = load_detector("resnet18-c32", "cifake"), list[Tensor]()
    recipe = TrainingJob(
        detector="resnet18-c32", epochs=6, numbers={"lora": 2, "fixed_norm": True, "memory": 0}
    )
    images = from_bytes(easy(4).images)
    files = TrainingFiles(save_best=lambda best: saved.append(best.eval().logits(images).detach()))
    made, _ = train_detector(recipe, easy(64), easy(32, seed=1), start=start, files=files)
    assert made.state_dict().keys() == start.state_dict().keys()
    torch.testing.assert_close(saved[-1], made.logits(images).detach(), atol=1e-4, rtol=1e-4)
    moved = [made.state_dict()[k] - v for k, v in start.state_dict().items() if "conv" in k]
    assert all(float(d.abs().max()) > 0 for d in moved)
    assert all(torch.linalg.matrix_rank(d.flatten(1), rtol=1e-3) <= 2 * 9 for d in moved)
    save_detector(made, tmp_path / "low.safetensors")
    torch.testing.assert_close(
        load_detector(str(tmp_path / "low.safetensors")).logits(images), made.logits(images)
    )
    with pytest.raises(UserError, match="got clip-mlp, which freezes a part"):
        train_detector(
            TrainingJob(detector="clip-mlp", epochs=1, numbers={"lora": 2}), easy(8), easy(8)
        )


class Cut(Linear):
    """No gradient comes to its weights."""

    def logits(self, images: Tensor) -> Tensor:
        return super().logits(images).detach()


def test_trainings_that_cannot_go_well_are_rejected() -> None:
    data = easy(64)
    ones = Arrays(data.images, torch.ones_like(data.labels))
    with pytest.raises(
        DataError, match=r"the training images have the labels \[1\], expected both 0"
    ):
        fit(cnn(), ones, data, TrainConfig(epochs=1))
    with pytest.raises(DataError, match="the validation images"):
        fit(cnn(), data, ones, TrainConfig(epochs=1))
    with pytest.raises(LogitsError, match=r"no gradient of the loss of .* reaches its weights"):
        fit(Cut(torch.zeros(3, 32, 32), 0.0), data, data, TrainConfig(epochs=1))
    recipe = TrainingJob(detector="cifake-cnn", epochs=2)
    for field, value, message in (
        ("epochs", 0, "epochs: wants 1 or more, got 0"),
        ("magic", 1, "Fields: epochs, batch"),
    ):
        with pytest.raises(ConfigError, match=message):
            train_detector(dataclasses.replace(recipe, numbers={field: value}), data, data)
    with pytest.raises(
        UserError, match="layer_decay is for detectors that are one timm network, got cifake-cnn"
    ):
        train_detector(dataclasses.replace(recipe, numbers={"layer_decay": 0.8}), data, data)


def test_a_loss_that_is_nan_ends_the_training_and_keeps_the_best() -> None:
    detector, best = cnn(), list[int]()

    def objective(detector: Detector, batch: TrainingBatch) -> Loss:
        factor = math.nan if batch.step == 3 else 1.0
        return lambda: detector.loss(batch.images, batch.targets) * factor

    with pytest.raises(TrainingDivergedError, match=r"is nan at step 4.*--config rate=0.0003"):
        fit(
            detector,
            easy(64),
            easy(32, seed=1),
            TrainConfig(epochs=3, batch=32),
            objective=objective,
            on_improvement=lambda: best.append(1),
        )
    assert best


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_precision_is_of_the_passes_alone(precision: str) -> None:
    detector, validation = cnn(), easy(64, seed=1)
    fit(detector, easy(256), validation, TrainConfig(epochs=4, batch=32, precision=precision))
    assert balanced_accuracy(detector, validation) > 0.95
    assert {p.dtype for p in detector.parameters()} == {torch.float32}


def test_two_processes_share_a_batch(tmp_path: Path) -> None:
    """Their averaged gradient is that of the whole batch, so a detector without batch statistics
    ends up the same.
    """
    script = tmp_path / "two.py"
    script.write_text(
        "import sys, torch\n"
        "from robustbench_aigi.training import TrainConfig, fit\n"
        "from tests.test_training import easy\n"
        "from tests.conftest import Linear\n"
        "if __name__ == '__main__':\n"
        "    detector = Linear(torch.zeros(3, 32, 32), 0.0, centre=0.5)\n"
        "    fit(detector, easy(64), easy(32, seed=1), TrainConfig(epochs=2, batch=16))\n"
        "    torch.save(detector.state_dict(), sys.argv[1])\n"
    )
    ends = [*trained_weights(script, 1), *trained_weights(script, 2)]
    for name, value in ends[0].items():
        torch.testing.assert_close(ends[1][name], value, atol=1e-5, rtol=1e-4)
        assert torch.equal(ends[1][name], ends[2][name])
