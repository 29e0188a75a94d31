import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler, DDPMPipeline, DDPMScheduler, UNet2DModel
from torch import Tensor, nn
from torch.nn import functional as F

from robustbench_aigi.data import photographs
from robustbench_aigi.detectors._support.denoiser import Denoiser, ddim
from robustbench_aigi.detectors.aeroblade import Aeroblade, FeatureDistance, MultiscaleL1
from robustbench_aigi.detectors.dire import Dire
from robustbench_aigi.errors import UnavailableError, UserError
from robustbench_aigi.generators import (
    SMALL_AUTOENCODER,
    HubAutoencoder,
    SmallAutoencoder,
    load_autoencoder,
)
from robustbench_aigi.imaging.pixels import from_bytes
from robustbench_aigi.training import Arrays, TrainConfig, fit
from robustbench_aigi.training.arrays import balanced_accuracy
from robustbench_aigi.training.scripts.autoencoder import fit_autoencoder


@pytest.fixture
def hub_autoencoder(tmp_path: Path) -> str:
    """A tiny AutoencoderKL with random weights, as diffusers keeps one in a folder, below a
    pipeline.
    """
    torch.manual_seed(0)
    net = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(8, 8),
        norm_num_groups=4,
        latent_channels=2,
    )
    net.save_pretrained(tmp_path / "vae")
    return f"{tmp_path}:vae"


def test_aeroblade_takes_the_best_of_several_autoencoders(
    hub_autoencoder: str, images: Tensor
) -> None:
    detector = Aeroblade([SMALL_AUTOENCODER, hub_autoencoder], size=32).eval()
    own = load_autoencoder(SMALL_AUTOENCODER)
    hub = AutoencoderKL.from_pretrained(hub_autoencoder.replace(":", "/")).eval()
    with torch.no_grad():
        again = (hub.decode(hub.encode(images * 2 - 1).latent_dist.mode()).sample + 1) / 2
        torch.testing.assert_close(HubAutoencoder(hub_autoencoder)(images), again)
        each = torch.stack([MultiscaleL1()(images, coded) for coded in (own(images), again)])
        torch.testing.assert_close(detector.raw(images), -each.amin(dim=0))
    hub_alone = Aeroblade(hub_autoencoder, size=32)
    assert hub_alone.get_submodule(hub_alone.card.cam) is not hub_alone
    assert detector.config["autoencoders"] == [SMALL_AUTOENCODER, hub_autoencoder]


def test_multiscale_l1_is_the_mean_over_three_scales() -> None:
    change = torch.zeros(1, 3, 4, 4)
    change[0, :, 0, 0] = 0.48
    assert float(MultiscaleL1()(change, torch.zeros_like(change))) == pytest.approx(0.03)
    checks = torch.ones(4, 4).view(1, 1, 4, 4).repeat(1, 3, 1, 1)
    checks[..., ::2] = -1
    assert float(MultiscaleL1()(checks, torch.zeros_like(checks))) == pytest.approx(1 / 3)


def test_feature_distance_compares_unit_vectors_of_the_second_map(images: Tensor) -> None:
    torch.manual_seed(0)
    distance = FeatureDistance("resnet10t", pretrained=False)
    others = (images + 0.1).clamp(0, 1)
    with torch.no_grad():
        one, two = (distance.net(distance.normalise(batch))[0] for batch in (images, others))
        expected = 2 - 2 * F.cosine_similarity(one, two, dim=1)
        torch.testing.assert_close(
            distance(images, others), expected.mean(dim=(1, 2)), atol=1e-5, rtol=1e-3
        )
        assert torch.equal(distance(images, images), torch.zeros(4))
    leaf = images.clone().requires_grad_(True)
    (slope,) = torch.autograd.grad(Aeroblade(distance="resnet10t").raw(leaf).sum(), leaf)
    assert (slope.flatten(1).abs().amax(dim=1) > 0).all()


def test_aeroblade_says_what_it_cannot_do(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="AutoencoderKL"):
        Aeroblade(str(tmp_path))
    with pytest.raises(UserError, match="multiple of 8"):
        Aeroblade(size=30)
    with pytest.raises(UserError, match="one autoencoder or more"):
        Aeroblade([])


def test_the_shipped_autoencoder_keeps_more_than_a_thumbnail_does() -> None:
    """Its latent is 8 x 8 with four channels, the thumbnail 8 x 8 with three."""
    crops = list(
        photographs.crops(photographs.PHOTOGRAPH_SPLITS["test"], 20, np.random.default_rng(0))
    )
    images = from_bytes(torch.from_numpy(np.stack([crop for _, crop in crops])).permute(0, 3, 1, 2))
    with torch.no_grad():
        coded = load_autoencoder(SMALL_AUTOENCODER)(images)
    thumbnail = F.interpolate(F.avg_pool2d(images, 4), scale_factor=4.0, mode="bilinear")
    assert (coded - images).abs().mean() < (thumbnail - images).abs().mean()


