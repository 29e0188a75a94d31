"""Train the small autoencoder behind ``aeroblade``.

Run ``python -m robustbench_aigi.training.scripts.autoencoder --help``. It sees AI-generated images
only, so that it plays the part of the generator's own autoencoder.
"""

import argparse
import sys
from pathlib import Path

import torch
from torch import Tensor

from robustbench_aigi.data import load_data
from robustbench_aigi.generators import SHIPPED_AUTOENCODER, SmallAutoencoder
from robustbench_aigi.imaging.pixels import MAX_LEVEL, from_bytes
from robustbench_aigi.io.files import atomic_write
from robustbench_aigi.training.config import TrainConfig

REPORT_STEPS = 100
"""Steps between two lines on standard error."""


def fake_images(dataset: str, source: str | None = None) -> Tensor:
    """Return the AI-generated training images of a dataset as uint8 ``(N, 3, 32, 32)``.

    Args:
        dataset: name of its recipe.
        source: where it is; None where the recipe says.
    """
    images, labels = load_data(dataset, source, split="train").arrays()
    return images[labels == 1]


def fit_autoencoder(
    model: SmallAutoencoder, pools: list[Tensor], *, steps: int, batch: int = 64, rate: float = 2e-3
) -> list[float]:
    """Lower the mean absolute error on images, and return the loss of every step.

    Args:
        model: changed in place.
        pools: uint8 ``(N, 3, 32, 32)`` each; a batch has as many images of each.
        steps: number of them.
        batch: images per step.
        rate: peak learning rate.
    """
    rng = torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(model.train().parameters(), lr=rate, weight_decay=1e-4)
    schedule = TrainConfig(epochs=1, rate=rate, warmup=0.02).schedule_for(optimizer, steps)
    losses = list[float]()
    for step in range(steps):
        images = _draw(pools, batch // len(pools), rng)
        schedule.step_update(step)
        loss = (model(images) - images).abs().mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
        if (step + 1) % REPORT_STEPS == 0:
            error = MAX_LEVEL * sum(losses[-REPORT_STEPS:]) / REPORT_STEPS
            sys.stderr.write(f"step {step + 1}/{steps} error {error:.2f} grey levels\n")
    model.eval()
    return losses


def _draw(pools: list[Tensor], count: int, rng: torch.Generator) -> Tensor:
    """Draw images from each pool, and flip half of them."""
    drawn = [pool[torch.randint(len(pool), (count,), generator=rng)] for pool in pools]
    images = from_bytes(torch.cat(drawn))
    is_flipped = torch.rand(len(images), generator=rng) < 0.5
    images[is_flipped] = images[is_flipped].flip(3)
    return images


def train(args: argparse.Namespace) -> None:
    """Train on the fakes of ``mini``, and of CIFAKE if ``args`` names it, and write the weights."""
    torch.manual_seed(0)
    pools = [fake_images("mini")]
    if args.cifake:
        pools.append(fake_images("cifake", args.cifake))
    model = SmallAutoencoder()
    fit_autoencoder(model, pools, steps=args.steps)
    atomic_write(args.out, model.save)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--cifake", help="CIFAKE: a folder, Parquet files or a hub id; adds its fakes"
    )
    parser.add_argument("--out", type=Path, default=SHIPPED_AUTOENCODER)
    parser.add_argument(
        "--steps", type=int, default=4500, help="of 64 images; ten minutes on one core"
    )
    train(parser.parse_args())
