"""How fast PGD is on a large network at 224 pixels, beside its bare passes and in half precision.

    python -m tests.benchmarks.gradients [--model resnet50] [--images 16] [--rounds 3]

Cuts of 224 pixels of the photographs inside scikit-image and scikit-learn are class 0, blurred ones
class 1. PGD of 10 steps attacks a timm model with fitted norms and last layer, at full strength.
Contenders take turns; ratios are of medians. Time outside of the passes is that of four images.
Accuracies, of ``--judged`` other images, have 95% Wilson intervals.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn
from torchvision.transforms.v2.functional import gaussian_blur

from robustbench_aigi.attacks import Attack, load_attack
from robustbench_aigi.attacks._engine import scoring
from robustbench_aigi.attacks.gradient.pgd import PGDLinf
from robustbench_aigi.config.process import tune_process
from robustbench_aigi.data.photographs import load_photograph
from robustbench_aigi.detectors import Detector, load_detector
from robustbench_aigi.detectors._support.placement import on_device
from robustbench_aigi.evaluation.intervals import wilson
from robustbench_aigi.imaging.pixels import snap

SIDE = 224
ATTACK = PGDLinf(eps=1, step=1, steps=10)
PROFILED = (
    ATTACK,
    load_attack("apgd-linf", eps=1, steps=10),
    load_attack("square-linf", eps=1, queries=30),
    load_attack("aa-binary-linf", eps=1, steps=3, restarts=1, queries=10),
)
PHOTOGRAPH_NAMES = ("astronaut", "flower", "coffee", "china", "rocket")


def photographs(count: int, seed: int) -> Tensor:
    """Random cuts of photographs, ``(N, 3, 224, 224)`` in [0, 1]."""
    rng = np.random.default_rng(seed)
    sources = [load_photograph(name) for name in PHOTOGRAPH_NAMES]
    cuts = []
    for number in range(count):
        pixels = sources[number % len(sources)]
        top, left = (int(rng.integers(0, side - SIDE + 1)) for side in pixels.shape[:2])
        cuts.append(torch.from_numpy(pixels[top : top + SIDE, left : left + SIDE].copy()))
    return torch.stack(cuts).permute(0, 3, 1, 2).float().contiguous() / 255


def fitted(model: str, images: Tensor, labels: Tensor) -> Detector:
    """A timm model of random weights, its norms and its last layer fitted to labelled images."""
    torch.manual_seed(0)
    detector = load_detector(f"timm:{model}")
    inner = detector.get_submodule(detector.last_layer)
    assert isinstance(inner, nn.Linear)
    features: list[Tensor] = []
    with torch.no_grad():
        for part in images.split(16):
            detector.train()
            detector.logits(part)
        hook = inner.register_forward_pre_hook(lambda _, given: features.append(given[0]))
        for part in images.split(16):
            detector.eval().logits(part)
        hook.remove()
        found = torch.cat(features).double()
        probe = LogisticRegression(max_iter=1000).fit(found.numpy(), labels.numpy())
        inner.weight.copy_(torch.from_numpy(probe.coef_))
        inner.bias.copy_(torch.from_numpy(probe.intercept_))
    return detector.requires_grad_(False)


def bare_passes(detector: Detector, images: Tensor, steps: int) -> None:
    """The passes that PGD needs: each step's, and the scores of the first and the last image."""
    for _ in range(steps):
        for part in images.split(detector.at_once):
            leaf = part.detach().requires_grad_(True)
            torch.autograd.grad(detector.logits(leaf).sum(), leaf)
    with torch.no_grad():
        for _ in range(2):
            for part in images.split(detector.at_once):
                detector.logits(part)


def median_seconds(contenders: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median seconds of each, in turns after a round to warm up."""
    taken: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds + 1):
        for name, contender in contenders.items():
            began = time.perf_counter()
            contender()
            if number:
                taken[name].append(time.perf_counter() - began)
    return {name: statistics.median(times) for name, times in taken.items()}


def labelled(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Photographs, every second one blurred, and their labels."""
    images = photographs(count, seed)
    labels = torch.arange(count) % 2
    images[1::2] = snap(gaussian_blur(images[1::2], [5, 5], [0.7, 0.7]))
    return images, labels


def set_precision(detector: Detector, *, half: bool) -> Detector:
    detector.half_gradients = half
    return detector


def judged(detector: Detector, images: Tensor, labels: Tensor, *, half: bool) -> str:
    """Accuracy under the attack, each image until it fools."""
    result = ATTACK(set_precision(detector, half=half), images, labels)
    right = int((~result.fooled).sum())
    low, high = wilson(right, len(labels))
    return f"{100 * right / len(labels):.1f} ({100 * low:.1f} to {100 * high:.1f})%"


def share_outside(detector: Detector, attack: Attack, images: Tensor, labels: Tensor) -> float:
    """The share of an attack's time that is in neither a forward nor a backward pass."""
    inside = 0.0

    def timed(work: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **named: Any) -> Any:
            nonlocal inside
            began = time.perf_counter()
            try:
                return work(*given, **named)
            finally:
                inside += time.perf_counter() - began

        return call

    set_precision(detector, half=False)
    forward = patch.object(scoring, "on_device", timed(on_device))
    backward = patch.object(torch.autograd, "grad", timed(torch.autograd.grad))
    attack(detector, images, labels, full=True)
    with forward, backward:
        began = time.perf_counter()
        attack(detector, images, labels, full=True)
        return 1 - inside / (time.perf_counter() - began)


def main() -> int:
    tune_process()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="resnet50")
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--judged", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    detector = fitted(args.model, *labelled(128, seed=1))
    detector.at_once = args.images
    images, labels = labelled(args.images, seed=2)
    steps = ATTACK.steps
    times = median_seconds(
        {
            "bare": lambda: bare_passes(detector, images, steps),
            "full": lambda: ATTACK(set_precision(detector, half=False), images, labels, full=True),
            "half": lambda: ATTACK(set_precision(detector, half=True), images, labels, full=True),
        },
        args.rounds,
    )
    few = slice(0, 4)
    shares = [
        (attack.name, share_outside(detector, attack, images[few], labels[few]))
        for attack in PROFILED
    ]
    others, truth = labelled(args.judged, seed=3)
    accuracies = {half: judged(detector, others, truth, half=half) for half in (False, True)}
    over = times["full"] / times["bare"]
    gain = times["full"] / times["half"]
    rows = [
        f"| against its bare passes, time | {over:.2f} | <= 1.05 |",
        f"| half-precision gradients against float32, speed | {gain:.2f} | >= 1.6 |",
        *(f"| {name}, share outside of passes | {share:.3f} | <= 0.05 |" for name, share in shares),
    ]
    sys.stdout.write(
        f"PGD-10 at full strength, {args.model} at {SIDE}, {args.images} images,"
        f" {torch.get_num_threads()} threads\n| work | ratio | must reach |\n|---|---:|---:|\n"
    )
    sys.stdout.write("\n".join(rows))
    sys.stdout.write(
        f"\naccuracy under it, {args.judged} images: {accuracies[False]} in float32,"
        f" {accuracies[True]} with half-precision gradients\n"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
