"""Train the diffusion model behind `mini`: ``python -m robustbench_aigi.training.scripts.diffusion
--help``.
"""

import argparse
import copy
import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from robustbench_aigi.data import photographs
from robustbench_aigi.generators.diffusion import CLASSES, DiffusionConfig, PixelDiffusion
from robustbench_aigi.io.files import atomic_write
from robustbench_aigi.training import saved_state

PHOTOGRAPH = CLASSES.index("photograph")
GATE = 30
"""How much faster the gate learns than the network."""


def photograph_crops(count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Crops of training-side photographs as uint8 ``(N, 3, 32, 32)``, with their class index."""
    rng = np.random.default_rng(seed)
    pixels = np.stack(
        [crop for _, crop in photographs.crops(photographs.PHOTOGRAPH_SPLITS["train"], count, rng)]
    )
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous(), torch.full(
        (count,), PHOTOGRAPH
    )


def cifake_reals(path: Path) -> tuple[Tensor, Tensor]:
    """CIFAKE's REAL training images as uint8 ``(N, 3, 32, 32)``, with their CIFAR-10 class
    index.
    """
    import io

    import pyarrow.parquet as pq
    from PIL import Image

    images, classes = [], []
    for batch in pq.ParquetFile(path).iter_batches(512):
        for row in batch.to_pylist():
            if row["label"] == 1:
                name = row["image"]["path"]
                suffix = name.rsplit("(", 1)[1].split(")")[0] if "(" in name else "1"
                classes.append(int(suffix) - 1)
                images.append(
                    np.asarray(Image.open(io.BytesIO(row["image"]["bytes"])).convert("RGB"))
                )
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous(), torch.tensor(
        classes
    )


@torch.no_grad()
def power(model: PixelDiffusion, pool: Tensor, count: int = 5000) -> Tensor:
    """Mean square of each DCT coefficient of uint8 images, scaled to [-1, 1]: ``(size, size)``."""
    return model.spectrum(pool[:count].float().div(127.5).sub(1)).square().mean(dim=(0, 1))


class Average:
    """Exponential moving average of a model's weights, warmed up so that early noise is
    forgotten.
    """

    def __init__(self, model: PixelDiffusion, decay: float = 0.999) -> None:
        self.model = copy.deepcopy(model).eval()
        self.decay = decay

    @torch.no_grad()
    def update(self, model: PixelDiffusion, step: int) -> None:
        """Move the average towards the model's present weights."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for mean, value in zip(self.model.parameters(), model.parameters(), strict=True):
            mean.lerp_(value, 1 - decay)


def loss_on(model: PixelDiffusion, images: Tensor, classes: Tensor, rng: torch.Generator) -> Tensor:
    """Squared error of v, the same weight for every noise level: fine texture is learnt at the low
    ones.
    """
    scheduler = model.scheduler
    steps = torch.randint(0, scheduler.config["num_train_timesteps"], (len(images),), generator=rng)
    noise = torch.randn(images.shape, generator=rng)
    noisy = scheduler.add_noise(images, noise, steps)
    return F.mse_loss(model(noisy, steps, classes), scheduler.get_velocity(images, noise, steps))


def train(args: argparse.Namespace) -> None:
    """Run for ``--minutes``, the rate falling to zero in the last two fifths; ``--out`` is written
    every few steps.
    """
    torch.manual_seed(0)
    rng = torch.Generator().manual_seed(0)
    pools = [photograph_crops(args.crops)]
    if args.cifake:
        pools.append(cifake_reals(args.cifake))
    model = PixelDiffusion(DiffusionConfig()).train()
    model.power = torch.stack([power(model, pool) for pool, _ in pools]).mean(dim=0)
    average = Average(model)
    net, gate = {"params": model.net.parameters()}, {"params": [model.gate], "weight_decay": 0.0}
    optimizer = torch.optim.AdamW([net, gate], lr=args.rate, weight_decay=1e-4, betas=(0.9, 0.99))
    step, state = 0, args.out.with_suffix(".state.pt")
    if state.exists():
        saved = torch.load(state, weights_only=True)
        model.load_state_dict(saved["model"])
        average.model.load_state_dict(saved["average"])
        optimizer.load_state_dict(saved["optimizer"])
        step = saved["step"]
        rng.manual_seed(step)
    began, losses = time.monotonic(), []
    while time.monotonic() - began < 60 * args.minutes:
        drawn = [
            torch.randint(len(pool), (args.batch // len(pools),), generator=rng)
            for pool, _ in pools
        ]
        images = torch.cat([pool[index] for (pool, _), index in zip(pools, drawn, strict=True)])
        classes = torch.cat([of[index] for (_, of), index in zip(pools, drawn, strict=True)])
        images = images.float().div(127.5).sub(1)
        flip = torch.rand(len(images), generator=rng) < 0.5
        images[flip] = images[flip].flip(3)
        left = 1 - (time.monotonic() - began) / (60 * args.minutes)
        for group, share in zip(optimizer.param_groups, (1, GATE), strict=True):
            group["lr"] = share * args.rate * min(1.0, (step + 1) / 500, max(left, 0.0) / 0.4)
        optimizer.zero_grad()
        loss = loss_on(model, images, classes, rng)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        step += 1
        average.update(model, step)
        losses.append(loss.item())
        if step % args.every == 0:
            rate = args.batch * len(losses) / (time.monotonic() - began)
            line = {
                "step": step,
                "loss": round(float(np.mean(losses[-args.every :])), 5),
                "per_second": round(rate),
            }
            sys.stderr.write(json.dumps(line) + "\n")
            checkpoint(args.out, model, average, optimizer, step)
    checkpoint(args.out, model, average, optimizer, step)


def checkpoint(
    out: Path, model: PixelDiffusion, average: Average, optimizer: torch.optim.Optimizer, step: int
) -> None:
    """Write the average to ``out``, and beside it what a later call needs to go on."""
    atomic_write(out, average.model.save)
    everything = {"model": model.state_dict(), "average": average.model.state_dict()}
    saved_state.save(
        out.with_suffix(".state.pt"),
        {**everything, "optimizer": optimizer.state_dict(), "step": step},
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--out", type=Path, required=True, help="weights to write (.safetensors); resumed if begun"
    )
    parser.add_argument(
        "--cifake", type=Path, help="CIFAKE's train.parquet: adds its REAL images, by class"
    )
    parser.add_argument("--minutes", type=float, default=180)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rate", type=float, default=8e-4, help="learning rate after warm-up")
    parser.add_argument("--crops", type=int, default=40000, help="photograph crops to draw from")
    parser.add_argument("--every", type=int, default=250, help="steps between checkpoints")
    train(parser.parse_args())
