"""What is reported of detectors that draw at random: what each search saw, one fresh draw, a
majority of draws.

    python -m tests.benchmarks.random_scores
    python -m tests.benchmarks.random_scores --cifake PATH CHECKPOINT...

Without checkpoints: a detector with standard normal noise on its logit and a margin of 2, of which
2.28% of draws are wrong, under attacks that change nothing (eps 0). With them: detectors with a
Bayesian head, its weights drawn again at each call. Prints Markdown tables, percent of images that
are called wrongly.
"""

import argparse
import sys
from collections.abc import Iterator
from typing import Any, final

import torch
from torch import Tensor

from robustbench_aigi.attacks import load_attack
from robustbench_aigi.attacks.result import Result
from robustbench_aigi.config.process import tune_process
from robustbench_aigi.data import load_data
from robustbench_aigi.detectors import Card, Detector, load_detector
from robustbench_aigi.evaluation.intervals import wilson

NOTHING: list[tuple[str, dict[str, Any]]] = [
    ("square-linf", {"eps": 0, "queries": 200}),
    ("square-linf", {"eps": 0, "queries": 200, "draws": 8}),
    ("hop-skip-jump-linf", {"eps": 0, "queries": 200}),
    ("pgd-linf", {"eps": 0, "steps": 1}),
    ("pgd-linf", {"eps": 0, "steps": 10}),
    ("pgd-linf", {"eps": 0, "steps": 40}),
    ("apgd-linf", {"eps": 0, "steps": 40}),
    ("eot", {"numbers": {"eps": 0}, "draws": 8}),
]
PGD = {"eps": 8, "step": 2, "steps": 40}
ATTACKS: list[tuple[str, dict[str, Any]]] = [
    ("jpeg", {"quality": 100}),
    ("square-linf", {"eps": 0, "queries": 200}),
    ("square-linf", {"eps": 2, "queries": 200}),
    ("square-linf", {"eps": 2, "queries": 200, "draws": 4}),
    ("pgd-linf", {"eps": 1, "step": 1, "steps": 10}),
    ("eot", {"numbers": {"eps": 1, "step": 1, "steps": 10}, "draws": 4}),
    ("pgd-linf", PGD),
]


@final
class Noisy(Detector):
    """Brightness, with standard normal noise on the logit."""

    default_card = Card(name="noisy", source="tests", weights="none")

    def logits(self, images: Tensor) -> Tensor:
        """Twenty times the brightness above a half, and noise."""
        return 20 * (images.mean(dim=(1, 2, 3)) - 0.5) + torch.randn(len(images))


def lines(
    detector: Detector, images: Tensor, labels: Tensor, attacks: list[tuple[str, dict[str, Any]]]
) -> Iterator[str]:
    """A row of the table for each attack."""
    for name, numbers in attacks:
        result: Result = load_attack(name, **numbers)(detector, images, labels, seed=0)
        wrong = result.fresh.float().mean(dim=0)
        shares = (result.kept.float().mean(), wrong.mean(), (wrong > 0.5).float().mean())
        cells = [f"{100 * share:.1f} ({ends(float(share), len(labels))})" for share in shares]
        words = ", ".join(f"{key} {value}" for key, value in numbers.items())
        yield f"| `{name}`, {words} | {' | '.join(cells)} |\n"


def ends(share: float, n: int) -> str:
    low, high = wilson(share * n, n)
    return f"{100 * low:.1f} to {100 * high:.1f}"


def main() -> int:
    tune_process()  # as commands do
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cifake", help="CIFAKE: a folder, Parquet files or a hub id")
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("checkpoints", nargs="*")
    args = parser.parse_args()
    head = (
        "| attack | kept by the search | one draw, mean of 11 | majority of 11"
        " |\n|---|---:|---:|---:|\n"
    )
    if not args.checkpoints:
        torch.manual_seed(0)
        labels = torch.arange(args.images) % 2
        levels = torch.where(labels == 1, 153 / 255, 102 / 255)
        images = levels.view(-1, 1, 1, 1).expand(-1, 3, 32, 32).contiguous()
        sys.stdout.write(head)
        sys.stdout.writelines(lines(Noisy(), images, labels, NOTHING))
    for place in args.checkpoints:
        data = load_data("cifake", args.cifake, split="test", limit=args.images)
        batch = next(data.batches(args.images))
        detector = load_detector(place, seed=None, samples=1)
        sys.stdout.write(
            f"\n{detector.card.name}, one draw of the weights per call, n = {len(data)}\n\n{head}"
        )
        sys.stdout.writelines(lines(detector, batch.images, batch.labels, ATTACKS))
    return 0


if __name__ == "__main__":
    sys.exit(main())
