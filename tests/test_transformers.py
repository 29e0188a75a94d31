"""Public checkpoints of transformers, under their authors' names, give their authors' logits."""

from pathlib import Path
from typing import Any, NamedTuple

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor
from torchvision.transforms import v2

from robustbench_aigi.detectors import Detector, detectors, load_detector, save_detector
from robustbench_aigi.detectors._support.backbone import Backbone
from robustbench_aigi.detectors.vit_cnn import ViTCNN
from robustbench_aigi.errors import CheckpointError, UserError
from robustbench_aigi.training import TrainConfig, fit
from robustbench_aigi.training.arrays import Arrays
from tests.hugging_face import Shapes, cvt_shapes, filled, swin_shapes, vit_shapes


class Case(NamedTuple):
    shapes: Shapes
    config: dict[str, Any]
    theirs: str
    their_config: dict[str, Any]
    fake: int
    logits: tuple[float, ...]


PUBLIC_CASES = {
    "vit-b16": Case(
        vit_shapes(),
        {"size": 32, "patch": 8, "width": 24, "depth": 2, "heads": 3},
        "ViT",
        {"image_size": 32, "patch_size": 8, "hidden_size": 24, "intermediate_size": 96}
        | {"num_hidden_layers": 2, "num_attention_heads": 3},
        1,
        (3.03738, -0.44118, 1.61576, 1.99169),
    ),
    "swin-t": Case(
        swin_shapes(),
        {"size": 32, "patch": 2, "window": 4, "width": 12, "depths": [2, 2], "heads": [2, 3]},
        "Swin",
        {
            "image_size": 32,
            "patch_size": 2,
            "window_size": 4,
            "embed_dim": 12,
            "depths": [2, 2],
            "num_heads": [2, 3],
        },
        0,
        (1.80537, 1.87525, 1.98327, 1.67001),
    ),
    "cvt-13": Case(
        cvt_shapes(),
        {"size": 32, "dims": [8, 12, 20], "depths": [1, 2, 3], "heads": [1, 3, 4]},
        "Cvt",
        {"embed_dim": [8, 12, 20], "depth": [1, 2, 3], "num_heads": [1, 3, 4]},
        1,
        (0.9788, 1.2129, 1.18158, 0.88017),
    ),
}
"""Small networks of each kind; ``logits``, fake minus real, are what transformers 5.23.0 gives for
them.
"""


def checkpoint(name: str, folder: Path) -> Path:
    path = folder / "model.safetensors"
    tensors = {key: filled(key, shape) for key, shape in PUBLIC_CASES[name].shapes.items()}
    save_file(tensors, path, metadata={"format": "pt"})
    return path


@pytest.mark.parametrize("name", PUBLIC_CASES)
def test_checkpoints_of_hugging_face_give_fake_minus_real(
    name: str, images: Tensor, tmp_path: Path
) -> None:
    case = PUBLIC_CASES[name]
    path = checkpoint(name, tmp_path)
    detector = load_detector(name, weights=path, **case.config)
    torch.testing.assert_close(
        detector.logits(images), torch.tensor(case.logits), atol=1e-4, rtol=1e-4
    )
    turned = load_detector(name, weights=path, **case.config, fake_index=1 - case.fake)
    torch.testing.assert_close(turned.logits(images), -detector.logits(images))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", PUBLIC_CASES)
def test_the_logits_above_are_those_of_transformers(
    name: str, images: Tensor, tmp_path: Path
) -> None:
    transformers = pytest.importorskip("transformers")
    case = PUBLIC_CASES[name]
    checkpoint(name, tmp_path)
    getattr(transformers, f"{case.theirs}Config")(
        **case.their_config, num_labels=2
    ).save_pretrained(tmp_path)
    network = (
        getattr(transformers, f"{case.theirs}ForImageClassification")
        .from_pretrained(tmp_path)
        .eval()
    )
    detector = load_detector(name, **case.config)
    assert isinstance(detector, Backbone)
    with torch.no_grad():
        outputs = network(detector.normalise(images)).logits
    logits = outputs[:, case.fake] - outputs[:, 1 - case.fake]
    torch.testing.assert_close(logits, torch.tensor(case.logits), atol=1e-4, rtol=1e-4)


