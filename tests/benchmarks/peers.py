"""Our attacks beside the same ones of other libraries, on the shipped detectors of CIFAKE.

    python -m tests.benchmarks.peers --cifake PATH --images 1000 --ensemble 300

Prints a Markdown table. Peers come from the extra ``bench``, see the detector through the two-logit
view, and are scored as rounded to the 8-bit grid, like ours. Leave the machine alone meanwhile, or
the seconds mean nothing.
"""

import argparse
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import foolbox
import torch
import torchattacks
from art.attacks.evasion import ProjectedGradientDescentPyTorch
from art.estimators.classification import PyTorchClassifier
from pyautoattack import AutoAttack
from statsmodels.stats.proportion import proportion_confint
from torch import Tensor, nn
from torch.nn import functional as F

from robustbench_aigi.attacks import load_attack
from robustbench_aigi.attacks._engine.oracle import Oracle
from robustbench_aigi.attacks.external.two_logit import TwoLogits
from robustbench_aigi.data import load_data
from robustbench_aigi.detectors import Detector, load_detector
from robustbench_aigi.detectors._support.randomness import seeded
from robustbench_aigi.imaging.pixels import MAX_LEVEL, snap

DETECTORS = ("resnet18-c32", "tinyvit-5m")
EPS, STEP, STEPS = 8, 2, 10
RESTARTS, ENSEMBLE_STEPS, QUERIES = 2, 100, 5000
Contender = Callable[[Oracle, Tensor, Tensor], Tensor]
"""A view of the detector, images in [0, 1] and labels, to attacked images."""


def pgd(full: bool) -> Contender:
    attack = load_attack("pgd-linf", eps=EPS, step=STEP, steps=STEPS)
    return lambda oracle, images, labels: attack(oracle.detector, images, labels, full=full).images


def ensemble(oracle: Oracle, images: Tensor, labels: Tensor) -> Tensor:
    attack = load_attack(
        "aa-binary-linf", eps=EPS, steps=ENSEMBLE_STEPS, restarts=RESTARTS, queries=QUERIES
    )
    return attack(oracle.detector, images, labels).images


def torchattacks_pgd(oracle: Oracle, images: Tensor, labels: Tensor) -> Tensor:
    attacked: Tensor = torchattacks.PGD(
        TwoLogits(oracle), EPS / MAX_LEVEL, STEP / MAX_LEVEL, STEPS
    )(images, labels)
    return attacked


def art_pgd(oracle: Oracle, images: Tensor, labels: Tensor) -> Tensor:
    estimator = PyTorchClassifier(
        TwoLogits(oracle),
        nn.CrossEntropyLoss(),
        tuple(images.shape[1:]),
        2,
        clip_values=(0.0, 1.0),
        device_type="cpu",
    )
    attack = ProjectedGradientDescentPyTorch(
        estimator,
        eps=EPS / MAX_LEVEL,
        eps_step=STEP / MAX_LEVEL,
        max_iter=STEPS,
        num_random_init=1,
        batch_size=len(images),
        verbose=False,
    )
    return torch.from_numpy(attack.generate(images.numpy(), F.one_hot(labels, 2).numpy()))


def foolbox_pgd(oracle: Oracle, images: Tensor, labels: Tensor) -> Tensor:
    model = foolbox.PyTorchModel(TwoLogits(oracle), bounds=(0, 1), device="cpu")
    attack = foolbox.attacks.LinfPGD(abs_stepsize=STEP / MAX_LEVEL, steps=STEPS, random_start=True)
    attacked: Tensor = attack(model, images, labels, epsilons=EPS / MAX_LEVEL)[1]
    return attacked


