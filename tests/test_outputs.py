"""Whatever a network returns, its logit is the one that it means, or it is refused in a sentence."""

import threading
import warnings
from collections import namedtuple
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from robustbench_aigi.attacks import load_attack
from robustbench_aigi.detectors import Detector, wrap
from robustbench_aigi.detectors.anyone.ends import one_logit
from robustbench_aigi.detectors.base import on_device
from robustbench_aigi.detectors.faster import copied, faster
from robustbench_aigi.errors import BadLogits, UserError
from robustbench_aigi.executors import Here, Pool, bound_here
from robustbench_aigi.hashing import weights_digest
from tests.conftest import Linear
from tests.foreign import Brightness

Pair = namedtuple("Pair", "logits hidden")


def answering(answer: Callable[[Tensor], Any]) -> Detector:
    """A wrapped network that answers with what ``answer`` makes of its ``(N, 1)`` logits."""
    inner = Brightness()
    return wrap(lambda images: answer(inner(images)), input_size=32)


def two(logits: Tensor) -> Tensor:
    return torch.cat([-logits / 2, logits / 2], dim=1)


def quantised(net: nn.Module) -> nn.Module:
    """Its linear layers in 8-bit integers, by the way of torch that is deprecated and in use."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made: nn.Module = torch.ao.quantization.quantize_dynamic(net, {nn.Linear}, dtype=torch.qint8)
    return made


@pytest.mark.parametrize(
    ("net", "scale", "fake_index"),
    [
        (lambda z: z.sigmoid(), "probability", 1),
        (lambda z: 100 * z.sigmoid(), "percent", 1),
        (lambda z: (-z).sigmoid(), "probability", 0),
        (lambda z: two(z).softmax(1), "probability", 1),
        (lambda z: 100 * two(z).softmax(1).flip(1), "percent", 0),
    ],
)
def test_probabilities_in_wrap_give_the_logits_and_the_gradient_behind_them(
    net: Callable[[Tensor], Tensor], scale: Any, fake_index: int, images: Tensor
) -> None:
    """A6: a detector of 100% was one of 50%, all "AI-generated"."""
    inner = Brightness(100.0)
    detector = wrap(lambda x: net(inner(x)), input_size=32, scale=scale, fake_index=fake_index)
    spread = images + torch.linspace(-0.1, 0.1, 4).view(4, 1, 1, 1)  # logits from about -10 to 10
    leaf = spread.clone().requires_grad_(True)
    logits = detector.logits(leaf)
    torch.testing.assert_close(logits, inner(spread)[:, 0], atol=2e-2, rtol=1e-3)
    (slope,) = torch.autograd.grad(logits.sum(), leaf)
    torch.testing.assert_close(slope, torch.full_like(slope, 100.0 / (3 * 32 * 32)), rtol=1e-2, atol=0)


def test_probabilities_that_are_saturated_stay_finite_with_their_gradient() -> None:
    """A6: no clip takes the gradient away; only at exactly 0 and 1 there is none left."""
    raw = torch.tensor([-200.0, -60.0, -20.0, 12.0, 200.0], requires_grad=True)
    logits = one_logit(raw.sigmoid(), 1, "probability", "x", None)
    (slope,) = torch.autograd.grad(logits.sum(), raw)
    torch.testing.assert_close(logits[1:4], raw[1:4], rtol=1e-2, atol=0)
    torch.testing.assert_close(slope, torch.tensor([0.0, 1.0, 1.0, 1.0, 0.0]), rtol=1e-2, atol=1e-6)
    assert logits.isfinite().all()
    both = one_logit(torch.stack([raw / 2, -raw / 2], 1).softmax(1), 0, "probability", "x", None)
    assert both.isfinite().all()
    assert torch.autograd.grad(both.sum(), raw)[0].isfinite().all()


def test_a_threshold_is_on_the_scale_of_the_outputs() -> None:
    """A6: 0.7 beside probabilities is a probability, not a logit."""
    assert wrap(nn.Flatten(), input_size=8).threshold == 0
    assert wrap(nn.Flatten(), input_size=8, threshold=0.7).threshold == 0.7
    assert wrap(nn.Flatten(), input_size=8, scale="probability", threshold=0.7).threshold == pytest.approx(
        0.8473, abs=1e-4
    )
    assert wrap(nn.Flatten(), input_size=8, scale="percent", threshold=70).threshold == pytest.approx(0.8473, abs=1e-4)
    with pytest.raises(UserError, match=r"threshold must be a probability between 0 and 1.*got 50"):
        wrap(nn.Flatten(), input_size=8, scale="probability", threshold=50)
    with pytest.raises(UserError, match="nan"):
        wrap(nn.Flatten(), input_size=8, threshold=float("nan"))


def test_statistics_of_pixels_from_0_to_255_are_refused_with_what_to_write() -> None:
    """A6: with them a network sees next to one colour."""
    pixels = {"mean": (123.675, 116.28, 103.53), "std": (58.395, 57.12, 57.375)}
    with pytest.raises(UserError, match=r"mean=\(0.485, 0.456, 0.406\), std=\(0.229, 0.224, 0.225\)"):
        wrap(nn.Flatten(), input_size=8, **pixels)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"mean=\(0.4078, 0.4588, 0.4824\), std=\(0.003922, 0.003922, 0.003922\)"):
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


@pytest.mark.parametrize("count", [1, 2, 4])
@pytest.mark.parametrize(
    "answer",
    [
        lambda z: z.squeeze(),
        lambda z: two(z).squeeze(),
        lambda z: z[:, 0],
        lambda z: z[:, :, None, None],
        lambda z: {"logits": z, "features": z.expand(-1, 2), "loss": z.mean()},
        lambda z: {"scores": z, "features": z.expand(-1, 5)},
        lambda z: (z.expand(-1, 5), z),
        lambda z: Pair(z, z.expand(-1, 5)),
        lambda z: SimpleNamespace(logits=two(z), hidden_states=None),
        lambda z: z.detach().numpy(),
        lambda z: z.double(),
    ],
    ids=["squeezed", "two", "flat", "map", "dict", "other", "tuple", "named", "object", "numpy", "double"],
)
def test_one_logit_comes_out_of_what_a_network_returns(answer: Any, count: int, images: Tensor) -> None:
    """B3, B4: "len() of a 0-d tensor", AttributeError."""
    logits = answering(answer).logits(images[:count])
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits, Brightness()(images[:count])[:, 0])


def test_what_may_mean_several_outputs_is_asked_for(images: Tensor) -> None:
    """B4: never a guess."""
    inner = Brightness()

    def net(x: Tensor) -> dict[str, Tensor]:
        return {"a": inner(x), "b": -inner(x), "n": x.flatten(1)}

    with pytest.raises(UserError, match=r"'a': float32 \(4, 1\), 'b'.*several parts.*output='a'"):
        wrap(net, input_size=32).logits(images)
    for output in ("a", 0):
        found = wrap(net, input_size=32, output=output).logits(images)
        torch.testing.assert_close(found, inner(images)[:, 0])
    with pytest.raises(UserError, match="output='c' is none of its tensors"):
        wrap(net, input_size=32, output="c").logits(images)
    with pytest.raises(UserError, match="Leave output out"):
        wrap(inner, input_size=32, output="a").logits(images)
    probabilities = wrap(
        lambda x: {"logits": inner(x), "probs": inner(x).sigmoid()}, input_size=32, scale="probability"
    )
    torch.testing.assert_close(probabilities.logits(images), inner(images)[:, 0], rtol=1e-4, atol=1e-4)


def test_labels_are_never_taken_for_scores(images: Tensor) -> None:
    """A8: in every form that a label may come in."""
    for answer in (
        lambda z: (z > 0).long(),
        lambda z: z > 0,
        lambda z: {"logits": z.long()},
        lambda z: (z > 0).int().tolist(),
    ):
        with pytest.raises(UserError, match=r"label|no part"):
            answering(answer).logits(images)
    linear = Linear(torch.ones(3, 32, 32), 0.0)
    linear.logits = lambda images: (images.mean((1, 2, 3)) > 0.5).long()  # type: ignore[method-assign]
    with pytest.raises(BadLogits, match="no labels"):
        on_device(linear, images)


def test_outputs_that_are_not_one_row_an_image_are_refused(images: Tensor) -> None:
    with pytest.raises(BadLogits, match=r"shape \(\) for 4 images"):
        answering(lambda z: z.mean()).logits(images)
    with pytest.raises(BadLogits, match=r"shape \(2, 1\) for 4 images"):
        answering(lambda z: z[:2]).logits(images)


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
def test_weights_of_another_number_format_work_with_their_gradient(kind: torch.dtype, images: Tensor) -> None:
    """B4: a dtype traceback."""
    detector = wrap(Brightness().to(kind), input_size=32)
    levels, labels = images.mul(255).round() / 255, torch.tensor([0, 1, 0, 1])
    expected = Brightness()(levels)[:, 0]
    near = 0.2 if kind == torch.bfloat16 else 0.02
    torch.testing.assert_close(detector.logits(levels), expected, atol=near, rtol=0)
    weak = load_attack("pgd-linf", eps=8, step=4, steps=3)(detector, levels, labels, seed=0, full=True)
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


def test_quantised_networks_score_and_say_that_they_have_no_gradient(images: Tensor, labels: Tensor) -> None:
    """B1's kind: RuntimeErrors of the digest and of autograd."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 1)).eval()
    detector = wrap(quantised(net), input_size=32)
    torch.testing.assert_close(detector.logits(images), net(images)[:, 0], atol=0.1, rtol=0)
    warnings.simplefilter("ignore")  # torch warns before it gives no gradient; pytest restores the filters
    with pytest.raises(BadLogits, match="has no gradient"):
        load_attack("pgd-linf", steps=1)(detector, images, labels)
    before = weights_digest(detector.state_dict())
    assert weights_digest(copied(detector).state_dict()) == before
    with torch.no_grad():
        net.get_parameter("1.weight").mul_(2)
    assert weights_digest(wrap(quantised(net), input_size=32).state_dict()) != before


