"""How many images per second the perturbations change, against plain loops.

    OMP_NUM_THREADS=2 python -m tests.benchmarks.perturbations [--photos PATH] [--images 200]

The plain loops are those of ``plain_loops.py``: one image at a time, on one thread. The package
runs as it does in an evaluation, on as many threads as torch has. Like is compared with like: uint8
images to uint8 images, and float images in [0, 1] to the same. The two take turns.

First come single perturbations of small images, each figure a median. Then come all rows of the
suite ``standard`` that ask no detector, on photographs in batches; their total is compared by the
sum of all seconds. Without --photos the images are smooth noise.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageOps
from scipy.ndimage import gaussian_filter

from robustbench_aigi.attacks import Perturbation, load_attack
from robustbench_aigi.attacks.suites import load_suite
from tests.benchmarks.plain_loops import LOOPS, Bytes

FloatBatch = npt.NDArray[np.float32]

MIN_GAIN = 3.0
"""Bound of the total of the suite."""
BATCH_SIZE = 8
"""Photographs in a batch."""
SINGLES = ("jpeg", "resize", "dct-noise")
"""Perturbations that are measured on small images as well."""


def smooth_images(count: int, size: int, seed: int = 0) -> Bytes:
    noise = np.random.default_rng(seed).normal(size=(count, size, size, 3))
    waves = sum(gaussian_filter(noise, (0, s, s, 0), mode="wrap") * s for s in (1, 2, 4, 8))
    return np.asarray(np.clip(128 + 90 * waves / np.std(waves), 0, 255)).astype(np.uint8)


def photographs(folder: Path, count: int, size: int) -> Iterator[Bytes]:
    """Batches of the images of a folder, the square in the middle of each resized."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix in {".jpg", ".jpeg", ".png"})
    for start in range(0, min(count, len(paths)), BATCH_SIZE):
        few = paths[start : min(start + BATCH_SIZE, count)]
        yield np.stack([np.asarray(_square(path, size)) for path in few])


def _square(path: Path, size: int) -> Image.Image:
    with Image.open(path) as opened:
        return ImageOps.fit(opened.convert("RGB"), (size, size), Image.Resampling.BICUBIC)


def smooth_batches(count: int, size: int) -> Iterator[Bytes]:
    for start in range(0, count, BATCH_SIZE):
        yield smooth_images(min(BATCH_SIZE, count - start), size, seed=start)


def seconds(work: Callable[[], object], blocks: int) -> float:
    """Time of some work. Pillow's cache of memory blocks is off in a plain program, and the package
    turns it on.
    """
    Image.core.set_blocks_max(blocks)  # type: ignore[attr-defined]
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def in_floats(plain: Callable[[Bytes], Bytes], image: FloatBatch) -> FloatBatch:
    changed = plain(np.rint(image * 255).astype(np.uint8).transpose(1, 2, 0))
    return changed.transpose(2, 0, 1).astype(np.float32) / np.float32(255)


def loop_of(attack: Perturbation) -> Callable[[Bytes], Bytes]:
    rng = np.random.default_rng(0)
    return lambda image: LOOPS[attack.name](image, attack, rng)


def compare(name: str, images: Bytes, rounds: int) -> None:
    """Compare one perturbation of small images, in its default numbers."""
    attack = load_attack(name)
    assert isinstance(attack, Perturbation)
    plain, whole = loop_of(attack), torch.from_numpy(images).permute(0, 3, 1, 2)
    floats, ids = whole.contiguous().float() / 255, [str(i) for i in range(len(images))]
    works: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
        "uint8": (lambda: [plain(image) for image in images], lambda: attack.apply(whole, ids)),
        "float": (
            lambda: np.stack([in_floats(plain, image) for image in floats.numpy()]),
            lambda: attack.apply(floats, ids),
        ),
    }
    for kind, (loop, batch) in works.items():
        times = [(seconds(loop, 0), seconds(batch, 4)) for _ in range(rounds)]
        rates = [len(images) / statistics.median(column) for column in zip(*times, strict=True)]
        gain = statistics.median(slow / fast for slow, fast in times)
        sys.stdout.write(
            f"{name:10} {images.shape[1]:4} px {kind}: plain {rates[0]:8.0f} images/s, "
            f"package {rates[1]:8.0f} images/s, {gain:.2f} x\n"
        )


def suite_rows() -> dict[str, Perturbation]:
    """The rows of ``standard`` that ask no detector."""
    built = {row.id: row.built for row in load_suite("standard").rows}
    return {name: attack for name, attack in built.items() if isinstance(attack, Perturbation)}


def compare_suite(batches: Iterator[Bytes], only: Sequence[str] = ()) -> None:
    """Compare all rows, float images in and out; both get the same batches, one after the other."""
    rows = {name: row for name, row in suite_rows().items() if not only or name in only}
    spent = {name: np.zeros(2) for name in rows}
    count = 0
    for images in batches:
        floats = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous().float() / 255
        ids = [str(count + i) for i in range(len(images))]
        count += len(images)
        for name, attack in rows.items():
            loop, batch = suite_works(attack, floats, ids)
            spent[name] += seconds(loop, 0), seconds(batch, 4)
    total = sum(spent.values(), np.zeros(2))
    sys.stdout.write(
        f"\n{count} photographs of {images.shape[1]} x {images.shape[2]}, float to float; seconds"
        f" of the plain loop on one thread and of the package on {torch.get_num_threads()}\n"
    )
    for name, (slow, fast) in {**spent, "total": total}.items():
        sys.stdout.write(f"{name:15} {slow:8.2f} {fast:8.2f} {slow / fast:6.2f} x\n")
    reached = "reached" if total[0] / total[1] >= MIN_GAIN else "not reached"
    sys.stdout.write(f"total, must reach {MIN_GAIN:g} x: {reached}\n")


def suite_works(
    attack: Perturbation, floats: torch.Tensor, ids: list[str]
) -> tuple[Callable[[], object], Callable[[], object]]:
    plain = loop_of(attack)
    return (
        lambda: [in_floats(plain, image) for image in floats.numpy()],
        lambda: attack.apply(floats, ids),
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=Path, help="folder of photographs, searched recursively")
    parser.add_argument("--images", type=int, default=200, help="photographs of the suite")
    parser.add_argument("--size", type=int, default=1024, help="pixels on their side")
    parser.add_argument("--rounds", type=int, default=9, help="of the small images; 0 for none")
    parser.add_argument("rows", nargs="*", metavar="ROW", help="rows of the suite; all by default")
    args = parser.parse_args()
    for size, number in ((32, 500), (512, 48)) if args.rounds else ():
        images = smooth_images(number, size)
        for name in SINGLES:
            compare(name, images, args.rounds)
    batches = (
        photographs(args.photos, args.images, args.size)
        if args.photos
        else smooth_batches(args.images, args.size)
    )
    compare_suite(batches, args.rows)


if __name__ == "__main__":
    main()
