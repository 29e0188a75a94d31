"""How far `mini`'s fakes are from held-out reals: a kernel distance in the embedding space of the
shipped tiny CLIP.

    python -m tests.benchmarks.mini_distance [COUNT]

The usual FID and KID use Inception weights, which a hub would have to supply. This is KID's
estimator (unbiased MMD with the cubic polynomial kernel; Binkowski et al., ICLR 2018) on another
network, so only ratios mean something: the distance of held-out reals from each other, and of
plainly blurred and noised reals, stand beside the fakes'.
"""

import sys

import numpy as np
import numpy.typing as npt
import torch
from sklearn.metrics.pairwise import polynomial_kernel
from torch import Tensor
from torch.nn import functional as F

from robustbench_aigi import catalogue
from robustbench_aigi.data import MiniRecipe, photographs
from robustbench_aigi.detectors._support.clip_encoder import load_image_encoder
from robustbench_aigi.detectors.base import CLIP_MEAN, CLIP_STD, Normalise
from robustbench_aigi.generators import CLASS_NAMES, SHIPPED_DIFFUSION, PixelDiffusion
from robustbench_aigi.imaging.pixels import snap
from robustbench_aigi.io.hashing import rngs_for

Features = npt.NDArray[np.float64]


def embed(images: Tensor) -> Features:
    tower, _, _ = load_image_encoder("tiny-clip", None)
    with torch.no_grad():
        features = [
            tower.eval()(Normalise(CLIP_MEAN, CLIP_STD)(part)) for part in images.split(250)
        ]
    scaled: Features = (F.normalize(torch.cat(features), dim=1).double() * 192**0.5).numpy()
    return scaled


def distance(a: Features, b: Features) -> float:
    """Unbiased squared MMD between two sets of as many features."""
    n = len(a)
    within = sum(
        (k.sum() - np.trace(k)) / (n * (n - 1))
        for k in (polynomial_kernel(a, degree=3, coef0=1), polynomial_kernel(b, degree=3, coef0=1))
    )
    return float(within - 2 * polynomial_kernel(a, b, degree=3, coef0=1).mean())


def main(count: int) -> None:
    rng = np.random.default_rng(1)
    pixels = [
        c for _, c in photographs.crops(photographs.PHOTOGRAPH_SPLITS["test"], 2 * count, rng)
    ]
    reals = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).float() / 255
    first, second = reals[:count], reals[count:]
    train = [c for _, c in photographs.crops(photographs.PHOTOGRAPH_SPLITS["train"], count, rng)]
    model, photograph = PixelDiffusion.load(SHIPPED_DIFFUSION), CLASS_NAMES.index("photograph")
    rngs = rngs_for(0, "distance", [str(i) for i in range(count)])
    parts = catalogue.read("datasets", "mini", MiniRecipe).parts
    if parts is None:
        raise SystemExit("the recipe mini has no [parts]")
    fakes = {}
    for steps in (parts.steps, 20):
        for strength in parts.strengths:
            made = model.reconstruct(second, [photograph] * count, rngs, strength, steps)
            fakes[f"reconstructions, strength {strength}, {steps} steps"] = made
        fakes[f"samples, {steps} steps"] = model.sample([photograph] * count, rngs, steps)
    sets = {
        "other crops of the same photographs": second,
        "crops of the training photographs": (
            torch.from_numpy(np.stack(train)).permute(0, 3, 1, 2).float() / 255
        ),
        "the same, blurred 3 x 3": F.avg_pool2d(F.pad(second, (1, 1, 1, 1), mode="reflect"), 3, 1),
        "the same, noise of 8 levels": (second + torch.randn(second.shape) * 8 / 255).clamp(0, 1),
        **fakes,
    }
    reference = embed(snap(first))
    for name, images in sets.items():
        sys.stdout.write(f"{name:40} {distance(reference, embed(snap(images))):8.4f}\n")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 300)
