"""The ways to train a detector: each is an objective for the one loop, with the numbers that suit
it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch

from robustbench_aigi.detectors import Detector, detectors, load_detector
from robustbench_aigi.detectors._support.clip_detector import ClipDetector
from robustbench_aigi.detectors._support.faster import copy_detector
from robustbench_aigi.detectors.base import TRAINED_HERE, TrainingDefaults
from robustbench_aigi.detectors.external.outputs import slug
from robustbench_aigi.errors import UserError
from robustbench_aigi.progress import Progress, silent
from robustbench_aigi.training.arrays import Arrays, balanced_accuracy
from robustbench_aigi.training.config import TrainConfig
from robustbench_aigi.training.guards import overfitted
from robustbench_aigi.training.log import Log
from robustbench_aigi.training.loop import clean_score, fit
from robustbench_aigi.training.lora import add_lora, merged
from robustbench_aigi.training.objectives.adversarial import (
    PGD,
    THREATS,
    Adversarial,
    Fast,
    Mixed,
    Ramp,
    Trades,
    robustness,
)
from robustbench_aigi.training.objectives.aux_class import (
    Category,
    add_second_head,
    without_second_head,
)
from robustbench_aigi.training.objectives.base import own_loss
from robustbench_aigi.training.objectives.clip_encoder import EncoderObjective, Tower, clip_of
from robustbench_aigi.training.objectives.fare import fare
from robustbench_aigi.training.objectives.tecoa import tecoa
from robustbench_aigi.training.replay import Both
from robustbench_aigi.training.training_run import History
from robustbench_aigi.training.transforms import DELIVERIES


@dataclass(frozen=True)
class Method:
    """A way to train: what a detector trained by it is called, and the attacks that the training
    shows it.
    """

    about: str
    prefix: str = ""
    seen: tuple[str, ...] = ()
    attacks: type[Adversarial] | None = None
    tower: Callable[[ClipDetector], EncoderObjective] | None = None


METHODS: Mapping[str, Method] = {
    "plain": Method("clean images"),
    "static": Method("a `++` set that build wrote", "static-"),
    "adapt": Method(
        "a new generator's images, with one in nine of what it knows already", "adapted-"
    ),
    "pgd": Method("PGD attacks on itself", "robust-", ("pgd-linf",), attacks=PGD),
    "trades": Method(
        "its answers kept where PGD would move them", "trades-", ("pgd-linf",), attacks=Trades
    ),
    "fast": Method("one-step attacks on itself", "fast-", ("fgsm",), attacks=Fast),
    "mixed": Method("a threat drawn for each batch", "mixed-", THREATS, attacks=Mixed),
    "fare": Method(
        "a CLIP tower that PGD cannot move, then a head", "robust-", ("pgd-linf",), tower=fare
    ),
    "tecoa": Method(
        "a CLIP tower whose captions hold under PGD, then a head",
        "tecoa-",
        ("pgd-linf",),
        tower=tecoa,
    ),
}
PLAINLY = ("plain", "static")
"""Methods that show images as they are, all from one set."""


def method_of(name: str) -> Method:
    """The method of that name. Raises ``UserError``."""
    if name not in METHODS:
        raise UserError(f"no method called {name!r}. Write one of {', '.join(METHODS)}.")
    return METHODS[name]


@dataclass(frozen=True, kw_only=True)
class TrainingJob:
    """What to train and how.

    ``config`` are the detector's arguments, where it begins fresh; ``numbers`` stand in the place
    of the usual ones of a :class:`TrainConfig`. Raises ``UserError`` for an unknown method or
    numbers that do not go with it, ``ConfigError`` for numbers that cannot be.
    """

    detector: str
    method: str = "plain"
    epochs: int
    seed: int = 0
    config: Mapping[str, Any] = field(default_factory=dict)
    numbers: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        method_of(self.method)
        plan = TrainConfig.of({"epochs": self.epochs, **self.numbers})
        if plan.category and (self.method not in PLAINLY or plan.lora):
            raise UserError(
                f"category goes with the methods plain and static, without lora; got {self.method},"
                f" lora={plan.lora}. Leave one out."
            )

    @property
    def name(self) -> str:
        """The trained detector's name, such as ``robust-tinyvit-5m``, or ``fare-robust-clip``."""
        prefix, own = METHODS[self.method].prefix, slug(self.detector)
        return (f"{self.method}-" if prefix and own.startswith(prefix) else prefix) + own


