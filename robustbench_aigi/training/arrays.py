"""Labelled images in memory, their batches, and a detector's accuracy on them."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from robustbench_aigi.detectors import Detector
from robustbench_aigi.detectors._support.placement import on_device
from robustbench_aigi.imaging.pixels import from_bytes


class Arrays(NamedTuple):
    """Labelled images in memory.

    Images of one group show the same content, such as a photograph and its reconstruction. They are
    put into one batch and augmented alike, so that content cancels and the generator's trace is
    what is left to learn.

    Attributes:
        images: uint8 ``(N, 3, H, W)``.
        labels: int64 ``(N,)``, 1 = AI-generated.
        groups: int64 ``(N,)``, from 0; None if every image is a group of its own.
        categories: int64 ``(N,)``, from 0: what an image shows; None if unknown.
        changed: bool ``(N,)``: attacked or perturbed before, as in a `++` set; None if none is.
    """

    images: UInt8[Tensor, "n 3 h w"]
    labels: Int[Tensor, " n"]
    groups: Int[Tensor, " n"] | None = None
    categories: Int[Tensor, " n"] | None = None
    changed: Bool[Tensor, " n"] | None = None


def by_change(data: Arrays) -> tuple[Arrays, Arrays | None]:
    """Split images into those that are clean, and those that were changed before, if any."""
    if data.changed is None or not data.changed.any():
        return data, None
    clean = Arrays(data.images[~data.changed], data.labels[~data.changed])
    changed = Arrays(data.images[data.changed], data.labels[data.changed])
    return clean, changed


def batches(index: Tensor, size: int) -> list[Tensor]:
    """Split an index into batches; a last batch of one image joins the one before it.

    Statistics of batch normalisation need two images.

    Args:
        index: int64 ``(N,)``.
        size: images per batch.

    Example:
        >>> [len(part) for part in batches(torch.arange(7), 3)]
        [3, 4]
    """
    parts = list(index.split(size))
    if len(parts) < 2 or len(parts[-1]) > 1:
        return parts
    return [*parts[:-2], torch.cat(parts[-2:])]


def shuffled(groups: Int[Tensor, " n"], rng: torch.Generator) -> Int[Tensor, " n"]:
    """Return the indices of all images in random order, those of one group side by side.

    Args:
        groups: int64 ``(N,)``, from 0.
        rng: CPU generator of the order.
    """
    place = torch.randperm(int(groups.max()) + 1, generator=rng)
    return place[groups].argsort(stable=True)


@torch.no_grad()
def predict(
    detector: Detector, images: UInt8[Tensor, "n 3 h w"], batch: int = 500
) -> Float[Tensor, " n"]:
    """Return the logits ``(N,)`` of images, on the CPU.

    Args:
        detector: in evaluation mode.
        images: uint8 ``(N, 3, H, W)``.
        batch: images per forward pass.
    """
    logits = [on_device(detector, from_bytes(part)).float().cpu() for part in images.split(batch)]
    return torch.cat(logits)


def balanced_accuracy(detector: Detector, data: Arrays) -> float:
    """Return the mean of the accuracies on real and on AI-generated images.

    Args:
        detector: classifies at its own threshold.
        data: images of both classes.
    """
    is_correct = (predict(detector, data.images) > detector.threshold) == (data.labels == 1)
    per_class = [is_correct[data.labels == label].float().mean() for label in (0, 1)]
    return float(torch.stack(per_class).mean())


def share_called_fake(detector: Detector, data: Arrays) -> float:
    """Return the share of the images in ``data`` that ``detector`` calls AI-generated."""
    return float((predict(detector, data.images) > detector.threshold).float().mean())
