"""Train the small autoencoder behind `aeroblade`: ``python -m
robustbench_aigi.training.scripts.autoencoder --help``.

It sees AI-generated images only, so that it plays the part of the generator's own autoencoder.
"""

import argparse
import sys
from pathlib import Path

import torch
from torch import Tensor

from robustbench_aigi.data import load_data
from robustbench_aigi.generators import SHIPPED_AUTOENCODER, SmallAutoencoder
from robustbench_aigi.imaging.pixels import from_bytes
from robustbench_aigi.io.files import atomic_write
from robustbench_aigi.training.config import TrainConfig


def fakes(dataset: str, source: str | None = None) -> Tensor:
    """The AI-generated training images of a dataset as uint8 ``(N, 3, 32, 32)``."""
    images, labels = load_data(dataset, source, split="train").arrays()
    return images[labels == 1]


def fit_autoencoder(
    model: SmallAutoencoder, pools: list[Tensor], *, steps: int, batch: int = 64, rate: float = 2e-3
) -> list[float]:
    """Lower the mean absolute error on images drawn alike from all pools; returns the loss of every
    step.

    Args:
        pools: uint8 ``(N, 3, 32, 32)`` each.
    """
    rng = torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(model.train().parameters(), lr=rate, weight_decay=1e-4)
    schedule = TrainConfig(epochs=1, rate=rate, warmup=0.02).schedule_for(optimizer, steps)
    losses = list[float]()
    for step in range(steps):
        drawn = [
            pool[torch.randint(len(pool), (batch // len(pools),), generator=rng)] for pool in pools
        ]
        images = from_bytes(torch.cat(drawn))
        flip = torch.rand(len(images), generator=rng) < 0.5
        images[flip] = images[flip].flip(3)
        schedule.step_update(step)
        loss = (model(images) - images).abs().mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
        if (step + 1) % 100 == 0:
            sys.stderr.write(
                f"step {step + 1}/{steps} error {255 * sum(losses[-100:]) / 100:.2f} grey levels\n"
            )
    model.eval()
    return losses


def train(args: argparse.Namespace) -> None:
    """Train on the fakes of `mini`, and of CIFAKE where given, and write ``--out``."""
    torch.manual_seed(0)
    pools = [fakes("mini")] + ([fakes("cifake", args.cifake)] if args.cifake else [])
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
        "--steps", type=int, default=4500, help="of 64 images; ten minutes on a core"
    )
    train(parser.parse_args())
