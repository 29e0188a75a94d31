import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from robustbench_aigi.attacks._engine.oracle import Oracle
from robustbench_aigi.attacks.external.two_logit import TwoLogits
from tests.conftest import Linear
from tests.test_adapters import even


@pytest.mark.parametrize("threshold", [0.0, 0.7])
def test_two_logits_say_what_the_one_says(threshold: float, images: Tensor, labels: Tensor) -> None:
    detector, _ = even(images)
    detector.describe(threshold=threshold)
    with Oracle(detector, (images * 255).round(), labels, full=True) as oracle:
        view = TwoLogits(oracle)
        leaf = images.clone().requires_grad_(True)
        logits = view(leaf)
        assert torch.equal(logits.argmax(dim=1), (oracle.clean_logits > threshold).long())
        loss = F.cross_entropy(logits, labels)
        single = F.binary_cross_entropy_with_logits(oracle.clean_logits - threshold, labels.float())
        torch.testing.assert_close(loss, single)
        loss.backward()
        assert (view.forwards, view.backwards) == (4, 4)


def test_the_slope_of_a_confident_fake_survives_two_logits(images: Tensor) -> None:
    """[0, s] has none beyond 17 in float32, and the detector would look robust."""
    weight = torch.full((3, 32, 32), 0.01)
    labels = torch.ones(4, dtype=torch.int64)
    with Oracle(Linear(weight, 40.0), (images * 255).round(), labels, full=True) as oracle:
        leaf = images.clone().requires_grad_(True)
        F.cross_entropy(TwoLogits(oracle)(leaf), labels).backward()
        assert leaf.grad is not None
        assert (leaf.grad < 0).all()
