import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

from robustbench_aigi.cli import main as cli
from robustbench_aigi.detectors import load_detector, save_detector
from robustbench_aigi.detectors.external import load_external
from robustbench_aigi.detectors.external.hf.processing import Processing, processing_of
from robustbench_aigi.errors import CheckpointError, UnavailableError, UserError
from robustbench_aigi.imaging.pixels import from_bytes, to_bytes
from tests.contract import auc_after_a_short_fit, built, check_contract, gradient_error
from tests.hugging_face import save_tiny_vit


@pytest.fixture
def hf_folder(tmp_path: Path) -> Path:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.ViTConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=24,
        patch_size=8,
        id2label={0: "ai", 1: "human"},
        label2id={"ai": 0, "human": 1},
        initializer_range=0.5,
    )
    transformers.ViTForImageClassification(config).save_pretrained(tmp_path / "vit")
    sizes = {"height": 24, "width": 24}
    transformers.ViTImageProcessor(
        size=sizes, image_mean=[0.4] * 3, image_std=[0.3] * 3
    ).save_pretrained(tmp_path / "vit")
    return tmp_path / "vit"


def test_hf_gives_what_transformers_gives(hf_folder: Path, images: Tensor) -> None:
    transformers = pytest.importorskip("transformers")
    model = transformers.AutoModelForImageClassification.from_pretrained(hf_folder)
    processor = transformers.AutoImageProcessor.from_pretrained(hf_folder)
    detector = built(f"hf:{hf_folder}")
    for size, near in (
        (24, 1e-4),
        (32, 0.1),
    ):  # at another size transformers rounds to 8 bits after resizing
        pictures = images[..., :size, :size]
        pixels = [Image.fromarray(p.permute(1, 2, 0).numpy()) for p in to_bytes(pictures)]
        with torch.no_grad():
            theirs = model(**processor(pixels, return_tensors="pt")).logits
            torch.testing.assert_close(
                detector.logits(pictures), theirs[:, 0] - theirs[:, 1], atol=near, rtol=near
            )
    assert detector.card.orientation == "logit of 'ai' minus logit of 'human'"
    assert torch.equal(
        built(f"hf:{hf_folder}", fake_index=1).logits(images), -detector.logits(images)
    )


def test_hf_keeps_the_contract(hf_folder: Path, images: Tensor, tmp_path: Path) -> None:
    detector = built(f"hf:{hf_folder}")
    assert gradient_error(detector, images) < 1e-3
    before = detector.logits(images)
    assert auc_after_a_short_fit(detector, images) > 0.9
    assert not torch.equal(detector.logits(images), before)
    check_contract(
        detector, images, tmp_path
    )  # fine-tuned weights are in the file, and only the rest at the address


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("ViTImageProcessor", {"size": {"height": 20, "width": 28}, "resample": 3}),
        ("ViTImageProcessor", {"do_resize": False, "do_normalize": False}),
        (
            "CLIPImageProcessor",
            {"size": {"shortest_edge": 40}, "crop_size": {"height": 32, "width": 32}},
        ),
        ("ConvNextImageProcessor", {"size": {"shortest_edge": 56}, "crop_pct": 0.875}),
        ("ConvNextImageProcessor", {"size": {"shortest_edge": 384}, "crop_pct": 0.875}),
        ("SiglipImageProcessor", {"size": {"height": 32, "width": 32}}),
        (
            "MobileViTImageProcessor",
            {"size": {"shortest_edge": 48}, "crop_size": {"height": 40, "width": 40}},
        ),
    ],
)
def test_processing_is_that_of_the_image_processor(kind: str, settings: dict[str, Any]) -> None:
    transformers = pytest.importorskip("transformers")
    processor = getattr(transformers, kind)(**settings)
    rng = torch.Generator().manual_seed(0)
    coarse = torch.rand(1, 3, 9, 9, generator=rng)
    pixels = to_bytes(
        torch.nn.functional.interpolate(coarse, size=(90, 130), mode="bicubic").clamp(0, 1)
    )
    theirs = processor(Image.fromarray(pixels[0].permute(1, 2, 0).numpy()), return_tensors="pt")[
        "pixel_values"
    ]
    torch.testing.assert_close(
        Processing(processor.to_dict())(from_bytes(pixels)), theirs, atol=0.06, rtol=0
    )


