"""How training images are changed: in ways that leave a generator's traces in place."""

import torch
from torch import Tensor
from torch.nn import functional as F


def augment(
    images: Tensor,
    labels: Tensor,
    rng: torch.Generator,
    groups: Tensor | None = None,
    *,
    shift: int = 2,
    mix: float = 0.0,
    colour: float = 0.0,
) -> Tensor:
    """Flip, shift by whole pixels, recolour, mix mildly within a class; neighbours of one group are
    changed alike.

    Args:
        images: ``(N, 3, H, W)`` in [0, 1]. labels, groups: ``(N,)``.
        shift: at most so many pixels. mix: the largest share of a second image.
        colour: the largest change of a channel's contrast, and half of it of its level.
    """
    own = (
        torch.arange(len(images))
        if groups is None
        else groups.unique_consecutive(return_inverse=True)[1]
    )
    count = int(own.max()) + 1
    flips = (torch.rand(count, generator=rng) < 0.5)[own].to(images.device)
    images = torch.where(flips.view(-1, 1, 1, 1), images.flip(3), images)
    if shift:
        images = moved(
            images, torch.randint(0, 2 * shift + 1, (2, count), generator=rng)[:, own], shift
        )
    if colour:
        images = recoloured(images, colour, rng, own)
    if mix:
        partner = partners(labels, rng)
        share = mix * torch.rand(len(images), 1, 1, 1, generator=rng).to(images.device)
        images = images.lerp(images[partner], share)
    return images


def moved(images: Tensor, corners: Tensor, most: int) -> Tensor:
    """Move each image so that its corner is at ``corners`` ``(2, N)``, 0 to 2 ``most``; the border
    is mirrored.
    """
    padded = F.pad(images, (most, most, most, most), mode="reflect")
    size_y, size_x = images.shape[-2:]
    rows = (corners[0].view(-1, 1) + torch.arange(size_y)).to(images.device)
    columns = (corners[1].view(-1, 1) + torch.arange(size_x)).to(images.device)
    which = torch.arange(len(images), device=images.device).view(-1, 1, 1)
    return (
        padded.permute(0, 2, 3, 1)[which, rows.unsqueeze(2), columns.unsqueeze(1)]
        .permute(0, 3, 1, 2)
        .contiguous()
    )


def recoloured(images: Tensor, most: float, rng: torch.Generator, own: Tensor) -> Tensor:
    """Stretch each channel's contrast and shift it, by up to ``most``: content changes, traces
    stay.

    Args:
        own: ``(N,)`` which of the draws an image takes.
    """
    count = int(own.max()) + 1
    gain, offset = (2 * torch.rand(2, count, 3, 1, 1, generator=rng) - 1)[:, own].to(images.device)
    stretched: Tensor = (images - 0.5) * (1 + most * gain) + 0.5 + most / 2 * offset
    return stretched.clamp(0, 1)


def partners(labels: Tensor, rng: torch.Generator) -> Tensor:
    """For each image the index of a random one of its own class."""
    partner = torch.empty_like(labels)
    for label in labels.unique():
        places = (labels == label).nonzero().squeeze(1)
        partner[places] = places[torch.randperm(len(places), generator=rng)]
    return partner
