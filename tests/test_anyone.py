from pathlib import Path

import pytest
import timm
import torch
from torch import Tensor

from robustbench_aigi.detectors.external import load_external
from robustbench_aigi.detectors.external.outputs import slug, to_binary_logit
from robustbench_aigi.detectors.external.timm_model import licence_facts
from robustbench_aigi.errors import LogitsError, UnknownNameError, UserError
from tests.contract import auc_after_a_short_fit, built, check_contract, gradient_error


@pytest.mark.parametrize("fake_index", [0, 1])
def test_one_logit_reads_logits_and_probabilities_alike(fake_index: int) -> None:
    raw = torch.tensor([[2.0, -1.0], [0.5, 0.75], [-3.0, 3.0]])
    expected = (raw[:, 1] - raw[:, 0]) * (1 if fake_index else -1)
    sign = 1 if fake_index else -1
    single = (raw[:, 1] - raw[:, 0]).unsqueeze(1)
    for outputs, scale in ((raw, "logit"), (raw.softmax(1), "probability")):
        torch.testing.assert_close(to_binary_logit(outputs, fake_index, scale, "x"), expected)
    for outputs, scale in (
        (single, "logit"),
        (single.sigmoid(), "probability"),
        (single.sigmoid()[:, 0], "probability"),
    ):
        torch.testing.assert_close(
            to_binary_logit(outputs, fake_index, scale, "x"), sign * single[:, 0]
        )
    assert to_binary_logit(torch.tensor([0.0, 1.0]), 1, "probability", "x").isfinite().all()


def test_one_logit_refuses_what_it_cannot_read() -> None:
    with pytest.raises(UserError, match="1 or 2 outputs"):
        to_binary_logit(torch.zeros(2, 3), 1, "logit", "x")
    for value in (1.5, -0.1, float("nan")):
        with pytest.raises(LogitsError, match="no probability"):
            to_binary_logit(torch.tensor([0.5, value]), 1, "probability", "x")


def test_names_that_are_no_address_are_left_to_the_registry() -> None:
    assert load_external("tinyvit-5m") is None
    assert load_external("package.module:Class") is None
    assert slug("https://api.example.com/v1/detect") == "https-api.example.com-v1-detect"


def test_timm_keeps_the_contract(images: Tensor, tmp_path: Path) -> None:
    torch.manual_seed(0)
    detector = built("timm:test_resnet")
    assert detector.card.source == "timm:test_resnet"
    assert detector.card.input_size == timm.get_pretrained_cfg("test_resnet").input_size[1]
    assert detector.card.cam == "net.layer4"
    check_contract(detector, images, tmp_path)
    assert gradient_error(detector, images[:2]) < 1e-3


def test_timm_model_learns(images: Tensor) -> None:
    torch.manual_seed(0)
    assert auc_after_a_short_fit(built("timm:test_vit"), images) > 0.9


def test_timm_name_that_is_none_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean resnet18"):
        load_external("timm:resnet_18")


@pytest.mark.parametrize(
    ("licence", "free"),
    [("apache-2.0", True), ("mit", True), ("cc-by-nc-4.0", False), (None, False)],
)
def test_only_known_licences_permit_commercial_use(licence: str | None, free: bool) -> None:
    assert licence_facts({"license": licence})["commercial"] is free