def test_a_detector_of_ones_own_may_squeeze_or_count_in_float64(images: Tensor, labels: Tensor) -> None:
    """B3: a subclass whose logits are ``(N, 1)``, 0-d for one image, or float64."""

    class Shaped(Linear):
        def __init__(self, weight: Tensor, bias: float, shape: Any) -> None:
            super().__init__(weight, bias)
            self.shape = shape

        def logits(self, images: Tensor) -> Tensor:
            shaped: Tensor = self.shape(super().logits(images))
            return shaped

    plain = Linear(torch.ones(3, 32, 32) / 100, -15.0)
    for shape in (torch.squeeze, Tensor.double, nn.Unflatten(0, (-1, 1))):
        shaped = Shaped(torch.ones(3, 32, 32) / 100, -15.0, shape)
        assert torch.equal(on_device(shaped, images[:1]), plain.logits(images[:1]))
        known = plain.logits(images).detach()
        result = load_attack("pgd-linf", steps=2)(shaped, images, labels, seed=0, clean_logits=known)
        assert result.logits.dtype == torch.float32


def test_what_cannot_be_copied_is_told_and_stays_as_it_was(images: Tensor) -> None:
    """B1's kind: a lock, an open file, a session."""
    net = Brightness()
    net.register_module("lock", None)
    net.__dict__["held"] = threading.Lock()
    detector = wrap(net, input_size=32, name="held")
    with pytest.raises(UserError, match=r"held cannot be copied: cannot pickle '_thread.lock'"):
        copied(detector)
    with pytest.raises(UserError, match="cannot be copied"):
        faster(detector, "int8")
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
    assert bound_here(Here(), things, "it is evaluated") == {}
    assert [*bound_here(Pool(2), things, "it is evaluated")] == ["held"]
    why = "TypeError: cannot pickle '_thread.lock' object"
    assert f"held cannot be sent to other processes ({why}); it is evaluated in this one." in caplog.text


def test_faster_takes_wrapped_networks_of_any_scale(images: Tensor) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    inner = Brightness()
    detector = wrap(nn.Sequential(inner, nn.Sigmoid()), input_size=(24, 40), scale="probability")
    view = faster(detector, "onnx")
    torch.testing.assert_close(view.logits(images), detector.logits(images), atol=1e-4, rtol=1e-4)