def test_processing_that_is_not_known_is_refused() -> None:
    transformers = pytest.importorskip("transformers")
    processor = transformers.EfficientNetImageProcessor(include_top=True)
    with pytest.raises(UserError, match="more than is known"):
        processing_of(processor, "m")


def test_hf_out_of_reach_says_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("transformers")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UnavailableError, match="HF_HOME"):
        load_external("hf:nobody/no-such-detector")


def test_hf_never_runs_the_code_of_a_repository(hf_folder: Path) -> None:
    settings = json.loads((hf_folder / "config.json").read_text())
    settings |= {
        "model_type": "own",
        "auto_map": {"AutoConfig": "own.Config", "AutoModelForImageClassification": "own.Net"},
    }
    (hf_folder / "config.json").write_text(json.dumps(settings))
    (hf_folder / "own.py").write_text(f"open({str(hf_folder / 'ran')!r}, 'w')")
    with pytest.raises(UnavailableError, match="cannot load"):
        load_external(f"hf:{hf_folder}")
    assert not (hf_folder / "ran").exists()


def test_weights_of_another_network_are_refused(
    hf_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Case A4: a config of a ViT over the weights of a ResNet gave random layers, without a
    word.
    """
    transformers = pytest.importorskip("transformers")
    config = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 8], depths=[1, 1], num_labels=2
    )
    transformers.ResNetForImageClassification(config).save_pretrained(tmp_path / "resnet")
    shutil.copy(tmp_path / "resnet" / "model.safetensors", hf_folder)
    with pytest.raises(
        CheckpointError,
        match=(
            r"not those of the ViTForImageClassification.*would be random: missing:"
            r" classifier\.bias, "
            r"classifier\.weight, vit\.embeddings\.cls_token and \d+ more"
        ),
    ):
        load_external(f"hf:{hf_folder}")
    monkeypatch.setattr(
        "sys.argv",
        ["robustbench-aigi", "evaluate", f"hf:{hf_folder}", "--out", str(tmp_path / "run")],
    )
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    assert "would be random" in capsys.readouterr().err


def test_a_head_of_more_outputs_than_labels_is_refused(tmp_path: Path) -> None:
    """Case A4: a config of five labels over a head of six."""
    folder = save_tiny_vit(tmp_path / "vit", [f"label {i}" for i in range(6)])
    settings = json.loads((folder / "config.json").read_text())
    del settings["id2label"]["5"]
    (folder / "config.json").write_text(json.dumps(settings))
    shape = (
        r"of another shape: classifier\.bias \(6,\) for \(5,\), classifier\.weight \(6, 16\) for"
        r" \(5, 16\)"
    )
    with pytest.raises(CheckpointError, match=shape):
        load_external(f"hf:{folder}", fake_labels=["label 1"])


def test_one_missing_tensor_is_refused_and_more_than_enough_is_noted(
    hf_folder: Path, images: Tensor
) -> None:
    weights = load_file(hf_folder / "model.safetensors")
    whole = built(f"hf:{hf_folder}")
    assert whole.notes == ()
    save_file(
        weights | {"vit.pooler.dense.bias": torch.zeros(3)},
        hf_folder / "model.safetensors",
        {"format": "pt"},
    )
    more = built(f"hf:{hf_folder}")
    assert torch.equal(more.logits(images), whole.logits(images))
    (note,) = more.notes
    assert "has no place for: vit.pooler.dense.bias" in note
    weights.pop("vit.layernorm.bias")
    save_file(weights, hf_folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(CheckpointError, match=r"missing: vit\.layernorm\.bias\."):
        load_external(f"hf:{hf_folder}")


def test_two_loads_that_differ_are_refused(
    hf_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Case A4: what a class of transformers does not count as missing is seen by the second
    load.
    """
    transformers = pytest.importorskip("transformers")
    weights = load_file(hf_folder / "model.safetensors")
    weights.pop("classifier.weight")
    save_file(weights, hf_folder / "model.safetensors", {"format": "pt"})
    ignored = [r"classifier\.weight"]
    monkeypatch.setattr(
        transformers.ViTForImageClassification, "_keys_to_ignore_on_load_missing", ignored
    )
    with pytest.raises(CheckpointError, match=r"two loads of .* different logits"):
        load_external(f"hf:{hf_folder}")


def test_labels_of_several_generators_are_a_group(images: Tensor, tmp_path: Path) -> None:
    """Case B14: dalle, real and sd."""
    folder = save_tiny_vit(tmp_path / "vit", ["dalle", "real", "sd"])
    with pytest.raises(UserError, match="fake_labels=LABEL,LABEL"):
        load_external(f"hf:{folder}")
    detector = built(f"hf:{folder}", fake_labels=("dalle", "sd"))
    outputs = detector.net(pixel_values=detector.processing(images)).logits  # type: ignore[operator]
    expected = torch.logsumexp(outputs[:, [0, 2]], dim=1) - outputs[:, 1]
    torch.testing.assert_close(detector.logits(images), expected)
    assert (
        detector.card.orientation
        == "log-sum-exp of the logits of 'dalle', 'sd' minus logit of 'real'"
    )
    assert gradient_error(detector, images[:1]) < 1e-3
    save_detector(detector, tmp_path / "saved.safetensors")
    again = load_detector(str(tmp_path / "saved.safetensors"))
    assert torch.equal(again.logits(images), detector.logits(images))


def test_one_output_wants_its_orientation(images: Tensor, tmp_path: Path) -> None:
    """Case B14: a sigmoid head."""
    folder = save_tiny_vit(tmp_path / "vit", ["LABEL_0"])
    with pytest.raises(UserError, match=r"\?fake_index=1 if a high output"):
        load_external(f"hf:{folder}")
    high = built(f"hf:{folder}", fake_index=1)
    outputs = high.net(pixel_values=high.processing(images)).logits  # type: ignore[operator]
    assert torch.equal(high.logits(images), outputs[:, 0])
    assert torch.equal(built(f"hf:{folder}", fake_index=0).logits(images), -outputs[:, 0])
    assert high.card.orientation == "the only output, 'LABEL_0': high means AI-generated"


def test_an_output_of_a_regression_is_no_logit(tmp_path: Path) -> None:
    folder = save_tiny_vit(tmp_path / "vit", ["fake"], problem_type="regression")
    with pytest.raises(UserError, match=r"trained by regression.*&threshold=0\.5"):
        load_external(f"hf:{folder}")
    assert built(f"hf:{folder}", threshold=0.5).threshold == 0.5


def test_a_processor_is_borrowed_where_none_is_there(
    hf_folder: Path, images: Tensor, tmp_path: Path
) -> None:
    """Case B14: no image processor beside the weights."""
    expected = built(f"hf:{hf_folder}").logits(images)
    (tmp_path / "other").mkdir()
    (hf_folder / "preprocessor_config.json").rename(tmp_path / "other" / "preprocessor_config.json")
    with pytest.raises(UserError, match=r"no image processor .*\?processor=REPO_OR_FOLDER"):
        load_external(f"hf:{hf_folder}")
    assert torch.equal(
        built(f"hf:{hf_folder}", processor=str(tmp_path / "other")).logits(images), expected
    )
    with pytest.raises(UserError, match=r"at .*nowhere, to borrow for"):
        load_external(f"hf:{hf_folder}", processor=str(tmp_path / "nowhere"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"do_center_crop": True, "crop_size": None}, "lacks a setting: `crop_size`.*processor="),
        ({"image_mean": None}, "lacks a setting: `image_mean`.*processor="),
        ({"size": {"height": 32, "width": 32}}, r"does not take .*\(1, 3, 32, 32\).*processor="),
    ],
)
def test_a_processor_that_does_not_serve_is_refused(
    settings: dict[str, Any], message: str, hf_folder: Path
) -> None:
    file = hf_folder / "preprocessor_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | settings))
    with pytest.raises(UserError, match=message):
        load_external(f"hf:{hf_folder}")


def test_a_network_for_text_is_no_detector(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    transformers.RobertaConfig(vocab_size=10).save_pretrained(tmp_path)
    with pytest.raises(UserError, match="no image classifier: its config is a RobertaConfig"):
        load_external(f"hf:{tmp_path}")


class Harmful:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return eval, ("1 / 0",)


def test_weights_that_cannot_be_read_are_named(hf_folder: Path) -> None:
    """Case B6: a Git LFS pointer instead of the weights; a pickle with code in it."""
    weights = hf_folder / "model.safetensors"
    weights.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n")
    with pytest.raises(
        CheckpointError, match=r"model\.safetensors is no checkpoint: it is a Git LFS pointer"
    ):
        load_external(f"hf:{hf_folder}")
    weights.write_bytes(b"junk")
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_external(f"hf:{hf_folder}")
    weights.unlink()
    torch.save({"classifier.weight": Harmful()}, hf_folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="could run code"):
        load_external(f"hf:{hf_folder}")
