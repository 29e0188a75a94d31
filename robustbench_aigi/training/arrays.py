"""Labelled images in memory or on disk, their batches, and a detector's accuracy on them."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from robustbench_aigi.detectors import Detector
from robustbench_aigi.detectors._support.placement import on_device
from robustbench_aigi.imaging.pixels import from_bytes
from robustbench_aigi.training.streaming import StreamedImages


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


class StreamedArrays(NamedTuple):
    """Labelled images on disk; the attributes are those of :class:`Arrays`."""

    images: StreamedImages
    labels: Int[Tensor, " n"]
    groups: Int[Tensor, " n"] | None = None
    categories: Int[Tensor, " n"] | None = None
    changed: Bool[Tensor, " n"] | None = None


TrainingImages = Arrays | StreamedArrays


def by_change(data: TrainingImages) -> tuple[TrainingImages, TrainingImages | None]:
    """Split images into those that are clean, and those that were changed before, if any."""
    if data.changed is None or not data.changed.any():
        return data, None
    return _only(data, ~data.changed), _only(data, data.changed)


def _only(data: TrainingImages, mask: Tensor) -> TrainingImages:
    if isinstance(data, Arrays):
        return Arrays(data.images[mask], data.labels[mask])
    return StreamedArrays(data.images[mask], data.labels[mask])


def batch_count(count: int, size: int) -> int:
    """Return the number of batches; a last batch of one image joins the one before it.

    Statistics of batch normalisation need two images.

    Args:
        count: number of images.
        size: images per batch.

    Example:
        >>> batch_count(7, 3)
        2
    """
    return max(1, count // size + (count % size > 1))


def batch_at(order: Int[Tensor, " n"], size: int, number: int) -> Int[Tensor, " m"]:
    """Return a batch of an order.

    Args:
        order: of all images.
        size: images per batch.
        number: of the batch, counted from 0.

    Example:
        >>> [len(batch_at(torch.arange(7), 3, number)) for number in (0, 1)]
        [3, 4]
    """
    is_last = number == batch_count(len(order), size) - 1
    return order[number * size : None if is_last else (number + 1) * size]


def pixels_of(images: Tensor | StreamedImages) -> UInt8[Tensor, "n 3 h w"]:
    """Return images in memory.

    Args:
        images: few enough to be decoded at once.
    """
    return images if isinstance(images, Tensor) else torch.cat(list(images.split(len(images))))


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
    detector: Detector, images: UInt8[Tensor, "n 3 h w"] | StreamedImages, batch: int = 500
) -> Float[Tensor, " n"]:
    """Return the logits ``(N,)`` of images, on the CPU.

    Args:
        detector: in evaluation mode.
        images: uint8 ``(N, 3, H, W)``.
        batch: images per forward pass.
    """
    logits = [on_device(detector, from_bytes(part)).float().cpu() for part in images.split(batch)]
    return torch.cat(logits)


def balanced_accuracy(detector: Detector, data: TrainingImages) -> float:
    """Return the mean of the accuracies on real and on AI-generated images.

    Args:
        detector: classifies at its own threshold.
        data: images of both classes.
    """
    is_correct = (predict(detector, data.images) > detector.threshold) == (data.labels == 1)
    per_class = [is_correct[data.labels == label].float().mean() for label in (0, 1)]
    return float(torch.stack(per_class).mean())


def share_called_fake(detector: Detector, data: TrainingImages) -> float:
    """Return the share of the images in ``data`` that ``detector`` calls AI-generated."""
    return float((predict(detector, data.images) > detector.threshold).float().mean())
