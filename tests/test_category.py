"""A second head that learns what an image shows."""

import math
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from robustbench_aigi.detectors import Detector, load_detector, save_detector
from robustbench_aigi.errors import UserError
from robustbench_aigi.imaging.pixels import from_bytes
from robustbench_aigi.training import Arrays, TrainingFiles, TrainingJob, train_detector
from robustbench_aigi.training.objectives.aux_class import AuxClassObjective, add_aux_head
from robustbench_aigi.training.objectives.base import TrainingBatch, own_loss
from tests.test_training import cnn, easy


def coloured(count: int, seed: int = 0) -> Arrays:
    """Images in which one channel of three is brighter: that is what they show."""
    data, shown = easy(count, seed), torch.arange(count) // 2 % 3
    images = data.images.clone()
    images[torch.arange(count), shown] += 40
    return Arrays(images, data.labels, None, shown)


TRAIN, VALIDATION = coloured(60), coloured(30, 1)


def trained(
    numbers: dict[str, float],
    files: TrainingFiles | None = None,
    kill: Callable[..., None] | None = None,
) -> Detector:
    recipe = TrainingJob(
        detector="cifake-cnn", epochs=2, numbers={"batch": 16, "memory": 5, **numbers}
    )
    progress = kill or (lambda task, done, total: None)
    return train_detector(recipe, TRAIN, VALIDATION, files=files, progress=progress)[0]


def test_both_losses_are_lowered() -> None:
    detector, shown = cnn().eval(), torch.arange(60) // 2 % 3
    batch = TrainingBatch(
        from_bytes(TRAIN.images), TRAIN.labels, TRAIN.labels.float(), 0, torch.eye(3)[shown]
    )
    verdict = own_loss(detector, batch)().item()
    add_aux_head(detector, shown)
    losses, optimizer = list[float](), torch.optim.Adam(detector.parameters(), 3e-3)
    for _ in range(60):
        loss = AuxClassObjective(2.0)(detector, batch)()
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[0] == pytest.approx(
        verdict + 2 * math.log(3), rel=0.1
    )  # at first each is as likely
    assert losses[-1] < losses[0] / 3
    assert own_loss(detector, batch)().item() < verdict / 2


def test_what_is_trained_is_as_plain_as_without_it(tmp_path: Path) -> None:
    saved, images = list[Tensor](), from_bytes(VALIDATION.images)
    files = TrainingFiles(save_best=lambda best: saved.append(best.eval().logits(images).detach()))
    made, plain = trained({"aux_class_weight": 0.5}, files), trained({})
    assert made.state_dict().keys() == plain.state_dict().keys()
    assert made.card.trained_on == "with what they show"
    assert not torch.allclose(made.logits(images), plain.logits(images))
    save_detector(made, tmp_path / "aux.safetensors")
    for logits in (saved[-1], load_detector(str(tmp_path / "aux.safetensors")).logits(images)):
        torch.testing.assert_close(logits, made.logits(images))


@pytest.mark.parametrize("numbers", [{}, {"mixup": 0.4, "cutmix": 1.0, "smoothing": 0.1}])
def test_a_killed_one_ends_in_the_same_weights(
    numbers: dict[str, float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["robustbench_aigi.training.run_state"], "SAVE_SECONDS", 0)

    def killed(task: str, done: int, total: int) -> None:
        if done == 5:
            raise KeyboardInterrupt

    whole = trained({"aux_class_weight": 0.5, **numbers})
    with pytest.raises(KeyboardInterrupt):
        trained({"aux_class_weight": 0.5, **numbers}, TrainingFiles(tmp_path), killed)
    again = trained({"aux_class_weight": 0.5, **numbers}, TrainingFiles(tmp_path))
    assert all(
        torch.equal(value, whole.state_dict()[key]) for key, value in again.state_dict().items()
    )


@pytest.mark.parametrize(
    ("detector", "method", "numbers", "message"),
    [
        ("cifake-cnn", "pgd", {}, "methods plain and static, without lora; got pgd"),
        ("cifake-cnn", "adapt", {}, "got adapt"),
        ("cifake-cnn", "plain", {"lora": 2}, "got plain, lora=2"),
        ("clip-mlp", "plain", {}, "clip-mlp does not"),
    ],
)
def test_what_cannot_be_is_rejected(
    detector: str, method: str, numbers: dict[str, int], message: str
) -> None:
    def tried() -> None:
        recipe = TrainingJob(
            detector=detector, method=method, epochs=1, numbers={"aux_class_weight": 0.5, **numbers}
        )
        train_detector(recipe, TRAIN, VALIDATION)

    with pytest.raises(UserError, match=message):
        tried()


def test_images_of_unknown_category_are_rejected() -> None:
    recipe = TrainingJob(detector="cifake-cnn", epochs=1, numbers={"aux_class_weight": 0.5})
    with pytest.raises(UserError, match="several categories, and the training images have 0"):
        train_detector(recipe, easy(12), easy(12, 1))
