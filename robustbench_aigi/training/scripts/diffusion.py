"""Train the diffusion model behind ``mini``.

Run ``python -m robustbench_aigi.training.scripts.diffusion --help``.
"""

import argparse
import io
import json
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow.parquet as pq
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from robustbench_aigi.data import photographs
from robustbench_aigi.generators.diffusion import CLASS_NAMES, DiffusionConfig, PixelDiffusion
from robustbench_aigi.io.files import atomic_write
from robustbench_aigi.training import saved_state
from robustbench_aigi.training.ema import EMA

PHOTOGRAPH_CLASS = CLASS_NAMES.index("photograph")
"""Class index of the crops of photographs."""
GATE_RATE = 30
"""How much faster the gate learns than the network."""
EMA_STEPS = 1000
"""Steps that the average of the weights reaches back."""
WARMUP_STEPS = 500
"""Steps in which the rate rises."""
DECAY_SHARE = 0.4
"""Share of the time, at its end, in which the rate falls to zero."""


class Pool(NamedTuple):
    """Training images of one source.

    Attributes:
        images: uint8 ``(N, 3, 32, 32)``.
        classes: int64 ``(N,)``, indices of :data:`CLASS_NAMES`.
    """

    images: Tensor
    classes: Tensor


def photograph_crops(count: int, seed: int = 0) -> Pool:
    """Return crops of the photographs for training.

    Args:
        count: number of crops.
        seed: of the draw.
    """
    rng = np.random.default_rng(seed)
    names = photographs.PHOTOGRAPH_SPLITS["train"]
    crops = [crop for _, crop in photographs.crops(names, count, rng)]
    images = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).contiguous()
    return Pool(images, torch.full((count,), PHOTOGRAPH_CLASS))


def cifake_reals(path: Path) -> Pool:
    """Return CIFAKE's real training images, with their CIFAR-10 classes.

    The general reader is not used: the classes are in the file's own image names.

    Args:
        path: CIFAKE's ``train.parquet``.
    """
    images = []
    classes = []
    for batch in pq.ParquetFile(path).iter_batches(512):
        for row in batch.to_pylist():
            if row["label"] == 1:
                name = row["image"]["path"]
                suffix = name.rsplit("(", 1)[1].split(")")[0] if "(" in name else "1"
                classes.append(int(suffix) - 1)
                picture = Image.open(io.BytesIO(row["image"]["bytes"])).convert("RGB")
                images.append(np.asarray(picture))
    pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()
    return Pool(pixels, torch.tensor(classes))


@torch.no_grad()
def mean_power(model: PixelDiffusion, pool: Tensor, count: int = 5000) -> Tensor:
    """Return the mean square ``(size, size)`` of each DCT coefficient of images in [-1, 1].

    Args:
        model: computes the DCT.
        pool: uint8 ``(N, 3, size, size)``.
        count: images that are used, at most.
    """
    return model.spectrum(pool[:count].float().div(127.5).sub(1)).square().mean(dim=(0, 1))


def loss_on(model: PixelDiffusion, images: Tensor, classes: Tensor, rng: torch.Generator) -> Tensor:
    """Return the mean squared error of v at random noise levels, all of the same weight.

    Fine texture is learnt at low noise levels.

    Args:
        model: in training.
        images: ``(N, 3, size, size)`` in [-1, 1].
        classes: int64 ``(N,)``.
        rng: CPU generator of levels and noise.
    """
    scheduler = model.scheduler
    steps = torch.randint(0, scheduler.config["num_train_timesteps"], (len(images),), generator=rng)
    noise = torch.randn(images.shape, generator=rng)
    noisy = scheduler.add_noise(images, noise, steps)
    return F.mse_loss(model(noisy, steps, classes), scheduler.get_velocity(images, noise, steps))


