import io
import json
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from torch import Tensor

from robustbench_aigi.attacks import load_attack
from robustbench_aigi.detectors import Detector, load_detector, save_detector
from robustbench_aigi.detectors.anyone import addressed
from robustbench_aigi.detectors.anyone.ends import centre_crop, one_logit, resize, slug
from robustbench_aigi.detectors.anyone.hf import KERNELS, Processing, fake_of
from robustbench_aigi.detectors.anyone.http_endpoint import HTTPEndpoint
from robustbench_aigi.detectors.anyone.timm_model import licences
from robustbench_aigi.errors import BadCheckpoint, BadLogits, Unavailable, UnknownName, UserError
from robustbench_aigi.grid import from_bytes, to_bytes
from robustbench_aigi.training.fit import Arrays, Plan, fit, predict

SIZES = ((32, 32), (33, 33), (224, 224), (45, 61), (512, 512))


def built(address: str, **config: Any) -> Detector:
    detector = addressed(address, **config)
    assert detector is not None
    return detector


def check_contract(detector: Detector, images: Tensor, folder: Path) -> None:
    """Sizes, independence of the batch, and a file that builds the same detector again."""
    with torch.no_grad():
        logits = detector.logits(images)
        assert logits.shape == (4,)
        assert torch.equal(detector.logits(images), logits)
        alone = torch.cat([detector.logits(image[None]) for image in images])
        torch.testing.assert_close(alone, logits, atol=1e-4, rtol=1e-4)
        for size in SIZES:
            assert detector.logits(torch.rand(1, 3, *size)).isfinite().all()
        save_detector(detector, folder / "saved.safetensors")
        again = load_detector(str(folder / "saved.safetensors"))
        assert torch.equal(again.logits(images), logits)
        assert again.card.name == detector.card.name
    assert isinstance(detector.get_submodule(detector.card.cam), torch.nn.Module)


def check_gradient(detector: Detector, images: Tensor) -> None:
    """The gradient of a logit is that of finite differences, at the pixels where it is largest."""
    detector, leaf = detector.double(), images.double().requires_grad_(True)
    (slope,) = torch.autograd.grad(detector.logits(leaf).sum(), leaf)
    assert (slope.flatten(1).abs().amax(dim=1) > 0).all()
    for place in slope.flatten().abs().topk(3).indices.tolist():
        step = torch.zeros(slope.numel(), dtype=torch.float64).index_fill_(0, torch.tensor(place), 1e-5).view_as(leaf)
        with torch.no_grad():
            rise = detector.logits(leaf + step).sum() - detector.logits(leaf - step).sum()
        torch.testing.assert_close(float(rise) / 2e-5, float(slope.flatten()[place]), rtol=1e-3, atol=1e-6)
    detector.float()


def check_learns(detector: Detector, images: Tensor) -> None:
    """A short fit tells bright images from dark ones."""
    labels = torch.arange(16) % 2
    bright = (images.repeat(4, 1, 1, 1) * 0.5 + 0.3 * labels.view(-1, 1, 1, 1)).clamp(0, 1)
    data = Arrays(to_bytes(bright), labels)
    fit(detector, data, data, Plan(epochs=5, batch=8, warmup=0.0))
    logits = predict(detector, data.images)
    above = logits[labels == 1].unsqueeze(0) > logits[labels == 0].unsqueeze(1)
    assert above.float().mean() > 0.9


@pytest.mark.parametrize("kernel", sorted(KERNELS))
@pytest.mark.parametrize("size", [(17, 40), (64, 50)])
def test_resize_is_that_of_pillow(kernel: int, size: tuple[int, int], images: Tensor) -> None:
    ours = resize(images, size, KERNELS[kernel])
    for plane, expected in zip(ours.flatten(0, 1), images.flatten(0, 1), strict=True):
        theirs = Image.fromarray(expected.numpy()).resize(size[::-1], Image.Resampling(kernel))
        near = np.isclose(plane.numpy(), np.asarray(theirs).clip(0, 1), atol=1e-4)
        assert near.mean() > 0.9 if kernel == 0 else near.all()  # the nearest of two that are equally near is open


