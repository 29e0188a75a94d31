import pickle
import re
import shutil

import pytest
import torch
from cloudpickle import dumps  # type: ignore[import-untyped]
from torch import Tensor

from robustbench_aigi.detectors import Detector, detectors, load_detector
from robustbench_aigi.detectors._support.faster import copy_detector, faster
from robustbench_aigi.errors import UnavailableError, UserError
from robustbench_aigi.extras import install_command
from robustbench_aigi.io.hashing import weights_digest
from tests.conftest import Linear


@torch.no_grad()
def check_close(view: Detector, detector: Detector, images: Tensor) -> None:
    expected = detector.logits(images)
    torch.testing.assert_close(view.logits(images), expected, atol=1e-4, rtol=0)
    alone = torch.cat([view.logits(image[None]) for image in images])
    torch.testing.assert_close(alone, view.logits(images), atol=1e-4, rtol=0)
    assert view.threshold == detector.threshold


def test_compiled_scores_and_gradients_are_the_same(images: Tensor) -> None:
    if shutil.which("g++") is None:
        pytest.skip("no C++ compiler")
    linear = Linear(torch.randn(3, 32, 32, generator=torch.Generator().manual_seed(0)), 0.5)
    view = faster(linear, "compile")
    leaf = images.clone().requires_grad_(True)
    logits = view.logits(leaf)
    torch.testing.assert_close(logits, linear.logits(images))
    (gradient,) = torch.autograd.grad(logits.sum(), leaf)
    torch.testing.assert_close(gradient, linear.weight.detach().expand(4, -1, -1, -1))
    assert view.card.gradient == "full"


@pytest.mark.parametrize(("name", "size"), [("tinyvit-5m", (32, 32)), ("cifake-cnn", (45, 61))])
def test_onnx_runtime_scores_the_same(name: str, size: tuple[int, int]) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    torch.manual_seed(0)
    detector = load_detector(name, **detectors.get(name).small)
    view = faster(detector, "onnx")
    check_close(view, detector, torch.rand(4, 3, *size))
    assert view.card.gradient == "none"
    sent = pickle.loads(dumps(copy_detector(view)))  # without its graphs
    assert torch.equal(sent.logits(torch.ones(1, 3, *size)), view.logits(torch.ones(1, 3, *size)))
    assert weights_digest(view.state_dict()) == weights_digest(
        {f"net.{k}": v for k, v in detector.state_dict().items()}
    )


def test_onnx_runtime_that_computes_something_else_is_rejected(
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
    with pytest.raises(
        UserError, match=r"no faster view called 'magic'\. Write by= one of compile, onnx"
    ):
        faster(linear, "magic")  # type: ignore[arg-type]
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UnavailableError, match="C\\+\\+ compiler"):
        faster(linear, "compile")
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(UnavailableError, match=re.escape(install_command("onnx"))):
        faster(linear, "onnx")
