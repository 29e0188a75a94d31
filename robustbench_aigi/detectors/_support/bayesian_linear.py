"""A Bayesian linear layer."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class BayesianLinear(nn.Module):
    """A linear layer with independent Gaussian weights and the prior N(0, 1).

    Weights and biases are one flat vector, so that weight decay, which the prior replaces, leaves
    them out. Source: Blundell et al., ICML 2015.

    Args:
        inputs: dimensions that come in.
        outputs: dimensions that go out.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        count = outputs * (inputs + 1)
        self.inputs = inputs
        self.outputs = outputs
        self.mu = nn.Parameter(0.1 * torch.randn(count))
        self.rho = nn.Parameter(-3 + 0.1 * torch.randn(count))

    def forward(self, features: Tensor, noise: Tensor) -> Tensor:
        """Apply draws of the layer.

        Args:
            features: ``(N, D)``.
            noise: standard normal, one row per draw, ``(S, K * (D + 1))``.

        Returns:
            Outputs, ``(S, N, K)``.
        """
        drawn = self.mu + F.softplus(self.rho) * noise.to(self.mu)
        weights, biases = drawn.unflatten(1, (self.outputs, self.inputs + 1)).split(
            [self.inputs, 1], dim=2
        )
        outputs: Tensor = torch.einsum("nd,skd->snk", features, weights) + biases.transpose(1, 2)
        return outputs

    def divergence(self) -> Tensor:
        """Return the KL divergence of the weights from their prior, in nats."""
        deviation = F.softplus(self.rho)
        squares = (deviation.square() + self.mu.square() - 1).sum() / 2
        total: Tensor = squares - deviation.log().sum()
        return total


def binary_entropy(probability: Tensor) -> Tensor:
    """Return the entropy of a yes-or-no answer, in nats.

    Args:
        probability: of yes, any shape.

    Example:
        >>> binary_entropy(torch.tensor([0.5, 1.0]))
        tensor([0.6931, 0.0000])
    """
    total: Tensor = torch.special.entr(probability) + torch.special.entr(1 - probability)
    return total
