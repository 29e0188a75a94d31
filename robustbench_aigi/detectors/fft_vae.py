"""A classifier on the latent mean of a variational autoencoder of the spectrum."""

from typing import cast, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robustbench_aigi.detectors._support.resizing import fit_size
from robustbench_aigi.detectors.base import (
    FROM_SCRATCH,
    NO_WEIGHTS,
    OWN_CODE,
    Card,
    Detector,
    Labelled,
    detectors,
)
from robustbench_aigi.imaging.pixels import from_bytes

SIZE = 32


@detectors.add("fft-vae")
@final
class FFTVAE(Detector):
    """Log spectrum, variational autoencoder, and a small network on the latent mean. Source:
    CIFAKE++ study, one line.

    The study says no more than "FFT and VAE", so this is a definition of its own: the spectrum of
    each channel as ``log(1 + |F|)`` with frequency zero in the middle, standardised by the training
    images' mean and deviation at each frequency; convolutions of stride 2; loss = cross-entropy +
    squared error of the decoded spectrum + ``beta`` times the KL divergence of the latent from N(0,
    I).

    Args:
        width: channels after the first convolution; then twice and four times as many.
        latent: dimensions of the latent. beta: weight of the KL divergence.
    """

    default_card = Card(
        name="fft-vae",
        source="CIFAKE++ study; re-implementation from a one-line description",
        summary=(
            "variational autoencoder on the 32 x 32 spectrum, 1.0 M parameters; its Grad-CAM map is"
            " of frequencies"
        ),
        code_licence=OWN_CODE,
        weights_licence=NO_WEIGHTS,
        base_licence=FROM_SCRATCH,
        commercial=True,
        cam="encoder",
        published="CIFAKE 94.12 (the study's own network)",
    )
    mean: Tensor
    deviation: Tensor
    measured: Tensor

    def __init__(self, width: int = 32, latent: int = 128, beta: float = 1e-3) -> None:
        super().__init__(width=width, latent=latent, beta=beta)
        self.beta = beta
        flat = 4 * width * (SIZE // 8) ** 2
        self.encoder = nn.Sequential(
            _down(3, width), _down(width, 2 * width), _down(2 * width, 4 * width)
        )
        self.mu, self.log_variance = nn.Linear(flat, latent), nn.Linear(flat, latent)
        self.head = nn.Sequential(nn.Linear(latent, 64), nn.GELU(), nn.Linear(64, 1))
        self.decoder = nn.Sequential(
            nn.Linear(latent, flat),
            nn.GELU(),
            nn.Unflatten(1, (4 * width, SIZE // 8, SIZE // 8)),
            *(
                _up(4 * width, 2 * width),
                nn.GELU(),
                _up(2 * width, width),
                nn.GELU(),
                _up(width, 3),
            ),
        )
        self.register_buffer("mean", torch.zeros(3, SIZE, SIZE))
        self.register_buffer("deviation", torch.ones(3, SIZE, SIZE))
        self.register_buffer("measured", torch.tensor(0))

    def logits(self, images: Tensor) -> Tensor:
        """Score ``(N, 3, H, W)`` images in [0, 1] by their latent mean, without a draw."""
        return self._scored(self.mu(self.encoded(self.standardised(images))))

    def loss(self, images: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy of the latent mean, and the negative evidence bound of the spectrum, from
        one draw.
        """
        target = self.standardised(images)
        features = self.encoded(target)
        mu, log_variance = self.mu(features), self.log_variance(features).clamp(-10, 10)
        drawn = mu + (log_variance / 2).exp() * torch.randn_like(mu)
        divergence = (mu.square() + log_variance.exp() - 1 - log_variance).sum(dim=1).mean() / 2
        told_apart = F.binary_cross_entropy_with_logits(self._scored(mu), labels.to(images.dtype))
        total: Tensor = (
            told_apart + F.mse_loss(self.decoder(drawn), target) + self.beta * divergence
        )
        return total

    @torch.no_grad()
    def prepare(self, train: Labelled, validation: Labelled) -> None:
        """Measure the mean and deviation of the training images' spectra, once; fine-tuning keeps
        them.
        """
        if self.measured:
            return
        total, squares = (torch.zeros(3, SIZE, SIZE, dtype=torch.float64) for _ in range(2))
        for part in train.images.split(500):
            spectra = spectrum(fit_size(from_bytes(part), SIZE)).double()
            total, squares = total + spectra.sum(dim=0), squares + spectra.square().sum(dim=0)
        mean = total / len(train.images)
        self.mean.copy_(mean)
        self.deviation.copy_((squares / len(train.images) - mean.square()).clamp(min=1e-4).sqrt())
        self.measured.fill_(1)

    def standardised(self, images: Tensor) -> Tensor:
        """What the encoder sees, ``(N, 3, 32, 32)``."""
        return (spectrum(fit_size(images, SIZE)) - self.mean) / self.deviation

    def encoded(self, spectra: Tensor) -> Tensor:
        """Features ``(N, D)`` that the latent's mean and variance are read from."""
        return cast("Tensor", self.encoder(spectra)).flatten(1)

    def _scored(self, mu: Tensor) -> Tensor:
        return cast("Tensor", self.head(mu)).squeeze(1)


def spectrum(images: Tensor) -> Tensor:
    """``log(1 + |F|)`` of each channel of ``(N, C, H, W)`` images, frequency zero in the middle;
    smooth at zero too.
    """
    transformed = torch.fft.fft2(images)
    size = (transformed.real.square() + transformed.imag.square() + 1e-12).sqrt()
    return cast("Tensor", torch.fft.fftshift(size.log1p(), dim=(-2, -1)))


def _down(inputs: int, outputs: int) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.GELU())


def _up(inputs: int, outputs: int) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(inputs, outputs, 3, stride=2, padding=1, output_padding=1)