class DiffusionTraining:
    """Training of the diffusion model for a given time, which can be continued later.

    Args:
        args: of the command line.
    """

    def __init__(self, args: argparse.Namespace) -> None:
        torch.manual_seed(0)
        self.args = args
        self.rng = torch.Generator().manual_seed(0)
        self.pools = [photograph_crops(args.crops)]
        if args.cifake:
            self.pools.append(cifake_reals(args.cifake))
        self.model = PixelDiffusion(DiffusionConfig()).train()
        powers = [mean_power(self.model, pool.images) for pool in self.pools]
        self.model.power = torch.stack(powers).mean(dim=0)
        self.ema = EMA(self.model, EMA_STEPS)
        net = {"params": self.model.net.parameters()}
        gate = {"params": [self.model.gate], "weight_decay": 0.0}
        self.optimizer = torch.optim.AdamW(
            [net, gate], lr=args.rate, weight_decay=1e-4, betas=(0.9, 0.99)
        )
        self.step = 0
        self._restore()
        self.began = time.monotonic()
        self.losses: list[float] = []

    @property
    def state_path(self) -> Path:
        """File of the state, beside the weights."""
        path: Path = self.args.out.with_suffix(".state.pt")
        return path

    def _restore(self) -> None:
        if not self.state_path.exists():
            return
        saved = torch.load(self.state_path, weights_only=True)
        self.model.load_state_dict(saved["model"])
        self.ema.restore(saved["average"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.step = saved["step"]
        self.rng.manual_seed(self.step)

    @property
    def elapsed_share(self) -> float:
        """Share of the time that is over."""
        return (time.monotonic() - self.began) / (60 * float(self.args.minutes))

    def advance(self) -> None:
        """Take one step."""
        images, classes = self._draw()
        left = max(1 - self.elapsed_share, 0.0)
        share = min(1.0, (self.step + 1) / WARMUP_STEPS, left / DECAY_SHARE)
        for group, factor in zip(self.optimizer.param_groups, (1, GATE_RATE), strict=True):
            group["lr"] = factor * self.args.rate * share
        self.optimizer.zero_grad()
        loss = loss_on(self.model, images, classes, self.rng)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.step += 1
        self.ema.update(self.step + 1)  # its early decay is then (1 + step) / (10 + step)
        self.losses.append(loss.item())

    def _draw(self) -> tuple[Tensor, Tensor]:
        """Draw a batch from all pools alike; images are in [-1, 1], half of them flipped."""
        count = self.args.batch // len(self.pools)
        drawn = [torch.randint(len(p.images), (count,), generator=self.rng) for p in self.pools]
        pairs = list(zip(self.pools, drawn, strict=True))
        images = torch.cat([pool.images[index] for pool, index in pairs]).float()
        images = images.div(127.5).sub(1)
        is_flipped = torch.rand(len(images), generator=self.rng) < 0.5
        images[is_flipped] = images[is_flipped].flip(3)
        return images, torch.cat([pool.classes[index] for pool, index in pairs])

    def report(self) -> None:
        """Write a line on standard error."""
        rate = self.args.batch * len(self.losses) / (time.monotonic() - self.began)
        line = {
            "step": self.step,
            "loss": round(float(np.mean(self.losses[-self.args.every :])), 5),
            "per_second": round(rate),
        }
        sys.stderr.write(json.dumps(line) + "\n")

    def save(self) -> None:
        """Write the average, and beside it the state that a later call continues from."""
        average = self.ema.module
        if not isinstance(average, PixelDiffusion):
            raise TypeError(f"the average must be a PixelDiffusion, got {type(average)}")
        atomic_write(self.args.out, average.save)
        state = {
            "model": self.model.state_dict(),
            "average": self.ema.save(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
        }
        saved_state.save(self.state_path, state)


def train(args: argparse.Namespace) -> None:
    """Train for ``args.minutes``, and write the weights every few steps and at the end."""
    training = DiffusionTraining(args)
    while training.elapsed_share < 1:
        training.advance()
        if training.step % args.every == 0:
            training.report()
            training.save()
    training.save()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--out", type=Path, required=True, help="weights to write (.safetensors); resumed if there"
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
