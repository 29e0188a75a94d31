from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from robustbench_aigi.detectors import Detector, detectors, load_detector, save_detector, wrap
from robustbench_aigi.detectors.base import IMAGENET_MEAN, IMAGENET_STD
from robustbench_aigi.errors import (
    CheckpointError,
    ConfigError,
    UnavailableError,
    UnknownNameError,
    UserError,
)
from robustbench_aigi.training import TrainingJob, train_detector
from robustbench_aigi.training.arrays import Arrays
from tests.contract import check_contract, gradient_error


def small(name: str) -> Detector:
    """A detector of the smallest network of its kind, with random weights."""
    torch.manual_seed(0)
    cls = detectors.get(name)
    return cls(**cls.small).eval()


@pytest.mark.parametrize("name", detectors.names())
def test_contract(name: str, images: Tensor, tmp_path: Path) -> None:
    detector = small(name)
    assert detector.card.name == name
    assert detector.card.source
    check_contract(detector, images, tmp_path)


@pytest.mark.parametrize(
    "name", [n for n in detectors.names() if detectors.get(n).default_card.gradient != "none"]
)
def test_gradients_are_those_of_finite_differences(name: str, images: Tensor) -> None:
    assert gradient_error(small(name), images[:2]) < 0.02


@pytest.mark.parametrize("name", detectors.names())
def test_a_short_training_tells_separable_images_apart(name: str) -> None:
    rng = torch.Generator().manual_seed(1)
    labels = torch.arange(96) % 2
    images = torch.randint(0, 90, (96, 3, 32, 32), generator=rng)
    images += torch.where(labels == 1, 120, 20).view(-1, 1, 1, 1)
    images[labels == 1, :, ::2, ::2] -= 60
    data = Arrays(images.to(torch.uint8), labels)
    recipe = TrainingJob(detector=name, epochs=4)
    detector, _ = train_detector(
        recipe, data, Arrays(data.images[:32], labels[:32]), start=small(name)
    )
    with torch.no_grad():
        logits = detector.logits(data.images[32:].float() / 255)
    assert roc_auc_score(labels[32:], logits) > 0.5


def test_public_checkpoints_are_adopted(images: Tensor, tmp_path: Path) -> None:
    net = timm.create_model("resnet50", num_classes=2).eval()
    torch.save(
        {"model": {f"module.{k}": v for k, v in net.state_dict().items()}}, tmp_path / "two.pth"
    )
    detector = load_detector("resnet50", weights=tmp_path / "two.pth", size=64, fake_index=0)
    resized = nn.functional.interpolate(images, size=(64, 64), mode="bilinear", antialias=True)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
    with torch.no_grad():
        both = net((resized - mean) / std)
        torch.testing.assert_close(
            detector.logits(images), both[:, 0] - both[:, 1], atol=1e-4, rtol=1e-4
        )
    assert detector.card.weights.startswith("sha256:")
    one = timm.create_model("resnet50", num_classes=1).eval()
    torch.save(one.state_dict(), tmp_path / "blur_jpg_prob0.5.pth")
    detector = load_detector("cnndetection", weights=tmp_path / "blur_jpg_prob0.5.pth")
    with torch.no_grad():
        torch.testing.assert_close(
            detector.logits(images), one((images - mean) / std)[:, 0], atol=1e-4, rtol=1e-4
        )


