"""Scale: two workers against one, a plan against the run, 20 000 images against 1 000, and a plain
script beside ours.

    python -m tests.benchmarks.scale --cifake PATH [--part pool ray plan images script]
        [--few 1000] [--many 20000] [--plain 4000] [--rounds 3]

Four detectors (CNN, ResNet-18, TinyViT-5M, a CLIP tower with a head) under six attacks (FGSM, PGD
L-inf and L2; JPEG, resize, DCT noise). Each measurement is a process of its own, whose peak of
memory is the driver's. Leave the machine alone meanwhile. The plain script is what one writes
without this suite: torchattacks and Pillow, batch after batch.
"""

import argparse
import io
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping

import numpy as np
import torch
import torchattacks
from PIL import Image
from scipy.fft import dctn, idctn
from torch import Tensor

from robustbench_aigi.attacks import Suite
from robustbench_aigi.config.process import tune_process
from robustbench_aigi.data import Dataset, load_data
from robustbench_aigi.detectors import Detector, load_detector, shipped, shipped_names
from robustbench_aigi.executors import Executor, InProcessExecutor, PoolExecutor, RayExecutor
from robustbench_aigi.imaging.pixels import from_bytes, snap, to_bytes
from robustbench_aigi.pipeline.evaluate import evaluate
from robustbench_aigi.pipeline.plan import plan_evaluation
from tests.benchmarks.speed import TwoLogits

DETECTORS = ("cifake-cnn", "resnet18-c32", "tinyvit-5m", "clip-mlp")
SUITE = Suite.model_validate(
    {
        "name": "scale",
        "version": 1,
        "seed": 0,
        "attacks": [
            {"id": "fgsm-8", "attack": "fgsm", "with": {"eps": 8}},
            {"id": "pgd-linf-8", "attack": "pgd-linf", "with": {"eps": 8, "step": 2, "steps": 10}},
            {"id": "pgd-l2-1", "attack": "pgd-l2", "with": {"eps": 1.0, "step": 0.25, "steps": 10}},
            {"id": "jpeg-75", "attack": "jpeg", "with": {"quality": 75}},
            {"id": "resize-50", "attack": "resize", "with": {"scale": 0.5}},
            {"id": "dct-noise-15", "attack": "dct-noise", "with": {"eps": 15}},
        ],
    }
)
EXECUTORS: Mapping[str, Callable[[], Executor]] = {
    "here": InProcessExecutor,
    "one": lambda: InProcessExecutor(1),
    "two": lambda: PoolExecutor(2),
    "ray": lambda: RayExecutor(2),
    "ray one": lambda: RayExecutor(1),
}
RNG = np.random.default_rng(0)
GIGABYTES, FLAT, QUICKER, SHARE = 2.0, 1.1, 3.0, 1.8


def detectors() -> list[Detector]:
    """The shipped ones; fresh weights where none ship, the same in every process, because only time
    is of interest.
    """
    made = []
    torch.manual_seed(0)
    for name in DETECTORS:
        weights = shipped(name, "cifake") if name in shipped_names("cifake") else None
        made.append(load_detector(name, weights).eval())
    return made


def script(these: list[Detector], data: Dataset) -> None:
    """Clean and attacked accuracy of every detector, as a plain script would find them."""
    for detector in these:
        right: dict[str, int] = {}
        two = TwoLogits(detector)
        for batch in data.batches(128):
            for name, images in changed(two, batch.images, batch.labels).items():
                with torch.no_grad():
                    guess = two(images).argmax(dim=1)
                right[name] = right.get(name, 0) + int((guess == batch.labels).sum())
        sys.stderr.write(f"{detector.card.name}: {right}\n")


def changed(two: TwoLogits, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
    linf, l2 = 8 / 255, 1.0
    attacks = {
        "fgsm-8": torchattacks.FGSM(two, linf),
        "pgd-linf-8": torchattacks.PGD(two, linf, 2 / 255, 10),
        "pgd-l2-1": torchattacks.PGDL2(two, l2, 0.25, 10),
    }
    found = {"clean": images} | {
        name: snap(attack(images, labels)) for name, attack in attacks.items()
    }
    pictures = [Image.fromarray(pixels.permute(1, 2, 0).numpy()) for pixels in to_bytes(images)]
    found["jpeg-75"] = stacked([recompressed(picture) for picture in pictures])
    found["resize-50"] = stacked([halved(picture) for picture in pictures])
    found["dct-noise-15"] = stacked([noisy(picture) for picture in pictures])
    return found


def stacked(pictures: list[Image.Image]) -> Tensor:
    return from_bytes(
        torch.stack([torch.from_numpy(np.array(picture)).permute(2, 0, 1) for picture in pictures])
    )


def recompressed(picture: Image.Image) -> Image.Image:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=75)
    return Image.open(file).convert("RGB")