SMALL_VIT = {"img_size": 32, "patch_size": 8, "embed_dim": 48, "depth": 2, "num_heads": 3}
SMALL_SWIN = {
    "img_size": 32,
    "patch_size": 2,
    "window_size": 4,
    "embed_dim": 24,
    "depths": (2, 2),
    "num_heads": (2, 4),
}
TIMM: list[tuple[str, dict[str, Any], str, dict[str, Any]]] = [
    ("vit-b16", {}, "vit_base_patch16_224", SMALL_VIT),
    ("commfor-384", {}, "vit_small_patch16_384", SMALL_VIT),
    ("swin-t", {}, "swin_tiny_patch4_window7_224", SMALL_SWIN),
    ("tinyvit-5m", {"size": 224}, "tiny_vit_5m_224", {}),
    ("tinyvit-11m", {"size": 224}, "tiny_vit_11m_224", {}),
]


@pytest.mark.parametrize(
    ("name", "config", "model", "numbers"), TIMM, ids=lambda value: str(value)[:12]
)
@pytest.mark.parametrize("classes", [1, 2, 1000])
def test_checkpoints_of_timm(
    name: str,
    config: dict[str, Any],
    model: str,
    numbers: dict[str, Any],
    classes: int,
    images: Tensor,
    tmp_path: Path,
) -> None:
    torch.manual_seed(1)
    net = timm.create_model(model, num_classes=classes, **numbers).eval()
    torch.save(net.state_dict(), tmp_path / "timm.pth")
    config = {**({} if "tinyvit" in name else detectors.get(name).small), **config} | (
        {"fake_index": 1} if name == "swin-t" else {}
    )
    detector = load_detector(name, weights=tmp_path / "timm.pth", **config)
    assert isinstance(detector, Backbone)
    with torch.no_grad():
        inputs = detector.normalise(detector.fitted(images[:2]))
        outputs = net(inputs)
        logits = detector.logits(images[:2])
        if classes == 1000:
            own: Any = detector.net
            torch.testing.assert_close(own.forward_features(inputs), net.forward_features(inputs))
            assert torch.isfinite(logits).all()
        else:
            expected = outputs[:, 1] - outputs[:, 0] if classes == 2 else outputs[:, 0]
            torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-4)


def test_tinyvit_takes_a_checkpoint_of_another_size(tmp_path: Path) -> None:
    net = timm.create_model("tiny_vit_5m_224")
    for parameter in (p for name, p in net.named_parameters() if name.endswith("attention_biases")):
        torch.nn.init.constant_(parameter, 0.25)
    save_file(net.state_dict(), tmp_path / "timm.safetensors")
    detector = load_detector("tinyvit-5m", weights=tmp_path / "timm.safetensors")
    biases = [p for name, p in detector.named_parameters() if name.endswith("attention_biases")]
    assert [p.shape[1] for p in biases] == [16, 16, 4, 4, 4, 4, 4, 4, 1, 1]
    assert all(torch.allclose(p, torch.tensor(0.25)) for p in biases)
    with pytest.raises(CheckpointError, match="does not fit"):
        load_detector("tinyvit-21m", weights=tmp_path / "timm.safetensors")


def test_tinyvit_at_published_sizes_has_published_windows() -> None:
    for name, size, windows in (
        ("tinyvit-21m", 384, [12, 24, 12]),
        ("tinyvit-5m", 512, [16, 32, 16]),
    ):
        with torch.device("meta"):
            detector = detectors.get(name)(size=size)
        assert [
            detector.get_submodule(f"net.stages.{i}.blocks.0").window_size for i in (1, 2, 3)
        ] == windows
        assert detector.card.input_size == size
    with pytest.raises(UserError, match="size must be 32, 224, 384 or 512, got 100"):
        load_detector("tinyvit-5m", size=100)
    with pytest.raises(UserError, match="stem_stride must be 2 or 4"):
        load_detector("tinyvit-5m", stem_stride=3)


