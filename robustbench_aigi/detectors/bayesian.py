"""ResNet-50 with a Bayesian linear head, which also estimates its own uncertainty."""

from types import MappingProxyType
from typing import Any, ClassVar, Self, cast, final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from robustbench_aigi.detectors._support.attention import SpatialAttention
from robustbench_aigi.detectors._support.bayesian_linear import BayesianLinear, binary_entropy
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


class BayesianResNet(Detector):
    """A ResNet whose last layer is a Gaussian over weights, fitted by its evidence bound (ELBO).

    The head has the study's two outputs, real and AI-generated, and a logit is their difference:
    its sigmoid is the softmax of the second. The probabilities are averaged over several draws of
    the weights, and the logit is that of their mean. Training uses one draw per batch, and adds
    KL / (number of training images) to the cross-entropy. An attack sees the mean weights with
    ``samples=0``, and else the average over draws (EOT).

    Args:
        model: name of the ResNet in timm.
        pretrained: start from its weights, from a hub.
        width: channels of its first stage; ImageNet's networks have 64.
        size: side in pixels that images are resized to.
        cifar_stem: use a 3 x 3 stem of stride 1 and no max-pooling, for ``size=32``.
        samples: number of draws of the weights in scoring; 0 scores with the mean weights.
        seed: seed of these draws, which are then the same at every call; None draws from torch's
            random numbers at every call.

    Attributes:
        attentive: whether attention over places comes before the mean.
        counted: number of training images; 0 before :meth:`prepare`.

    Raises:
        UnavailableError: the weights are not on this machine and no hub can be reached.
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
        super().__init__()
        self.size = size
        self.samples = samples
        self.seed = seed
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
        self.describe(input_size=size, **self._sampling_facts())

    def logits(self, images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, " n"]:
        """Score ``images``, ``(N, 3, H, W)`` in [0, 1], by the mean probability over draws."""
        drawn = self.drawn(images)
        return F.logsigmoid(drawn).logsumexp(dim=0) - F.logsigmoid(-drawn).logsumexp(dim=0)

    def drawn(self, images: Tensor) -> Tensor:
        """Score images once per draw of the weights.

        Args:
            images: float batch in [0, 1], ``(N, 3, H, W)``.

        Returns:
            Logits, ``(S, N)``; S is 1 in training, which draws again at every call, and for the
            mean weights.
        """
        inputs = self.normalise(fit_size(images, self.size)).contiguous(
            memory_format=torch.channels_last
        )
        features = self.attention(self.net.forward_features(inputs)).mean(dim=(2, 3))
        real, fake = self.head(features, self._noise()).unbind(dim=-1)
        return cast("Tensor", fake - real)

    def loss(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return the negative evidence bound per image.

        It is the cross-entropy only until :meth:`prepare` has counted the training images.

        Args:
            images: float batch in [0, 1], ``(N, 3, H, W)``.
            labels: classes, ``(N,)``, 1 = AI-generated.
        """
        count = int(self.counted)
        cross_entropy = super().loss(images, labels)
        return cross_entropy + self.head.divergence() / count if count else cross_entropy

    def prepare(self, train: Labelled, validation: Labelled) -> None:
        """Count the training images.

        Args:
            train: training images.
            validation: not used.
        """
        self.counted.fill_(len(train.labels))

    @torch.no_grad()
    def predictive_entropy(self, images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, " n"]:
        """Return the uncertainty of the score.

        Args:
            images: float batch in [0, 1], ``(N, 3, H, W)``.

        Returns:
            Entropies in nats, ``(N,)``, from 0 (certain) to ln 2 (undecided).
        """
        return binary_entropy(self.drawn(images).sigmoid().mean(dim=0))

    @torch.no_grad()
    def mutual_information(self, images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, " n"]:
        """Return the part of the uncertainty that comes from the weights.

        Args:
            images: float batch in [0, 1], ``(N, 3, H, W)``.

        Returns:
            Information in nats, ``(N,)``; 0 where all draws agree.
        """
        probabilities = self.drawn(images).sigmoid()
        whole = binary_entropy(probabilities.mean(dim=0))
        return whole - binary_entropy(probabilities).mean(dim=0)

    def scoring_with(self, samples: int, seed: int | None = 0) -> Self:
        """Return a copy that scores with other draws, in evaluation mode.

        Args:
            samples: number of draws of the weights; 0 scores with the mean weights.
            seed: seed of the draws; None draws again at every call.
        """
        other = type(self)(**{**self.config, "pretrained": False, "samples": samples, "seed": seed})
        other.load_state_dict(self.state_dict())
        facts = other._sampling_facts()
        other.card = self.card
        other.describe(**facts)
        return other.eval()

    def _sampling_facts(self) -> dict[str, Any]:
        """Return what the card states about the draws."""
        how = "the mean weights"
        if self.samples:
            how = f"{self.samples} draws of the weights"
            how += "" if self.seed is None else f", seed {self.seed}"
        return {
            "summary": f"{self.default_card.summary}, {how}",
            "gradient": "eot" if self.samples else "full",
            "stochastic": self.seed is None and self.samples > 0,
        }

    def _noise(self) -> Tensor:
        """Return standard normal noise, one row per draw; zeros for the mean weights."""
        shape = self.head.mu.shape
        if self.training:
            return torch.randn(1, *shape)
        if self.samples == 0:
            return torch.zeros(1, *shape)
        rng = None if self.seed is None else torch.Generator().manual_seed(self.seed)
        return torch.randn(self.samples, *shape, generator=rng)


def _card(name: str, summary: str, published: str) -> Card:
    return Card(
        name=name,
        source=(
            "Tiny-GenImage study (CVIMGDetection); Blundell et al., Weight Uncertainty in Neural"
            " Networks, 2015"
        ),
        summary=summary,
        code_licence=(
            "MIT (written from a description; the study's code states no licence); timm Apache-2.0"
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
    """ResNet-50, mean over places, Bayesian linear head; arguments of :class:`BayesianResNet`."""

    default_card = _card(
        "resnet50-bnn", "ResNet-50 with a Bayesian linear head", "Tiny-GenImage 81.5"
    )
    attentive = False


@detectors.add("resnet50-attn-bnn")
@final
class ResNet50AttnBNN(BayesianResNet):
    """ResNet-50 with attention over places and a Bayesian linear head.

    The arguments are those of :class:`BayesianResNet`.
    """

    default_card = _card(
        "resnet50-attn-bnn",
        "ResNet-50 with spatial attention and a Bayesian linear head",
        "Tiny-GenImage 87.6",
    )
    attentive = True
