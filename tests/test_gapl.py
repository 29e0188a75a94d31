from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robustbench_aigi.detectors import load_detector, save_detector
from robustbench_aigi.detectors._support import lora_encoder
from robustbench_aigi.detectors._support.clip_encoder import ImageEncoder, load_image_encoder
from robustbench_aigi.detectors.gapl import GAPL
from robustbench_aigi.errors import CheckpointError, DataError, UserError
from robustbench_aigi.imaging.pixels import from_bytes
from robustbench_aigi.training import TrainConfig, TrainingJob, fit, train_detector
from tests.test_artefacts import IMAGENET_NORMALISE, easy, random


def small_gapl() -> GAPL:
    torch.manual_seed(0)
    return GAPL(**GAPL.small).eval()


@torch.no_grad()
def test_lora_begins_as_the_tower_it_adapts() -> None:
    detector = small_gapl()
    tower: Any = load_image_encoder("tiny-clip", None).net.eval()
    tower.proj = None
    images = random(2, 3, 32, 32)
    expected = F.normalize(detector.foren_proj(tower(IMAGENET_NORMALISE(images))), dim=1)
    torch.testing.assert_close(detector.feature(images), expected, atol=1e-5, rtol=1e-4)


def test_gapl_trains_in_two_stages(tmp_path: Path) -> None:
    train = easy(96)
    test = easy(32, seed=1)
    fresh = small_gapl()
    first, _ = train_detector(TrainingJob(detector="gapl", epochs=3), train, test, start=fresh)
    assert isinstance(first, GAPL)
    assert int(first.stage) == 1
    assert not torch.equal(first.foren_proj.weight, fresh.foren_proj.weight)
    changed = {
        name
        for name, value in first.state_dict().items()
        if not torch.equal(value, fresh.state_dict()[name])
    }
    assert changed == {"foren_proj.weight", "fc.weight", "stage"}
    save_detector(first, tmp_path / "first.safetensors")
    second = load_detector(str(tmp_path / "first.safetensors"))
    assert isinstance(second, GAPL)
    second.prepare(train, test)
    history = fit(second, train, test, TrainConfig(epochs=8, batch=32, rate=5e-4))
    assert int(second.stage) == 2
    for half in second.prototypes.split(8):
        torch.testing.assert_close(half @ half.T, torch.eye(8), atol=1e-4, rtol=0)
    changed = {
        name
        for name, value in second.state_dict().items()
        if not torch.equal(value, first.state_dict()[name])
    }
    assert {
        "prototypes",
        "cross_attention.in_proj_weight",
        "fc.weight",
        "foren_proj.weight",
    } <= changed
    assert any(".lora." in name for name in changed)
    assert not any(name.startswith("tower.") and ".lora." not in name for name in changed)
    assert history.rows[history.best_epoch]["score"] > 0.95
    kept = second.prototypes.clone()
    second.prepare(easy(64, seed=9), test)
    assert torch.equal(second.prototypes, kept)


def test_prototypes_are_principal_components_of_each_class() -> None:
    detector = small_gapl()
    data = easy(64)
    detector.prepare(data, data)
    detector.prepare(data, data)
    with torch.no_grad():
        for label, half in enumerate(detector.prototypes.split(8)):
            features = detector.feature(from_bytes(data.images[data.labels == label])).double()
            values = torch.linalg.eigvalsh(torch.cov(features.T)).flip(0)[:8]
            along = ((features - features.mean(dim=0)) @ half.double().T).var(dim=0)
            torch.testing.assert_close(along, values, atol=1e-8, rtol=1e-3)


def test_gapl_says_what_it_needs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    detector = small_gapl()
    few = easy(12)
    detector.prepare(few, few)
    with pytest.raises(DataError, match="over 8 images of each class, got 6"):
        detector.prepare(few, few)
    with pytest.raises(UserError, match="even, from 2 to twice the features"):
        load_detector("gapl", prototypes=7)
    torch.save({"model": {"fc.weight": torch.zeros(1, 128)}}, tmp_path / "bare.pt")
    with pytest.raises(CheckpointError, match="no prototypes"):
        load_detector("gapl", weights=tmp_path / "bare.pt")
    convolution = ImageEncoder(nn.Conv2d(3, 4, 3), size=32, width=4)
    monkeypatch.setattr(lora_encoder, "load_image_encoder", lambda *_: convolution)
    with pytest.raises(UserError, match="needs a vision transformer"):
        load_detector("gapl")


