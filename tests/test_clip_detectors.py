import copy
import json
from pathlib import Path
from typing import Any

import open_clip
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from robustbench_aigi.detectors import load_detector, save_detector
from robustbench_aigi.detectors._support.clip_encoder import (
    grad_cam_layer,
    load_image_encoder,
    load_tiny_clip,
)
from robustbench_aigi.detectors.base import CLIP_MEAN, CLIP_STD
from robustbench_aigi.detectors.clip_linear import ClipLinear
from robustbench_aigi.detectors.robust_clip import ROBUST_ENCODERS, RobustClip
from robustbench_aigi.errors import CheckpointError, UnavailableError, UserError
from robustbench_aigi.imaging.pixels import from_bytes
from robustbench_aigi.training import TrainConfig, TrainingJob, fit, train_detector
from robustbench_aigi.training.arrays import balanced_accuracy
from robustbench_aigi.training.methods.tecoa import caption_embeddings, tecoa_loss
from robustbench_aigi.training.objectives.adversarial import Ramp
from robustbench_aigi.training.objectives.base import TrainingBatch
from robustbench_aigi.training.objectives.clip_encoder import EncoderObjective, require_clip
from robustbench_aigi.training.objectives.pgd_inner import inner_maximisation
from tests.test_training import easy

CONFIG: dict[str, Any] = {
    "embed_dim": 24,
    "vision_cfg": {"image_size": 32, "patch_size": 8, "layers": 2, "width": 32, "head_width": 16},
    "text_cfg": {"context_length": 12, "vocab_size": 64, "width": 16, "heads": 2, "layers": 1},
}


@pytest.fixture
def folder(tmp_path: Path) -> str:
    """A tiny CLIP with random weights, as open_clip keeps one in a folder."""
    torch.manual_seed(0)
    model = open_clip.CLIP(**CONFIG)
    config = {"model_cfg": CONFIG, "preprocess_cfg": {"mean": CLIP_MEAN, "std": CLIP_STD}}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    save_file(dict(model.state_dict()), tmp_path / "open_clip_model.safetensors")
    return f"local-dir:{tmp_path}"


def test_clip_linear_reads_the_authors_head_and_keeps_its_tower(
    folder: str, tmp_path: Path
) -> None:
    rng = torch.Generator().manual_seed(1)
    weight = torch.randn(1, 24, generator=rng)
    bias = torch.randn(1, generator=rng)
    torch.save({"weight": weight, "bias": bias}, tmp_path / "fc_weights.pth")
    detector = load_detector("clip-linear", weights=tmp_path / "fc_weights.pth", model=folder)
    assert isinstance(detector, ClipLinear)
    tower = open_clip.create_model(folder).visual.eval()
    images = torch.rand(2, 3, 40, 36, generator=rng)
    mean, std = (torch.tensor(value).view(3, 1, 1) for value in (CLIP_MEAN, CLIP_STD))
    with torch.no_grad():
        expected = tower((images[..., 4:36, 2:34] - mean) / std) @ weight[0] + bias
        torch.testing.assert_close(detector.logits(images), expected, atol=1e-5, rtol=1e-4)
    assert detector.card.weights.startswith("sha256:")
    save_detector(detector, tmp_path / "own.safetensors")
    again = load_detector(str(tmp_path / "own.safetensors"))
    assert torch.equal(again.logits(images), detector.logits(images))


def test_a_head_for_another_tower_is_refused(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(1, 768), "bias": torch.zeros(1)}, tmp_path / "fc_weights.pth")
    with pytest.raises(CheckpointError, match=r"head\.weight"):
        load_detector("clip-linear", weights=tmp_path / "fc_weights.pth")


