"""What `rb.wrap` takes: sizes, statistics, thresholds, groups, number formats, networks of every
make.
"""

import threading
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from robustbench_aigi.attacks import load_attack
from robustbench_aigi.detectors import wrap
from robustbench_aigi.detectors._support.faster import copy_detector, faster
from robustbench_aigi.errors import LogitsError, UserError
from robustbench_aigi.executors import InProcessExecutor, PoolExecutor, find_unsendable
from robustbench_aigi.io.hashing import weights_digest
from tests.foreign import Brightness


def quantised(net: nn.Module) -> nn.Module:
    """Its linear layers in 8-bit integers, by the way of torch that is deprecated and in use."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made: nn.Module = torch.ao.quantization.quantize_dynamic(
            net, {nn.Linear}, dtype=torch.qint8
        )
    return made


def test_a_threshold_is_on_the_scale_of_the_outputs() -> None:
    """A6: 0.7 beside probabilities is a probability, not a logit."""
    assert wrap(nn.Flatten(), input_size=8).threshold == 0
    assert wrap(nn.Flatten(), input_size=8, threshold=0.7).threshold == 0.7
    assert wrap(
        nn.Flatten(), input_size=8, scale="probability", threshold=0.7
    ).threshold == pytest.approx(0.8473, abs=1e-4)
    assert wrap(
        nn.Flatten(), input_size=8, scale="percent", threshold=70
    ).threshold == pytest.approx(0.8473, abs=1e-4)
    with pytest.raises(UserError, match=r"threshold must be a probability between 0 and 1.*got 50"):
        wrap(nn.Flatten(), input_size=8, scale="probability", threshold=50)
    with pytest.raises(UserError, match="nan"):
        wrap(nn.Flatten(), input_size=8, threshold=float("nan"))


def test_statistics_of_pixels_from_0_to_255_are_refused_with_what_to_write() -> None:
    """A6: with them a network sees next to one colour."""
    pixels = {"mean": (123.675, 116.28, 103.53), "std": (58.395, 57.12, 57.375)}
    with pytest.raises(
        UserError, match=r"mean=\(0.485, 0.456, 0.406\), std=\(0.229, 0.224, 0.225\)"
    ):
        wrap(nn.Flatten(), input_size=8, **pixels)  # type: ignore[arg-type]
    with pytest.raises(
        UserError, match=r"mean=\(0.4078, 0.4588, 0.4824\), std=\(0.003922, 0.003922, 0.003922\)"
    ):
        wrap(nn.Flatten(), input_size=8, mean=(104, 117, 123), std=(1, 1, 1))
    for wrong, message in (
        ({"mean": (0.5, 0.5)}, "three finite numbers"),
        ({"mean": (0.5, 0.5, float("nan"))}, "three finite numbers"),
        ({"mean": 0.5}, "three finite numbers"),
        ({"std": (0.5, 0.0, 0.5)}, "above 0"),
        ({"std": (0.5, -0.2, 0.5)}, "above 0"),
        ({"std": (255, 255, 255)}, "divide them by 255"),
    ):
        with pytest.raises(UserError, match=message):
            wrap(nn.Flatten(), input_size=8, **wrong)


class Seeing(nn.Module):
    """Keeps what it is shown, and scores its mean."""

    def forward(self, images: Tensor) -> Tensor:
        self.seen = images
        return images.mean(dim=(1, 2, 3))


def test_statistics_of_images_from_0_to_1_are_taken(images: Tensor) -> None:
    for mean, std in (
        ((0.5,) * 3, [0.5, 0.5, 0.5]),
        ((0.0,) * 3, np.full(3, 1 / 255)),
        (torch.tensor([0.485, 0.456, 0.406]), (0.229, 0.224, 0.225)),
    ):
        net = Seeing()
        wrap(net, input_size=32, mean=mean, std=std).logits(images)
        torch.testing.assert_close(
            net.seen,
            (images - torch.as_tensor(mean).view(3, 1, 1)) / torch.as_tensor(std).view(3, 1, 1),
            check_dtype=False,
        )


@pytest.mark.parametrize("scale", ["logit", "probability"])
def test_a_group_of_outputs_is_read_as_one(scale: Any, images: Tensor) -> None:
    """B14's kind in wrap: three classes, two of them generators."""
    raw = torch.randn(4, 3, generator=torch.Generator().manual_seed(1))
    shown = raw.softmax(1) if scale == "probability" else raw
    detector = wrap(lambda x: shown[: len(x)], input_size=32, fake_index=[0, 2], scale=scale)
    share = raw.softmax(1)[:, [0, 2]].sum(1)
    torch.testing.assert_close(detector.logits(images), share.logit())
    one = wrap(lambda x: raw[: len(x), :2], input_size=32, fake_index=[0]).logits(images)
    torch.testing.assert_close(one, raw[:, 0] - raw[:, 1])
    for wrong, message in (
        ([0, 1, 2], "some must mean"),
        ([3], "has 3 outputs"),
        ([], "each once"),
        ([1, 1], "each once"),
    ):
        with pytest.raises(UserError, match=message):
            wrap(lambda x: raw[: len(x)], input_size=32, fake_index=wrong).logits(images)
    with pytest.raises(UserError, match=r"1 or 2 outputs, got 3.*fake_index=\[2\]"):
        wrap(lambda x: raw[: len(x)], input_size=32).logits(images)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_another_number_format_work_with_their_gradient(
    kind: torch.dtype, images: Tensor
) -> None:
    """B4: a dtype traceback."""
    detector = wrap(Brightness().to(kind), input_size=32)
    levels = images.mul(255).round() / 255
    labels = torch.tensor([0, 1, 0, 1])
    expected = Brightness()(levels)[:, 0]
    near = 0.2 if kind == torch.bfloat16 else 0.02
    torch.testing.assert_close(detector.logits(levels), expected, atol=near, rtol=0)
    weak = load_attack("pgd-linf", eps=8, step=4, steps=3)(
        detector, levels, labels, seed=0, full=True
    )
    clean = detector.logits(levels).detach()
    moved = load_attack("pgd-linf", eps=8, step=4, steps=3)(
        detector, levels, labels, seed=0, full=True, clean_logits=clean
    )
    assert torch.equal(moved.images, weak.images)
    shift = (weak.logits - expected) * (1 - 2 * labels)
    assert (shift > 20 * 6 / 255).all()  # eight levels on every pixel, less the clipping


