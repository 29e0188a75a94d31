import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from robustbench_aigi.imaging.quality import psnr, psnr_from_l2, ssim


@pytest.mark.parametrize("size", [(32, 32), (11, 40), (75, 33)])
def test_psnr_and_ssim_are_those_of_scikit_image(size: tuple[int, int]) -> None:
    rng = torch.Generator().manual_seed(0)
    source = torch.randint(0, 256, (4, 3, *size), generator=rng).float()
    noise = torch.randint(-20, 21, source.shape, generator=rng) * torch.tensor(
        [0.1, 0.5, 1, 3]
    ).view(-1, 1, 1, 1)
    changed = (source + noise).round().clamp(0, 255)
    pairs = list(zip(changed.numpy(), source.numpy(), strict=True))
    expected = [peak_signal_noise_ratio(b, a, data_range=255) for a, b in pairs]
    np.testing.assert_allclose(psnr(changed, source), expected, rtol=1e-6)
    ways = {
        "data_range": 255,
        "channel_axis": 0,
        "gaussian_weights": True,
        "use_sample_covariance": False,
    }
    expected = [structural_similarity(a, b, **ways) for a, b in pairs]
    np.testing.assert_allclose(ssim(changed, source), expected, atol=2e-5)


def test_psnr_from_a_norm_is_that_of_the_pixels() -> None:
    rng = torch.Generator().manual_seed(0)
    changed = torch.randint(0, 256, (1, 3, 9, 7), generator=rng).float()
    source = torch.randint(0, 256, (1, 3, 9, 7), generator=rng).float()
    l2 = ((changed - source) / 255).double().norm().item()
    assert psnr_from_l2(l2, source.numel()) == pytest.approx(psnr(changed, source).item())
    assert psnr_from_l2(0.0, 10) == float("inf")


def test_nothing_changed_and_too_small() -> None:
    image = torch.full((1, 3, 8, 8), 7.0)
    assert psnr(image, image).isinf().all()
    assert ssim(image, image).isnan().all()
    large = torch.rand(1, 3, 20, 20) * 255
    assert ssim(large, large).item() == pytest.approx(1)
