"""Training images that are saved again or resized before they are shown."""

import pytest
import torch

from robustbench_aigi.attacks.corruptions.jpeg import JPEG
from robustbench_aigi.attacks.corruptions.resize import Resize
from robustbench_aigi.detectors import Detector, load_detector
from robustbench_aigi.imaging.pixels import from_bytes
from robustbench_aigi.training import Arrays, TrainConfig, TrainingJob, fit, train_detector
from robustbench_aigi.training.objectives.base import Loss, TrainingBatch, own_loss
from robustbench_aigi.training.transforms import JPEG_QUALITIES, RESIZE_SCALES, transform_some


def pictures(count: int) -> Arrays:
    """Noise; fakes are brighter by 60 levels."""
    labels = torch.arange(count) % 2
    images = torch.randint(
        40, 140, (count, 3, 32, 32), generator=torch.Generator().manual_seed(count)
    )
    images = images + 60 * labels.view(-1, 1, 1, 1)
    return Arrays(images.to(torch.uint8), labels)


def test_one_half_of_a_share_is_saved_again_and_the_other_resized() -> None:
    images, rng = from_bytes(pictures(40).images), torch.Generator().manual_seed(0)
    shown, where = transform_some(images, torch.arange(10, 40), 0.4, rng)
    assert int(where.sum()) == 12
    assert not where[:10].any()
    assert torch.equal((shown != images).flatten(1).any(dim=1), where)
    saved = [JPEG(quality=quality) for quality in range(JPEG_QUALITIES[0], JPEG_QUALITIES[1] + 1)]
    for ways in (saved, [Resize(scale=scale) for scale in RESIZE_SCALES]):
        found = [
            (shown == way.apply(images, ["0"] * 40)).flatten(1).all(dim=1) & where for way in ways
        ]
        assert max(int(same.sum()) for same in found) == 6


@pytest.mark.parametrize("built", [False, True])
def test_a_training_shows_them_marked_as_changed(built: bool) -> None:
    train, marks = pictures(32), []
    came = torch.arange(32) >= 16 if built else None

    def noted(detector: Detector, batch: TrainingBatch) -> Loss:
        assert batch.changed is not None
        marks.append(int(batch.changed.sum()))
        return own_loss(detector, batch)

    torch.manual_seed(0)
    detector = load_detector("cifake-cnn")
    fit(
        detector,
        train._replace(changed=came),
        pictures(8),
        TrainConfig(epochs=2, batch=16, transform_share=0.5),
        objective=noted,
    )
    assert sum(marks) == 2 * (16 + 8 if built else 16)


def test_the_card_says_so() -> None:
    recipe = TrainingJob(detector="cifake-cnn", epochs=2, numbers={"transform_share": 0.5})
    detector, _ = train_detector(recipe, pictures(64), pictures(32))
    assert detector.card.seen == ("jpeg", "resize")
