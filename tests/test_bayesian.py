import math
from pathlib import Path

import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor
from torch.distributions import Normal, kl_divergence
from torch.nn import functional as F

from robustbench_aigi.attacks import load_attack
from robustbench_aigi.detectors import detectors, load_detector, save_detector
from robustbench_aigi.detectors._support.bayesian_linear import BayesianLinear
from robustbench_aigi.detectors.bayesian import BayesianResNet
from robustbench_aigi.imaging.pixels import from_bytes
from robustbench_aigi.training import TrainingJob, train_detector
from tests.test_artefacts import easy

BAYESIAN_NAMES = ("resnet50-bnn", "resnet50-attn-bnn")


def small(name: str = "resnet50-bnn", **config: object) -> BayesianResNet:
    torch.manual_seed(0)
    cls = detectors.get(name)
    detector = cls(**{**cls.small, **config}).eval()
    assert isinstance(detector, BayesianResNet)
    return detector


def test_divergence_is_that_of_gaussians() -> None:
    head = BayesianLinear(7, 2)
    expected = kl_divergence(Normal(head.mu, F.softplus(head.rho)), Normal(0.0, 1.0)).sum()
    torch.testing.assert_close(head.divergence(), expected)


@pytest.mark.parametrize("name", BAYESIAN_NAMES)
def test_logit_is_that_of_the_mean_softmax_over_draws(name: str, images: Tensor) -> None:
    detector = small(name, samples=5, seed=3)
    head = detector.head
    with torch.no_grad():
        head.rho.add_(3)  # else all draws are nearly one
        inputs = detector.normalise(images)
        features = detector.attention(detector.net.forward_features(inputs)).mean(dim=(2, 3))
        noise = torch.randn(5, len(head.mu), generator=torch.Generator().manual_seed(3))
        total = torch.zeros(4, 2)
        for draw in noise:
            layer = (head.mu + F.softplus(head.rho) * draw).view(2, -1)
            total += F.linear(features, layer[:, :-1], layer[:, -1]).softmax(dim=1)
        probability = total[:, 1] / 5
        torch.testing.assert_close(
            detector.logits(images).sigmoid(), probability, atol=1e-5, rtol=1e-4
        )


def test_mean_weights_are_what_draws_shrink_to(images: Tensor) -> None:
    drawn = small(samples=8)
    mean = small(samples=0)
    with torch.no_grad():
        assert not torch.allclose(drawn.logits(images), mean.logits(images), atol=1e-4)
        drawn.head.rho.fill_(-30)
        torch.testing.assert_close(drawn.logits(images), mean.logits(images))
        assert mean.drawn(images).shape == (1, 4)


def test_draws_are_fixed_unless_torchs_are_asked_for(images: Tensor) -> None:
    fixed = small(seed=0)
    free = small(seed=None)
    with torch.no_grad():
        before = torch.random.get_rng_state()
        assert torch.equal(fixed.logits(images), fixed.logits(images))
        assert torch.equal(torch.random.get_rng_state(), before)
        assert not torch.equal(free.logits(images), free.logits(images))
        torch.manual_seed(1)
        first = free.logits(images)
        torch.manual_seed(1)
        assert torch.equal(free.logits(images), first)
    assert (fixed.card.gradient, fixed.card.stochastic) == ("eot", False)
    assert (free.card.gradient, free.card.stochastic) == ("eot", True)
    assert (small(samples=0).card.gradient, small(samples=0).card.stochastic) == ("full", False)


def test_entropies_split_as_they_should(images: Tensor) -> None:
    detector = small()
    with torch.no_grad():
        detector.head.rho.add_(3)
    whole = detector.predictive_entropy(images)
    weights = detector.mutual_information(images)
    assert ((weights > 0) & (weights < whole) & (whole <= math.log(2) + 1e-6)).all()
    probability = detector.logits(images).detach().sigmoid()
    expected = torch.distributions.Bernoulli(probability).entropy()
    torch.testing.assert_close(whole, expected, atol=1e-5, rtol=1e-4)
    assert (small(samples=0).mutual_information(images) == 0).all()


