"""How much of a query attack is hidden by a score of few digits: attacks by scores beside attacks
by verdicts.

    python -m tests.benchmarks.coarse_scores --cifake PATH

Shipped detectors behind a probability of so many digits, or behind verdicts alone. Prints a
Markdown table of accuracies in percent with 95% Wilson intervals.
"""

import argparse
import sys
from typing import final

import torch
from torch import Tensor

from robustbench_aigi.attacks import load_attack
from robustbench_aigi.config.process import tune_process
from robustbench_aigi.data import load_data
from robustbench_aigi.detectors import Card, Detector, load_detector
from robustbench_aigi.detectors._support.score_step import step_of_logits
from robustbench_aigi.evaluation.intervals import wilson

DIGITS: tuple[int | None, ...] = (None, 3, 2, 1, 0)
"""Digits of the probability: all, fewer, and none, which is the verdict."""
ATTACKS = ("square-linf", "hop-skip-jump-linf")
CLIP = 1e-6


@final
class Rounded(Detector):
    """A detector behind a probability of so many digits."""

    default_card = Card(name="rounded", source="tests", gradient="none", weights="none")

    def __init__(self, detector: Detector, digits: int | None) -> None:
        super().__init__()
        self.detector, self.digits = detector, digits

    @torch.no_grad()
    def logits(self, images: Tensor) -> Tensor:
        """Score ``(N, 3, H, W)`` images in [0, 1]."""
        logits = self.detector.logits(images).double()
        if self.digits is None:
            return logits.float()
        shown = (
            logits.sigmoid().round(decimals=self.digits) if self.digits else (logits > 0).double()
        )
        nudge = (
            1e-4 * (2 * (logits > 0).double() - 1) * (shown == 0.5)
        )  # a half is read as the verdict that it was
        return (shown + nudge).clamp(CLIP, 1 - CLIP).logit().float()


def accuracy(detector: Detector, name: str, queries: int, images: Tensor, labels: Tensor) -> str:
    """Share still classified correctly under an attack, with its interval."""
    result = load_attack(name, eps=8, queries=queries)(detector, images, labels, seed=0)
    right = int((~result.fooled).sum())
    low, high = wilson(right, len(labels))
    return f"{100 * right / len(labels):.1f} ({100 * low:.1f} to {100 * high:.1f})"


def main() -> int:
    tune_process()  # as commands do
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--cifake", required=True, help="CIFAKE: a folder, Parquet files or a hub id"
    )
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--queries", type=int, nargs="+", default=[500, 2000])
    parser.add_argument("--detectors", nargs="+", default=["cifake-cnn"])
    args = parser.parse_args()
    batch = next(
        load_data("cifake", args.cifake, split="test", limit=args.images).batches(args.images)
    )
    columns = [(name, queries) for queries in args.queries for name in ATTACKS]
    sys.stdout.write(
        "| detector | score | step seen | " + " | ".join(f"`{n}`, {q} queries" for n, q in columns)
    )
    sys.stdout.write(" |\n|---|---|---:|" + "---:|" * len(columns) + "\n")
    for name in args.detectors:
        for digits in DIGITS:
            detector = Rounded(load_detector(name, "cifake"), digits)
            step = step_of_logits(detector.logits(batch.images[:32]))
            words = {None: "exact", 0: "verdict alone"}.get(digits, f"{digits} digits")
            found = [
                accuracy(detector, attack, queries, batch.images, batch.labels)
                for attack, queries in columns
            ]
            sys.stdout.write(f"| {name} | {words} | {step:g} | {' | '.join(found)} |\n")
            sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
