"""A classifier on the latent mean of a variational autoencoder of the spectrum."""

from typing import cast, final

import torch
from jaxtyping import Float
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

SPECTRUM_SIZE = 32
"""Side of the spectrum, in frequencies."""
MEASURE_BATCH = 500
"""Images in one pass when spectra are measured."""


@detectors.add("fft-vae")
@final
class FFTVAE(Detector):
    """Log spectrum, variational autoencoder, and a small network on the latent mean.

    The study states only "FFT and VAE", so the definition is this project's: the spectrum of each
    channel as ``log(1 + |F|)`` with frequency zero in the middle, standardised by the training
    images' mean and deviation at each frequency; convolutions of stride 2; loss = cross-entropy +
    squared error of the decoded spectrum + ``beta`` times the KL divergence of the latent from
    N(0, I). Source: CIFAKE++ study, one line.

    Args:
        width: channels after the first convolution; the next ones have twice and four times as
            many.
        latent: dimensions of the latent.
        beta: weight of the KL divergence.

    Attributes:
        mean: of the training images' spectra, ``(3, 32, 32)``.
        deviation: likewise.
        measured: 1 once these are measured, 0 before.
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
        super().__init__()
        self.beta = beta
        flat = 4 * width * (SPECTRUM_SIZE // 8) ** 2
        self.encoder = nn.Sequential(
            _down(3, width), _down(width, 2 * width), _down(2 * width, 4 * width)
        )
        self.mu = nn.Linear(flat, latent)
        self.log_variance = nn.Linear(flat, latent)
        self.head = nn.Sequential(nn.Linear(latent, 64), nn.GELU(), nn.Linear(64, 1))
        self.decoder = nn.Sequential(
            nn.Linear(latent, flat),
            nn.GELU(),
            nn.Unflatten(1, (4 * width, SPECTRUM_SIZE // 8, SPECTRUM_SIZE // 8)),
            _up(4 * width, 2 * width),
            nn.GELU(),
            _up(2 * width, width),
            nn.GELU(),
            _up(width, 3),
        )
        self.register_buffer("mean", torch.zeros(3, SPECTRUM_SIZE, SPECTRUM_SIZE))
        self.register_buffer("deviation", torch.ones(3, SPECTRUM_SIZE, SPECTRUM_SIZE))
        self.register_buffer("measured", torch.tensor(0))

    def logits(self, images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, " n"]:
        """Score ``images``, ``(N, 3, H, W)`` in [0, 1], by their latent mean, without a draw."""
        return self._scored(self.mu(self.encoded(self.standardised(images))))

    def loss(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return the cross-entropy plus the negative evidence bound of the spectrum, by one draw.

        Args:
            images: float batch in [0, 1], ``(N, 3, H, W)``.
            labels: classes, ``(N,)``, 1 = AI-generated.
        """
        target = self.standardised(images)
        features = self.encoded(target)
        mu = self.mu(features)
        log_variance = self.log_variance(features).clamp(-10, 10)
        drawn = mu + (log_variance / 2).exp() * torch.randn_like(mu)
        divergence = (mu.square() + log_variance.exp() - 1 - log_variance).sum(dim=1).mean() / 2
        logits = self._scored(mu)
        cross_entropy = F.binary_cross_entropy_with_logits(logits, labels.to(images.dtype))
        error = F.mse_loss(self.decoder(drawn), target)
        total: Tensor = cross_entropy + error + self.beta * divergence
        return total

    @torch.no_grad()
    def prepare(self, train: Labelled, validation: Labelled) -> None:
        """Measure mean and deviation of the training images' spectra, unless already measured.

        Args:
            train: training images.
            validation: not used.
        """
        if self.measured:
            return
        total, squares = (
            torch.zeros(3, SPECTRUM_SIZE, SPECTRUM_SIZE, dtype=torch.float64) for _ in range(2)
        )
        for part in train.images.split(MEASURE_BATCH):
            spectra = spectrum(fit_size(from_bytes(part), SPECTRUM_SIZE)).double()
            total = total + spectra.sum(dim=0)
            squares = squares + spectra.square().sum(dim=0)
        mean = total / len(train.images)
        self.mean.copy_(mean)
        self.deviation.copy_((squares / len(train.images) - mean.square()).clamp(min=1e-4).sqrt())
        self.measured.fill_(1)

    def standardised(self, images: Tensor) -> Tensor:
        """Return the standardised spectra of images.

        Args:
            images: float batch in [0, 1], ``(N, 3, H, W)``.

        Returns:
            Spectra, ``(N, 3, 32, 32)``.
        """
        return (spectrum(fit_size(images, SPECTRUM_SIZE)) - self.mean) / self.deviation

    def encoded(self, spectra: Tensor) -> Tensor:
        """Return the features that the latent's mean and variance are computed from.

        Args:
            spectra: standardised, ``(N, 3, 32, 32)``.

        Returns:
            Features, ``(N, D)``.
        """
        return cast("Tensor", self.encoder(spectra)).flatten(1)

    def _scored(self, mu: Tensor) -> Tensor:
        return cast("Tensor", self.head(mu)).squeeze(1)


def spectrum(images: Tensor) -> Tensor:
    """Return ``log(1 + |F|)`` of each channel, smooth also where the magnitude is zero.

    Args:
        images: ``(N, C, H, W)``.

    Returns:
        Spectra of the same shape, with frequency zero in the middle.

    Example:
        >>> spectrum(torch.ones(1, 1, 2, 2))[0, 0, 1, 1]
        tensor(1.6094)
    """
    transformed = torch.fft.fft2(images)
    size = (transformed.real.square() + transformed.imag.square() + 1e-12).sqrt()
    return cast("Tensor", torch.fft.fftshift(size.log1p(), dim=(-2, -1)))


def _down(inputs: int, outputs: int) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.GELU())


def _up(inputs: int, outputs: int) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(inputs, outputs, 3, stride=2, padding=1, output_padding=1)