def test_loss_is_the_evidence_bound_once_images_were_counted(
    images: Tensor, labels: Tensor
) -> None:
    detector = small().train()
    for module in detector.modules():
        module.training = module is detector  # batch statistics stay, the draw is a training one

    def loss() -> Tensor:
        torch.manual_seed(5)
        return detector.loss(images, labels)

    bare = loss()
    torch.manual_seed(5)
    assert torch.equal(
        bare, F.binary_cross_entropy_with_logits(detector.logits(images), labels.float())
    )
    detector.prepare(easy(40), easy(4))
    torch.testing.assert_close(loss() - bare, detector.head.divergence() / 40)


def test_weight_decay_passes_the_head_by() -> None:
    detector = small()
    spared = [group for group in detector.parameter_groups(0.05) if group["weight_decay"] == 0]
    held = {id(p) for group in spared for p in group["params"]}
    assert {id(detector.head.mu), id(detector.head.rho)} <= held


def test_attention_over_places_weighs_the_map(images: Tensor) -> None:
    detector = small("resnet50-attn-bnn", samples=0)
    plain = small("resnet50-bnn", samples=0)
    plain.load_state_dict(
        {k: v for k, v in detector.state_dict().items() if not k.startswith("attention.")}
    )
    with torch.no_grad():
        for value in detector.attention.parameters():
            value.zero_()
        features = plain.net.forward_features(plain.normalise(images)).mean(dim=(2, 3))
        real, fake = F.linear(features / 2, *_mean_layer(plain)).unbind(dim=1)
        torch.testing.assert_close(detector.logits(images), fake - real, atol=1e-5, rtol=1e-4)


def _mean_layer(detector: BayesianResNet) -> tuple[Tensor, Tensor]:
    layer = detector.head.mu.view(2, -1)
    return layer[:, :-1], layer[:, -1]


@pytest.mark.parametrize("name", BAYESIAN_NAMES)
def test_training_counts_and_learns(name: str) -> None:
    train = easy(128)
    test = easy(64, seed=1)
    made, _ = train_detector(TrainingJob(detector=name, epochs=4), train, test, start=small(name))
    assert isinstance(made, BayesianResNet)
    assert int(made.counted) == 128
    with torch.no_grad():
        assert roc_auc_score(test.labels, made.logits(from_bytes(test.images))) > 0.9


def test_the_same_weights_can_be_scored_otherwise(images: Tensor, tmp_path: Path) -> None:
    detector = small(samples=4)
    mean = detector.scoring_with(samples=0)
    assert mean.config == {**detector.config, "samples": 0}
    assert mean.card.summary != detector.card.summary
    with torch.no_grad():
        assert torch.equal(mean.logits(images), small(samples=0).logits(images))
        assert torch.equal(mean.scoring_with(samples=4).logits(images), detector.logits(images))
        save_detector(mean, tmp_path / "mean.safetensors")
        assert torch.equal(
            load_detector(str(tmp_path / "mean.safetensors")).logits(images), mean.logits(images)
        )


@pytest.mark.parametrize(
    ("samples", "seed", "attack"), [(0, 0, "pgd-linf"), (4, 0, "pgd-linf"), (1, None, "eot")]
)
def test_attacked_with_mean_weights_or_over_draws(
    samples: int, seed: int | None, attack: str, images: Tensor, labels: Tensor
) -> None:
    detector = small(samples=samples, seed=seed)
    numbers = {"eps": 8, "step": 4, "steps": 2}
    made = (
        load_attack("eot", numbers=numbers, draws=2)
        if attack == "eot"
        else load_attack(attack, **numbers)
    )
    result = made(detector, images, labels, ids=list("abcd"), seed=0)
    assert result.images.shape == images.shape
    assert float(result.linf.max()) <= 8


def test_cifar_stem_keeps_the_pixels(images: Tensor) -> None:
    assert small().net.forward_features(images).shape[-2:] == (4, 4)
    assert small(cifar_stem=False).net.forward_features(images).shape[-2:] == (1, 1)