@dataclass(frozen=True)
class Files:
    """Where a training keeps what it needs: its state (a folder), its log (CSV), and its best
    checkpoint so far.
    """

    state: Path | None = None
    log: Path | None = None
    best: Callable[[Detector], object] = lambda detector: None


BATCHES = ((5_000, 16), (20_000, 64))
"""Training images up to which a batch size is used: few images need many steps, and stronger
augmentation.
"""


def train_detector(
    recipe: TrainingJob,
    train: Arrays,
    validation: Arrays,
    *,
    start: Detector | None = None,
    known: Arrays | None = None,
    trained_on: str = "",
    seen: tuple[str, ...] = (),
    progress: Progress = silent,
    files: Files | None = None,
) -> tuple[Detector, History]:
    """Train a detector and give it a card that says how.

    Args:
        train: for the method ``static`` the built `++` images, for ``adapt`` the new ones and the
            rehearsed.
        start: the fitted detector to fine-tune; fresh weights if None.
        known: for ``adapt``, validation images of what the detector knows already.
        trained_on: a line for the card. seen: attacks met in training, for the card, beside the
            method's own and those that ``start`` met.

    Raises:
        UserError: a method that does not fit the detector. See :func:`fit` for what can end a
            training.
    """
    torch.manual_seed(recipe.seed)
    detector = (
        copy_detector(start)
        if start is not None
        else load_detector(recipe.detector, **recipe.config)
    )
    method, files = METHODS[recipe.method], files or Files()
    if method.tower is not None:
        clip_of(detector)
    frozen = detector.parts_to_train() is not detector
    plan = plan_for(
        recipe, len(train.labels), begun=start is not None and not method.tower, frozen=frozen
    )
    told = ", ".join(filter(None, (trained_on, "with what they show" if plan.category else "")))
    shown = DELIVERIES if plan.delivered else ()
    met = tuple(dict.fromkeys((*detector.card.seen, *seen, *method.seen, *shown)))
    size = _sizes(train, start)
    card = {
        "name": recipe.name,
        "trained_on": told,
        "trained_size": size,
        "seen": met,
        "weights": TRAINED_HERE,
    }
    detector.describe(**card)
    detector.prepare(train, validation)
    if not any(part.requires_grad for part in detector.parts_to_train().parameters()):
        return detector.eval(), _measured(detector, recipe, validation)
    if plan.category:
        add_second_head(detector, train.categories)
    if plan.lora:
        add_lora(detector, plan.lora)
    with Log(files.log) as log:
        run = partial(
            fit, detector, train, validation, progress=progress, kept=files.state, log=log
        )
        last = partial(
            run, task=f"fit {recipe.name}", improved=lambda: files.best(_plain(detector, plan))
        )
        if method.tower is not None:
            _fit_tower(clip_of(detector), method.tower, plan, recipe, len(train.labels), run)
            history = last(plan.model_copy(update={"epochs": max(4, recipe.epochs)}))
        else:
            history = last(plan, **_aims(plan, recipe.method, len(train.labels), known))
    return _plain(detector, plan).eval(), history


def _sizes(train: Arrays, start: Detector | None) -> tuple[int, int] | None:
    """Smallest and largest side of the images of this training and of those before; None if one is
    unknown.
    """
    sides = list(train.images.shape[2:])
    if start is not None and start.card.trained_on:
        if start.card.trained_size is None:
            return None
        sides += start.card.trained_size
    return min(sides), max(sides)


def _plain(detector: Detector, plan: TrainConfig) -> Detector:
    """The detector as it is built: a copy with low-rank updates in its weights, and without a
    second head.
    """
    if not plan.lora and not plan.category:
        return detector
    alone = without_second_head(copy_detector(detector))
    return merged(alone) if plan.lora else alone


