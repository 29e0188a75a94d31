import copy
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from robustbench_aigi.attacks import load_attack
from robustbench_aigi.detectors import Detector, detectors, load_detector, save_detector
from robustbench_aigi.detectors.clip_mlp import ClipMLP
from robustbench_aigi.errors import TrainingCollapsedError, UserError
from robustbench_aigi.imaging.pixels import from_bytes
from robustbench_aigi.pipeline.training_summary import describe_training_data
from robustbench_aigi.training import Arrays, TrainConfig, TrainingJob, fit, train_detector
from robustbench_aigi.training.arrays import balanced_accuracy, by_change, shuffled
from robustbench_aigi.training.augment import augment, translate
from robustbench_aigi.training.methods.fare import fare_loss, squared_distance
from robustbench_aigi.training.methods.pgd import PGDTraining
from robustbench_aigi.training.mixing import mix_batch
from robustbench_aigi.training.objectives.adversarial import AdversarialObjective, Ramp
from robustbench_aigi.training.objectives.base import TrainingBatch
from robustbench_aigi.training.objectives.clip_encoder import EncoderObjective
from robustbench_aigi.training.objectives.pgd_inner import inner_maximisation
from robustbench_aigi.training.objectives.robustness import robust_accuracy
from tests.conftest import Linear


def easy(count: int, seed: int = 0) -> Arrays:
    """Fakes are brighter by 60 levels: even a robust detector can tell."""
    rng = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 2
    images = torch.randint(40, 140, (count, 3, 32, 32), generator=rng) + 60 * labels.view(
        -1, 1, 1, 1
    )
    return Arrays(images.to(torch.uint8), labels)


def cnn() -> Detector:
    torch.manual_seed(0)
    return detectors.get("cifake-cnn")()


def test_fit_learns_and_keeps_the_best_epoch() -> None:
    detector, validation = cnn(), easy(64, seed=1)
    history = fit(detector, easy(256), validation, TrainConfig(epochs=4, batch=32))
    assert (
        balanced_accuracy(detector, validation) == max(row["score"] for row in history.rows) > 0.95
    )
    assert not detector.training


@pytest.mark.parametrize("fixed", [False, True])
def test_fixed_norm_keeps_the_statistics_it_came_with(fixed: bool) -> None:
    torch.manual_seed(0)
    detector = detectors.get("resnet18-c32")()
    before = {
        key: value.clone() for key, value in detector.state_dict().items() if "running" in key
    }
    fit(detector, easy(64), easy(32, seed=1), TrainConfig(epochs=1, batch=32, fixed_norm=fixed))
    assert before
    assert (
        all(torch.equal(detector.state_dict()[key], value) for key, value in before.items())
        == fixed
    )


def test_fit_is_the_same_twice() -> None:
    first, second = cnn(), cnn()
    for detector in (first, second):
        fit(detector, easy(64), easy(32, seed=1), TrainConfig(epochs=2, batch=32))
    assert all(
        torch.equal(a, b)
        for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    )


def test_collapse_stops_and_says_so() -> None:
    data = easy(64)
    same = Arrays(torch.full_like(data.images, 128), data.labels)
    with pytest.raises(TrainingCollapsedError, match="collapsed: after epoch"):
        fit(cnn(), same, same, TrainConfig(epochs=2, batch=32))


def tempting(count: int, seed: int = 0) -> Arrays:
    """A bright or dark centre tells nine in ten labels; all other pixels lean 3 levels to the
    label's side, together all of them, and eps 8 turns those around. After Tsipras et al., ICLR
    2019.
    """
    rng = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 2
    sides = (2 * labels - 1).view(-1, 1, 1, 1)
    images = 128 + 3 * sides + torch.randint(-20, 21, (count, 3, 32, 32), generator=rng)
    honest = torch.where(torch.rand(count, 1, 1, 1, generator=rng) < 0.9, sides, -sides)
    images[:, :, 10:22, 10:22] = 128 + 50 * honest
    return Arrays(images.to(torch.uint8), labels)


def test_pgd_training_makes_a_detector_robust_where_plain_training_does_not() -> None:
    train, validation = tempting(384), tempting(96, seed=1)
    judge = load_attack("pgd-linf", eps=8, step=2, steps=10)
    plain, robust = (Linear(torch.zeros(3, 32, 32), 0.0, centre=0.5) for _ in range(2))
    plan = TrainConfig(epochs=10, batch=32, rate=3e-3, shift=0, clean_share=0)
    fit(plain, train, validation, plan)
    fit(
        robust,
        train,
        validation,
        plan,
        objective=AdversarialObjective(plan, Ramp(20)),
        score=PGDTraining().score(plan),
    )
    assert balanced_accuracy(plain, validation) > 0.95
    assert robust_accuracy(plain, validation, judge) < 0.1
    assert robust_accuracy(robust, validation, judge) > 0.8


