"""Train the tiny CLIP behind `clip-mlp`: ``python -m robustbench_aigi.training.scripts.clip
--help``.
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


def one_of_each(kinds: Tensor, rng: torch.Generator) -> Tensor:
    """Indices ``(G, C)``: a row holds one image of every kind, so that no caption of it fits two of
    its images.
    """
    columns = [(kinds == kind).nonzero().squeeze(1) for kind in kinds.unique()]
    least = min(len(column) for column in columns)
    return torch.stack(
        [column[torch.randperm(len(column), generator=rng)[:least]] for column in columns], dim=1
    )


def read(cifake: str) -> tuple[Arrays, Tensor, list[str]]:
    """Training images, the kind of each (category and class), and the categories' names."""
    data = load_data("cifake", cifake, split="train")
    images = Arrays(*data.arrays())
    names = sorted(data.manifest["category"].unique())
    categories = torch.tensor([names.index(c) for c in data.manifest["category"]])
    return images, 2 * categories + images.labels, names


def contrast(model: Any, images: Tensor, captions: Tensor) -> tuple[Tensor, float]:
    """open_clip's loss over groups of images ``(G, C, 3, H, W)``, and the share whose caption of
    ``(C, L)`` is nearest.

    In a group the image at place c belongs to caption c.
    """
    inputs = Normalise(CLIP_MEAN, CLIP_STD)(images.flatten(0, 1))
    pictures = model.encode_image(inputs, normalize=True).unflatten(0, images.shape[:2])
    texts, scale = model.encode_text(captions, normalize=True), model.logit_scale.exp()
    loss_of = open_clip.ClipLoss()
    right = (pictures @ texts.T).argmax(2) == torch.arange(len(captions))
    return (
        torch.stack([loss_of(picture, texts, scale) for picture in pictures]).mean(),
        right.float().mean().item(),
    )


def train(args: argparse.Namespace) -> None:
    """Contrastive training with open_clip's own loss; writes float16 weights of both towers after
    every epoch.
    """
    torch.manual_seed(0)
    rng = torch.Generator().manual_seed(0)
    data, kinds, names = read(args.cifake)
    model: Any = load_tiny_clip(pretrained=False).train()
    tokenize = open_clip.SimpleTokenizer(context_length=12)
    captions = torch.stack(
        [
            tokenize([text.format(name) for name in names for text in pair])
            for pair in CAPTION_TEMPLATES
        ]
    )
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=args.rate, weight_decay=0.1, betas=(0.9, 0.98)
    )
    per_epoch = len(one_of_each(kinds, rng)) // args.groups
    step, total, began = 0, args.epochs * per_epoch, time.monotonic()
    schedule = TrainConfig(epochs=args.epochs, rate=args.rate, warmup=0.05).schedule_for(
        optimizer, total
    )
    for epoch in range(args.epochs):
        rows = one_of_each(kinds, rng)
        for part in rows[torch.randperm(len(rows), generator=rng)][: per_epoch * args.groups].split(
            args.groups
        ):
            schedule.step_update(step)
            index = part.flatten()
            images = augment(from_bytes(data.images[index]), data.labels[index], rng, shift=3)
            template = int(torch.randint(len(CAPTION_TEMPLATES), (), generator=rng))
            loss, right = contrast(model, images.unflatten(0, part.shape), captions[template])
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            with torch.no_grad():
                model.logit_scale.clamp_(0, 4.6052)
            step += 1
            if step % 100 == 0:
                rate = step * len(index) / (time.monotonic() - began)
                sys.stderr.write(
                    f"step {step}/{total} loss {loss:.3f} zero-shot {right:.3f} {rate:.0f}"
                    " images/s\n"
                )
        tensors = {name: tensor.half().contiguous() for name, tensor in model.state_dict().items()}
        save_file(tensors, args.out)
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