def test_centre_crop_cuts_and_pads() -> None:
    images = torch.arange(1.0, 26).view(1, 1, 5, 5)
    assert centre_crop(images, (1, 3)).tolist() == [[[[12, 13, 14]]]]
    wide = centre_crop(images, (5, 9))
    assert wide.shape == (1, 1, 5, 9)
    assert torch.equal(wide[..., 2:7], images)
    assert wide.sum() == images.sum()


@pytest.mark.parametrize("fake_index", [0, 1])
def test_one_logit_reads_logits_and_probabilities_alike(fake_index: int) -> None:
    raw = torch.tensor([[2.0, -1.0], [0.5, 0.75], [-3.0, 3.0]])
    expected = (raw[:, 1] - raw[:, 0]) * (1 if fake_index else -1)
    sign = 1 if fake_index else -1
    single = (raw[:, 1] - raw[:, 0]).unsqueeze(1)
    for outputs, scale in ((raw, "logit"), (raw.softmax(1), "probability")):
        torch.testing.assert_close(one_logit(outputs, fake_index, scale, "x"), expected)
    for outputs, scale in (
        (single, "logit"),
        (single.sigmoid(), "probability"),
        (single.sigmoid()[:, 0], "probability"),
    ):
        torch.testing.assert_close(one_logit(outputs, fake_index, scale, "x"), sign * single[:, 0])
    assert one_logit(torch.tensor([0.0, 1.0]), 1, "probability", "x").isfinite().all()


def test_one_logit_refuses_what_it_cannot_read() -> None:
    with pytest.raises(UserError, match="1 or 2 outputs"):
        one_logit(torch.zeros(2, 3), 1, "logit", "x")
    for value in (1.5, -0.1, float("nan")):
        with pytest.raises(BadLogits, match="no probability"):
            one_logit(torch.tensor([0.5, value]), 1, "probability", "x")


def test_names_that_are_no_address_are_left_to_the_registry() -> None:
    assert addressed("tinyvit-5m") is None
    assert addressed("package.module:Class") is None
    assert slug("https://api.example.com/v1/detect") == "https-api.example.com-v1-detect"


# hf


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
    check_gradient(detector, images)
    before = detector.logits(images)
    check_learns(detector, images)
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


# timm


def test_timm_keeps_the_contract(images: Tensor, tmp_path: Path) -> None:
    torch.manual_seed(0)
    detector = built("timm:test_resnet")
    assert detector.card.source == "timm:test_resnet"
    assert detector.card.input_size == timm.get_pretrained_cfg("test_resnet").input_size[1]
    assert detector.card.cam == "net.layer4"
    check_contract(detector, images, tmp_path)
    check_gradient(detector, images[:2])


def test_timm_model_learns(images: Tensor) -> None:
    torch.manual_seed(0)
    check_learns(built("timm:test_vit"), images)


def test_timm_name_that_is_none_is_refused() -> None:
    with pytest.raises(UnknownName, match="Did you mean resnet18"):
        addressed("timm:resnet_18")


@pytest.mark.parametrize(
    ("licence", "free"), [("apache-2.0", True), ("mit", True), ("cc-by-nc-4.0", False), (None, False)]
)
def test_only_known_licences_permit_commercial_use(licence: str | None, free: bool) -> None:
    assert licences({"license": licence})["commercial"] is free


# onnx


