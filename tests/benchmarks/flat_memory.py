"""Whether peak memory stays flat as a set grows: of an evaluation, and of a streamed training.

    python -m tests.benchmarks.flat_memory [evaluation] [training]
        [--photographs 100 5000] [--images 1000 50000]

The evaluation attacks photographs of mixed sizes up to 4 000 pixels, two in five hundred of 12
megapixels; the training reads JPEG files of 256 pixels. Each is the package's command, one worker;
the peak is that of its largest process. The images are cut from the photographs inside
scikit-image and scikit-learn.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from robustbench_aigi.data.photographs import load_photograph

PHOTOGRAPH_NAMES = ("astronaut", "flower", "coffee", "china", "rocket")
LARGE_EVERY = 500
"""Two photographs in so many are large."""
LARGE_SIZE = (3000, 4000)
"""Height and width of a large one."""
MAX_RATIO = 1.1
MAX_GIGABYTES = 3.0
SUITE = """
name = "flat"
version = 1
seed = 0
[[attacks]]
id = "pgd-2"
attack = "pgd-linf"
with = { eps = 2, step = 1, steps = 2 }
[[attacks]]
id = "jpeg-75"
attack = "jpeg"
with = { quality = 75 }
"""


class Peak(NamedTuple):
    """Gigabytes of the largest process of a command, and the seconds that it took."""

    gigabytes: float
    seconds: float


def write_photographs(folder: Path, count: int) -> None:
    """Write JPEG files of 300 to 1 600 pixels and large ones, in two classes of the test split."""
    rng = np.random.default_rng(0)
    photographs = [Image.fromarray(load_photograph(name)) for name in PHOTOGRAPH_NAMES]
    for number in range(count):
        photograph = photographs[number % len(photographs)]
        height, width = (int(side) for side in np.exp(rng.uniform(np.log(300), np.log(1600), 2)))
        if number % LARGE_EVERY < 2:  # one of each class
            height, width = LARGE_SIZE
        left, top = (int(rng.integers(0, side // 2)) for side in photograph.size)
        box = (left, top, left + photograph.width // 2, top + photograph.height // 2)
        cut = photograph.resize((width, height), Image.Resampling.BILINEAR, box)
        path = folder / "test" / ("real", "fake")[number % 2] / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        cut.save(path, quality=90)


def write_small_images(folder: Path, count: int) -> None:
    """Write JPEG files of 256 pixels, in two classes of a training and a validation split."""
    rng = np.random.default_rng(0)
    photographs = [load_photograph(name) for name in PHOTOGRAPH_NAMES]
    for number in range(count):
        pixels = photographs[number % len(photographs)]
        top, left = (int(rng.integers(0, side - 255)) for side in pixels.shape[:2])
        split = "validation" if number % 50 < 2 else "train"
        path = folder / split / ("real", "fake")[number % 2] / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        cut = pixels[top : top + 256, left : left + 256]
        shown = cut // 2 if number % 2 else cut  # fakes are darker, so that the training learns
        Image.fromarray(shown).save(path, quality=90)


def peak_of(arguments: list[str]) -> Peak:
    """Run the package's command and return what it took."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "robustbench_aigi", *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryFile() as log:
        child = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        _, status, usage = os.wait4(child.pid, 0)
        if status:
            log.seek(0)
            raise RuntimeError(log.read().decode(errors="replace")[-2000:])
    return Peak(usage.ru_maxrss * 1024 / 1e9, time.perf_counter() - began)


def evaluation(folder: Path, count: int) -> Peak:
    """The peak of an evaluation of some photographs."""
    write_photographs(folder / "photographs", count)
    suite = folder / "flat.toml"
    suite.write_text(SUITE)
    source = str(folder / "photographs")
    what = ["evaluate", "resnet18-c32", "--data", "folder", "--source", source, "--workers", "1"]
    return peak_of([*what, "--attacks", str(suite), "--out", str(folder / "run")])


def training(folder: Path, count: int) -> Peak:
    """The peak of a training on some images."""
    write_small_images(folder / "images", count)
    source = str(folder / "images")
    numbers = ["size=224", "workers=1", "fit=crop", "jpeg=0.5", "batch=64"]
    what = ["train", "cifake-cnn", "--data", "folder", "--source", source, "--epochs", "1"]
    config = [word for number in numbers for word in ("--config", number)]
    return peak_of([*what, "--out", str(folder / "mine.safetensors"), *config])


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parts = {"evaluation": evaluation, "training": training}
    parser.add_argument("parts", nargs="*", default=list(parts), metavar="PART")
    parser.add_argument("--photographs", type=int, nargs=2, default=[100, 5000])
    parser.add_argument("--images", type=int, nargs=2, default=[1000, 50000])
    args = parser.parse_args()
    counts = {"evaluation": args.photographs, "training": args.images}
    sys.stdout.write("| command | images | peak, GB | seconds |\n|---|---:|---:|---:|\n")
    for name in args.parts:
        peaks = []
        for count in counts[name]:
            with tempfile.TemporaryDirectory() as folder:
                peaks.append(parts[name](Path(folder), count))
            sys.stdout.write(
                f"| {name} | {count} | {peaks[-1].gigabytes:.2f} | {peaks[-1].seconds:.0f} |\n"
            )
            sys.stdout.flush()
        ratio = peaks[1].gigabytes / peaks[0].gigabytes
        verdict = "reached" if ratio <= MAX_RATIO else "not reached"
        sys.stdout.write(
            f"\n{name}: {ratio:.2f}x, at most {MAX_RATIO}x wanted: {verdict}; below"
            f" {MAX_GIGABYTES:g} GB wanted: {max(peak.gigabytes for peak in peaks):.2f} GB\n\n"
        )
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
