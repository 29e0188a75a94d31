"""ResNet-50 with a Bayesian linear head: a score, and how sure the network is of it."""

from types import MappingProxyType
from typing import Any, ClassVar, Self, cast, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robustbench_aigi.detectors._support.resizing import fit_size
from robustbench_aigi.detectors._support.timm_backbones import timm_backbone
from robustbench_aigi.detectors.base import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    NO_WEIGHTS,
    Card,
    Detector,
    Labelled,
    Normalise,
    detectors,
)
from robustbench_aigi.detectors.npr import SpatialAttention


class BayesianResNet(Detector):
    """A ResNet whose last layer is a Gaussian over weights, fitted by its evidence bound (ELBO).

    The head has the study's two outputs, real and AI-generated, and a logit is their difference:
    its sigmoid is the softmax of the second. Over several draws of the weights the probabilities
    are averaged, and the logit is that of their mean. Training draws once a batch, and adds KL /
    (number of training images) to the cross-entropy.

    Args:
        model: timm's name of the trunk. pretrained: begin with its weights, from a hub.
        width: channels of its first stage; ImageNet's networks have 64.
        size: images are resized to it.
        cifar_stem: a 3 x 3 stem of stride 1 and no max-pooling, for ``size=32``.
        samples: draws of the weights when scoring; 0 scores with the mean weights.
        seed: of these draws, the same at every call; None takes torch's random numbers, anew at
            every call. Attacked with ``samples=0`` a detector shows its mean weights, with more it
            shows the average over draws (EOT).
    """

    attentive: ClassVar[bool]
    small = MappingProxyType(
        {"model": "resnet10t", "width": 16, "size": 32, "cifar_stem": True, "samples": 8}
    )
    counted: Tensor

    def __init__(
        self,
        model: str = "resnet50.tv_in1k",
        pretrained: bool = False,
        width: int = 64,
        size: int = 224,
        cifar_stem: bool = False,
        samples: int = 50,
        seed: int | None = 0,
    ) -> None:
        trunk = {
            "model": model,
            "pretrained": pretrained,
            "width": width,
            "size": size,
            "cifar_stem": cifar_stem,
        }
        super().__init__(**trunk, samples=samples, seed=seed)
        self.size, self.samples, self.seed = size, samples, seed
        channels = [width * 2**stage for stage in range(4)]
        net: Any = timm_backbone(model, pretrained=pretrained, num_classes=0, channels=channels)
        if cifar_stem:
            net.conv1 = nn.Conv2d(3, net.bn1.num_features, 3, padding=1, bias=False)
            net.maxpool = nn.Identity()
        self.net = net.to(memory_format=torch.channels_last)
        self.attention = SpatialAttention(bias=True) if self.attentive else nn.Identity()
        self.head = BayesianLinear(net.num_features, 2)
        self.normalise = Normalise(IMAGENET_MEAN, IMAGENET_STD)
        self.register_buffer("counted", torch.tensor(0))
        self.card = self.card.model_copy(update={"input_size": size, **self._sampling()})

    def logits(self, images: Tensor) -> Tensor:
        """Score ``(N, 3, H, W)`` images in [0, 1]: the logit of the probability averaged over
        draws.
        """
        drawn = self.drawn(images)
        return F.logsigmoid(drawn).logsumexp(dim=0) - F.logsigmoid(-drawn).logsumexp(dim=0)

    def drawn(self, images: Tensor) -> Tensor:
        """Logits ``(S, N)`` of each draw of the weights; one, fresh, while training, and one of the
        mean weights.
        """
        inputs = self.normalise(fit_size(images, self.size)).contiguous(
            memory_format=torch.channels_last
        )
        features = self.attention(self.net.forward_features(inputs)).mean(dim=(2, 3))
        real, fake = self.head(features, self._noise()).unbind(dim=-1)
        return cast("Tensor", fake - real)

    def loss(self, images: Tensor, labels: Tensor) -> Tensor:
        """The negative evidence bound an image; the cross-entropy alone until the training images
        were counted.
        """
        count = int(self.counted)
        return super().loss(images, labels) + (self.head.divergence() / count if count else 0)

    def prepare(self, train: Labelled, validation: Labelled) -> None:
        """Count the training images."""
        self.counted.fill_(len(train.labels))

    @torch.no_grad()
    def predictive_entropy(self, images: Tensor) -> Tensor:
        """How unsure the score is, in nats, ``(N,)``: 0 is sure, ln 2 undecided."""
        return entropy(self.drawn(images).sigmoid().mean(dim=0))

    @torch.no_grad()
    def mutual_information(self, images: Tensor) -> Tensor:
        """How much of that the weights are to blame for, in nats, ``(N,)``: 0 where all draws
        agree.
        """
        probabilities = self.drawn(images).sigmoid()
        return entropy(probabilities.mean(dim=0)) - entropy(probabilities).mean(dim=0)

    def scoring_with(self, samples: int, seed: int | None = 0) -> Self:
        """The same weights, scored with other draws, in evaluation mode."""
        made = type(self)(**{**self.config, "pretrained": False, "samples": samples, "seed": seed})
        made.load_state_dict(self.state_dict())
        made.card = self.card.model_copy(update=made._sampling())
        return made.eval()

    def _sampling(self) -> dict[str, Any]:
        """What the card says of the draws."""
        how = "the mean weights" if self.samples == 0 else f"{self.samples} draws of the weights"
        how += "" if self.seed is None or self.samples == 0 else f", seed {self.seed}"
        return {
            "summary": f"{self.default_card.summary}, {how}",
            "gradient": "eot" if self.samples else "full",
            "stochastic": self.seed is None and self.samples > 0,
        }

    def _noise(self) -> Tensor:
        shape = self.head.mu.shape
        if self.training:
            return torch.randn(1, *shape)
        if self.samples == 0:
            return torch.zeros(1, *shape)
        rng = None if self.seed is None else torch.Generator().manual_seed(self.seed)
        return torch.randn(self.samples, *shape, generator=rng)


