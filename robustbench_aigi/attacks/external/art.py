"""The evasion attacks of ART, the Adversarial Robustness Toolbox, on images through PyTorch, as
``art:NAME``.
"""

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
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robustbench_aigi.attacks.external import adapters
from robustbench_aigi.attacks.external.third_party import AttackTraits, ThirdParty
from robustbench_aigi.attacks.external.two_logit import TwoLogits
from robustbench_aigi.errors import UnavailableError

REFUSED: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "its DLR loss needs four logits, a detector has two; use aa-binary-linf or aa-binary-l2": (
            "AutoAttack",
        ),
        "it refuses two classes; use hop-skip-jump-l2": ("SignOPTAttack",),
        "its evolution of every pixel takes minutes an image and generation; use square-linf": (
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
TABLE: Mapping[str, AttackTraits] = MappingProxyType(
    {
        **{name: AttackTraits(refuse=why) for why, kinds in REFUSED.items() for name in kinds},
        "BoundaryAttack": AttackTraits(minimises="l2", boundary=True, access="scores"),
        "CarliniL0Method": AttackTraits(minimises="l0", boundary=True),
        "CarliniL2Method": AttackTraits(minimises="l2", boundary=True),
        "CarliniLInfMethod": AttackTraits(minimises="linf", boundary=True),
        "DeepFool": AttackTraits(minimises="l2", boundary=True),
        "ElasticNet": AttackTraits(minimises="l2", boundary=True),
        "HopSkipJump": AttackTraits(minimises="any", boundary=True, access="scores"),
        "NewtonFool": AttackTraits(minimises="l2", boundary=True),
        "PixelAttack": AttackTraits(norm="l0", size="th", access="scores", numbers={"th": 1}),
        "ShadowAttack": AttackTraits(single=True),
        "SimBA": AttackTraits(access="scores"),
        "SpatialTransformation": AttackTraits(access="scores"),
        "SquareAttack": AttackTraits(norm="any", access="scores"),
        "VirtualAdversarialMethod": AttackTraits(norm="l2", access="scores"),
        "Wasserstein": AttackTraits(numbers={"regularization": 100.0}),
        "ZooAttack": AttackTraits(minimises="l2", boundary=True, access="scores"),
    }
)
PROBABILITIES = ("SimBA", "VirtualAdversarialMethod")
"""Those that want the softmax of the logits."""
OWN_LABELS = ("PixelAttack",)
"""Those that refuse labels of two classes, but take the detector's own verdicts."""
AIMED = ("SaliencyMapMethod",)
"""Those that take the label to climb to, not the one to leave."""


@dataclass(frozen=True, kw_only=True)
class ART(ThirdParty):
    """An attack of ART. Source: Nicolae et al., Adversarial Robustness Toolbox, arXiv
    1807.01069.
    """

    library = "art"
    table = TABLE
    spelling = MappingProxyType({"linf": np.inf, "l2": 2})
    fixed = MappingProxyType({"verbose": False, "targeted": False, "summary_writer": False})

    @classmethod
    def sources(cls) -> dict[str, type]:
        """The evasion attacks that ART exports. Raises ``UnavailableError`` where it is not
        installed.
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
            k: v
            for k, v in vars(evasion).items()
            if inspect.isclass(v) and issubclass(v, EvasionAttack)
        }

    def attacked(self, view: TwoLogits, images: Tensor, labels: Tensor, seed: int) -> Tensor:
        """Call the attack, with labels as one-hot rows."""
        from art.estimators.classification import PyTorchClassifier

        estimator = PyTorchClassifier(
            nn.Sequential(view, nn.Softmax(dim=1)).eval() if self.kind in PROBABILITIES else view,
            loss=nn.CrossEntropyLoss(),
            input_shape=tuple(images.shape[1:]),
            nb_classes=2,
            clip_values=(0.0, 1.0),
            device_type="gpu" if images.is_cuda else "cpu",
        )
        inner = {} if getattr(self, "attacker", "") == "fgsm" else {"verbose": False}
        attack: Any = self.source(estimator, **self.arguments(attacker_params=inner))
        with generators_seeded():
            given = F.one_hot(1 - labels if self.kind in AIMED else labels, 2).cpu().numpy()
            attacked = attack.generate(
                images.cpu().numpy(), None if self.kind in OWN_LABELS else given
            )
        return torch.from_numpy(attacked)


@contextmanager
def generators_seeded() -> Iterator[None]:
    """Seed by the global generator the ones that ART makes unseeded."""

    class Seeded(np.random.RandomState):
        def __init__(self, seed: int | None = None) -> None:
            super().__init__(np.random.randint(2**31) if seed is None else seed)  # noqa: NPY002

    with mock.patch.object(np.random, "RandomState", Seeded):
        yield


names = partial(adapters.names, ART)
attack_class = partial(adapters.attack_class, ART)
