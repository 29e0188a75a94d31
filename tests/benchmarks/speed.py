"""How quick the attacks are, as ratios in one run on one machine: ``python -m
tests.benchmarks.speed``.

Give CIFAKE's place with --cifake; without it `mini` is attacked. Peers come from the extra
``bench``. Each contender is run once to warm up and then in turns; a ratio is of medians. Leave the
machine alone meanwhile.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
import torchattacks
from torch import Tensor, nn

from robustbench_aigi.attacks import load_attack
from robustbench_aigi.data import load_data
from robustbench_aigi.detectors import Detector, load_detector
from robustbench_aigi.imaging.pixels import snap
from tests.benchmarks.peers import ensemble, outcome, public_autoattack

Contender = Callable[[], object]

STARTS = (
    "a random start",
    "a random start, clean logits known as in an evaluation",
    "the clean image",
)

POPULATION = 10
"""Of our one-pixel attack to equal success; it gets as many generations as it needs."""
MAX_GENERATIONS = 12
"""Generations after the first that it may need."""


class Line(NamedTuple):
    """A row of the table. ``ratio`` compares as ``sense`` says with ``bound``."""

    work: str
    ratio: float
    sense: str
    bound: float
    detail: str

    @property
    def reached(self) -> bool:
        return self.ratio >= self.bound if self.sense == ">=" else self.ratio <= self.bound


class TwoLogits(nn.Module):
    """The exact two-logit view ``[0, s]``, for peers."""

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.detector = detector
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        images = images.clone()
        if images.requires_grad:
            images.register_hook(
                Tensor.contiguous
            )  # torchattacks takes the slope apart with view()
        logits = self.detector.logits(images)
        return torch.stack([torch.zeros_like(logits), logits], dim=1)


def seconds(contenders: Mapping[str, Contender], repeats: int) -> dict[str, float]:
    """Median seconds of each, the contenders taking turns after a round to warm up."""
    taken: dict[str, list[float]] = {name: [] for name in contenders}
    if repeats > 1:
        for contender in contenders.values():
            contender()
    for _ in range(repeats):
        for name, contender in contenders.items():
            began = time.perf_counter()
            contender()
            taken[name].append(time.perf_counter() - began)
    return {name: statistics.median(times) for name, times in taken.items()}


def logits_of(detector: Detector, images: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.cat([detector.logits(part) for part in snap(images).split(256)])


def accuracy(detector: Detector, images: Tensor, labels: Tensor) -> float:
    return float(
        ((logits_of(detector, images) > detector.threshold) == (labels == 1)).double().mean()
    )


def pgd(detector: Detector, images: Tensor, labels: Tensor) -> list[Line]:
    """Our PGD against torchattacks', from random starts and from the clean image, and against its
    own bare passes.
    """
    for parameter in detector.parameters():
        parameter.requires_grad_(False)
    lines = [against_torchattacks(detector, images, labels, start) for start in STARTS]
    few, known = images[:128], labels[:128]
    ours = load_attack("pgd-linf", eps=8, step=2, steps=10)
    times = seconds(
        {
            "full": lambda: ours(detector, few, known, full=True),
            "bare": lambda: bare(detector, few),
        },
        9,
    )
    ratio = times["full"] / times["bare"]
    return [
        *lines,
        Line(
            "PGD-10 at full strength, against its bare passes, time", ratio, "<=", 1.05, "n = 128"
        ),
    ]


def against_torchattacks(detector: Detector, images: Tensor, labels: Tensor, start: str) -> Line:
    """Images a second of PGD-10, each image until it fools, at the same numbers."""
    random_start = start != "the clean image"
    known = logits_of(detector, images) if start == STARTS[1] else None
    ours = load_attack("pgd-linf", eps=8, step=2, steps=10, random_start=random_start)
    theirs = torchattacks.PGD(
        TwoLogits(detector), eps=8 / 255, alpha=2 / 255, steps=10, random_start=random_start
    )
    got: dict[str, Tensor] = {}

    def run_ours() -> None:
        got["ours"] = ours(detector, images, labels, clean_logits=known).images

    def run_theirs() -> None:
        got["theirs"] = torch.cat(
            [theirs(x, y) for x, y in zip(images.split(256), labels.split(256), strict=True)]
        )

    times = seconds({"ours": run_ours, "theirs": run_theirs}, 5)
    accuracies = {name: accuracy(detector, made, labels) for name, made in got.items()}
    detail = (
        f"accuracy {accuracies['ours']:.3f} against {accuracies['theirs']:.3f}, n = {len(images)}"
    )
    return Line(
        f"PGD-10 L-inf from {start}, against torchattacks",
        times["theirs"] / times["ours"],
        ">=",
        3,
        detail,
    )


def bare(detector: Detector, images: Tensor) -> None:
    """The passes of PGD-10 at full strength: the clean forward, ten forwards with their backwards,
    the last forward.
    """
    with torch.no_grad():
        detector.logits(images)
        detector.logits(images)
    for _ in range(10):
        leaf = images.clone().requires_grad_(True)
        torch.autograd.grad(detector.logits(leaf).sum(), leaf)


def one_pixel(detector: Detector, images: Tensor, labels: Tensor) -> list[Line]:
    """Evaluations a second against the bare forward and torchattacks; and the time to the same
    success.
    """
    few, known = images[:4], labels[:4]
    ours = load_attack("one-pixel", population=400, generations=9)
    sizes: dict[str, Contender] = {
        str(size): partial(forwards, detector, images, size) for size in (64, 128, 256, 400)
    }
    counted = Counted(detector)
    theirs = torchattacks.OnePixel(counted)
    theirs(few, known)
    each, rounds = counted.seen, {"ours": lambda: ours(detector, few, known, full=True), **sizes}
    times = seconds(rounds | {"theirs": lambda: theirs(few, known)}, 5)
    own, peer = times.pop("ours") / (4 * 4001) * 1000, times.pop("theirs") / each * 1000
    best = min(times, key=lambda size: times[size])
    forward = times[best] / 2048 * 1000
    detail = (
        f"{own:.3f} s per 1 000 evaluations, bare forward {forward:.3f} (batch {best}),"
        f" torchattacks {peer:.3f}"
    )
    lines = [
        Line(
            "one-pixel per evaluation, against the bare forward, time",
            own / forward,
            "<=",
            1.05,
            detail,
        ),
    ]
    return [*lines, equal_success(detector, images[::2], labels[::2])]


def forwards(detector: Detector, images: Tensor, size: int) -> None:
    with torch.no_grad():
        for part in images.repeat(2048 // len(images) + 1, 1, 1, 1)[:2048].split(size):
            detector.logits(part)


class Counted(TwoLogits):
    """Counts the images it saw."""

    seen = 0

    def forward(self, images: Tensor) -> Tensor:
        self.seen += len(images)
        return super().forward(images)


def equal_success(detector: Detector, images: Tensor, labels: Tensor) -> Line:
    """Torchattacks as it comes, 110 evaluations per image; ours with as few as fool as many
    images.
    """
    theirs = torchattacks.OnePixel(TwoLogits(detector))
    began = time.perf_counter()
    goal = accuracy(detector, theirs(images, labels), labels)
    peer = time.perf_counter() - began
    for generations in range(MAX_GENERATIONS):
        ours = load_attack("one-pixel", population=POPULATION, generations=generations)
        began = time.perf_counter()
        left = accuracy(detector, ours(detector, images, labels).images, labels)
        own = time.perf_counter() - began
        if left <= goal:
            break
    detail = (
        f"accuracy left {left:.3f} with {POPULATION * (generations + 1)} evaluations against"
        f" {goal:.3f} with 110"
    )
    detail += f", {own:.1f} against {peer:.1f} s, n = {len(images)}"
    return Line(
        "one-pixel to equal success, against torchattacks, time", peer / own, ">=", 6, detail
    )


def against_autoattack(detector: Detector, images: Tensor, labels: Tensor) -> Line:
    """`aa-binary-linf` against auto-attack with the same members, steps, restarts and queries."""
    ours = outcome(detector, images, labels, ensemble, "aa-binary-linf")
    theirs = outcome(detector, images, labels, public_autoattack, "auto-attack")
    detail = f"accuracy {ours.right / len(labels):.3f} against {theirs.right / len(labels):.3f}, "
    detail += f"{ours.seconds:.0f} against {theirs.seconds:.0f} s, n = {len(labels)}"
    return Line("aa-binary against auto-attack", theirs.seconds / ours.seconds, ">=", 1.5, detail)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cifake", help="CIFAKE: a folder, Parquet files or a hub id")
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--out", type=Path, default=Path("runs/bench.json"))
    args = parser.parse_args()
    detector = load_detector("tinyvit-5m", "cifake")
    name = "cifake" if args.cifake else "mini"
    data = load_data(name, args.cifake, split="test", limit=args.images)
    images, labels = data.arrays()
    images = images.float() / 255
    lines = pgd(detector, images, labels) + one_pixel(detector, images, labels)
    lines.append(against_autoattack(detector, images[::4].contiguous(), labels[::4]))
    sys.stdout.write(table(lines) + "\n")
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps([line._asdict() for line in lines], indent=2))
    return 0


def table(lines: list[Line]) -> str:
    """Markdown."""
    head = "| work | ratio | must reach | |\n|---|---|---|---|"
    rows = [
        f"| {line.work} ({line.detail}) | {line.ratio:.2f}x | {line.sense} {line.bound:g}x | "
        f"{'reached' if line.reached else 'not reached'} |"
        for line in lines
    ]
    return "\n".join([head, *rows])


if __name__ == "__main__":
    sys.exit(main())