def test_input_sizes_of_two_sides_are_kept(images: Tensor) -> None:
    """B4: a pydantic traceback."""
    net = Seeing()
    detector = wrap(net, input_size=(24, 40))
    assert detector.logits(images).shape == (4,)
    assert net.seen.shape == (4, 3, 24, 40)
    assert detector.card.input_size == 24
    assert "24 x 40" in detector.card.resize
    assert wrap(nn.Flatten(), input_size=(32, 32)).card == wrap(nn.Flatten(), input_size=32).card
    for wrong in (0, -1, "224", (3, 224, 224), (224,), 22.5, (0, 3)):
        with pytest.raises(UserError, match="input_size=224 or input_size="):
            wrap(nn.Flatten(), input_size=wrong)  # type: ignore[arg-type]


def test_what_wrap_cannot_take_is_told() -> None:
    with pytest.raises(UserError, match=r"a card has no licence\. Its fields are"):
        wrap(nn.Flatten(), input_size=8, licence="MIT")
    with pytest.raises(UserError, match="gradient is 'some'"):
        wrap(nn.Flatten(), input_size=8, gradient="some")
    with pytest.raises(UserError, match=r"torch\.jit\.load"):
        wrap("net.pt", input_size=8)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="scale must be logit, probability, percent, got 'prob'"):
        wrap(nn.Flatten(), input_size=8, scale="prob")  # type: ignore[arg-type]


def test_quantised_networks_score_and_say_that_they_have_no_gradient(
    images: Tensor, labels: Tensor
) -> None:
    """B1's kind: RuntimeErrors of the digest and of autograd."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 1)).eval()
    detector = wrap(quantised(net), input_size=32)
    torch.testing.assert_close(detector.logits(images), net(images)[:, 0], atol=0.1, rtol=0)
    warnings.simplefilter(
        "ignore"
    )  # torch warns before it gives no gradient; pytest restores the filters
    with pytest.raises(LogitsError, match="has no gradient"):
        load_attack("pgd-linf", steps=1)(detector, images, labels)
    before = weights_digest(detector.state_dict())
    assert weights_digest(copy_detector(detector).state_dict()) == before
    with torch.no_grad():
        net.get_parameter("1.weight").mul_(2)
    assert weights_digest(wrap(quantised(net), input_size=32).state_dict()) != before


def test_what_cannot_be_copied_is_told_and_stays_as_it_was(images: Tensor) -> None:
    """B1's kind: a lock, an open file, a session."""
    net = Brightness()
    net.register_module("lock", None)
    net.__dict__["held"] = threading.Lock()
    detector = wrap(net, input_size=32, name="held")
    with pytest.raises(UserError, match=r"held cannot be copied: cannot pickle '_thread.lock'"):
        copy_detector(detector)
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    with pytest.raises(UserError, match="cannot be copied"):
        faster(detector, "onnx")
    assert not any(module.training for module in detector.modules())


def test_programs_that_torch_exported_are_wrapped(images: Tensor, labels: Tensor) -> None:
    """They have no modes: ``eval()`` raises NotImplementedError."""
    dynamic = ({0: torch.export.Dim("n", min=1, max=64)},)
    program = torch.export.export(Brightness(), (torch.rand(2, 3, 32, 32),), dynamic_shapes=dynamic)
    detector = wrap(program.module(), input_size=32)
    result = load_attack("fgsm", eps=4)(detector, images, labels)
    torch.testing.assert_close(result.clean_logits, Brightness()(images)[:, 0])


def test_detectors_that_stay_in_this_process_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    net = Brightness()
    net.__dict__["held"] = threading.Lock()
    things = {"held": wrap(net, input_size=32), "free": wrap(Brightness(), input_size=32)}
    assert find_unsendable(InProcessExecutor(), things, "it is evaluated") == {}
    assert [*find_unsendable(PoolExecutor(2), things, "it is evaluated")] == ["held"]
    why = "TypeError: cannot pickle '_thread.lock' object"
    assert (
        f"held cannot be sent to other processes ({why}); it is evaluated in this one."
        in caplog.text
    )


def test_faster_takes_wrapped_networks_of_any_scale(images: Tensor) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    inner = Brightness()
    detector = wrap(nn.Sequential(inner, nn.Sigmoid()), input_size=(24, 40), scale="probability")
    view = faster(detector, "onnx")
    torch.testing.assert_close(view.logits(images), detector.logits(images), atol=1e-4, rtol=1e-4)
