"""Detectors with a Bayesian head under PGD, attacked as their mean weights and as averages over
draws (EOT).

    python -m tests.benchmarks.bayesian --cifake PATH CHECKPOINT...

Prints a Markdown table. Each attacked set is scored by the mean weights, by an average over fixed
draws, and by one over draws made again, because an attack on one of them need not hold for another.
"""

import argparse
import sys

import torch
from torch import Tensor

from robustbench_aigi.attacks import load_attack
from robustbench_aigi.config.process import tune_process
from robustbench_aigi.data import Dataset, load_data
from robustbench_aigi.detectors import Detector, load_detector
from robustbench_aigi.detectors.bayesian import BayesianResNet
from robustbench_aigi.errors import UserError
from robustbench_aigi.evaluation.intervals import wilson

EPS, STEP, STEPS, DRAWS = 8, 2, 40, 50
BATCH = 250
HEAD = "| detector | attacked | mean weights | {0} fixed draws | {0} fresh draws |"


def attacked(
    by: str, views: dict[str, BayesianResNet], images: Tensor, labels: Tensor, ids: list[str]
) -> Tensor:
    """The images as an attack leaves them."""
    pgd = {"eps": EPS, "step": STEP, "steps": STEPS}
    if by == "nothing":
        return images
    if by == "fresh draws":
        attack = load_attack("eot", attack="pgd-linf", numbers=pgd, draws=1)  # of 50 weights each
        return attack(views["fresh"], images, labels, ids=ids, full=True).images
    return load_attack("pgd-linf", **pgd)(
        views[by.split()[0]], images, labels, ids=ids, full=True
    ).images


@torch.no_grad()
def right(detector: Detector, images: Tensor, labels: Tensor) -> int:
    return int(((detector.logits(images) > detector.threshold) == (labels == 1)).sum())


def rows(place: str, data: Dataset) -> list[str]:
    """The lines of one detector."""
    trained = load_detector(place)
    if not isinstance(trained, BayesianResNet):
        raise UserError(
            f"{place} holds {trained.card.name}, which has no Bayesian head. Give resnet50-bnn's."
        )
    views = {
        "mean": trained.scoring_with(0),
        "fixed": trained.scoring_with(DRAWS),
        "fresh": trained.scoring_with(DRAWS, seed=None),
    }
    lines = []
    for by in ("nothing", "mean weights", "fixed draws", "fresh draws"):
        counts = dict.fromkeys(views, 0)
        for images, labels, ids in data.batches(BATCH):
            sent = attacked(by, views, images, labels, ids)
            for name, view in views.items():
                counts[name] += right(view, sent, labels)
        cells = []
        for count in counts.values():
            low, high = wilson(count, len(data))
            cells.append(f"{100 * count / len(data):.1f} ({100 * low:.1f} to {100 * high:.1f})")
        lines.append(f"| {trained.card.name} | {by} | {' | '.join(cells)} |\n")
    return lines


def main() -> int:
    tune_process()  # as commands do
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--cifake", required=True, help="CIFAKE: a folder, Parquet files or a hub id"
    )
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("checkpoints", nargs="+")
    args = parser.parse_args()
    data = load_data("cifake", args.cifake, split="test", limit=args.images)
    sys.stdout.write(
        f"PGD-{STEPS} at {EPS} levels, step {STEP}; accuracy in percent (95% interval), n ="
        f" {len(data)}\n\n"
    )
    sys.stdout.write(f"{HEAD.format(DRAWS)}\n{'|---' * 5}|\n")
    for place in args.checkpoints:
        sys.stdout.writelines(rows(place, data))
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
