from pathlib import Path
from typing import Any, cast

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robustbench_aigi.detectors import Detector, detectors, load_detector
from robustbench_aigi.detectors._support.attention import ChannelAttention
from robustbench_aigi.detectors._support.residual_net import resample_nearest
from robustbench_aigi.detectors.base import IMAGENET_MEAN, IMAGENET_STD, Normalise
from robustbench_aigi.detectors.fft_vae import FFTVAE, spectrum
from robustbench_aigi.detectors.npr import NPR
from robustbench_aigi.detectors.npr_multiscale import NPRMultiscale
from robustbench_aigi.errors import UserError
from robustbench_aigi.imaging.pixels import from_bytes
from robustbench_aigi.training import TrainingJob, train_detector
from robustbench_aigi.training.arrays import Arrays

IMAGENET_NORMALISE = Normalise(IMAGENET_MEAN, IMAGENET_STD)


def random(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0))


def small(name: str, **config: Any) -> Detector:
    """A detector of the smallest network of its kind, with random weights."""
    torch.manual_seed(0)
    cls = detectors.get(name)
    return cls(**{**cls.small, **config}).eval()


@torch.no_grad()
def stir(module: nn.Module) -> None:
    """Noise on all tensors of a network, so that none is at a telling start such as 0 or 1."""
    rng = torch.Generator().manual_seed(7)
    for value in module.state_dict().values():
        if value.is_floating_point():
            value.add_(0.1 * torch.randn(value.shape, generator=rng))


def easy(count: int, seed: int = 0) -> Arrays:
    """Fakes are brighter, with a lattice of every second pixel."""
    rng = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 2
    images = torch.randint(20, 110, (count, 3, 32, 32), generator=rng) + 100 * labels.view(
        -1, 1, 1, 1
    )
    images[labels == 1, :, ::2, ::2] -= 60
    return Arrays(images.to(torch.uint8), labels)


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_coarse_is_nearest_resampling_there_and_back(quarters: int) -> None:
    images = random(2, 3, 32, 40)
    small = F.interpolate(
        images, scale_factor=quarters / 4, mode="nearest", recompute_scale_factor=True
    )
    assert torch.equal(
        resample_nearest(images, quarters), F.interpolate(small, size=(32, 40), mode="nearest")
    )


def test_npr_is_blind_to_what_nearest_upsampling_made() -> None:
    detector = small("npr")
    assert isinstance(detector, NPR)
    made = random(2, 3, 16, 16).repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    assert not detector.residual(made).any()
    assert detector.residual(random(2, 3, 32, 32)).any()


@pytest.fixture
def public_npr(tmp_path: Path) -> tuple[Path, nn.Module, nn.Linear]:
    """A checkpoint with the names of the authors' file, and timm's network with its values."""
    net = timm.create_model("resnet50")
    net.conv1 = nn.Conv2d(3, 64, 3, stride=2, padding=1, bias=False)
    torch.manual_seed(0)
    head = nn.Linear(512, 1)
    net.eval()
    parts = ("conv1.", "bn1.", "layer1.", "layer2.")
    tensors = {name: value for name, value in net.state_dict().items() if name.startswith(parts)}
    torch.save(
        {"module." + k: v for k, v in tensors.items()} | head.state_dict(prefix="fc1."),
        tmp_path / "NPR.pth",
    )
    return tmp_path / "NPR.pth", net, head


