"""The plug-in's own tests: the contracts of its attack and its detector."""

from robustbench_aigi.detectors import detectors
from robustbench_aigi.testing import check_attack, check_detector, check_gradient


def test_the_attack_keeps_its_contract() -> None:
    check_attack("vertical-stripes", amplitude=8)


def test_the_detector_keeps_its_contract() -> None:
    detector = detectors.get("mean-brightness")().eval()
    check_detector(detector)
    check_gradient(detector)