def write_onnx(path: Path, shape: list[int | str], outputs: int, tail: str = "") -> Tensor:
    """A graph that multiplies the flat image by a matrix, which is returned, ``(values, outputs)``."""
    onnx = pytest.importorskip("onnx")
    sides = [n if isinstance(n, int) else 16 for n in shape[1:]]
    weight = torch.randn(sides[0] * sides[1] * sides[2], outputs, generator=torch.Generator().manual_seed(0)) / 30
    nodes = [onnx.helper.make_node("Flatten", ["x"], ["flat"]), onnx.helper.make_node("MatMul", ["flat", "w"], ["y"])]
    if tail:
        nodes.append(onnx.helper.make_node(tail, ["y"], ["z"]))
    end = onnx.helper.make_tensor_value_info("z" if tail else "y", onnx.TensorProto.FLOAT, [shape[0], outputs])
    start = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, shape)
    held = onnx.numpy_helper.from_array(weight.numpy(), "w")
    graph = onnx.helper.make_graph(nodes, "net", [start], [end], [held])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return weight


@pytest.mark.parametrize("batch", ["n", 1, 3])
@pytest.mark.parametrize("last", [False, True])
def test_onnx_reads_its_graph(batch: int | str, last: bool, images: Tensor, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    path = tmp_path / "net.onnx"
    weight = write_onnx(path, [batch, 16, 16, 3] if last else [batch, 3, 16, 16], 2)
    detector = built(f"onnx:{path}", mean=[0.5, 0.4, 0.3], std=[0.2, 0.2, 0.2])
    inputs = (resize(images, (16, 16), "bilinear") - torch.tensor([0.5, 0.4, 0.3]).view(1, 3, 1, 1)) / 0.2
    inputs = inputs.permute(0, 2, 3, 1) if last else inputs
    raw = inputs.flatten(1) @ weight
    torch.testing.assert_close(detector.logits(images), raw[:, 1] - raw[:, 0], atol=1e-4, rtol=1e-4)
    assert detector.card.gradient == "none"
    assert detector.card.input_size == 16
    check_contract(detector, images, tmp_path)


@pytest.mark.parametrize(("outputs", "tail"), [(1, "Sigmoid"), (2, "Softmax")])
def test_onnx_probabilities_are_those_that_are_said_to_be(
    outputs: int, tail: str, images: Tensor, tmp_path: Path
) -> None:
    pytest.importorskip("onnxruntime")
    weight = write_onnx(tmp_path / "net.onnx", ["n", 3, "h", "w"], outputs, tail)
    detector = built(f"onnx:{tmp_path / 'net.onnx'}", scale="probability", fake_index=0, size=16)
    raw = resize(images, (16, 16), "bilinear").flatten(1) @ weight
    expected = -raw[:, 0] if outputs == 1 else raw[:, 0] - raw[:, 1]
    torch.testing.assert_close(detector.logits(images), expected, atol=1e-3, rtol=1e-3)


def test_onnx_is_attacked_by_scores_alone(images: Tensor, labels: Tensor, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    write_onnx(tmp_path / "net.onnx", ["n", 3, 16, 16], 1)
    detector = built(f"onnx:{tmp_path / 'net.onnx'}")
    ids = [str(i) for i in range(4)]
    with pytest.raises(UserError, match="black box"):
        load_attack("pgd-linf")(detector, images, labels, ids=ids, seed=0)
    result = load_attack("square-linf", queries=20)(detector, images, labels, ids=ids, seed=0, full=True)
    assert (result.logits != result.clean_logits).any()


def test_onnx_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    path = tmp_path / "net.onnx"
    with pytest.raises(BadCheckpoint, match="no ONNX file"):
        addressed(f"onnx:{path}")
    path.write_bytes(b"junk")
    with pytest.raises(BadCheckpoint, match="cannot read"):
        addressed(f"onnx:{path}")
    write_onnx(path, ["n", 3, "h", "w"], 1)
    with pytest.raises(UserError, match="size=224"):
        addressed(f"onnx:{path}")
    write_onnx(path, ["n", 4, 16, 16], 1)
    with pytest.raises(UserError, match="one float input"):
        addressed(f"onnx:{path}")
    write_onnx(path, ["n", 3, 16, 16], 3)
    with pytest.raises(UserError, match="1 or 2 outputs"):
        built(f"onnx:{path}").logits(torch.zeros(1, 3, 16, 16))
    saved = built(f"onnx:{path}")
    write_onnx(path, ["n", 3, 16, 16], 2)
    with pytest.raises(BadCheckpoint, match="has changed"):
        type(saved)(**saved.config)


def test_onnx_runtime_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(b"")
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(Unavailable, match=r"pip install 'robustbench-aigi\[onnx\]'"):
        addressed(f"onnx:{tmp_path / 'net.onnx'}")


# http

SECRET = "swordfish-123"
Reply = tuple[int, bytes]


class Service:
    """An endpoint on this machine: answers with the mean brightness, unless there are ``replies`` to give first."""

    def __init__(self) -> None:
        self.replies: list[Reply] = []
        self.headers: list[dict[str, str]] = []
        self.bodies: list[bytes] = []
        self.answer: Callable[[float], Any] = lambda mean: {"score": mean}
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                service.headers.append(dict(self.headers))
                service.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
                mean = float(np.asarray(Image.open(io.BytesIO(service.bodies[-1]))).mean()) / 255
                status, text = (
                    service.replies.pop(0) if service.replies else (200, json.dumps(service.answer(mean)).encode())
                )
                if status == 0:
                    self.close_connection = True
                    return
                self.send_response(status, SECRET if status >= 400 else None)
                self.send_header("Content-Length", str(len(text)))
                if 300 <= status < 400:
                    self.send_header("Location", "/elsewhere")
                self.end_headers()
                with suppress(ConnectionError):  # of one who would wait no longer
                    self.wfile.write(text)

            def log_message(self, format: str, *args: Any) -> None:
                """Keep the test's output clean."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/detect"


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    monkeypatch.setenv("no_proxy", "*")
    made = Service()
    thread = threading.Thread(target=made.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()
    thread.join()


def asked(service: Service, **config: Any) -> HTTPEndpoint:
    detector = built(service.url, **{"pause": 0.001, "timeout": 5.0} | config)
    assert isinstance(detector, HTTPEndpoint)
    return detector


def test_http_sends_png_and_keeps_the_contract(service: Service, images: Tensor, tmp_path: Path) -> None:
    detector = asked(service)
    expected = images.mean(dim=(1, 2, 3))
    torch.testing.assert_close(detector.logits(images), expected.logit(), atol=1e-4, rtol=1e-4)
    sent = np.asarray(Image.open(io.BytesIO(service.bodies[0])))
    assert np.array_equal(sent, to_bytes(images[0]).permute(1, 2, 0).numpy())
    assert service.headers[0]["Content-Type"] == "image/png"
    assert "Authorization" not in service.headers[0]
    check_contract(detector, images, tmp_path)
    torch.testing.assert_close(asked(service, fake_index=0).logits(images), -expected.logit(), atol=1e-4, rtol=1e-4)


def test_http_reads_a_dotted_path_and_logits(service: Service, images: Tensor) -> None:
    service.answer = lambda mean: {"data": [{"raw": 7 * mean}]}
    detector = asked(service, score="data.0.raw", scale="logit")
    torch.testing.assert_close(detector.logits(images), 7 * images.mean(dim=(1, 2, 3)), atol=1e-4, rtol=1e-4)
    with pytest.raises(BadLogits, match="no 'score'"):
        asked(service).logits(images)
    with pytest.raises(BadLogits, match="no probability"):
        asked(service, score="data.0.raw").logits(images)


@pytest.mark.parametrize("value", ["0.9", True, None, [0.9]])
def test_http_takes_numbers_only(value: object, service: Service, images: Tensor) -> None:
    service.answer = lambda mean: {"score": value}
    with pytest.raises(BadLogits, match="no number"):
        asked(service).logits(images)


def test_http_asks_about_an_image_once(service: Service, images: Tensor) -> None:
    detector = asked(service)
    first = detector.logits(torch.cat([images, images]))
    assert torch.equal(detector.logits(images + 1e-4), first[:4])  # the same image on the 8-bit grid
    assert detector.sent == len(service.bodies) == 4
    detector.logits(images.transpose(2, 3))
    assert detector.sent == 8


@pytest.mark.parametrize("status", [429, 500, 503, 0])
def test_http_tries_again(status: int, service: Service, images: Tensor) -> None:
    service.replies = [(status, b""), (status, b"")]
    detector = asked(service, tries=3)
    assert detector.logits(images[:1]).isfinite().all()
    assert detector.sent == 3


def test_http_tries_again_after_silence(service: Service, images: Tensor) -> None:
    waiting = threading.Event()
    answers: list[Callable[[], bool]] = [lambda: waiting.wait(5), lambda: True]

    def answer(mean: float) -> dict[str, float]:
        answers.pop(0)()
        return {"score": mean}

    service.answer = answer
    detector = asked(service, timeout=0.2)
    assert detector.logits(images[:1]).isfinite().all()
    assert detector.sent == 2
    waiting.set()


def test_http_pauses_grow(service: Service, images: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("time.sleep", pauses.append)
    service.replies = [(500, b"")] * 4
    with pytest.raises(Unavailable, match="no answer in 4 tries, the last time status 500"):
        asked(service, tries=4, pause=0.5).logits(images)
    assert pauses == [0.5, 1.0, 2.0]


def test_http_gives_up_at_once_where_trying_again_is_vain(service: Service, images: Tensor) -> None:
    for status, words in ((401, "Check the token"), (404, "Check the URL"), (302, "redirects")):
        service.replies, detector = [(status, b"")], asked(service)
        with pytest.raises(Unavailable, match=words):
            detector.logits(images)
        assert detector.sent == 1
    service.replies = [(200, b"<html>")]
    with pytest.raises(BadLogits, match="no JSON"):
        asked(service).logits(images)


def test_http_keeps_to_its_budget(service: Service, images: Tensor) -> None:
    service.replies = [(500, b"")]
    detector = asked(service, budget=3)
    with pytest.raises(Unavailable, match="budget of 3 requests"):
        detector.logits(images)
    assert len(service.bodies) == 3
    assert detector.logits(images[:2]).isfinite().all()  # what was paid for is still known


def test_http_secret_reaches_the_service_and_nothing_else(
    service: Service, images: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MY_TOKEN", f"{SECRET}\n")
    detector = asked(service, token_env="MY_TOKEN")
    detector.logits(images)
    assert service.headers[0]["Authorization"] == f"Bearer {SECRET}"
    save_detector(detector, tmp_path / "saved.safetensors")
    written = (tmp_path / "saved.safetensors").read_bytes().decode("latin-1")
    texts = [written, repr(detector), str(vars(detector)), detector.card.model_dump_json(), json.dumps(detector.config)]
    for status in (401, 500):
        service.replies = [(status, SECRET.encode())] * 5
        try:
            detector.logits(images / 2)
        except Unavailable:
            texts.append(traceback.format_exc())
    assert len(texts) == 7
    assert not any(SECRET in text for text in [*texts, *capfd.readouterr()])


def test_http_refuses_what_would_give_a_secret_away(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    for url in ("https://me:pass@host.example/x", "https://host.example/x?api_key=1", "https://host.example/?Token="):
        with pytest.raises(UserError, match="token_env='NAME'"):
            addressed(url)
    with pytest.raises(Unavailable) as caught:
        addressed(service.url, token_env=SECRET)  # the token itself, in the place of a name
    assert SECRET not in str(caught.value)
    monkeypatch.setenv("MY_TOKEN", SECRET)
    with pytest.raises(UserError, match="unencrypted"):
        addressed("http://host.example/x", token_env="MY_TOKEN")
    with pytest.raises(UserError, match="Write it in full"):
        addressed("https://")
    with pytest.raises(UserError, match="too low"):
        addressed(service.url, tries=0)


def test_http_that_is_not_there_is_unavailable(images: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    with pytest.raises(Unavailable, match="ConnectionRefusedError"):
        built("http://127.0.0.1:9/x", tries=2, pause=0.001).logits(images)