class Harmful:
    """What a pickle with code in it looks like."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return eval, ("1 / 0",)


def test_a_pickle_with_code_is_refused(tmp_path: Path) -> None:
    torch.save({"model": Harmful()}, tmp_path / "bad.pth")
    with pytest.raises(CheckpointError, match=r"rejected.*could run code"):
        load_detector("cnndetection", weights=tmp_path / "bad.pth")
    torch.save([torch.zeros(1)], tmp_path / "list.pth")
    with pytest.raises(CheckpointError, match="holds list, not a state dict"):
        load_detector("cnndetection", weights=tmp_path / "list.pth")


def test_weights_out_of_reach_say_how_to_supply_them(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*args: object, **numbers: object) -> None:
        raise OSError("no route to the hub")

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(UnavailableError, match="weights=PATH"):
        load_detector("resnet50", pretrained=True)


def test_the_same_detector_is_the_same_file(tmp_path: Path) -> None:
    made = load_detector("cifake-cnn")
    made.describe(summary='näher \\ "beschrieben"\n\t\x01')
    for number in range(8):
        save_detector(made, tmp_path / f"{number}.safetensors")
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1
    again = load_detector(str(tmp_path / "0.safetensors"))
    assert again.card.summary == made.card.summary
    for name, tensor in made.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name])


def test_a_saved_detector_asks_no_hub(
    images: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []
    create = timm.create_model

    def fresh(name: str, *, pretrained: bool, **numbers: Any) -> nn.Module:
        asked.append(pretrained)
        net: nn.Module = create(name, pretrained=False, **numbers)
        return net

    monkeypatch.setattr(timm, "create_model", fresh)
    detector = load_detector("resnet50", pretrained=True, size=64)
    save_detector(detector, tmp_path / "saved.safetensors")
    again = load_detector(str(tmp_path / "saved.safetensors"))
    assert asked == [True, False]
    assert again.config["pretrained"]
    assert torch.equal(again.logits(images), detector.logits(images))


def test_rates_fall_from_layer_to_layer_where_the_recipe_says_so() -> None:
    shares = {group.get("lr_scale", 1.0) for group in small("convnextv2").parameter_groups(0.02)}
    assert max(shares) == 1.0
    assert min(shares) < 0.5


def test_half_precision_checkpoint_loads_as_float32(images: Tensor, tmp_path: Path) -> None:
    detector = load_detector("cifake-cnn")
    save_detector(detector, tmp_path / "half.safetensors", half=True)
    again = load_detector("cifake-cnn", weights=tmp_path / "half.safetensors")
    assert all(p.dtype == torch.float32 for p in again.parameters())
    torch.testing.assert_close(again.logits(images), detector.logits(images), atol=1e-2, rtol=1e-2)


@pytest.mark.parametrize("name", ["cifake-cnn", "weights=of/mine.safetensors"])
def test_a_new_name_before_the_old_one(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    save_detector(load_detector("cifake-cnn"), tmp_path / "weights=of" / "mine.safetensors")
    detector = load_detector(f"before-1.0={name}")
    assert detector.card.name == "before-1.0"
    assert load_detector(name).card.name == "cifake-cnn"


def test_arguments_replace_those_of_a_checkpoint(images: Tensor) -> None:
    coarse, fine = (load_detector("tinyvit-5m", "cifake", stem_stride=stride) for stride in (4, 2))
    assert fine.config == coarse.config | {"stem_stride": 2}
    own = coarse.state_dict()
    other = fine.state_dict()
    resized = {name for name in own if own[name].shape != other[name].shape}
    assert resized == {name for name in own if name.endswith("attention_biases")}
    assert all(torch.equal(own[name], other[name]) for name in own.keys() - resized)
    assert fine.logits(images).isfinite().all()
    with pytest.raises(
        ConfigError, match=r"tinyvit-5m: .*'stem'\. It takes stem_stride, drop_path, size"
    ):
        load_detector("tinyvit-5m", "cifake", stem=2)


def test_checkpoints_that_do_not_fit_say_so(tmp_path: Path) -> None:
    path = tmp_path / "cnn.safetensors"
    save_detector(load_detector("cifake-cnn"), path)
    with pytest.raises(CheckpointError, match="cifake-cnn"):
        load_detector("tinyvit-5m", weights=path)
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        load_detector(str(tmp_path / "none.safetensors"))
    (tmp_path / "junk.safetensors").write_bytes(b"junk")
    with pytest.raises(CheckpointError, match="not a safetensors file"):
        load_detector(str(tmp_path / "junk.safetensors"))
    save_file(
        {"a": torch.zeros(1)}, tmp_path / "other.safetensors", metadata={"detector": "cifake-cnn"}
    )
    with pytest.raises(CheckpointError, match="does not fit"):
        load_detector(str(tmp_path / "other.safetensors"))
    save_file({"a": torch.zeros(1)}, tmp_path / "bare.safetensors")
    with pytest.raises(CheckpointError, match="does not say"):
        load_detector(str(tmp_path / "bare.safetensors"))
    with pytest.raises(UnknownNameError, match="cifake-cnn"):
        load_detector("cifake_cnn")


@pytest.mark.parametrize("outputs", [1, 2])
@pytest.mark.parametrize("fake_index", [0, 1])
def test_wrap_keeps_the_orientation(outputs: int, fake_index: int, images: Tensor) -> None:
    head = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, outputs))
    detector = wrap(head, input_size=16, fake_index=fake_index, mean=(0.5,) * 3, std=(0.5,) * 3)
    raw = head(
        (nn.functional.interpolate(images, size=(16, 16), mode="bilinear", antialias=True) - 0.5)
        / 0.5
    )
    expected = raw[:, 0] if outputs == 1 else raw[:, 1] - raw[:, 0]
    torch.testing.assert_close(detector.logits(images), expected if fake_index == 1 else -expected)


def test_wrap_refuses_what_it_cannot_read(images: Tensor) -> None:
    with pytest.raises(UserError, match="0 or 1"):
        wrap(nn.Identity(), input_size=16, fake_index=2)
    three = nn.Sequential(nn.Flatten(), nn.LazyLinear(3))
    with pytest.raises(UserError, match="1 or 2 outputs"):
        wrap(three, input_size=16).logits(images)
