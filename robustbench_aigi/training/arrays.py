"""Labelled images in memory: how they are cut into batches, and how a detector does on them."""

from typing import NamedTuple

import torch
from torch import Tensor

from robustbench_aigi.detectors import Detector
from robustbench_aigi.detectors._support.placement import on_device
from robustbench_aigi.imaging.pixels import from_bytes


class Arrays(NamedTuple):
    """``images`` uint8 ``(N, 3, H, W)``, ``labels`` int64 ``(N,)`` (1 = AI-generated), ``groups``
    int64 ``(N,)``.

    Images of one group show the same content, such as a photograph and its reconstruction. They are
    put into one batch and changed alike, so that content cancels and what is left to learn is the
    generator's trace. ``categories`` int64 ``(N,)``, from 0, is what they show. ``changed`` bool
    ``(N,)``: attacked or perturbed before, as in a `++` set.
    """

    images: Tensor
    labels: Tensor
    groups: Tensor | None = None
    categories: Tensor | None = None
    changed: Tensor | None = None


def by_change(data: Arrays) -> tuple[Arrays, Arrays | None]:
    """Images that came clean, and those that were changed before, if any."""
    if data.changed is None or not data.changed.any():
        return data, None
    clean, changed = (
        Arrays(data.images[kept], data.labels[kept]) for kept in (~data.changed, data.changed)
    )
    return clean, changed


def batches(index: Tensor, size: int) -> list[Tensor]:
    """Parts of ``size``; a last part of one joins the one before it, because batch statistics need
    two.
    """
    parts = list(index.split(size))
    return parts if len(parts) < 2 or len(parts[-1]) > 1 else [*parts[:-2], torch.cat(parts[-2:])]


def shuffled(groups: Tensor, rng: torch.Generator) -> Tensor:
    """Indices of all images in random order, those of one group side by side."""
    place = torch.randperm(int(groups.max()) + 1, generator=rng)
    return place[groups].argsort(stable=True)


@torch.no_grad()
def predict(detector: Detector, images: Tensor, batch: int = 500) -> Tensor:
    """Logits of uint8 ``(N, 3, H, W)`` images."""
    return torch.cat(
        [on_device(detector, from_bytes(part)).float().cpu() for part in images.split(batch)]
    )


def balanced_accuracy(detector: Detector, data: Arrays) -> float:
    """Mean of the accuracies on reals and on fakes, at the detector's threshold."""
    right = (predict(detector, data.images) > detector.threshold) == (data.labels == 1)
    return float(
        torch.stack([right[data.labels == label].float().mean() for label in (0, 1)]).mean()
    )


def share_called_fake(detector: Detector, data: Arrays) -> float:
    """Share of images the detector calls AI-generated."""
    return float((predict(detector, data.images) > detector.threshold).float().mean())
