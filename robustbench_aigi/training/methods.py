"""The ways to train a detector: plain, on a static set, on PGD attacks as it learns; FARE and TeCoA for CLIP towers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from robustbench_aigi.attacks import load_attack
from robustbench_aigi.detectors import Detector, load_detector
from robustbench_aigi.detectors.anyone.ends import slug
from robustbench_aigi.detectors.clip_mlp import ClipDetector
from robustbench_aigi.detectors.faster import copied
from robustbench_aigi.errors import UserError
from robustbench_aigi.training.adversarial import AttackSchedule, pgd_training, robust_accuracy
from robustbench_aigi.training.arrays import Arrays, balanced_accuracy
from robustbench_aigi.training.fare import fare
from robustbench_aigi.training.fit import History, Plan, fit
from robustbench_aigi.training.tecoa import tecoa

Progress = Callable[[str, int, int], None]
METHODS = {"plain": "", "static": "static-", "pgd": "robust-", "fare": "robust-", "tecoa": "tecoa-"}
"""Method to the prefix that the trained detector's name gets."""
TOWER = ("fare", "tecoa")
"""Methods that train a CLIP tower, and then a head on it."""
SEEN = {"pgd": ("pgd-linf",), "fare": ("fare",), "tecoa": ("tecoa",)}
"""Attacks that a method of training shows the detector."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What to train and how. ``config`` are the detector's arguments, where it begins fresh; ``eps`` (grey levels) and
    ``steps`` are of the inner attack of ``pgd``, ``fare`` and ``tecoa``. Raises ``UserError`` for an unknown method."""

    detector: str
    method: str = "plain"
    epochs: int
    eps: float = 8
    steps: int = 3
    seed: int = 0
    config: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise UserError(f"no method called {self.method!r}. Write one of {', '.join(METHODS)}.")

    @property
    def name(self) -> str:
        """The trained detector's name, such as ``robust-tinyvit-5m``, or ``fare-robust-clip``."""
        prefix, own = METHODS[self.method], slug(self.detector)
        return (f"{self.method}-" if prefix and own.startswith(prefix) else prefix) + own


BATCHES = ((5_000, 16), (20_000, 64))
"""Training images up to which a batch size is used: few images need many steps, and stronger augmentation."""
RATES = {"resnet18-c32": 2e-3}
"""Peak rates of AdamW; 1e-3 for the others."""
FEW_RATES = {"cifake-cnn": 2e-3}
"""Peak rates for few images, where that of many is too low: halved, the CNN is far from done after 30 epochs."""
GENTLE = ("tinyvit-5m", "tinyvit-11m", "tinyvit-21m")
"""Detectors whose batch statistics few images upset: these are kept, and the rate is lower, when fine-tuning on few."""


def train_detector(
    recipe: Recipe,
    train: Arrays,
    validation: Arrays,
    *,
    start: Detector | None = None,
    trained_on: str = "",
    seen: tuple[str, ...] = (),
    progress: Progress = lambda task, done, total: None,
    kept: Path | None = None,
) -> tuple[Detector, History]:
    """Train a detector and give it a card that says how.

    Args:
        train: for the method ``static`` the built `++` images, else clean ones.
        start: the fitted detector to fine-tune; fresh weights if None.
        trained_on: a line for the card. seen: attacks met in training, for the card; the method's own are added.
        kept: a file for the state after each epoch, as in :func:`fit`; FARE and TeCoA keep none.

    Raises:
        UserError: a method that does not fit the detector. Collapsed: see :func:`fit`.
    """
    torch.manual_seed(recipe.seed)
    detector = copied(start) if start is not None else load_detector(recipe.detector, **recipe.config)
    frozen = detector.parts_to_train() is not detector
    plan = plan_for(recipe, len(train.labels), begun=start is not None and recipe.method not in TOWER, frozen=frozen)
    detector.prepare(train, validation)
    if not any(part.requires_grad for part in detector.parts_to_train().parameters()):
        history = _measured(detector, recipe, validation)
    elif recipe.method == "pgd":
        history = _adversarial(detector, recipe, train, validation, plan, progress, kept)
    elif recipe.method in TOWER:
        history = _robust_clip(detector, recipe, train, validation, plan, progress)
    else:
        history = fit(detector, train, validation, plan, progress=progress, task=f"fit {recipe.name}", kept=kept)
    seen += SEEN.get(recipe.method, ())
    detector.card = detector.card.model_copy(update={"name": recipe.name, "trained_on": trained_on, "seen": seen})
    return detector.eval(), history