def test_weights_that_need_quick_gelu_are_not_put_into_another_network(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def never(*args: object, **numbers: object) -> None:
        raise AssertionError("asked a hub")

    monkeypatch.setattr(open_clip, "create_model", never)
    for name in ("ViT-L-14", "ViT-B-32"):
        with pytest.raises(UserError, match=f"{name}-quickgelu"):
            load_image_encoder(name, "openai")


def test_robust_towers_are_asked_for_by_name_and_with_the_right_gelu(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: dict[str, bool] = {}

    def create(
        name: str, pretrained: str | None, force_quick_gelu: bool, require_pretrained: bool
    ) -> nn.Module:
        assert require_pretrained
        assert pretrained is None
        asked[name] = force_quick_gelu
        return tiny

    tiny = load_tiny_clip()
    monkeypatch.setattr(open_clip, "create_model", create)
    for variant in ROBUST_ENCODERS:
        if variant != "tiny-clip":
            RobustClip(variant=variant)
    assert len(asked) == len(ROBUST_ENCODERS) - 1
    for name in ("fare2", "fare4", "tecoa2", "tecoa4"):
        assert asked.pop(f"hf-hub:chs20/{name}-clip")
    assert not any(asked.values())


def test_quick_gelu_reaches_the_tower(folder: str) -> None:
    kinds = [
        {
            type(part).__name__
            for part in RobustClip(variant=folder, quick_gelu=asked).tower.modules()
        }
        for asked in (False, True)
    ]
    assert "QuickGELU" not in kinds[0]
    assert "QuickGELU" in kinds[1]


def test_a_saved_tower_needs_no_other_weights(folder: str, images: Tensor, tmp_path: Path) -> None:
    detector = RobustClip(variant=folder).eval()
    save_detector(detector, tmp_path / "saved.safetensors")
    (Path(folder.removeprefix("local-dir:")) / "open_clip_model.safetensors").unlink()
    assert torch.equal(
        load_detector(str(tmp_path / "saved.safetensors")).logits(images), detector.logits(images)
    )


def test_towers_out_of_reach_say_so(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (Path(folder.removeprefix("local-dir:")) / "open_clip_model.safetensors").unlink()
    with pytest.raises(UnavailableError, match="open_clip cannot load"):
        RobustClip(variant=folder)

    def offline(*args: object, **numbers: object) -> None:
        raise OSError("no route to the hub")

    monkeypatch.setattr(open_clip, "create_model", offline)
    with pytest.raises(UnavailableError, match="HF_HOME"):
        RobustClip(variant="fare4")


def test_robust_clip_has_two_heads_and_says_which(folder: str, images: Tensor) -> None:
    assert isinstance(RobustClip(variant=folder, head="linear").head, nn.Linear)
    mlp = RobustClip(variant=folder, head="mlp", hidden=8)
    assert sum(isinstance(part, nn.Linear) for part in mlp.head.modules()) == 2
    assert mlp.logits(images).shape == (4,)
    with pytest.raises(UserError, match="linear or mlp"):
        RobustClip(head="deep")
    with pytest.raises(UserError, match="fare4-b32"):
        RobustClip(variant="fare9")


def test_a_cam_part_is_the_last_attentions_norm_or_the_last_convolution() -> None:
    assert (
        grad_cam_layer(load_image_encoder("tiny-clip", None).net) == "transformer.resblocks.3.ln_1"
    )
    assert (
        grad_cam_layer(timm.create_model("vit_tiny_patch16_224", img_size=32)) == "blocks.11.norm1"
    )
    assert grad_cam_layer(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.ReLU())) == "1"


def test_captions_of_real_and_of_generated_images_differ() -> None:
    texts = caption_embeddings(RobustClip())
    torch.testing.assert_close(texts.norm(dim=1), torch.ones(2))
    assert float(texts[0] @ texts[1]) < 0.9


def test_tecoa_makes_attacked_images_keep_their_caption() -> None:
    torch.manual_seed(0)
    detector = RobustClip(head="linear").eval()
    texts = caption_embeddings(detector)
    held = easy(32, seed=1)
    images = from_bytes(held.images)
    head = copy.deepcopy(detector.head.state_dict())

    def loss_of(embedding: Tensor) -> Tensor:
        return F.cross_entropy(
            100 * F.normalize(embedding, dim=1) @ texts.T, held.labels, reduction="none"
        )

    def attacked_loss() -> float:
        rng = torch.Generator().manual_seed(0)
        attacked = inner_maximisation(
            detector,
            images,
            lambda new: loss_of(detector.embed(new)),
            rng,
            eps=4,
            steps=5,
            momentum=0.9,
        )
        assert float((attacked - images).abs().max()) <= 4 / 255 + 1e-6
        with torch.no_grad():
            return float(loss_of(detector.embed(attacked)).mean())

    before = attacked_loss()
    plan = TrainConfig(epochs=3, batch=12, rate=3e-4, eps=4, steps=2)
    tower = EncoderObjective(tecoa_loss(detector), plan)
    history = fit(
        detector, easy(48), held, plan, objective=tower, score=tower.score, part=detector.tower
    )
    assert history.rows[-1]["loss"] < history.rows[0]["loss"]
    assert attacked_loss() < 0.5 * before
    assert not any(p.requires_grad for p in detector.tower.parameters())
    assert all(torch.equal(value, head[key]) for key, value in detector.head.state_dict().items())


def test_the_attacks_on_a_tower_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    detector = require_clip(load_detector("clip-mlp"))
    data = easy(8)
    shown: list[Tensor] = []
    images = from_bytes(data.images)
    embed = detector.embed
    tower = EncoderObjective(tecoa_loss(detector), TrainConfig(epochs=1, eps=8, steps=2), Ramp(8))

    def noted(given: Tensor) -> Tensor:
        shown.append(given)
        return embed(given)

    monkeypatch.setattr(detector, "embed", noted)
    for step, least, most in ((0, 0.5, 1), (3, 3, 4), (7, 6, 8), (20, 6, 8)):
        tower(detector, TrainingBatch(images, data.labels, data.labels.float(), step))()
        assert least <= 255 * float((shown[-1] - images).abs().max()) <= most + 1e-3


@pytest.mark.parametrize("name", ["clip-linear", "robust-clip"])
def test_a_plain_fit_trains_the_head_alone(name: str) -> None:
    torch.manual_seed(0)
    detector = load_detector(name)
    before = copy.deepcopy(detector.state_dict())
    fit(detector, easy(64), easy(32, seed=1), TrainConfig(epochs=4, batch=16, rate=5e-3))
    same = {key: torch.equal(value, before[key]) for key, value in detector.state_dict().items()}
    assert all(unchanged for key, unchanged in same.items() if key.startswith("tower."))
    assert not any(unchanged for key, unchanged in same.items() if key.startswith("head."))
    assert balanced_accuracy(detector, easy(64, seed=2)) > 0.7


def test_the_method_tecoa_trains_tower_and_head() -> None:
    start = RobustClip(head="linear")
    recipe = TrainingJob(
        detector="robust-clip", method="tecoa", epochs=1, numbers={"eps": 2, "steps": 1}
    )
    made, _ = train_detector(recipe, easy(16), easy(8, seed=1), start=start)
    assert made.card.name == recipe.name
    changed = {
        key.split(".")[0]
        for key, value in start.state_dict().items()
        if not value.equal(made.state_dict()[key])
    }
    assert changed == {"tower", "head"}
