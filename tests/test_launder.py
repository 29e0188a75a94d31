import math
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL
from torch import Tensor

from robustbench_aigi.attacks import Perturbation, load_attack
from robustbench_aigi.errors import ConfigError, UnavailableError, UserError
from robustbench_aigi.generators import (
    CLASS_NAMES,
    DIFFUSION_NAME,
    SHIPPED_DIFFUSION,
    SMALL_AUTOENCODER,
    PixelDiffusion,
    load_autoencoder,
)
from robustbench_aigi.generators.launder import launder
from robustbench_aigi.imaging.pixels import from_bytes, on_grid, snap, to_bytes
from robustbench_aigi.io.hashing import rngs_for
from tests import tiny_pipelines
from tests.test_perturbations import changed, distance, photographs

BOTH_MODELS = ("launder-diffusion", "launder-autoencoder")


def rngs(count: int) -> list[torch.Generator]:
    return rngs_for(0, "test", [str(i) for i in range(count)])


@pytest.mark.parametrize("strength", [0.1, 0.25])
def test_at_the_models_own_size_it_is_noise_and_denoise(strength: float) -> None:
    images = photographs(32, 32, count=2)
    cat = CLASS_NAMES.index("cat")
    kind = torch.get_default_dtype()
    try:
        torch.set_default_dtype(torch.float64)
        model = PixelDiffusion.load(SHIPPED_DIFFUSION).double()
        wanted = model.reconstruct(from_bytes(images).double(), [cat, cat], rngs(2), strength)
    finally:
        torch.set_default_dtype(kind)
    assert torch.equal(
        launder(images, DIFFUSION_NAME, strength, rngs(2), condition="cat"), to_bytes(wanted)
    )
    assert not torch.equal(launder(images, DIFFUSION_NAME, strength, rngs(2)), to_bytes(wanted))


def test_an_autoencoder_is_encode_and_decode_and_noise_between(tmp_path: Path) -> None:
    torch.manual_seed(0)
    tiny_pipelines.autoencoder().save_pretrained(tmp_path / "vae")
    hub = AutoencoderKL.from_pretrained(tmp_path / "vae").eval()
    images = photographs(24, 40, count=2)
    with torch.no_grad():
        small = load_autoencoder(SMALL_AUTOENCODER).double()(from_bytes(images).double())
        mean = hub.encode(from_bytes(images) * 2 - 1).latent_dist.mean
        again = (hub.decode(mean).sample + 1) / 2
    assert torch.equal(launder(images, SMALL_AUTOENCODER, 0.0, rngs(2)), to_bytes(small))
    assert (
        launder(images, f"{tmp_path}:vae", 0.0, rngs(2)).int() - to_bytes(again).int()
    ).abs().max() <= 1
    noisy = launder(images, SMALL_AUTOENCODER, 0.2, rngs(2))
    assert distance(noisy, images) > distance(to_bytes(small), images)
    assert not torch.equal(noisy, launder(images, SMALL_AUTOENCODER, 0.2, rngs(3)[1:]))


@pytest.mark.parametrize("name", BOTH_MODELS)
def test_content_depends_on_neither_batch_nor_order_nor_threads_nor_type(name: str) -> None:
    images = photographs(36, 20, count=3)
    ids = list("abc")
    attack = load_attack(name, strength=0.1)
    assert isinstance(attack, Perturbation)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        whole = attack.apply(images, ids)
        torch.set_num_threads(3)
        assert torch.equal(attack.apply(images.flip(0), ids[::-1]).flip(0), whole)
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(attack.apply(images[1:2], ["b"]), whole[1:2])
    floats = attack.apply(images.float() / 255, ids)
    assert on_grid(floats)
    assert torch.equal(floats, whole.float() / 255)
    assert not torch.equal(attack.apply(images, ids, seed=1), whole)


@pytest.mark.parametrize("name", BOTH_MODELS)
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (13, 21), (33, 57), (2, 70)])
def test_any_size_will_do(name: str, size: tuple[int, int]) -> None:
    images = photographs(*size, count=2)
    new = changed(name, images, severity=2)
    assert new.shape == images.shape
    assert distance(new, images) < 40


@pytest.mark.parametrize("name", BOTH_MODELS)
def test_severities_rise(name: str) -> None:
    images = photographs(32, 32, count=4)
    changes = [
        distance(changed(name, images, severity=severity), images) for severity in range(1, 6)
    ]
    assert changes == sorted(changes)
    assert 0 < changes[0] < changes[4] < 40


def steps(images: Tensor, dim: int) -> Tensor:
    """Mean absolute step between neighbours along a side, one number per position."""
    keep = [d for d in range(4) if d != dim]
    return images.double().diff(dim=dim).abs().mean(dim=keep)


@pytest.mark.parametrize("size", [(32, 80), (80, 32)])
def test_windows_leave_no_seam(size: tuple[int, int]) -> None:
    """A window's border would show as a step: windows of 80 pixels begin at 0, 24 and 48, and end
    32 later.
    """
    new = changed(
        "launder-diffusion", torch.full((4, 3, *size), 128, dtype=torch.uint8), strength=0.25
    )
    found = steps(new, 2 if size[0] == 80 else 3)
    borders = [23, 31, 47, 55]
    rest = [i for i in range(4, 75) if i not in borders]
    assert found.mean() > 1
    assert found[borders].mean() < 1.15 * found[rest].mean()
    assert found[borders].max() < found[rest].mean() + 3 * found[rest].std()


def test_floats_stay_floats_on_the_grid_and_their_source_is_left_alone() -> None:
    images = snap(torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)))
    before = images.clone()
    new = launder(images, SMALL_AUTOENCODER, 0.0, rngs(2))
    assert new.dtype == torch.float32
    assert on_grid(new)
    assert torch.equal(images, before)
    assert launder(images[:0], SMALL_AUTOENCODER, 0.0, []).shape == (0, 3, 16, 16)


def test_it_says_what_it_cannot_do(tmp_path: Path) -> None:
    images = photographs(8, 8, count=2)
    with pytest.raises(UserError, match="2 images need as many random generators, got 1"):
        launder(images, SMALL_AUTOENCODER, 0.0, rngs(1))
    with pytest.raises(UserError, match="no condition called 'unicorn'"):
        launder(images, DIFFUSION_NAME, 0.1, rngs(2), condition="unicorn")
    for by, strength in (
        (DIFFUSION_NAME, 0.0),
        (DIFFUSION_NAME, 1.1),
        (SMALL_AUTOENCODER, -0.1),
        (SMALL_AUTOENCODER, math.nan),
        (SMALL_AUTOENCODER, math.inf),
    ):
        with pytest.raises(UserError, match="cannot launder with strength"):
            launder(images, by, strength, rngs(2))
    with pytest.raises(UnavailableError, match="AutoencoderKL"):
        changed("launder-autoencoder", images, model=str(tmp_path))
    with pytest.raises(ConfigError, match="launder-diffusion has no condition 'unicorn'"):
        load_attack("launder-diffusion", condition="unicorn")
    with pytest.raises(ConfigError, match=r"launder-diffusion wants strength of 0\.01 to 1"):
        load_attack("launder-diffusion", strength=0)
    with pytest.raises(ConfigError, match=r"launder-autoencoder wants strength of 0 to 10"):
        load_attack("launder-autoencoder", strength=-1)