def plan_for(recipe: Recipe, images: int, *, begun: bool, frozen: bool) -> Plan:
    """The numbers that suit a recipe and so many training images.

    Args:
        begun: it starts from fitted weights. frozen: only a part of the detector is trained.
    """
    batch = next((b for most, b in BATCHES if images <= most), 128)
    few, pgd = batch < 128, recipe.method == "pgd"
    batch = max(batch, 64 if frozen else 32 if pgd else batch)
    gently = begun and few and not pgd and recipe.detector in GENTLE
    rate = RATES.get(recipe.detector, 1e-3) * (0.2 if gently else 0.5 if begun else 1.0)
    return Plan(
        epochs=recipe.epochs,
        batch=batch,
        rate=FEW_RATES.get(recipe.detector, rate) if few and not pgd else rate,
        mix=0.0 if few else 0.1,
        colour=0.4 if few and not frozen else 0.0,  # a frozen tower knows photographs as they are
        fixed_norm=gently,
        memory=(60 if pgd else 100) if few else 500 if pgd else 0,  # attacked images, or few, throw the weights about
        seed=recipe.seed,
    )


def _measured(detector: Detector, recipe: Recipe, validation: Arrays) -> History:
    """Of a detector without parameters to train, which :meth:`Detector.prepare` has calibrated."""
    if recipe.method not in ("plain", "static"):
        raise UserError(f"{recipe.detector} has nothing to train by {recipe.method}. Type `train {recipe.detector}`.")
    return History([{"epoch": 0, "score": balanced_accuracy(detector.eval(), validation)}], best_epoch=0)


def _adversarial(
    detector: Detector,
    recipe: Recipe,
    train: Arrays,
    validation: Arrays,
    plan: Plan,
    progress: Progress,
    kept: Path | None,
) -> History:
    steps = -(-len(train.labels) // plan.batch) * plan.epochs
    few = plan.batch < 128  # eps at its height for long makes a detector with few images give one answer for all
    ramp = AttackSchedule("pgd-linf", recipe.eps, recipe.steps, steps if few else steps // 2)
    judge = load_attack("pgd-linf", eps=recipe.eps, step=2, steps=7)
    return fit(
        detector,
        train,
        validation,
        plan,
        objective=pgd_training(ramp, seed=recipe.seed),
        score=lambda d, data: robust_accuracy(d, data, judge),
        progress=progress,
        task=f"fit {recipe.name}",
        kept=kept,
    )


def _robust_clip(
    detector: Detector, recipe: Recipe, train: Arrays, validation: Arrays, plan: Plan, progress: Progress
) -> History:
    if not isinstance(detector, ClipDetector):
        raise UserError(
            f"{recipe.method} trains a CLIP tower, got {recipe.detector}. "
            f"Type `train clip-mlp --method {recipe.method}`."
        )
    tower_plan = replace(plan, rate=3e-4, weight_decay=1e-4)
    tune = fare if recipe.method == "fare" else tecoa
    tune(detector, train, tower_plan, eps=recipe.eps, steps=recipe.steps, progress=progress)
    head_plan = replace(plan, epochs=max(4, recipe.epochs))
    return fit(detector, train, validation, head_plan, progress=progress, task=f"fit {recipe.name}")