def halved(picture: Image.Image) -> Image.Image:
    small = picture.resize((picture.width // 2, picture.height // 2), Image.Resampling.BILINEAR)
    return small.resize(picture.size, Image.Resampling.BILINEAR)


def noisy(picture: Image.Image) -> Image.Image:
    spectrum = dctn(np.asarray(picture, np.float32), axes=(0, 1), norm="ortho")
    spectrum += RNG.uniform(-15, 15, spectrum.shape)
    back = idctn(spectrum, axes=(0, 1), norm="ortho")
    return Image.fromarray(back.round().clip(0, 255).astype(np.uint8))


def started(by: Executor, workers: int, first: Callable[[], object] = lambda: None) -> None:
    """So many workers start and do this ``first``, before the clock does."""

    def present(item: int) -> int:
        first()
        time.sleep(1)  # a while in which others may begin
        return os.getpid()

    while len(set(by.map_ordered(present, range(2 * workers)))) < workers:
        pass


def child(cifake: str, how: str, images: int) -> dict[str, float]:
    """Measure in a process of its own: seconds of the work alone, and the driver's peak in
    bytes.
    """
    command = [
        sys.executable,
        "-m",
        "tests.benchmarks.scale",
        "--cifake",
        cifake,
        "--child",
        how,
        "--many",
        str(images),
    ]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def measured(cifake: str, how: str, images: int) -> dict[str, float]:
    data = load_data("cifake", cifake, split="test", limit=images)
    if how in EXECUTORS:
        tune_process()  # as commands and workers do
        by = EXECUTORS[how]()
        started(by, by.workers, detectors)  # what they import, the one worker has imported too
    these = detectors()
    with tempfile.TemporaryDirectory() as out:
        began = time.perf_counter()
        if how == "script":
            script(these, data)
        else:
            evaluate(these, SUITE, data, out, executor=EXECUTORS[how]())
        seconds = time.perf_counter() - began
    return {"seconds": seconds, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--cifake", required=True, help="CIFAKE: a folder, Parquet files or a hub id"
    )
    parser.add_argument("--part", choices=("pool", "ray", "plan", "images", "script"), nargs="+")
    parser.add_argument("--few", type=int, default=1000)
    parser.add_argument("--many", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3, help="how often workers are measured")
    parser.add_argument(
        "--plain", type=int, default=4000, help="images of the plain script and of ours beside it"
    )
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        sys.stdout.write(json.dumps(measured(args.cifake, args.child, args.many)) + "\n")
        return 0
    parts = {"pool": pool, "ray": ray, "plan": planned, "images": images, "script": plain}
    sys.stdout.write("| measured | value | must be | |\n|---|---:|---:|---|\n")
    for name in args.part or parts:
        for what, value, bound, good in parts[name](args):
            verdict = "reached" if good else "not reached"
            verdict = verdict if bound else ""
            sys.stdout.write(f"| {what} | {value} | {bound} | {verdict} |\n")
            sys.stdout.flush()
    return 0


SuiteRow = tuple[str, str, str, bool]


def pool(args: argparse.Namespace) -> list[SuiteRow]:
    return [two_against(args, "two", "one", "two processes of one thread against one")]


def ray(args: argparse.Namespace) -> list[SuiteRow]:
    return [two_against(args, "ray", "ray one", "two of Ray's workers of one thread against one")]


def two_against(args: argparse.Namespace, two: str, one: str, what: str) -> SuiteRow:
    """By turns, because a machine is not as quick at all times."""
    rounds = [
        [child(args.cifake, how, args.few)["seconds"] for how in (two, one)]
        for _ in range(args.rounds)
    ]
    ratio = statistics.median(alone / shared for shared, alone in rounds)
    seconds = ", ".join(f"{shared:.0f} and {alone:.0f}" for shared, alone in rounds)
    name = f"{what}, {args.few} images ({'median of ' * (len(rounds) > 1)}{seconds} s)"
    return name, f"{ratio:.2f}x", f"{SHARE}x", ratio >= SHARE


def planned(args: argparse.Namespace) -> list[SuiteRow]:
    table, _ = plan_evaluation(detectors(), SUITE, "cifake", args.cifake, args.few)
    message, real = table["seconds"].sum() / 2, child(args.cifake, "two", args.few)["seconds"]
    seconds = f"{message:.0f} and {real:.0f} s ({message / real:.2f}x)"
    return [(f"planned and taken with two processes, {args.few} images", seconds, "", True)]


def images(args: argparse.Namespace) -> list[SuiteRow]:
    few, many = (child(args.cifake, "two", n) for n in (args.few, args.many))
    peaks = [found["peak"] / 2**30 for found in (few, many)]
    each = [1000 * found["seconds"] / n for found, n in ((few, args.few), (many, args.many))]
    ratio = each[1] / each[0]
    return [
        (
            f"driver's peak at {args.few} images, GiB",
            f"{peaks[0]:.2f}",
            f"under {GIGABYTES:g}",
            peaks[0] < GIGABYTES,
        ),
        (
            f"driver's peak at {args.many} images, GiB",
            f"{peaks[1]:.2f}",
            f"under {GIGABYTES:g}",
            peaks[1] < GIGABYTES,
        ),
        (f"ms an image at {args.few}", f"{each[0]:.1f}", "", True),
        (
            f"ms an image at {args.many}",
            f"{each[1]:.1f} ({ratio:.2f}x)",
            f"at most {FLAT}x",
            ratio <= FLAT,
        ),
    ]


def plain(args: argparse.Namespace) -> list[SuiteRow]:
    script, own = (child(args.cifake, how, args.plain)["seconds"] for how in ("script", "two"))
    seconds, ratio = f"{script:.0f} and {own:.0f} s", script / own
    return [
        (f"plain script and two processes, {args.plain} images", seconds, "", True),
        (
            f"quicker than the plain script, {args.plain} images",
            f"{ratio:.2f}x",
            f"{QUICKER:g}x",
            ratio >= QUICKER,
        ),
    ]


if __name__ == "__main__":
    sys.exit(main())