@torch.no_grad()
def test_the_authors_gapl_loads_and_scores_alike(tmp_path: Path) -> None:
    tensors = authors_tower()
    attention = nn.MultiheadAttention(128, 4, batch_first=True).eval()
    project, score = (nn.Linear(128, width, bias=False) for width in (128, 1))
    prototypes = F.normalize(torch.randn(64, 128), dim=1)
    for name, part in (("cross_attention.", attention), ("foren_proj.", project), ("fc.", score)):
        tensors |= part.state_dict(prefix=name)
    torch.save({**tensors, "prototype": prototypes}, tmp_path / "checkpoint.pt")
    detector = load_detector("gapl", weights=tmp_path / "checkpoint.pt")
    images = random(2, 3, 44, 32)
    feature = F.normalize(
        project(tower_by_hand(tensors, IMAGENET_NORMALISE(images[:, :, 6:38]))), dim=1
    )
    known = prototypes.expand(2, -1, -1)
    expected = score(attention(feature[:, None], known, known)[0])[:, 0, 0]
    torch.testing.assert_close(detector.logits(images), expected, atol=1e-4, rtol=1e-4)


def authors_tower() -> dict[str, Tensor]:
    """Random tensors of a tower of tiny-clip's sizes, under the names of Hugging Face and, for
    LoRA, of PEFT.
    """
    torch.manual_seed(0)
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.class_embedding": (128,),
        "embeddings.patch_embedding.weight": (128, 3, 4, 4),
        "embeddings.position_embedding.weight": (65, 128),
    }
    wide = {"mlp.fc1": (512, 128), "mlp.fc2": (128, 512), "self_attn.out_proj": (128, 128)}
    for layer in [f"encoder.layers.{i}." for i in range(4)]:
        for name in ("q_proj", "k_proj", "v_proj"):
            wide[f"self_attn.{name}.base_layer"] = (128, 128)
            shapes[f"{layer}self_attn.{name}.lora_A.default.weight"] = (16, 128)
            shapes[f"{layer}self_attn.{name}.lora_B.default.weight"] = (128, 16)
        for name, (outputs, inputs) in wide.items():
            shapes |= {
                f"{layer}{name}.weight": (outputs, inputs),
                f"{layer}{name}.bias": (outputs,),
            }
    norms = [f"encoder.layers.{i}.layer_norm{j}." for i in range(4) for j in (1, 2)]
    for norm in ("pre_layrnorm.", "post_layernorm.", *norms):
        shapes |= {f"{norm}weight": (128,), f"{norm}bias": (128,)}
    tensors = {
        f"feature_extractor.{name}": 0.1 * torch.randn(shape) for name, shape in shapes.items()
    }
    return tensors | {"feature_extractor.embeddings.position_ids": torch.arange(65)[None]}


def tower_by_hand(tensors: dict[str, Tensor], images: Tensor) -> Tensor:
    """Pooled feature ``(N, 128)`` of normalised images, straight from the authors' tensors."""
    t = {name.removeprefix("feature_extractor."): value for name, value in tensors.items()}

    def norm(name: str, values: Tensor) -> Tensor:
        return F.layer_norm(values, (128,), t[f"{name}.weight"], t[f"{name}.bias"])

    def linear(name: str, values: Tensor) -> Tensor:
        return F.linear(values, t[f"{name}.weight"], t[f"{name}.bias"])

    def adapted(name: str, values: Tensor) -> Tensor:
        change = t[f"{name}.lora_B.default.weight"] @ t[f"{name}.lora_A.default.weight"]
        whole = linear(f"{name}.base_layer", values) + 32 / 16 * values @ change.T
        return whole.view(len(images), 65, 4, 32).transpose(1, 2)

    patches = (
        F.conv2d(images, t["embeddings.patch_embedding.weight"], stride=4)
        .flatten(2)
        .transpose(1, 2)
    )
    first = t["embeddings.class_embedding"].expand(len(images), 1, -1)
    tokens = norm(
        "pre_layrnorm",
        torch.cat([first, patches], dim=1) + t["embeddings.position_embedding.weight"],
    )
    for layer in [f"encoder.layers.{i}." for i in range(4)]:
        normed = norm(f"{layer}layer_norm1", tokens)
        q, k, v = (adapted(f"{layer}self_attn.{letter}_proj", normed) for letter in "qkv")
        mixed = (q @ k.transpose(2, 3) / 32**0.5).softmax(dim=-1) @ v
        tokens = tokens + linear(f"{layer}self_attn.out_proj", mixed.transpose(1, 2).flatten(2))
        hidden = F.gelu(linear(f"{layer}mlp.fc1", norm(f"{layer}layer_norm2", tokens)))
        tokens = tokens + linear(f"{layer}mlp.fc2", hidden)
    return norm("post_layernorm", tokens[:, 0])
