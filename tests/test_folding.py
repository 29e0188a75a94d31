import gc
import weakref

import pytest
import torch
from torch import Tensor, nn

from robustbench_aigi.attacks import load_attack
from robustbench_aigi.detectors import Card, Detector, load_detector
from robustbench_aigi.detectors._support.folding import folded


class Seen(Detector):
    """A detector that is a network of the test's own."""

    default_card = Card(name="seen", source="tests")

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def logits(self, images: Tensor) -> Tensor:
        logits: Tensor = self.net(images).flatten(1).mean(dim=1)
        return logits


def unsettled(module: nn.Module) -> nn.Module:
    """Batch norms with statistics of their own, as after training."""
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean = torch.randn_like(part.bias)
            part.running_var = torch.rand_like(part.bias) + 0.5
            nn.init.normal_(part.weight)
            nn.init.normal_(part.bias)
    return module.eval()


def norms(module: nn.Module) -> int:
    return sum(isinstance(part, nn.BatchNorm2d) for part in module.modules())


class Both(nn.Module):
    """Takes what the convolution gives past the norm as well."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)

    def forward(self, images: Tensor) -> Tensor:
        made = self.conv(images)
        both: Tensor = self.norm(made) + 3 * made
        return both


@pytest.mark.parametrize("name", ["resnet18-c32", "tinyvit-5m", "cvt-c32"])
def test_folded_norms_give_the_same_logits_and_gradients_and_come_back(
    name: str, images: Tensor
) -> None:
    torch.manual_seed(0)
    detector = load_detector(name).double()  # single precision may put a ReLU on its other side
    unsettled(detector)
    images = images.double()
    before = {key: value.clone() for key, value in detector.state_dict().items()}
    count = norms(detector)
    parameters = [id(parameter) for parameter in detector.parameters()]
    leaf = images.clone().requires_grad_(True)
    own = detector.logits(leaf)
    (gradient,) = torch.autograd.grad(own.sum(), leaf)
    with folded(detector, images[:2]):
        assert norms(detector) == 0
        other = detector.logits(leaf)
        (folded_gradient,) = torch.autograd.grad(other.sum(), leaf)
        with folded(detector, images):
            assert torch.equal(detector.logits(images), other.detach())
        assert norms(detector) == 0
    torch.testing.assert_close(other, own)
    torch.testing.assert_close(folded_gradient, gradient)
    assert norms(detector) == count
    assert [id(parameter) for parameter in detector.parameters()] == parameters
    assert all(torch.equal(value, before[key]) for key, value in detector.state_dict().items())
    assert list(detector.state_dict()) == list(before)


@pytest.mark.parametrize(
    "net",
    [
        Both(),
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.BatchNorm2d(4)),
        nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 3)), nn.BatchNorm2d(4)),
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.BatchNorm2d(4)),
    ],
    ids=["taken twice", "not next to it", "weight computed at every call", "changed in place"],
)
def test_what_cannot_be_folded_stays_as_it_is(net: nn.Module, images: Tensor) -> None:
    detector = Seen(unsettled(net))
    own = detector.logits(images)
    with folded(detector, images):
        assert norms(detector) == 1
        assert torch.equal(detector.logits(images), own)


class OnItself(Detector):
    """Its layers hang on the detector itself."""

    default_card = Card(name="on-itself", source="tests")

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)

    def logits(self, images: Tensor) -> Tensor:
        logits: Tensor = self.norm(self.conv(images)).flatten(1).mean(dim=1)
        return logits


def test_layers_of_the_detector_itself_are_folded_and_keep_nothing_alive(images: Tensor) -> None:
    detector = OnItself()
    unsettled(detector)
    own = detector.logits(images)
    with folded(detector, images):
        assert norms(detector) == 0
        torch.testing.assert_close(detector.logits(images), own)
    assert norms(detector) == 1
    gone = weakref.ref(detector)
    del detector
    gc.collect()
    assert gone() is None


def test_new_weights_are_folded_again(images: Tensor) -> None:
    detector = Seen(unsettled(nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4))))
    with folded(detector, images):
        before = detector.logits(images)
    unsettled(detector)
    own = detector.logits(images)
    with folded(detector, images):
        torch.testing.assert_close(detector.logits(images), own)
    assert not torch.equal(own, before)


def test_an_error_in_an_attack_leaves_the_norms_in_place(images: Tensor, labels: Tensor) -> None:
    detector = Seen(
        unsettled(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1)))
    )
    attack = load_attack("pgd-linf", eps=2, step=1, steps=2)
    assert norms(detector) == 1

    def broken(images: Tensor) -> Tensor:
        raise RuntimeError("broken")

    load_attack("pgd-linf", eps=2, step=1, steps=2)(detector, images, labels)
    assert norms(detector) == 1
    detector.logits = broken  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="broken"):
        attack(detector, images, labels)
    assert norms(detector) == 1