def test_an_autoencoder_learns_and_is_kept(tmp_path: Path) -> None:
    torch.manual_seed(0)
    ramp = torch.linspace(0, 255, 32).to(torch.uint8)
    pool = torch.stack([ramp.expand(3, 32, 32), ramp.flip(0).expand(3, 32, 32)])
    model = SmallAutoencoder()
    losses = fit_autoencoder(model, [pool, pool], steps=40, batch=8)
    assert len(losses) == 40
    assert losses[-1] < 0.3 * losses[0]
    model.save(tmp_path / "a.safetensors")
    images = from_bytes(pool)
    again = SmallAutoencoder.load(tmp_path / "a.safetensors")
    torch.testing.assert_close(again(images), model(images), atol=0.01, rtol=0)


class Knowing(nn.Module):
    """A network that answers with what it was given to know, in the terms of one kind of
    prediction.
    """

    def __init__(self, known: Tensor) -> None:
        super().__init__()
        self.known = known

    def forward(self, noisy: Tensor, steps: Tensor) -> Tensor:
        return self.known


@pytest.mark.parametrize("predicts", ["epsilon", "v_prediction", "sample"])
def test_a_denoiser_reads_every_kind_of_prediction(predicts: str) -> None:
    rng = torch.Generator().manual_seed(0)
    scheduler = DDIMScheduler(prediction_type=predicts)
    clean = torch.rand(2, 3, 8, 8, generator=rng)
    noise = torch.randn(2, 3, 8, 8, generator=rng)
    step = torch.tensor([400, 400])
    velocity = scheduler.get_velocity(clean, noise, step)
    known = {"epsilon": noise, "v_prediction": velocity, "sample": clean}[predicts]
    model = Denoiser(Knowing(known), scheduler.alphas_cumprod, predicts, size=8)
    found = model(scheduler.add_noise(clean, noise, step), 400)
    torch.testing.assert_close(found, (clean, noise), atol=1e-4, rtol=1e-4)


def test_inversion_and_generation_undo_each_other_for_a_model_that_is_right() -> None:
    """A model that always names the same clean image moves along straight lines, whatever the
    steps.
    """
    rng = torch.Generator().manual_seed(0)
    clean = torch.rand(1, 3, 8, 8, generator=rng).double()
    signal = DDIMScheduler().alphas_cumprod.double()
    model = Denoiser(Knowing(clean), signal, "sample", size=8)
    images = clean + 0.001 * torch.randn(1, 3, 8, 8, generator=rng).double()
    path = [0, 333, 666, 999]
    noise = ddim(model, images, path)
    torch.testing.assert_close(ddim(model, noise, path[::-1]), images)
    expected = (
        signal[999].sqrt() * clean
        + (1 - signal[999]).sqrt() * (images - signal[0].sqrt() * clean) / (1 - signal[0]).sqrt()
    )
    torch.testing.assert_close(noise, expected)


def test_dire_takes_the_reconstruction_as_constant(images: Tensor) -> None:
    detector = Dire(steps=1)
    leaf = images.clone().requires_grad_(True)
    (slope,) = torch.autograd.grad(detector.raw(leaf).sum(), leaf)
    with torch.no_grad():
        noise = ddim(detector.model, images * 2 - 1, [0, 999])
        again = (ddim(detector.model, noise, [999, 0]).clamp(-1, 1) + 1) / 2
    torch.testing.assert_close(detector.raw(images), -(images - again).abs().mean(dim=(1, 2, 3)))
    torch.testing.assert_close(slope, (again - images).sign() / (3 * 32 * 32))
    assert detector.card.gradient == "bpda"


def test_dire_takes_a_pipeline_of_diffusers(images: Tensor, tmp_path: Path) -> None:
    torch.manual_seed(0)
    blocks = {"down_block_types": ("DownBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2}
    net = UNet2DModel(
        sample_size=16, block_out_channels=(8, 8), norm_num_groups=4, layers_per_block=1, **blocks
    )
    DDPMPipeline(net, DDPMScheduler()).save_pretrained(tmp_path)
    detector = Dire(model=str(tmp_path), steps=2)
    assert detector.card.input_size == 16
    assert detector.error_map(images).shape == (4, 3, 16, 16)
    torch.testing.assert_close(detector.model(images, 500)[1], net.eval()(images, 500).sample)


def test_dire_says_what_it_cannot_do(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="pixel diffusion pipeline"):
        Dire(model=str(tmp_path))
    with pytest.raises(UserError, match="mean or cnn"):
        Dire(head="deep")
    with pytest.raises(UserError, match="photograph"):
        Dire(condition="unicorn")


def test_a_network_on_the_error_map_is_trained() -> None:
    torch.manual_seed(0)
    detector = Dire(steps=1, head="cnn")
    assert "NOT CALIBRATED" not in detector.card.orientation
    rng = torch.Generator().manual_seed(0)
    noise = torch.randint(0, 256, (24, 3, 32, 32), generator=rng)
    flat = torch.full((24, 3, 32, 32), 128)
    data = Arrays(torch.cat([noise, flat]).to(torch.uint8), torch.arange(48) // 24)
    before = copy.deepcopy(detector.model.state_dict())
    detector.prepare(data, data)
    fit(detector, data, data, TrainConfig(epochs=4, batch=12, rate=5e-3))
    assert balanced_accuracy(detector, data) > 0.9
    assert all(
        torch.equal(value, before[key]) for key, value in detector.model.state_dict().items()
    )
