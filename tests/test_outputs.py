"""Whatever a network returns, its logit is the one that it means, or an error says why not."""

from collections import namedtuple
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robustbench_aigi.attacks import load_attack
from robustbench_aigi.detectors import Detector, wrap
from robustbench_aigi.detectors._support.placement import on_device
from robustbench_aigi.detectors.external.outputs import to_binary_logit
from robustbench_aigi.errors import LogitsError, UserError
from tests.conftest import Linear
from tests.foreign import Brightness

Pair = namedtuple("Pair", "logits hidden")


def answering(answer: Callable[[Tensor], Any]) -> Detector:
    """A wrapped network that answers with what ``answer`` makes of its ``(N, 1)`` logits."""
    inner = Brightness()
    return wrap(lambda images: answer(inner(images)), input_size=32)


def two(logits: Tensor) -> Tensor:
    return torch.cat([-logits / 2, logits / 2], dim=1)


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
    torch.testing.assert_close(
        slope, torch.full_like(slope, 100.0 / (3 * 32 * 32)), rtol=1e-2, atol=0
    )


def test_probabilities_that_are_saturated_stay_finite_with_their_gradient() -> None:
    """A6: no clip takes the gradient away; only at exactly 0 and 1 there is none left."""
    raw = torch.tensor([-200.0, -60.0, -20.0, 12.0, 200.0], requires_grad=True)
    logits = to_binary_logit(raw.sigmoid(), 1, "probability", "x", None)
    (slope,) = torch.autograd.grad(logits.sum(), raw)
    torch.testing.assert_close(logits[1:4], raw[1:4], rtol=1e-2, atol=0)
    torch.testing.assert_close(slope, torch.tensor([0.0, 1.0, 1.0, 1.0, 0.0]), rtol=1e-2, atol=1e-6)
    assert logits.isfinite().all()
    both = to_binary_logit(
        torch.stack([raw / 2, -raw / 2], 1).softmax(1), 0, "probability", "x", None
    )
    assert both.isfinite().all()
    assert torch.autograd.grad(both.sum(), raw)[0].isfinite().all()


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
    ids=[
        "squeezed",
        "two",
        "flat",
        "map",
        "dict",
        "other",
        "tuple",
        "named",
        "object",
        "numpy",
        "double",
    ],
)
def test_one_logit_comes_out_of_what_a_network_returns(
    answer: Any, count: int, images: Tensor
) -> None:
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
        lambda x: {"logits": inner(x), "probs": inner(x).sigmoid()},
        input_size=32,
        scale="probability",
    )
    torch.testing.assert_close(
        probabilities.logits(images), inner(images)[:, 0], rtol=1e-4, atol=1e-4
    )


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
    with pytest.raises(LogitsError, match="no labels"):
        on_device(linear, images)


def test_outputs_that_are_not_one_row_an_image_are_refused(images: Tensor) -> None:
    with pytest.raises(LogitsError, match=r"shape \(\) for 4 images"):
        answering(lambda z: z.mean()).logits(images)
    with pytest.raises(LogitsError, match=r"shape \(2, 1\) for 4 images"):
        answering(lambda z: z[:2]).logits(images)


def test_a_detector_of_ones_own_may_squeeze_or_count_in_float64(
    images: Tensor, labels: Tensor
) -> None:
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
        result = load_attack("pgd-linf", steps=2)(
            shaped, images, labels, seed=0, clean_logits=known
        )
        assert result.logits.dtype == torch.float32
