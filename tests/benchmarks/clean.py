"""Trained detectors on CIFAKE's test images, clean: how good they are, how large, and how quick on
the CPU.

    OMP_NUM_THREADS=2 python -m tests.benchmarks.clean --cifake PATH CHECKPOINT...

Prints a Markdown table, a row a checkpoint. Latency is the median of several rounds at batch 1 and
at batch 32; leave the machine alone meanwhile.
"""

import argparse
import sys
from pathlib import Path

import torch
from sklearn.metrics import average_precision_score, roc_auc_score

from robustbench_aigi.config.process import tune_process
from robustbench_aigi.data import load_data
from robustbench_aigi.detectors import Detector, load_detector
from robustbench_aigi.evaluation.intervals import wilson
from robustbench_aigi.training import Arrays
from robustbench_aigi.training.arrays import predict
from tests.benchmarks.latency import BATCHES, medians, processor

HEAD = (
    "| detector | accuracy (95% interval) | AP | AUC | parameters, M | batch 1, ms | batch 32,"
    " ms/image | trained on |"
)


def row(detector: Detector, data: Arrays, rounds: int) -> str:
    """One line of the table."""
    logits = predict(detector, data.images)
    right = int(((logits > detector.threshold) == (data.labels == 1)).sum())
    low, high = wilson(right, len(data.labels))
    scores, labels = logits.double().numpy(), data.labels.numpy()
    millions = sum(p.numel() for p in detector.parameters()) / 1e6
    images = data.images[: max(BATCHES)] / 255
    times = [medians({"": detector}, images[:batch], rounds)[""] for batch in BATCHES]
    return (
        f"| {detector.card.name} | {100 * right / len(labels):.2f} ({100 * low:.2f} to"
        f" {100 * high:.2f}) | {average_precision_score(labels, scores):.4f} |"
        f" {roc_auc_score(labels, scores):.4f} | {millions:.2f} | {times[0]:.1f} | {times[1]:.2f} |"
        f" {detector.card.trained_on} |\n"
    )


def main() -> int:
    tune_process()  # as commands do
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--cifake", required=True, help="CIFAKE: a folder, Parquet files or a hub id"
    )
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument(
        "checkpoints",
        nargs="+",
        help=".safetensors files, or NAME for the weights that are shipped",
    )
    args = parser.parse_args()
    data = Arrays(*load_data("cifake", args.cifake, split="test").arrays())
    sys.stdout.write(
        f"n = {len(data.labels)}; {processor()}, {torch.get_num_threads()} threads\n\n{HEAD}\n"
    )
    sys.stdout.write("|---" * HEAD.count(" | ") + "|---|\n")
    for place in args.checkpoints:
        shipped = None if Path(place).suffix else "cifake"
        sys.stdout.write(row(load_detector(place, shipped), data, args.rounds))
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