def test_images_changed_before_are_shown_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    detector, data, shown = cnn().eval(), easy(8), []
    changed = torch.tensor([False, False, True, True] * 2)
    batch = TrainingBatch(
        from_bytes(data.images), data.labels, data.labels.float(), 0, changed=changed
    )
    monkeypatch.setattr(detector, "loss", lambda images, targets: shown.append(images))
    config = TrainConfig(epochs=1, clean_share=0.25)
    AdversarialObjective(config, Ramp(1))(detector, batch)()
    assert (shown[0] != batch.images).flatten(1).any(dim=1).nonzero().squeeze(1).tolist() == [
        1,
        4,
        5,
    ]
    figures = PGDTraining().score(config)(detector, data._replace(changed=changed))
    clean, rest = by_change(data._replace(changed=changed))
    assert figures["score"] == (figures["pgd_linf"] + figures["changed"]) / 2
    assert rest is not None
    assert (len(clean.labels), figures["changed"]) == (4, balanced_accuracy(detector, rest))


def test_fare_pulls_attacked_embeddings_back() -> None:
    torch.manual_seed(0)
    detector = detectors.get("clip-mlp")()
    assert isinstance(detector, ClipMLP)
    original = copy.deepcopy(detector).eval()
    data, held = easy(64), easy(16, seed=1)
    images = from_bytes(held.images)
    target = original.embed(images)

    def drift(tower: ClipMLP) -> float:
        rng = torch.Generator().manual_seed(0)
        attacked = inner_maximisation(
            tower,
            images,
            lambda new: squared_distance(tower.embed(new), target),
            rng,
            eps=4,
            steps=5,
        )
        with torch.no_grad():
            return float(squared_distance(tower.embed(attacked), target).mean())

    before = drift(detector.eval())
    plan = TrainConfig(epochs=4, batch=16, rate=3e-4, eps=4)
    tower = EncoderObjective(fare_loss(detector), plan)
    history = fit(
        detector, data, held, plan, objective=tower, score=tower.score, part=detector.tower
    )
    assert history.rows[-1]["loss"] < history.rows[0]["loss"]
    assert drift(detector) < 0.8 * before
    assert not any(p.requires_grad for p in detector.tower.parameters())


def test_methods_name_the_detector_and_mark_what_was_seen() -> None:
    recipe = TrainingJob(
        detector="cifake-cnn", method="pgd", epochs=3, numbers={"eps": 4, "steps": 1}
    )
    made, _ = train_detector(recipe, easy(128), easy(32, seed=1), trained_on="toy")
    assert made.card.name == recipe.name == "robust-cifake-cnn"
    assert made.card.seen == ("pgd-linf",)
    more = TrainingJob(detector="cifake-cnn", method="static", epochs=1)
    again, _ = train_detector(
        more, easy(64), easy(32, seed=1), start=made, seen=("jpeg-50", "pgd-linf")
    )
    assert again.card.seen == ("pgd-linf", "jpeg-50")
    assert TrainingJob(detector="robust-clip", method="fare", epochs=1).name == "fare-robust-clip"
    assert TrainingJob(detector="clip-mlp", method="fare", epochs=1).name == "robust-clip-mlp"
    with pytest.raises(UserError, match=r"no training method called 'magic'.*list methods"):
        train_detector(
            TrainingJob(detector="cifake-cnn", method="magic", epochs=1), easy(8), easy(8)
        )
    with pytest.raises(UserError, match="trains a CLIP encoder, and cifake-cnn has none"):
        train_detector(
            TrainingJob(detector="cifake-cnn", method="fare", epochs=1), easy(8), easy(8)
        )


def test_a_model_of_timm_is_trained_by_its_address(tmp_path: Path) -> None:
    made, _ = train_detector(
        TrainingJob(detector="timm:test_vit", epochs=1), easy(64), easy(32, seed=1)
    )
    save_detector(made, tmp_path / "timm.safetensors")
    assert load_detector(str(tmp_path / "timm.safetensors")).card.name == "timm-test_vit"