PARAMETER_COUNTS = {
    "vit-b16": 85.80,
    "swin-t": 27.52,
    "cvt-13": 19.61,
    "tinyvit-5m": 5.07,
    "tinyvit-11m": 10.55,
    "tinyvit-21m": 20.62,
    "commfor-224": 21.67,
    "commfor-384": 21.81,
}
"""Millions, as published less the classes of the head."""


@pytest.mark.parametrize("name", PARAMETER_COUNTS)
def test_networks_are_of_the_published_size(name: str) -> None:
    with torch.device("meta"):
        detector = detectors.get(name)(**({"size": 224} if "tinyvit" in name else {}))
    assert sum(p.numel() for p in detector.parameters()) / 1e6 == pytest.approx(
        PARAMETER_COUNTS[name], abs=0.01
    )


@pytest.mark.parametrize("shape", [(32, 32), (40, 61), (75, 33), (36, 200)])
@pytest.mark.parametrize("prefix", ["vit.", ""])
def test_commfor_sees_what_torchvision_crops(
    shape: tuple[int, int], prefix: str, tmp_path: Path
) -> None:
    torch.manual_seed(2)
    net = timm.create_model("vit_small_patch16_224", num_classes=1, **SMALL_VIT).eval()
    save_file(
        {f"{prefix}{name}": value for name, value in net.state_dict().items()},
        tmp_path / "commfor.safetensors",
    )
    small = detectors.get("commfor-224").small
    detector = load_detector("commfor-224", weights=tmp_path / "commfor.safetensors", **small)
    images = torch.rand(2, 3, *shape)
    steps = v2.Compose(
        [
            v2.Resize(36),
            v2.CenterCrop(32),
            v2.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ]
    )
    with torch.no_grad():
        torch.testing.assert_close(
            detector.logits(images), net(steps(images))[:, 0], atol=1e-5, rtol=1e-4
        )


def test_commfor_refuses_a_square_beyond_the_image() -> None:
    with pytest.raises(UserError, match="short_side must be at least size, 224, got 200"):
        load_detector("commfor-224", short_side=200)


def small_vit_cnn(**config: Any) -> ViTCNN:
    detector = load_detector("vit-cnn", **detectors.get("vit-cnn").small, **config)
    assert isinstance(detector, ViTCNN)
    return detector


def test_vit_cnn_weighs_both_branches(images: Tensor) -> None:
    detector = small_vit_cnn()
    other = small_vit_cnn()
    other.load_state_dict(detector.state_dict())
    for silent, kept, branch in (
        ("alpha", "beta", other.trunk),
        ("beta", "alpha", other.fusion.cnn),
    ):
        for one in (detector, other):
            torch.nn.init.zeros_(one.fusion.get_parameter(silent))
            torch.nn.init.ones_(one.fusion.get_parameter(kept))
        for parameter in branch.parameters():
            torch.nn.init.normal_(parameter)
        assert torch.equal(detector.logits(images), other.logits(images))
        torch.nn.init.ones_(other.fusion.get_parameter(silent))
        assert not torch.allclose(detector.logits(images), other.logits(images))
        other.load_state_dict(detector.state_dict())


@pytest.mark.parametrize("frozen", [True, False])
def test_vit_cnn_trains_what_is_not_frozen(frozen: bool, tmp_path: Path) -> None:
    detector = small_vit_cnn(frozen=frozen)
    before = {name: value.clone() for name, value in detector.state_dict().items()}
    data = Arrays(
        torch.randint(0, 256, (16, 3, 32, 32), dtype=torch.uint8), torch.tensor([0, 1] * 8)
    )
    data.images[data.labels == 1] //= 4
    fit(detector, data, data, TrainConfig(epochs=2, batch=8))
    changed = {
        name
        for name, value in detector.state_dict().items()
        if not torch.equal(value, before[name])
    }
    assert {"fusion.alpha", "fusion.beta"} <= changed
    assert any(name.startswith("trunk.") for name in changed) != frozen
    save_detector(detector, tmp_path / "own.safetensors")
    again: Detector = load_detector(str(tmp_path / "own.safetensors"))
    assert (again.parts_to_train() is again) != frozen
