import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from robustbench_aigi.detectors.anyone import addressed
from robustbench_aigi.detectors.anyone.hf import Processing, fake_of
from robustbench_aigi.errors import Unavailable, UserError
from robustbench_aigi.grid import from_bytes, to_bytes
from tests.contract import auc_after_a_short_fit, built, check_contract, gradient_error


@pytest.mark.parametrize(
    ("first", "second", "fake"),
    [
        ("REAL", "FAKE", 1),
        ("FAKE", "REAL", 0),
        ("artificial", "human", 0),
        ("real", "ai", 1),
        ("AI-generated", "Human made", 0),
        ("RealPhoto", "AIGenerated", 1),
        ("nature", "synthetic image", 1),
        ("ai", "hum", 0),
    ],
)
def test_label_words_tell_which_is_fake(first: str, second: str, fake: int) -> None:
    assert fake_of({0: first, 1: second}, "m") == fake
    assert fake_of({0: first, 1: second}, "m", 1 - fake) == 1 - fake


@pytest.mark.parametrize(
    "labels",
    [
        ("LABEL_0", "LABEL_1"),
        ("ai", "not ai"),
        ("not fake", "real"),
        ("human generated", "ai"),
        ("fake", "deepfake"),
        ("realistic", "fake"),
    ],
)
def test_labels_that_do_not_tell_are_refused(labels: tuple[str, str]) -> None:
    with pytest.raises(UserError, match="fake_index=0"):
        fake_of(dict(enumerate(labels)), "m")


def test_three_labels_are_refused() -> None:
    with pytest.raises(UserError, match="3 labels"):
        fake_of({0: "real", 1: "ai", 2: "edited"}, "m", 1)


@pytest.fixture
def hf_folder(tmp_path: Path) -> Path:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.ViTConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, image_size=24, patch_size=8,
        id2label={0: "ai", 1: "human"}, label2id={"ai": 0, "human": 1}, initializer_range=0.5,
    )  # fmt: skip
    transformers.ViTForImageClassification(config).save_pretrained(tmp_path / "vit")
    sizes = {"height": 24, "width": 24}
    transformers.ViTImageProcessor(size=sizes, image_mean=[0.4] * 3, image_std=[0.3] * 3).save_pretrained(
        tmp_path / "vit"
    )
    return tmp_path / "vit"


def test_hf_gives_what_transformers_gives(hf_folder: Path, images: Tensor) -> None:
    transformers = pytest.importorskip("transformers")
    model = transformers.AutoModelForImageClassification.from_pretrained(hf_folder)
    processor = transformers.AutoImageProcessor.from_pretrained(hf_folder)
    detector = built(f"hf:{hf_folder}")
    for size, near in ((24, 1e-4), (32, 0.1)):  # at another size transformers rounds to 8 bits after resizing
        pictures = images[..., :size, :size]
        pixels = [Image.fromarray(p.permute(1, 2, 0).numpy()) for p in to_bytes(pictures)]
        with torch.no_grad():
            theirs = model(**processor(pixels, return_tensors="pt")).logits
            torch.testing.assert_close(detector.logits(pictures), theirs[:, 0] - theirs[:, 1], atol=near, rtol=near)
    assert detector.card.orientation == "logit of 'ai' minus logit of 'human'"
    assert torch.equal(built(f"hf:{hf_folder}", fake_index=1).logits(images), -detector.logits(images))


def test_hf_keeps_the_contract(hf_folder: Path, images: Tensor, tmp_path: Path) -> None:
    detector = built(f"hf:{hf_folder}")
    assert gradient_error(detector, images) < 1e-3
    before = detector.logits(images)
    assert auc_after_a_short_fit(detector, images) > 0.9
    assert not torch.equal(detector.logits(images), before)
    check_contract(detector, images, tmp_path)  # fine-tuned weights are in the file, and only the rest at the address


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("ViTImageProcessor", {"size": {"height": 20, "width": 28}, "resample": 3}),
        ("ViTImageProcessor", {"do_resize": False, "do_normalize": False}),
        ("CLIPImageProcessor", {"size": {"shortest_edge": 40}, "crop_size": {"height": 32, "width": 32}}),
        ("ConvNextImageProcessor", {"size": {"shortest_edge": 56}, "crop_pct": 0.875}),
        ("ConvNextImageProcessor", {"size": {"shortest_edge": 384}, "crop_pct": 0.875}),
        ("SiglipImageProcessor", {"size": {"height": 32, "width": 32}}),
        ("MobileViTImageProcessor", {"size": {"shortest_edge": 48}, "crop_size": {"height": 40, "width": 40}}),
    ],
)
def test_processing_is_that_of_the_image_processor(kind: str, settings: dict[str, Any]) -> None:
    transformers = pytest.importorskip("transformers")
    processor = getattr(transformers, kind)(**settings)
    rng = torch.Generator().manual_seed(0)
    coarse = torch.rand(1, 3, 9, 9, generator=rng)
    pixels = to_bytes(torch.nn.functional.interpolate(coarse, size=(90, 130), mode="bicubic").clamp(0, 1))
    theirs = processor(Image.fromarray(pixels[0].permute(1, 2, 0).numpy()), return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(Processing(processor.to_dict())(from_bytes(pixels)), theirs, atol=0.06, rtol=0)


def test_processing_that_is_not_known_is_refused() -> None:
    transformers = pytest.importorskip("transformers")
    processor = transformers.EfficientNetImageProcessor(include_top=True)
    with pytest.raises(UserError, match="more than is known"):
        Processing(processor.to_dict()).check(processor, "m")


def test_hf_out_of_reach_says_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("transformers")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(Unavailable, match="HF_HOME"):
        addressed("hf:nobody/no-such-detector")


def test_hf_never_runs_the_code_of_a_repository(hf_folder: Path) -> None:
    settings = json.loads((hf_folder / "config.json").read_text())
    settings |= {
        "model_type": "own",
        "auto_map": {"AutoConfig": "own.Config", "AutoModelForImageClassification": "own.Net"},
    }
    (hf_folder / "config.json").write_text(json.dumps(settings))
    (hf_folder / "own.py").write_text(f"open({str(hf_folder / 'ran')!r}, 'w')")
    with pytest.raises(Unavailable, match="cannot load"):
        addressed(f"hf:{hf_folder}")
    assert not (hf_folder / "ran").exists()