def public_autoattack(oracle: Oracle, images: Tensor, labels: Tensor) -> Tensor:
    """The members that run on two classes; the untargeted FAB, because there is one other class."""
    members = ["apgd-ce", "fab", "square"]
    attack = AutoAttack(
        TwoLogits(oracle),
        attacks=members,
        eps=EPS / MAX_LEVEL,
        norm="Linf",
        seed=0,
        version="custom",
    )
    attack.apgd.n_restarts, attack.fab.n_restarts, attack.square.n_restarts = RESTARTS, 1, 1
    attack.apgd.n_iter = attack.fab.n_iter = ENSEMBLE_STEPS
    attack.square.n_queries = QUERIES
    attacked: Tensor = attack.run_standard_evaluation(images, labels, batch_size=len(images))[0]
    return attacked


CONTENDERS: dict[tuple[str, str], Contender] = {
    ("PGD, each image until fooled", "robustbench-aigi"): pgd(full=False),
    ("PGD, full strength", "robustbench-aigi"): pgd(full=True),
    ("PGD", "torchattacks"): torchattacks_pgd,
    ("PGD", "ART"): art_pgd,
    ("PGD", "foolbox"): foolbox_pgd,
    ("APGD, FAB, Square (aa-binary-linf)", "robustbench-aigi"): ensemble,
    ("APGD-CE, FAB, Square", "auto-attack (pyautoattack)"): public_autoattack,
}


class Outcome(NamedTuple):
    """How many images are still classified rightly, and the seconds it took."""

    right: int
    seconds: float


def outcome(
    detector: Detector, images: Tensor, labels: Tensor, contender: Contender, name: str
) -> Outcome:
    """Attack all images; what comes is rounded to the grid, checked and scored."""
    with (
        Oracle(detector, images.mul(MAX_LEVEL).round(), labels, full=True) as oracle,
        seeded(0),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        started = time.perf_counter()
        attacked = snap(contender(oracle, images, labels).detach())
        seconds = time.perf_counter() - started
    levels = ((attacked - images) * MAX_LEVEL).abs().max().round().item()
    if levels > EPS:
        raise SystemExit(f"{name} changed a value by {levels:g} grey levels, more than {EPS}")
    with torch.no_grad():
        logits = torch.cat([detector.logits(part) for part in attacked.split(128)])
    return Outcome(int(((logits > detector.threshold) == (labels == 1)).sum()), seconds)


def row(detector: Detector, images: Tensor, labels: Tensor, attack: str, library: str) -> str:
    """One line of the table."""
    right, seconds = outcome(
        detector, images, labels, CONTENDERS[attack, library], f"{attack} of {library}"
    )
    low, high = proportion_confint(right, len(labels), method="wilson")
    accuracy = f"{100 * right / len(labels):.1f}% ({100 * low:.1f} to {100 * high:.1f})"
    return (
        f"| {detector.card.name} | {attack} | {library} | {len(labels)} | {accuracy} |"
        f" {seconds:.1f} |\n"
    )


def main(cifake: Path, count: int, few: int, names: Sequence[str]) -> None:
    batches = list(load_data("cifake", str(cifake), split="test", limit=count).batches(count))
    images, labels = (
        torch.cat([getattr(batch, part) for batch in batches]) for part in ("images", "labels")
    )
    sys.stdout.write(
        "| detector | attack | library | n | accuracy (95% interval) | seconds"
        " |\n|---|---|---|---|---|---|\n"
    )
    for name in names:
        detector = load_detector(name, weights="cifake").eval()
        for attack, library in CONTENDERS:
            every = max(1, count // few) if attack.startswith("APGD") else 1
            sys.stdout.write(
                row(detector, images[::every].contiguous(), labels[::every], attack, library)
            )
            sys.stdout.flush()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cifake", type=Path, required=True, help="the data set's folder")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument(
        "--ensemble",
        type=int,
        default=300,
        help="of these, at least so many for the ensembles, which take minutes",
    )
    parser.add_argument(
        "--detectors", nargs="+", default=DETECTORS, help="names of those whose CIFAKE weights ship"
    )
    chosen = parser.parse_args()
    main(chosen.cifake, chosen.images, chosen.ensemble, chosen.detectors)