class BayesianLinear(nn.Module):
    """A linear layer with independent Gaussian weights and the prior N(0, 1). Source: Blundell et
    al., ICML 2015.

    Weights and biases lie in one flat vector, so that weight decay, whose place the prior takes,
    passes it by.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        count = outputs * (inputs + 1)
        self.inputs, self.outputs = inputs, outputs
        self.mu = nn.Parameter(0.1 * torch.randn(count))
        self.rho = nn.Parameter(-3 + 0.1 * torch.randn(count))

    def forward(self, features: Tensor, noise: Tensor) -> Tensor:
        """Outputs ``(S, N, K)`` of ``(N, D)`` features for standard normal noise ``(S, K * (D +
        1))``.
        """
        drawn = self.mu + F.softplus(self.rho) * noise.to(self.mu)
        weights, biases = drawn.unflatten(1, (self.outputs, self.inputs + 1)).split(
            [self.inputs, 1], dim=2
        )
        outputs: Tensor = torch.einsum("nd,skd->snk", features, weights) + biases.transpose(1, 2)
        return outputs

    def divergence(self) -> Tensor:
        """KL divergence of the weights from their prior, in nats."""
        deviation = F.softplus(self.rho)
        total: Tensor = (
            deviation.square() + self.mu.square() - 1
        ).sum() / 2 - deviation.log().sum()
        return total


def entropy(probability: Tensor) -> Tensor:
    """Of a yes or no, in nats."""
    total: Tensor = torch.special.entr(probability) + torch.special.entr(1 - probability)
    return total


def _card(name: str, summary: str, published: str) -> Card:
    return Card(
        name=name,
        source=(
            "Tiny-GenImage study (CVIMGDetection); Blundell et al., Weight Uncertainty in Neural"
            " Networks, 2015"
        ),
        summary=summary,
        code_licence=(
            "MIT (written anew from a description; the study's code states no licence); timm"
            " Apache-2.0"
        ),
        weights_licence=NO_WEIGHTS,
        base_licence="BSD-3-Clause (torchvision), if pretrained",
        commercial=True,
        input_size=224,
        gradient="eot",
        cam="net.layer4",
        published=(
            f"{published} (in the study's report the columns of real and AI-generated are swapped)"
        ),
    )


@detectors.add("resnet50-bnn")
@final
class ResNet50BNN(BayesianResNet):
    """ResNet-50, mean over places, Bayesian linear head. Arguments as in
    :class:`BayesianResNet`.
    """

    default_card = _card(
        "resnet50-bnn", "ResNet-50 with a Bayesian linear head", "Tiny-GenImage 81.5"
    )
    attentive = False


@detectors.add("resnet50-attn-bnn")
@final
class ResNet50AttnBNN(BayesianResNet):
    """The same, with attention over places before the mean. Arguments as in
    :class:`BayesianResNet`.
    """

    default_card = _card(
        "resnet50-attn-bnn",
        "ResNet-50 with spatial attention and a Bayesian linear head",
        "Tiny-GenImage 87.6",
    )
    attentive = True