def _aims(plan: TrainConfig, method: str, images: int, known: Arrays | None) -> dict[str, Any]:
    """What a fit by a method to so many images lowers, what picks its best epoch, and what ends it
    early.
    """
    attacks = METHODS[method].attacks
    if attacks is None:
        lowered = Category(plan.category) if plan.category else own_loss
        return {"objective": lowered, "score": clean_score if known is None else Both(known)}
    few = (
        plan.batch < 128
    )  # eps at its height for long makes a detector with few images give one answer for all
    ramp = _ramp(plan, images, 1.0 if few else 0.5)
    added = {"objective": attacks(plan, ramp), "score": robustness(plan, method)}
    return added | ({"alarm": overfitted} if method == "fast" else {})


def _ramp(plan: TrainConfig, images: int, share: float) -> Ramp:
    """How eps grows in a fit to so many images; over ``share`` of the steps if the plan does not
    say.
    """
    share = share if plan.ramp is None else plan.ramp
    return Ramp(int(-(-images // plan.batch) * plan.epochs * share))


def _fit_tower(
    clip: ClipDetector,
    aim: Callable[[ClipDetector], EncoderObjective],
    plan: TrainConfig,
    recipe: TrainingJob,
    images: int,
    run: Callable[..., History],
) -> None:
    """Fine-tune a CLIP tower before its head is fitted anew."""
    own = {name: getattr(plan, name) for name in recipe.numbers}
    gentle = plan.model_copy(update={"rate": 3e-4, "weight_decay": 1e-4, **own})
    tower = Tower(aim(clip), gentle, _ramp(gentle, images, 0.0))
    run(gentle, objective=tower, score=tower.score, part=clip.tower, task=f"tower {recipe.name}")


def training_defaults(detector: str) -> TrainingDefaults:
    """Return the training defaults of a registered detector, and the usual ones for all others.

    Args:
        detector: a name or an address.
    """
    is_registered = detector in detectors.names()
    return detectors.get(detector).training_defaults if is_registered else TrainingDefaults()


def plan_for(recipe: TrainingJob, images: int, *, begun: bool, frozen: bool) -> TrainConfig:
    """The numbers that suit a recipe and so many training images.

    Args:
        begun: it starts from fitted weights. frozen: only a part of the detector is trained.
    """
    batch = next((b for most, b in BATCHES if images <= most), 128)
    few, attacked = batch < 128, METHODS[recipe.method].attacks is not None
    batch = max(batch, 64 if frozen else 32 if attacked else batch)
    defaults = training_defaults(recipe.detector)
    gently = begun and few and not attacked and defaults.keeps_batch_statistics
    rate = defaults.rate * (0.2 if gently else 0.5 if begun else 1.0)
    if few and not attacked and defaults.rate_on_few is not None:
        rate = defaults.rate_on_few
    numbers: dict[str, Any] = {
        "epochs": recipe.epochs,
        "batch": batch,
        "rate": rate,
        "mix": 0.0 if few else 0.1,
        "colour": (
            0.4 if few and not frozen else 0.0
        ),  # a frozen tower knows photographs as they are
        "fixed_norm": gently,
        # attacked images, or few, throw the weights about
        "memory": (60 if attacked else 100) if few else 500 if attacked else 0,
        "seed": recipe.seed,
    }
    if recipe.method == "adapt":  # as the ConvNeXtV2 card says
        numbers |= {
            "rate": 0.2 * defaults.rate,
            "smoothing": 0.05,
            "warmup": 0.07,
        }
    return TrainConfig.of({**numbers, **recipe.numbers})


def _measured(detector: Detector, recipe: TrainingJob, validation: Arrays) -> History:
    """Of a detector without parameters to train, which :meth:`Detector.prepare` has calibrated."""
    if recipe.method not in PLAINLY:
        raise UserError(
            f"{recipe.detector} has nothing to train by {recipe.method}. Type `train"
            f" {recipe.detector}`."
        )
    return History(
        [{"epoch": 0, "score": balanced_accuracy(detector.eval(), validation)}], best_epoch=0
    )
