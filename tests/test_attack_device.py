"""Attacks run where the detector is, and give what they give on the processor."""

import pytest
import torch
from torch import Tensor

from robustbench_aigi.attacks import Attack, attacks
from robustbench_aigi.attacks.result import Result
from robustbench_aigi.detectors import Card, Detector
from tests.conftest import small
from tests.fake_device import FAKE, OnFake, fake_device

ON_DEVICE = [name for name in attacks.names() if attacks.get(name).runs_on_device]
SIDE = 16


class Waves(Detector):
    """A smooth function of the image that is not linear."""

    default_card = Card(name="waves", source="tests", weights="none")

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.weight: Tensor
        self.devices: set[torch.device] = set()

    def logits(self, images: Tensor) -> Tensor:
        self.devices.add(images.device)
        total = ((images - 0.5) * self.weight).sum(dim=(1, 2, 3))
        return total + 0.2 * (3 * total).sin()


def attacked(attack: Attack, on_fake: bool) -> tuple[Result, Waves, int]:
    """The result on a device, the detector, and the tensors that left the device in the middle."""
    rng = torch.Generator().manual_seed(0)
    side = 8 if attack.name == "one-pixel-exhaustive" else SIDE
    images = torch.randint(60, 196, (6, 3, side, side), generator=rng).float() / 255
    labels = torch.tensor([0, 1, 0, 1, 0, 1])
    weight = torch.randn(3, side, side, generator=rng) / 4
    if not on_fake:
        detector = Waves(weight)
        return attack(detector, images, labels, full=True), detector, 0
    with fake_device() as transfers:
        detector = Waves(OnFake(weight))
        detector.at_once = 64
        result = attack(detector, images, labels, full=True)
        left = transfers["from"] - len(vars(result))
    return result, detector, left


@pytest.mark.parametrize("name", ON_DEVICE)
def test_an_attack_stays_on_the_device_and_gives_the_same(name: str) -> None:
    attack = small(name)
    here, _, _ = attacked(attack, on_fake=False)
    there, detector, left = attacked(attack, on_fake=True)
    assert detector.devices == {FAKE}
    for field, value in vars(here).items():
        assert type(getattr(there, field)) is Tensor
        assert torch.equal(getattr(there, field), value), field
    is_delivered = name == "survives"
    assert left <= (4 if is_delivered else 0)


def test_the_fake_device_rejects_what_a_gpu_rejects() -> None:
    with fake_device() as transfers:
        there = torch.arange(6.0).to(FAKE)
        assert there.device == FAKE
        assert (there * 2).sum().item() == 30
        with pytest.raises(RuntimeError, match="one device"):
            there + torch.ones(6)
        with pytest.raises(RuntimeError, match="one device"):
            there[torch.tensor([1])]
        assert torch.equal(there.cpu(), torch.arange(6.0))
    assert transfers == {"to": 1, "from": 1}
