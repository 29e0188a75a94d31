"""What each perturbation promises, measured."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from robustbench_aigi.attacks.corruptions.camera import encoded, linear
from robustbench_aigi.attacks.corruptions.spectrum import ring_heights, rings_of
from tests.test_perturbations import changed, distance, photographs

NO_FLAWS = {"aberration": 0, "vignette": 0, "electrons": 1e12, "read": 0}
"""A camera without a flaw but its mosaic."""


def flat(*colour: int, side: int = 64) -> Tensor:
    return torch.tensor(colour, dtype=torch.uint8).reshape(1, 3, 1, 1).repeat(1, 1, side, side)


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("resize", {"scale": 0.3, "filter": "lanczos"}),
        ("crop", {"cut": 0.3, "fill": "mirror"}),
        ("crop", {"cut": 0.3, "fill": "stretch"}),
        ("gaussian-blur", {"sigma": 3.0}),
        ("contrast", {"factor": 0.2}),
        ("spectrum-match", {}),
        ("camera", NO_FLAWS),
        ("camera", {**NO_FLAWS, "aberration": 0.05}),
    ],
)
def test_flat_images_stay(name: str, numbers: dict[str, Any]) -> None:
    images = flat(10, 128, 201)
    assert torch.equal(changed(name, images, **numbers), images)


@pytest.mark.parametrize("sigma", [0.5, 1.0, 2.0])
def test_blur_has_a_gaussian_frequency_response(sigma: float) -> None:
    turn = 2 * math.pi / 8  # of a wave, to a pixel; mirrored edges continue it
    wave = 100 * torch.cos(turn * (torch.arange(64) + 0.5))
    images = (128 + wave).round().to(torch.uint8).expand(1, 3, 64, 64)
    expected = 128 + math.exp(-((sigma * turn) ** 2) / 2) * wave
    assert (changed("gaussian-blur", images, sigma=sigma) - expected).abs().max() < 1.2


@pytest.mark.parametrize("sigma", [2.0, 10.0, 25.0])
def test_gaussian_noise_has_the_sigma_it_says(sigma: float) -> None:
    images = flat(128, 128, 128, side=128)
    noise = changed("gaussian-noise", images, sigma=sigma).double() - 128
    assert float(noise.std()) == pytest.approx(math.hypot(sigma, 12**-0.5), rel=0.02)
    assert abs(float(noise.mean())) < 4 * sigma / noise.numel() ** 0.5


def test_impulse_noise_has_the_share_it_says() -> None:
    new = changed("impulse-noise", flat(128, 128, 128, side=128), share=0.2)
    assert float((new == 0).double().mean()) == pytest.approx(0.1, rel=0.05)
    assert float((new == 255).double().mean()) == pytest.approx(0.1, rel=0.05)
    assert set(new.unique().tolist()) == {0, 128, 255}


def test_crop_puts_a_window_of_the_image_in_the_middle() -> None:
    images = torch.arange(1, 101, dtype=torch.uint8).reshape(1, 1, 10, 10).expand(5, 3, 10, 10)
    new = changed("crop", images, cut=0.4)
    assert (new[:, :, 2:8, 2:8] > 0).all()
    assert int((new > 0).sum()) == 5 * 3 * 36
    corners = new[:, 0, 2, 2].tolist()
    assert len(set(corners)) > 1  # drawn for each image
    offsets = torch.arange(6)[:, None] * 10 + torch.arange(6)
    assert all(
        torch.equal(image[0, 2:8, 2:8], corner + offsets)
        for image, corner in zip(new, corners, strict=True)
    )


def test_colours_follow_their_factors() -> None:
    images = photographs(20, 30)
    assert torch.equal(
        changed("brightness", images, factor=0.5), (images.double() / 2).round().to(torch.uint8)
    )
    grey = changed("saturation", images, factor=0.0)
    assert torch.equal(grey, grey[:, :1].expand_as(grey))
    even = changed("contrast", images, factor=0.0)
    assert torch.equal(even[..., :1, :1].expand_as(even), even)


@pytest.mark.parametrize("alpha", [0.8, 1.0, 1.4])
def test_matched_spectra_fall_with_the_slope_asked_for(alpha: float) -> None:
    images = photographs(128, 96, count=2)
    new = changed("spectrum-match", images, alpha=alpha)
    for channel in new.flatten(0, 1).numpy().astype(np.float64):
        rings, frequencies = rings_of(*channel.shape)
        heights = ring_heights(np.abs(np.fft.rfft2(channel)), rings, floor=0.1)
        slope, _ = np.polyfit(np.log(frequencies[2:64]), heights[2:64], 1)
        assert slope == pytest.approx(-alpha, abs=0.1)
    torch.testing.assert_close(
        new.double().mean(dim=(2, 3)), images.double().mean(dim=(2, 3)), atol=2, rtol=0
    )


def test_a_clean_camera_only_interpolates() -> None:
    """Along a ramp, the mean of the neighbours is the pixel itself, but for the edges and the tone
    curve.
    """
    ramp = torch.arange(100, 164, dtype=torch.uint8).expand(1, 3, 64, 64)
    new = changed("camera", ramp, **NO_FLAWS)
    assert (new.double() - ramp.double()).abs()[..., 1:-1].max() <= 1


def test_a_vignette_darkens_the_corners_alone() -> None:
    light = linear(
        changed("camera", flat(200, 200, 200, side=65), **{**NO_FLAWS, "vignette": 0.4}).numpy()
        / 255
    )
    whole = float(linear(np.array(200 / 255)))
    assert light[0, :, 32, 32] == pytest.approx(whole, rel=0.02)
    assert light[0, :, 0, 0] == pytest.approx(0.6 * whole, rel=0.05)
    assert light[0, :, 0, 32] == pytest.approx(0.8 * whole, rel=0.02)


def test_camera_noise_has_the_variance_of_charge_and_readout() -> None:
    electrons = 500
    read = 10
    new = changed(
        "camera",
        flat(188, 188, 188, side=256),
        **{**NO_FLAWS, "electrons": electrons, "read": read},
    )
    seen = (
        linear(new.numpy()[0, 0, ::2, ::2] / 255) * electrons
    )  # where the sensor's red pixels are
    charge = float(linear(np.array(188 / 255))) * electrons
    assert seen.mean() == pytest.approx(charge, rel=0.01)
    assert seen.std() == pytest.approx(math.sqrt(charge + read**2), rel=0.04)


def test_aberration_moves_red_outwards_and_blue_inwards() -> None:
    images = flat(0, 0, 0, side=65)
    images[:, :, 24:41, 24:41] = 255
    new = changed("camera", images, **{**NO_FLAWS, "aberration": 0.1}).numpy()[0]
    red, green, blue = (int((channel > 127).sum()) for channel in new)
    assert red > green > blue


@settings(max_examples=50, deadline=None)
@given(value=st.floats(0, 1))
def test_light_and_srgb_are_inverses(value: float) -> None:
    assert float(encoded(linear(np.array(value)))) == pytest.approx(value, abs=1e-6)


def test_a_neutral_screenshot_saved_as_jpeg_is_jpeg() -> None:
    images = photographs(40, 30)
    neutral = {"zoom": 1.0, "offset": 0.0, "gamma": 1.0, "warmth": 0.0}
    assert torch.equal(
        changed("screenshot", images, quality=80, **neutral), changed("jpeg", images, quality=80)
    )


@pytest.mark.parametrize("side", [32, 96])
def test_more_rounds_differ_more(side: int) -> None:
    images = photographs(side, side, count=12)
    changes = [
        distance(changed("recompression", images, rounds=rounds), images) for rounds in (1, 2, 4, 8)
    ]
    assert changes == sorted(changes)
    assert changes[0] < changes[-1]


def test_a_round_at_full_size_is_a_jpeg_off_the_grid() -> None:
    images = photographs(48, 48, count=6)
    new = changed("recompression", images, rounds=1, scale=1.0)
    plain = [changed("jpeg", images, quality=quality) for quality in range(65, 86)]
    near = [min(distance(one, jpeg[i]) for jpeg in plain) for i, one in enumerate(new)]
    assert max(near) > 1  # another grid
    assert distance(new, images) < 2 * distance(plain[0], images)