def test_schedule_warms_up_and_ends_at_zero() -> None:
    weight = torch.nn.Parameter(torch.zeros(1))
    groups: list[dict[str, Any]] = [
        {"params": [weight]},
        {"params": [torch.nn.Parameter(weight)], "lr_scale": 0.5},
    ]
    optimizer = torch.optim.SGD(groups, lr=2.0)
    schedule, rates = TrainConfig(epochs=1, rate=2.0, warmup=0.1).schedule_for(optimizer, 100), []
    for step in range(100):
        schedule.step_update(step)
        rates.append(optimizer.param_groups[0]["lr"])
        assert optimizer.param_groups[1]["lr"] == pytest.approx(rates[-1] / 2)
    assert rates[0] == pytest.approx(0.2)
    assert rates[:10] == sorted(rates[:10])
    assert rates[10] == pytest.approx(2.0)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] == pytest.approx(1 + math.cos(math.pi * 89 / 90))


def test_augment_moves_whole_pixels_and_mixes_within_a_class() -> None:
    rng = torch.Generator().manual_seed(0)
    images = torch.rand(6, 3, 16, 16, generator=rng)
    patches = translate(images, torch.randint(0, 5, (2, 6), generator=rng), 2)
    for image, patch in zip(images, patches[:, :, 4:-4, 4:-4], strict=True):
        places = [
            image[:, 4 + i : 12 + i, 4 + j : 12 + j] for i in range(-2, 3) for j in range(-2, 3)
        ]
        assert any(torch.equal(patch, place) for place in places)
    labels = torch.tensor([0, 0, 0, 1, 1, 1])
    flat = labels.float().view(-1, 1, 1, 1).expand(6, 3, 16, 16)
    assert torch.equal(augment(flat, labels, rng, intra_class_mixup=0.3), flat)


def test_a_rectangle_of_the_other_class_counts_by_its_area() -> None:
    rng = torch.Generator().manual_seed(0)
    labels = torch.tensor([0, 0, 0, 1, 1, 1, 1])
    flat = labels.float().view(-1, 1, 1, 1).expand(7, 3, 16, 16)
    shown, shares = torch.eye(3)[[0, 0, 1, 2, 2, 1, 0]], set()
    for _ in range(20):
        images, targets, mixed = mix_batch(
            flat, labels.float(), rng, mixup=0.0, cutmix=1.0, smoothing=0.0, categories=shown
        )
        torch.testing.assert_close(images.mean(dim=(1, 2, 3)), targets)
        torch.testing.assert_close(
            mixed[1, 0], 1 - targets[1]
        )  # of 0 alone, laid into by one of the other class
        torch.testing.assert_close(mixed[1, 2], targets[1])
        torch.testing.assert_close(mixed.sum(dim=1), torch.ones(7))
        assert torch.equal(mixed[6], shown[6])
        assert set(images.unique().tolist()) <= {0.0, 1.0}
        assert targets[6] == 1
        shares.add(round(float(targets[0]), 3))
    assert len(shares) > 10


def test_images_of_one_group_stay_together_and_change_alike() -> None:
    rng = torch.Generator().manual_seed(0)
    groups = torch.tensor([3, 0, 1, 0, 2, 3, 1, 4])
    order = groups[shuffled(groups, rng)]
    assert sorted(order.tolist()) == sorted(groups.tolist())
    assert len(order.unique_consecutive()) == 5
    image = torch.rand(1, 3, 16, 16, generator=rng).mul(255).round() / 255
    same = augment(
        image.repeat(6, 1, 1, 1), torch.ones(6), rng, torch.tensor([7, 7, 7, 2, 2, 5]), colour=0.4
    )
    assert torch.equal(same[0], same[1])
    assert torch.equal(same[1], same[2])
    assert torch.equal(same[3], same[4])
    assert not torch.equal(same[2], same[3])
    assert not torch.equal(same[4], same[5])


def test_clip_tower_stays_frozen_in_a_plain_fit() -> None:
    torch.manual_seed(0)
    detector = load_detector("clip-mlp")
    assert isinstance(detector, ClipMLP)
    before: dict[str, Tensor] = copy.deepcopy(detector.tower.state_dict())
    fit(detector, easy(64), easy(32, seed=1), TrainConfig(epochs=2, batch=32))
    assert all(
        torch.equal(value, before[key]) for key, value in detector.tower.state_dict().items()
    )


def test_a_card_names_the_images_of_each_stage() -> None:
    begin = load_detector("tinyvit-5m", "cifake")
    assert begin.card.weights.startswith("sha256:")
    assert (
        describe_training_data("mini", 2000, begin)
        == f"{begin.card.trained_on}; then mini, 2000 images"
    )
    assert begin.card.trained_on.startswith("cifake, 98000 images")
    assert describe_training_data("mini", 2000, None) == "mini, 2000 images"