@torch.no_grad()
def test_npr_pth_loads_and_scores_alike(public_npr: tuple[Path, Any, nn.Linear]) -> None:
    path, net, head = public_npr
    images = random(2, 3, 37, 50)
    even = IMAGENET_NORMALISE(images[:, :, :36])
    half = F.interpolate(even, scale_factor=0.5, mode="nearest")
    residual = even - F.interpolate(half, scale_factor=2, mode="nearest")
    features = net.maxpool(F.relu(net.bn1(net.conv1(residual * 2.0 / 3.0))))
    expected = head(net.layer2(net.layer1(features)).mean(dim=(2, 3))).squeeze(1)
    torch.testing.assert_close(
        load_detector("npr", weights=path).logits(images), expected, atol=1e-4, rtol=1e-4
    )
    base = load_detector("npr-multiscale", weights=path, scales=[0.5], channel=False)
    trimmed = images[:, :, :36, :48]
    torch.testing.assert_close(
        base.logits(trimmed), load_detector("npr", weights=path).logits(trimmed)
    )


ABLATION_ROWS: dict[str, dict[str, Any]] = {
    "base": {"scales": [0.5], "channel": False},
    "multi-scale": {"channel": False},
    "channel": {"scales": [0.5]},
    "spatial": {"scales": [0.5], "channel": False, "spatial": True},
    "final": {},
}
ADDED_TENSORS = {
    "base": {"mix", "gain"},
    "multi-scale": {"mix", "gain"},
    "channel": {"mix", "gain", "gates.0.channel", "gates.1.channel"},
    "spatial": {"mix", "gain", "gates.1.spatial", "gates.2.spatial"},
    "final": {"mix", "gain", "gates.0.channel", "gates.1.channel"},
}


@pytest.mark.parametrize("row", ABLATION_ROWS)
def test_rows_of_the_ablation(row: str) -> None:
    detector = small("npr-multiscale", **ABLATION_ROWS[row])
    plain = small("npr")
    added = set(detector.state_dict()) - set(plain.state_dict())
    assert {".".join(name.split(".")[:3]) for name in added} == ADDED_TENSORS[row]
    used = [p for name, p in detector.named_parameters() if name in added and p.numel() > 1]
    for parameter in used:
        parameter.data.abs_()  # keeps the one hidden unit of a small attention alive
    detector.logits(random(2, 3, 32, 32)).sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in used)


def test_npr_multiscale_takes_the_studys_names(tmp_path: Path) -> None:
    detector = small("npr-multiscale")
    stir(detector)
    theirs = {
        "mix": "npr_weights",
        "gain": "npr_scale_factor",
        "gates.0.channel.shared.0.weight": "ca1.fc.0.weight",
        "gates.0.channel.shared.2.weight": "ca1.fc.2.weight",
        "gates.1.channel.shared.0.weight": "ca2.fc.0.weight",
        "gates.1.channel.shared.2.weight": "ca2.fc.2.weight",
    }
    tensors = {theirs.get(name, name): value for name, value in detector.state_dict().items()}
    tensors["spatial_att1.conv.weight"] = torch.ones(
        1, 2, 7, 7
    )  # in every file of the study, used in one row
    torch.save({"model": tensors}, tmp_path / "study.pth")
    numbers = detectors.get("npr-multiscale").small
    again = load_detector("npr-multiscale", weights=tmp_path / "study.pth", **numbers)
    images = random(2, 3, 32, 32)
    assert torch.equal(again.logits(images), detector.logits(images))
    assert again.state_dict()["gates.0.channel.shared.0.weight"].shape == (1, 8)


def test_mix_of_scales_is_a_softmax_times_a_gain() -> None:
    detector = cast("NPRMultiscale", small("npr-multiscale"))
    images = random(1, 3, 32, 32)
    with torch.no_grad():
        mean = torch.stack([images - resample_nearest(images, q) for q in (1, 2, 3)]).mean(dim=0)
        torch.testing.assert_close(detector.residual(images), 2 / 3 * mean)
        detector.mix[1] = 50
        torch.testing.assert_close(
            detector.residual(images), 2 / 3 * (images - resample_nearest(images, 2))
        )


