"""A11, B16: what a verdict on one image says of its own weakness, and what the command takes."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

import robustbench_aigi as rb
from robustbench_aigi.detectors import detectors, load_trained, save_detector, shipped_names
from robustbench_aigi.errors import DataError, LogitsError
from robustbench_aigi.judging import (
    AS_IT_IS,
    DELIVERY_ATTACKS,
    UNSURE_LOGIT,
    Judgement,
    find_images,
    judge,
    read_image,
    to_text,
)
from robustbench_aigi.training import Arrays, TrainingJob, train_detector
from robustbench_aigi.training.trainer import trained_sizes
from tests.test_cli import command_here
from tests.test_training import easy


class Score(nn.Module):
    """A network whose logit is a function of the pixels that a test chooses."""

    def __init__(self, kind: str, value: float) -> None:
        super().__init__()
        self.kind, self.value = kind, value

    def forward(self, images: Tensor) -> Tensor:
        if self.kind == "constant":
            return torch.full((len(images),), self.value)
        rough = (
            (images - F.avg_pool2d(images, 3, 1, 1)).abs().mean(dim=(1, 2, 3))
        )  # what compression takes away
        return 400 * (rough - self.value)


def judged(kind: str, value: float, pixels: Tensor, **card: object) -> Judgement:
    fields: dict[str, Any] = {
        "input_size": 32,
        "trained_on": "test, 10 images",
        "trained_size": (32, 512),
        "threshold": 0.0,
        **card,
    }
    return judge(pixels, rb.wrap(Score(kind, value), **fields), "x.png")


def textured(height: int = 64, width: int = 64) -> Tensor:
    rng = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (3, height, width), generator=rng, dtype=torch.uint8)


def saved(path: Path, pixels: Tensor) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(path)
    return path


def test_a_verdict_that_every_delivery_confirms_is_given() -> None:
    found = judged("constant", 3.0, textured())
    assert (found.verdict, found.leaning, found.reasons) == ("AI-generated", "AI-generated", ())
    assert found.confidence == pytest.approx(1 / (1 + math.exp(-3.0)))
    assert [one.delivery for one in found.deliveries] == [AS_IT_IS, *DELIVERY_ATTACKS]
    assert (found.spread.real, found.spread.fake) == (0, len(DELIVERY_ATTACKS) + 1)
    assert judged("constant", -3.0, textured()).verdict == "real"
    assert judged("constant", 3.0, textured(), threshold=6.0).verdict == "real"


def test_a_verdict_that_flips_when_the_image_is_saved_again_is_unsure() -> None:
    """A11."""
    detector = rb.wrap(Score("rough", 0.0), input_size=64)
    own, small = (
        float(detector.logits(x)) for x in (textured()[None] / 255, torch.full((1, 3, 64, 64), 0.5))
    )
    found = judged(
        "rough", (own + small) / 2 / 400, textured(), input_size=64, trained_size=(64, 64)
    )
    assert (found.verdict, found.leaning) == ("unsure", "AI-generated")
    assert "flips" in {reason.kind for reason in found.reasons}
    assert found.spread.lowest < 0.5 < found.spread.highest
    turned = [one.delivery for one in found.deliveries if one.verdict == "real"]
    assert turned
    assert all(name in to_text(found) for name in turned)
    assert len(found.deliveries) == found.spread.real + found.spread.fake


@pytest.mark.parametrize(
    ("logit", "verdict"),
    [
        (0.9 * UNSURE_LOGIT, "unsure"),
        (-0.9 * UNSURE_LOGIT, "unsure"),
        (1.1 * UNSURE_LOGIT, "AI-generated"),
    ],
)
def test_near_the_threshold_is_unsure(logit: float, verdict: str) -> None:
    found = judged("constant", 2.0 + logit, textured(), threshold=2.0)
    assert found.verdict == verdict
    assert found.margin == pytest.approx(logit, abs=1e-6)


@pytest.mark.parametrize(
    ("size", "said"),
    [
        ((32, 32), ""),
        (
            (384, 512),
            "images of 32 x 32 pixels (cifake); this image is 512 x 384, to be reduced 16 times",
        ),
        ((33, 32), "this image is 32 x 33, to be reduced 1.03 times"),
        ((16, 32), "this image is 32 x 16, to be enlarged 2 times"),
    ],
)
def test_an_image_of_another_size_than_it_learnt_from_is_unsure(
    size: tuple[int, int], said: str
) -> None:
    """A11: a detector that learnt from 32 x 32 said "real, confidence 99.9%" of a photograph of 512
    pixels.
    """
    card = {
        "trained_on": "cifake, 98000 images; then cifake, 40000 images",
        "trained_size": (32, 32),
    }
    found = judged("constant", -7.0, textured(*size), **card)
    outside = [reason.message for reason in found.reasons if reason.kind == "outside"]
    assert found.verdict == ("unsure" if said else "real")
    assert (outside[0] if outside else "").endswith(said)
    if said:
        assert (
            "unsure (outside what it learnt), leaning to real with 99.9%"
            in to_text(found).splitlines()[0]
        )


def test_what_is_not_known_is_said() -> None:
    grey = torch.full((3, 128, 300), 7, dtype=torch.uint8)
    found = judged("constant", 3.0, grey, trained_size=None, trained_on="")
    notes = " ".join(found.notes)
    for words in (
        "what sizes of images",
        "what images it learnt from",
        "is grey",
        "only 1 colours",
        "2.34 times as long",
    ):
        assert words in notes
    assert found.verdict == "AI-generated"


def test_fresh_weights_give_no_verdict() -> None:
    found = judge(textured(32, 32), detectors.get("cifake-cnn")().eval(), "x.png")
    assert found.verdict == "unsure"
    assert found.reasons[0].kind == "fresh weights"


def test_logits_that_are_no_number_are_an_error() -> None:
    with pytest.raises(LogitsError, match=r"gave nan for x\.png"):
        judged("constant", math.nan, textured())


def test_an_image_too_small_for_the_network_is_told() -> None:
    net = nn.Sequential(nn.Conv2d(3, 1, 40), nn.Flatten(), nn.LazyLinear(1))
    with pytest.raises(
        DataError, match=r"mine cannot judge x\.png, of 64 x 64 pixels: .*Give a larger image"
    ):
        judge(textured(), rb.wrap(net, input_size=32), "x.png")


def test_shipped_and_trained_detectors_know_the_size_that_they_learnt_from(tmp_path: Path) -> None:
    for name in shipped_names():
        assert load_trained(name).card.trained_size == (32, 32)
    save_detector(load_trained("cifake-cnn"), tmp_path / "mine.safetensors")
    assert load_trained(str(tmp_path / "mine.safetensors")).card.trained_size == (32, 32)


def test_folders_are_searched_and_what_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    """B16."""
    one, two = (
        saved(tmp_path / "one.png", textured()),
        saved(tmp_path / "below" / "two.JPG", textured()),
    )
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "broken.png").write_bytes(b"no image")
    assert set(find_images([tmp_path])) == {one, two, tmp_path / "broken.png"}
    assert list(find_images([one, one])) == [one, one]
    with pytest.raises(DataError, match="no file at"):
        list(find_images([tmp_path / "nowhere"]))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no image"):
        list(find_images([tmp_path / "empty"]))
    with pytest.raises(DataError, match=r"broken\.png cannot be judged"):
        read_image(tmp_path / "broken.png")


def test_the_command_judges_many_images_by_many_detectors(tmp_path: Path) -> None:
    """A11, B16: verdict, confidence and logit as before; JSON in one line per image and
    detector.
    """
    saved(tmp_path / "set" / "a.png", textured(40, 50))
    saved(tmp_path / "set" / "b.png", textured(32, 32))
    (tmp_path / "set" / "broken.png").write_bytes(b"no image")
    words = [
        "detect",
        str(tmp_path / "set"),
        "--detector",
        "cifake-cnn",
        "--detector",
        "resnet18-c32",
    ]
    done = command_here(*words, "--json")
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [Path(line["image"]).name for line in lines] == [
        "a.png",
        "a.png",
        "b.png",
        "b.png",
        "broken.png",
    ]
    assert "cannot be judged" in lines[-1]["error"]
    assert {line["detector"] for line in lines[:-1]} == {"cifake-cnn", "resnet18-c32"}
    for line in lines[:-1]:
        assert line["verdict"] in ("real", "AI-generated", "unsure")
        assert 0.5 <= line["confidence"] <= 1
        assert line["trained_on"] == "cifake, 98000 images"
        assert line["weights"].startswith("sha256:")
        assert len(line["deliveries"]) == len(DELIVERY_ATTACKS) + 1
    assert all(line["verdict"] == "unsure" for line in lines[:2])
    own = load_trained("cifake-cnn")
    pixels = torch.from_numpy(np.asarray(Image.open(tmp_path / "set" / "b.png")).copy()).permute(
        2, 0, 1
    )
    assert lines[2]["logit"] == own.logits(pixels[None].float() / 255).item()
    done = command_here(*words)
    assert done.returncode == 0
    assert "outside what it learnt" in done.stdout
    assert "left out: " in done.stderr
    assert "broken.png" in done.stderr


def test_images_are_converted_if_asked_for(tmp_path: Path) -> None:
    """B11: transparent, CMYK and 16-bit images are rejected by default."""
    pixels = torch.cat([textured(32, 32), torch.full((1, 32, 32), 128, dtype=torch.uint8)])
    path = saved(tmp_path / "clear.png", pixels)
    with pytest.raises(DataError, match="transparent pixels"):
        read_image(path)
    assert read_image(path, convert=True).shape == (3, 32, 32)


def test_nothing_that_can_be_judged_is_an_error(tmp_path: Path) -> None:
    for name in ("one.png", "two.png"):
        (tmp_path / name).write_bytes(b"no image")
    for words in ([str(tmp_path)], [str(tmp_path / "one.png")], [str(tmp_path / "nowhere.png")]):
        done = command_here("detect", *words)
        assert done.returncode == 2
        assert done.stderr.strip().splitlines()[-1].startswith("error: ")
        assert "Traceback" not in done.stderr


def test_training_states_the_size_of_its_images() -> None:
    """A11: without it nothing could say that an image is outside what a detector learnt from."""
    recipe = TrainingJob(detector="cifake-cnn", epochs=6)
    made, _ = train_detector(recipe, easy(64), easy(32, seed=1), trained_on="easy, 64 images")
    assert made.card.trained_size == (32, 32)
    data = Arrays(textured(24, 40)[None], torch.tensor([0]))
    assert trained_sizes(data, None) == (24, 40)
    for before, after in (((16, 32), (16, 40)), ((32, 64), (24, 64)), (None, None)):
        made.describe(trained_size=before)
        assert trained_sizes(data, made) == after
