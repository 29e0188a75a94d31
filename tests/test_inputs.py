"""Images of any usual type (A7) are taken as what they are, or rejected with what to write."""

import re
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import robustbench_aigi as rb
from robustbench_aigi.attacks import Perturbation, load_attack
from robustbench_aigi.errors import UserError
from robustbench_aigi.imaging.pixels import from_bytes, snap, to_bytes
from tests.conftest import Linear, small

ATTACK_NAMES = (
    "jpeg",
    "gaussian-blur",
    "resize",
    "one-pixel",
    "pgd-linf",
    "pgd-l2",
    "square-linf",
    "fmn-linf",
)


def detector() -> Linear:
    return Linear(
        torch.randn(3, 32, 32, generator=torch.Generator().manual_seed(0)), 0.0, centre=0.5
    )


def every_level() -> Tensor:
    """Four images in which each of the 256 grey levels occurs."""
    return torch.arange(4 * 3 * 32 * 32).remainder(256).to(torch.uint8).view(4, 3, 32, 32)


@pytest.mark.parametrize("name", ATTACK_NAMES)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.bfloat16, torch.float64])
def test_images_of_every_type_are_taken_as_what_they_are(
    name: str, dtype: torch.dtype, labels: Tensor
) -> None:
    """A7: uint8 images gave distances of 255 and clean logits of other images, or a traceback."""
    pixels = every_level()
    images = pixels if dtype == torch.uint8 else (pixels.double() / 255).to(dtype)
    expected = small(name)(detector(), from_bytes(pixels), labels)
    found = small(name)(detector(), images, labels)
    assert found.images.dtype == torch.float32
    for field in (
        "images",
        "fooled",
        "clean_logits",
        "logits",
        "linf",
        "l2",
        "l0",
        "forwards",
        "backwards",
    ):
        assert torch.equal(getattr(found, field), getattr(expected, field)), field


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_perturbations_take_floats_of_every_size(dtype: torch.dtype) -> None:
    attack = load_attack("jpeg")
    pixels = every_level()
    assert isinstance(attack, Perturbation)
    found = attack.apply((pixels.double() / 255).to(dtype), list("abcd"))
    assert found.dtype == torch.float32
    assert torch.equal(to_bytes(found), attack.apply(pixels, list("abcd")))


@pytest.mark.parametrize(
    "dtype", [torch.bool, torch.int32, torch.uint8, torch.float32, torch.float64]
)
def test_labels_of_every_type_are_taken(dtype: torch.dtype, images: Tensor, labels: Tensor) -> None:
    expected = small("pgd-linf")(detector(), images, labels)
    assert torch.equal(
        small("pgd-linf")(detector(), images, labels.to(dtype)).images, expected.images
    )


def rejected(images: Any, labels: Any) -> str:
    with pytest.raises(UserError) as caught:
        load_attack("jpeg")(detector(), images, labels)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "wrong",
    [
        every_level().numpy(),
        every_level().permute(0, 2, 3, 1).numpy(),
        every_level()[0].permute(1, 2, 0).numpy(),
        Image.fromarray(every_level()[0].permute(1, 2, 0).numpy()),
        list(every_level()),
        every_level().permute(0, 2, 3, 1),
        every_level()[0],
        every_level()[0].permute(1, 2, 0),
        every_level()[:, :1],
        torch.cat([every_level(), every_level()[:, :1]], dim=1),
        every_level().long(),
        every_level().to(torch.int16),
        every_level().float(),
        every_level().double(),
        from_bytes(every_level()) + 0.001,
        (from_bytes(every_level()) * 1.001),
    ],
    ids=lambda given: (
        f"{type(given).__name__}-{getattr(given, 'dtype', '')}-{getattr(given, 'shape', '')}"
    ),
)
def test_other_images_are_rejected_with_what_to_write_which_works(
    wrong: Any, labels: Tensor
) -> None:
    found = re.search(r"Write (.*?)(?: (?:if|to) .*)?\.$", rejected(wrong, labels))
    assert found is not None
    scope = {"images": wrong, "torch": torch, "numpy": np, "robustbench_aigi": rb}
    corrected = eval(found[1], scope)
    assert load_attack("jpeg")(
        detector(),
        snap(corrected) if corrected.is_floating_point() else corrected,
        labels[: len(corrected)],
    )


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (torch.full((4, 3, 32, 32), float("nan")), "division by zero"),
        (torch.full((4, 3, 32, 32), -0.5), "before mean and standard deviation"),
        (torch.full((4, 3, 32, 32), 0.5, dtype=torch.bfloat16), "8-bit grid"),
        (torch.full((4, 3, 32, 32), 0.5), "8-bit grid"),
        (torch.ones(4, 3, 32, 32, dtype=torch.bool), "got torch.bool"),
        ("images.png", "must be a tensor"),
    ],
)
def test_values_that_are_no_pixels_are_rejected(wrong: Any, message: str, labels: Tensor) -> None:
    assert message in rejected(wrong, labels)


def test_perturbations_reject_values_out_of_range() -> None:
    """A7: floats of 0 to 255 came back as white images."""
    attack = load_attack("jpeg")
    assert isinstance(attack, Perturbation)
    cases: list[tuple[Any, str]] = [
        (every_level().float(), "images / 255"),
        (every_level().numpy(), "torch.from_numpy(images)"),
    ]
    for wrong, message in cases:
        with pytest.raises(UserError, match=re.escape(message)):
            attack.apply(wrong, list("abcd"))


def test_labels_that_are_none_are_rejected(images: Tensor) -> None:
    assert "Write torch.as_tensor(labels)" in rejected(images, np.array([0, 1, 0, 1]))
    assert "Write torch.as_tensor(labels)" in rejected(images, [0, 1, 0, 1])
    assert "0 (real) or 1" in rejected(images, torch.tensor([0.5, 1, 0, 1]))
    assert "as many labels" in rejected(images, torch.zeros(4, 1))
