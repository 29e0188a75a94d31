import pickle
import re
import shutil

import pytest
import torch
from cloudpickle import dumps  # type: ignore[import-untyped]
from torch import Tensor, nn

from robustbench_aigi.detectors import Detector, detectors, load_detector
from robustbench_aigi.detectors._support.faster import Int8Linear, copied, faster, in_8_bits
from robustbench_aigi.errors import UnavailableError, UserError
from robustbench_aigi.extras import install_command
from robustbench_aigi.io.hashing import weights_digest
from tests.conftest import Linear


@pytest.fixture(scope="module")
def detector() -> Detector:
    return load_detector("tinyvit-5m", "cifake")


@torch.no_grad()
def check_close(
    view: Detector, detector: Detector, images: Tensor, near: float, alike: float = 1e-4
) -> None:
    expected = detector.logits(images)
    torch.testing.assert_close(view.logits(images), expected, atol=near, rtol=0)
    alone = torch.cat([view.logits(image[None]) for image in images])
    torch.testing.assert_close(alone, view.logits(images), atol=alike, rtol=0)
    assert view.threshold == detector.threshold


@pytest.mark.parametrize(("stride", "alike"), [(4, 0.01), (2, 0.1)])
def test_int8_scores_nearly_the_same(stride: int, alike: float, images: Tensor) -> None:
    detector = load_detector("tinyvit-5m", "cifake", stem_stride=stride)
    detector.logits(images)  # fills a cache that cannot be copied
    view = faster(detector, "int8")
    assert not any(module.training for module in detector.modules())
    check_close(
        view, detector, images, 0.1, alike=alike
    )  # on a finer map more values lie where rounding decides
    assert not torch.equal(view.logits(images), detector.logits(images))
    replaced = sum(isinstance(module, Int8Linear) for module in view.modules())
    assert view.card.summary.endswith(f"{replaced} linear layers in 8-bit integers")
    assert view.card.name == "tinyvit-5m-int8"
    assert view.card.gradient == "none"
    assert not view.logits(images.clone().requires_grad_(True)).requires_grad
    assert not any(
        isinstance(module, Int8Linear) for module in detector.modules()
    )  # the one given is left as it was
    assert weights_digest(view.state_dict()) == weights_digest(
        faster(detector, "int8").state_dict()
    )


def test_8_bits_are_as_near_as_8_bits_can_be() -> None:
    rows = torch.randn(5, 40, generator=torch.Generator().manual_seed(0))
    rows[2] = 0
    integers, scales = in_8_bits(rows)
    assert integers.abs().amax(dim=1).tolist() == [127, 127, 0, 127, 127]
    assert ((integers * scales - rows).abs() <= scales / 2 * (1 + 1e-5)).all()


def test_int8_linear_is_near_the_linear_layer() -> None:
    torch.manual_seed(0)
    for bias in (True, False):
        layer, inputs = nn.Linear(64, 24, bias=bias), torch.randn(3, 5, 64)
        torch.testing.assert_close(Int8Linear(layer)(inputs), layer(inputs), atol=0.03, rtol=0)


def test_compiled_scores_and_slopes_are_the_same(images: Tensor) -> None:
    if shutil.which("g++") is None:
        pytest.skip("no C++ compiler")
    linear = Linear(torch.randn(3, 32, 32, generator=torch.Generator().manual_seed(0)), 0.5)
    view = faster(linear, "compile")
    leaf = images.clone().requires_grad_(True)
    logits = view.logits(leaf)
    torch.testing.assert_close(logits, linear.logits(images))
    (slope,) = torch.autograd.grad(logits.sum(), leaf)
    torch.testing.assert_close(slope, linear.weight.detach().expand(4, -1, -1, -1))
    assert view.card.gradient == "full"


@pytest.mark.parametrize(("name", "size"), [("tinyvit-5m", (32, 32)), ("cifake-cnn", (45, 61))])
def test_onnx_runtime_scores_the_same(name: str, size: tuple[int, int]) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    torch.manual_seed(0)
    detector = load_detector(name, **detectors.get(name).small)
    view = faster(detector, "onnx")
    check_close(view, detector, torch.rand(4, 3, *size), 1e-4)
    assert view.card.gradient == "none"
    sent = pickle.loads(dumps(copied(view)))  # with its graphs made anew
    assert torch.equal(sent.logits(torch.ones(1, 3, *size)), view.logits(torch.ones(1, 3, *size)))
    assert weights_digest(view.state_dict()) == weights_digest(
        {f"net.{k}": v for k, v in detector.state_dict().items()}
    )


def test_onnx_runtime_that_computes_something_else_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    view = faster(load_detector("cifake-cnn"), "onnx")
    monkeypatch.setattr(
        type(view), "_run", staticmethod(lambda graph, images: torch.full((len(images),), 9.0))
    )
    with pytest.raises(UnavailableError, match="differs from torch"):
        view.logits(torch.rand(1, 3, 32, 32))


def test_what_cannot_be_faster_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    linear = Linear(torch.zeros(3, 32, 32), 0.0)
    with pytest.raises(UserError, match="compile, onnx, int8"):
        faster(linear, "magic")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="no linear layer"):
        faster(linear, "int8")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UnavailableError, match="C\\+\\+ compiler"):
        faster(linear, "compile")
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(UnavailableError, match=re.escape(install_command("onnx"))):
        faster(linear, "onnx")