def test_channel_attention_adds_two_sigmoids() -> None:
    features = random(2, 32, 5, 5)
    attention = ChannelAttention(32)
    with torch.no_grad():
        first, last = attention.shared.parameters()
        mean, most = (
            F.relu(v @ first.T) @ last.T for v in (features.mean((2, 3)), features.amax((2, 3)))
        )
        expected = features * (mean.sigmoid() + most.sigmoid())[:, :, None, None]
        torch.testing.assert_close(attention(features), expected)
        last.zero_()
        assert torch.equal(attention(features), features)


def test_scales_unknown_are_refused() -> None:
    with pytest.raises(UserError, match=r"0\.25, 0\.5 and 0\.75, got \[0\.3\]"):
        load_detector("npr-multiscale", scales=[0.3])


def fft_vae() -> FFTVAE:
    torch.manual_seed(0)
    return FFTVAE(width=16, latent=32).eval()


def test_spectrum_has_its_zero_frequency_in_the_middle() -> None:
    flat = spectrum(torch.full((1, 1, 32, 32), 0.5))
    assert float(flat[0, 0, 16, 16]) == pytest.approx(torch.tensor(513.0).log().item())
    flat[0, 0, 16, 16] = 0
    assert float(flat.max()) < 1e-5
    wave = torch.cos(torch.arange(32) * 2 * torch.pi * 4 / 32).expand(1, 1, 32, 32)
    assert sorted(spectrum(wave)[0, 0].flatten().topk(2).indices.tolist()) == [
        16 * 32 + 12,
        16 * 32 + 20,
    ]


def test_fft_vae_standardises_by_the_training_images_once() -> None:
    detector = fft_vae()
    data = easy(600)
    detector.prepare(data, data)
    seen = detector.standardised(from_bytes(data.images))
    torch.testing.assert_close(seen.mean(dim=0), torch.zeros(3, 32, 32), atol=1e-3, rtol=0)
    torch.testing.assert_close(seen.std(dim=0), torch.ones(3, 32, 32), atol=1e-2, rtol=0)
    before = detector.mean.clone()
    detector.prepare(easy(50, seed=3), data)
    assert torch.equal(detector.mean, before)


def test_fft_vae_loss_is_cross_entropy_error_and_divergence(images: Tensor, labels: Tensor) -> None:
    detector = fft_vae()
    with torch.no_grad():
        spectra = detector.standardised(images)
        features = detector.encoded(spectra)
        mu = detector.mu(features)
        deviation = (detector.log_variance(features) / 2).exp()
        torch.manual_seed(4)
        decoded = detector.decoder(mu + deviation * torch.randn(mu.shape))
        posterior = torch.distributions.Normal(mu, deviation)
        prior = torch.distributions.Normal(0.0, 1.0)
        divergence = torch.distributions.kl_divergence(posterior, prior).sum(dim=1).mean()
        expected = F.binary_cross_entropy_with_logits(detector.logits(images), labels.float())
        expected = expected + (decoded - spectra).square().mean() + 1e-3 * divergence
        torch.manual_seed(4)
        torch.testing.assert_close(detector.loss(images, labels), expected)
        assert torch.equal(detector.logits(images), detector.logits(images))


def test_fft_vae_learns_to_tell_and_to_decode() -> None:
    train = easy(256)
    test = easy(64, seed=1)
    torch.manual_seed(0)
    made, history = train_detector(TrainingJob(detector="fft-vae", epochs=6), train, test)
    assert history.rows[-1]["loss"] < 0.95 * history.rows[0]["loss"]
    assert history.rows[history.best_epoch]["score"] > 0.8
    assert int(made.state_dict()["measured"]) == 1


@pytest.mark.parametrize("name", ["fft-vae", "spai", "npr", "npr-multiscale", "gapl"])
@pytest.mark.parametrize("level", [0.0, 1.0])
def test_flat_images_have_finite_gradients(name: str, level: float) -> None:
    detector = small(name)
    leaf = torch.full((1, 3, 40, 32), level, requires_grad=True)
    (slope,) = torch.autograd.grad(detector.logits(leaf).sum(), leaf)
    assert slope.isfinite().all()
