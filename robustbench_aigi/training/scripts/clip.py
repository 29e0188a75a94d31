"""Train the tiny CLIP behind ``clip-mlp``.

Run ``python -m robustbench_aigi.training.scripts.clip --help``.
"""

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import open_clip
import torch
from safetensors.torch import save_file
from torch import Tensor

from robustbench_aigi.data import load_data
from robustbench_aigi.detectors._support.clip_encoder import (
    CAPTION_TEMPLATES,
    TINY_CLIP,
    load_tiny_clip,
)
from robustbench_aigi.detectors.base import CLIP_MEAN, CLIP_STD, Normalise
from robustbench_aigi.imaging.pixels import from_bytes
from robustbench_aigi.training.arrays import Arrays
from robustbench_aigi.training.augment import augment
from robustbench_aigi.training.config import TrainConfig

MAX_LOGIT_SCALE = 4.6052
"""Logarithm of 100, as in CLIP."""
REPORT_STEPS = 100
"""Steps between two lines on standard error."""


def one_of_each(kinds: Tensor, rng: torch.Generator) -> Tensor:
    """Return indices ``(G, C)``: in each row one image of every kind, drawn at random.

    So no caption of a row fits two of its images.

    Args:
        kinds: int64 ``(N,)``, kind of each image.
        rng: CPU generator of the draw.
    """
    columns = [(kinds == kind).nonzero().squeeze(1) for kind in kinds.unique()]
    least = min(len(column) for column in columns)
    drawn = [column[torch.randperm(len(column), generator=rng)[:least]] for column in columns]
    return torch.stack(drawn, dim=1)


def read_cifake(source: str) -> tuple[Arrays, Tensor, list[str]]:
    """Return training images, the kind of each (category and class), and the categories' names.

    Args:
        source: folder, Parquet files or hub id of CIFAKE.
    """
    data = load_data("cifake", source, split="train")
    images = Arrays(*data.arrays())
    names = sorted(data.manifest["category"].unique())
    categories = torch.tensor([names.index(c) for c in data.manifest["category"]])
    return images, 2 * categories + images.labels, names


def contrastive_loss(model: Any, images: Tensor, captions: Tensor) -> tuple[Tensor, float]:
    """Return open_clip's loss, and the share of images whose own caption is the nearest.

    Args:
        model: of open_clip.
        images: ``(G, C, 3, H, W)`` in [0, 1]; in each group, the image at place c has caption c.
        captions: token indices ``(C, L)``.
    """
    inputs = Normalise(CLIP_MEAN, CLIP_STD)(images.flatten(0, 1))
    pictures = model.encode_image(inputs, normalize=True).unflatten(0, images.shape[:2])
    texts = model.encode_text(captions, normalize=True)
    scale = model.logit_scale.exp()
    loss_of = open_clip.ClipLoss()
    is_right = (pictures @ texts.T).argmax(2) == torch.arange(len(captions))
    losses = torch.stack([loss_of(picture, texts, scale) for picture in pictures])
    return losses.mean(), is_right.float().mean().item()


def tokenize_captions(names: list[str]) -> Tensor:
    """Return token indices of the captions of each template, ``(T, 2 * len(names), L)``."""
    tokenize = open_clip.SimpleTokenizer(context_length=12)
    captions = [
        tokenize([text.format(name) for name in names for text in pair])
        for pair in CAPTION_TEMPLATES
    ]
    return torch.stack(captions)


class ClipTraining:
    """Contrastive training of the tiny CLIP.

    Args:
        args: of the command line.
    """

    def __init__(self, args: argparse.Namespace) -> None:
        torch.manual_seed(0)
        self.rng = torch.Generator().manual_seed(0)
        self.data, self.kinds, names = read_cifake(args.cifake)
        self.model: Any = load_tiny_clip(pretrained=False).train()
        self.captions = tokenize_captions(names)
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=args.rate, weight_decay=0.1, betas=(0.9, 0.98)
        )
        self.groups = args.groups
        self.per_epoch = len(one_of_each(self.kinds, self.rng)) // args.groups
        self.total = args.epochs * self.per_epoch
        self.schedule = TrainConfig(epochs=args.epochs, rate=args.rate, warmup=0.05).schedule_for(
            self.optimizer, self.total
        )
        self.step = 0
        self.began = time.monotonic()

    def epoch(self) -> None:
        """Train for one epoch."""
        rows = one_of_each(self.kinds, self.rng)
        order = torch.randperm(len(rows), generator=self.rng)
        for part in rows[order][: self.per_epoch * self.groups].split(self.groups):
            loss, right = self._advance(part)
            self.step += 1
            if self.step % REPORT_STEPS == 0:
                rate = self.step * part.numel() / (time.monotonic() - self.began)
                sys.stderr.write(
                    f"step {self.step}/{self.total} loss {loss:.3f} zero-shot {right:.3f}"
                    f" {rate:.0f} images/s\n"
                )

    def _advance(self, part: Tensor) -> tuple[float, float]:
        """Take one step, and return its loss and its zero-shot accuracy."""
        self.schedule.step_update(self.step)
        index = part.flatten()
        pixels = from_bytes(self.data.images[index])
        images = augment(pixels, self.data.labels[index], self.rng, shift=3)
        template = int(torch.randint(len(CAPTION_TEMPLATES), (), generator=self.rng))
        loss, right = contrastive_loss(
            self.model, images.unflatten(0, part.shape), self.captions[template]
        )
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        with torch.no_grad():
            self.model.logit_scale.clamp_(0, MAX_LOGIT_SCALE)
        return loss.item(), right


def train(args: argparse.Namespace) -> None:
    """Train by the ``args`` of the command line, and write float16 weights after every epoch."""
    training = ClipTraining(args)
    for epoch in range(args.epochs):
        training.epoch()
        state = training.model.state_dict()
        save_file({name: tensor.half().contiguous() for name, tensor in state.items()}, args.out)
        sys.stderr.write(f"epoch {epoch + 1} written to {args.out}\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--cifake", required=True, help="CIFAKE: a folder, Parquet files or a hub id"
    )
    parser.add_argument(
        "--out", type=Path, default=Path(f"robustbench_aigi/weights/{TINY_CLIP}.safetensors")
    )
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument(
        "--groups", type=int, default=12, help="groups, of one image of each kind, in a batch"
    )
    parser.add_argument("--rate", type=float, default=1e-3)
    train(parser.parse_args())
