"""How fast training images are decoded and cut, beside torchvision's ImageFolder and DataLoader.

    python -m tests.benchmarks.training_images [--images 1200] [--workers 1] [--rounds 3]

JPEG files of 256 to 640 pixels, cut from the photographs inside scikit-image and scikit-learn,
become batches of float32 images of 224 pixels on the processor: random crops, in random order, with
as many workers on both sides. The two take turns; the ratio is that of the medians.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from robustbench_aigi.config.process import tune_process
from robustbench_aigi.data.photographs import load_photograph
from robustbench_aigi.imaging.pixels import from_bytes
from robustbench_aigi.training.arrays import batch_at, batch_count
from robustbench_aigi.training.image_policy import ImagePolicy
from robustbench_aigi.training.streaming import BatchRequest, StreamedImages

SIDE = 224
BATCH_SIZE = 64
PHOTOGRAPH_NAMES = ("astronaut", "flower", "coffee", "china", "rocket")


def write_images(folder: Path, count: int) -> pd.DataFrame:
    """Write JPEG files in two classes, and return their manifest."""
    rng = np.random.default_rng(0)
    photographs = [load_photograph(name) for name in PHOTOGRAPH_NAMES]
    rows = []
    for number in range(count):
        pixels = photographs[number % len(photographs)]
        height, width = (min(int(rng.integers(256, 640)), side) for side in pixels.shape[:2])
        top = int(rng.integers(0, pixels.shape[0] - height + 1))
        left = int(rng.integers(0, pixels.shape[1] - width + 1))
        label = number % 2
        path = folder / str(label) / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        cut = pixels[top : top + height, left : left + width]
        Image.fromarray(cut).save(path, quality=92)
        rows.append({"id": str(number), "path": str(path), "label": label})
    return pd.DataFrame(rows).assign(row=-1, split="train", sha256="")


def ours(manifest: pd.DataFrame, workers: int) -> Iterator[Tensor]:
    """One epoch of our batches."""
    images = StreamedImages.of(manifest, ImagePolicy(size=SIDE), workers)
    order = images.order(torch.arange(len(images)), torch.Generator().manual_seed(0))
    numbers = range(batch_count(len(order), BATCH_SIZE))
    parts = (batch_at(order, BATCH_SIZE, number) for number in numbers)
    for batch in images.read(BatchRequest(part.tolist(), "seed") for part in parts):
        yield from_bytes(batch)


def torchvision(folder: Path, workers: int) -> Iterator[Tensor]:
    """One epoch of torchvision's."""
    cut = v2.RandomCrop(SIDE, pad_if_needed=True, padding_mode="reflect")
    steps = v2.Compose([v2.PILToTensor(), cut, v2.ToDtype(torch.float32, scale=True)])
    loader = DataLoader(ImageFolder(folder, steps), BATCH_SIZE, shuffle=True, num_workers=workers)
    for images, _ in loader:
        yield images


def speed(epoch: Callable[[], Iterator[Tensor]]) -> float:
    """Images per second of an epoch."""
    began = time.perf_counter()
    count = sum(len(images) for images in epoch())
    return count / (time.perf_counter() - began)


def main() -> int:
    tune_process()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=1200)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    sys.stdout.write("| workers | ours, images per second | torchvision | ratio | must reach |\n")
    sys.stdout.write("|---:|---:|---:|---:|---:|\n")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        manifest = write_images(folder, args.images)
        for workers in args.workers:
            own: list[float] = []
            other: list[float] = []
            for number in range(args.rounds + 1):  # the first round starts workers and fills caches
                found = speed(partial(ours, manifest, workers))
                theirs = speed(partial(torchvision, folder, workers))
                if number:
                    own.append(found)
                    other.append(theirs)
            fast, slow = statistics.median(own), statistics.median(other)
            sys.stdout.write(f"| {workers} | {fast:.0f} | {slow:.0f} | {fast / slow:.2f} | 1.2 |\n")
            sys.stdout.flush()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
