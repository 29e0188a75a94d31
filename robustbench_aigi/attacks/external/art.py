"""The evasion attacks of ART, the Adversarial Robustness Toolbox, as ``art:NAME``."""

import inspect
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any
from unittest import mock

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robustbench_aigi.attacks.external import adapters
from robustbench_aigi.attacks.external.third_party import ThirdParty
from robustbench_aigi.attacks.external.traits import AttackTraits
from robustbench_aigi.attacks.external.two_logit import TwoLogits
from robustbench_aigi.errors import UnavailableError

UNSUPPORTED_KINDS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "its DLR loss needs four logits, a detector has two; use aa-binary-linf or aa-binary-l2": (
            "AutoAttack",
        ),
        "it does not take two classes; use hop-skip-jump-l2": ("SignOPTAttack",),
        "its evolution of every pixel takes minutes per image and generation; use square-linf": (
            "ThresholdAttack",
        ),
        "it makes one patch for all images, not one change per image; use one-pixel or pgd-l0": (
            "AdversarialPatch",
            "AdversarialPatchNumpy",
            "AdversarialPatchPyTorch",
            "AdversarialPatchTensorFlowV2",
        ),
        "it aims all images at one class, not both ways; use art:UniversalPerturbation": (
            "TargetedUniversalPerturbation",
        ),
        "it starts from noise that fools, and hangs where none does; use hop-skip-jump-l2": (
            "BrendelBethgeAttack",
            "GeoDA",
        ),
        "it imitates a second image, which has to be given; use art:ProjectedGradientDescent": (
            "FeatureAdversariesNumpy",
            "FeatureAdversariesPyTorch",
            "FeatureAdversariesTensorFlowV2",
        ),
        "it paints a mask of a second image, which has to be given; use art:SaliencyMapMethod": (
            "GRAPHITEBlackbox",
            "GRAPHITEWhiteboxPyTorch",
        ),
        "it takes a Python object that makes laser beams; use art:SpatialTransformation": (
            "LaserAttack",
        ),
        "it is for TensorFlow; use art:ProjectedGradientDescentPyTorch": (
            "ProjectedGradientDescentTensorFlowV2",
        ),
        "it is for video": (
            "AdversarialTexturePyTorch",
            "FrameSaliencyAttack",
            "OverTheAirFlickeringPyTorch",
        ),
        "it is for speech": ("CarliniWagnerASR", "ImperceptibleASR", "ImperceptibleASRPyTorch"),
        "it is for detectors of objects in images": (
            "DPatch",
            "OverloadPyTorch",
            "RobustDPatch",
            "SNAL",
        ),
        "it is for programs, not images": ("MalwareGDTensorFlow",),
        "it is for tables, not images": ("LowProFool",),
        "it is for decision trees": ("DecisionTreeAttack",),
        "it is for Gaussian processes": ("HighConfidenceLowUncertainty",),
    }
)
TRAITS_TABLE: Mapping[str, AttackTraits] = MappingProxyType(
    {
        **{
            name: AttackTraits(unsupported=why)
            for why, kinds in UNSUPPORTED_KINDS.items()
            for name in kinds
        },
        "BoundaryAttack": AttackTraits(minimises="l2", stops_at_boundary=True, access="scores"),
        "CarliniL0Method": AttackTraits(minimises="l0", stops_at_boundary=True),
        "CarliniL2Method": AttackTraits(minimises="l2", stops_at_boundary=True),
        "CarliniLInfMethod": AttackTraits(minimises="linf", stops_at_boundary=True),
        "DeepFool": AttackTraits(minimises="l2", stops_at_boundary=True),
        "ElasticNet": AttackTraits(minimises="l2", stops_at_boundary=True),
        "HopSkipJump": AttackTraits(minimises="any", stops_at_boundary=True, access="scores"),
        "NewtonFool": AttackTraits(minimises="l2", stops_at_boundary=True),
        "PixelAttack": AttackTraits(
            norm="l0", size="th", access="scores", defaults={"th": 1}, uses_own_verdicts=True
        ),
        "SaliencyMapMethod": AttackTraits(aims_at_label=True),
        "ShadowAttack": AttackTraits(takes_single_images=True),
        "SimBA": AttackTraits(access="scores", wants_probabilities=True),
        "SpatialTransformation": AttackTraits(access="scores"),
        "SquareAttack": AttackTraits(norm="any", access="scores"),
        "VirtualAdversarialMethod": AttackTraits(
            norm="l2", access="scores", wants_probabilities=True
        ),
        "Wasserstein": AttackTraits(defaults={"regularization": 100.0}),
        "ZooAttack": AttackTraits(minimises="l2", stops_at_boundary=True, access="scores"),
    }
)


@dataclass(frozen=True, kw_only=True)
class ART(ThirdParty):
    """An attack of ART.

    Source: Nicolae et al., Adversarial Robustness Toolbox, arXiv 1807.01069.
    """

    library = "art"
    table = TRAITS_TABLE
    spelling = MappingProxyType({"linf": np.inf, "l2": 2})
    fixed = MappingProxyType({"verbose": False, "targeted": False, "summary_writer": False})

    @classmethod
    def sources(cls) -> dict[str, type]:
        """Return the evasion attacks that ART exports.

        Raises:
            UnavailableError: it is not installed.
        """
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                from art.attacks import EvasionAttack, evasion
        except ImportError as error:
            raise UnavailableError(
                f"ART cannot be imported ({error}). Type: pip install"
                " adversarial-robustness-toolbox"
            ) from error
        return {
            name: source
            for name, source in vars(evasion).items()
            if inspect.isclass(source) and issubclass(source, EvasionAttack)
        }

    def attacked(self, view: TwoLogits, images: Tensor, labels: Tensor, seed: int) -> Tensor:
        """Run the attack on ``view`` with ``images`` and one-hot ``labels``; ``seed`` is unused."""
        inner = {} if getattr(self, "attacker", "") == "fgsm" else {"verbose": False}
        estimator = self._estimator(view, images)
        attack: Any = self.source(estimator, **self.arguments(attacker_params=inner))
        given = None if self.traits.uses_own_verdicts else self._one_hot(labels)
        with seed_numpy_generators():
            attacked = attack.generate(images.cpu().numpy(), given)
        return torch.from_numpy(attacked)

    def _estimator(self, view: TwoLogits, images: Tensor) -> Any:
        from art.estimators.classification import PyTorchClassifier

        model: nn.Module = view
        if self.traits.wants_probabilities:
            model = nn.Sequential(view, nn.Softmax(dim=1)).eval()
        return PyTorchClassifier(
            model,
            loss=nn.CrossEntropyLoss(),
            input_shape=tuple(images.shape[1:]),
            nb_classes=2,
            clip_values=(0.0, 1.0),
            device_type="gpu" if images.is_cuda else "cpu",
        )

    def _one_hot(self, labels: Tensor) -> npt.NDArray[np.int64]:
        aimed = 1 - labels if self.traits.aims_at_label else labels
        return F.one_hot(aimed, 2).cpu().numpy()


@contextmanager
def seed_numpy_generators() -> Iterator[None]:
    """Seed the generators that ART makes unseeded by the global one."""

    class Seeded(np.random.RandomState):
        def __init__(self, seed: int | None = None) -> None:
            super().__init__(np.random.randint(2**31) if seed is None else seed)  # noqa: NPY002

    with mock.patch.object(np.random, "RandomState", Seeded):
        yield


names = partial(adapters.names, ART)
attack_class = partial(adapters.attack_class, ART)
