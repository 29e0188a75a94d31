"""Augmentation of training images that leaves a generator's traces in place."""

import torch
from jaxtyping import Float, Int, Num
from torch import Tensor
from torch.nn import functional as F


def augment(
    images: Float[Tensor, "n 3 h w"],
    labels: Num[Tensor, " n"],
    rng: torch.Generator,
    groups: Int[Tensor, " n"] | None = None,
    *,
    shift: int = 2,
    intra_class_mixup: float = 0.0,
    colour: float = 0.0,
) -> Float[Tensor, "n 3 h w"]:
    """Flip, shift by whole pixels, recolour, and mix images within a class.

    Neighbours of one group are flipped, shifted and recoloured alike.

    Args:
        images: ``(N, 3, H, W)`` in [0, 1].
        labels: ``(N,)``, 1 = AI-generated.
        rng: CPU generator of all draws.
        groups: ``(N,)``, images of a group side by side; None if each is a group of its own.
        shift: maximum translation, in pixels.
        intra_class_mixup: maximum share of a second image of the same class.
        colour: maximum relative change of a channel's contrast; half of it is that of its level.
    """
    draw_of = _draw_index(len(images), groups)
    count = int(draw_of.max()) + 1
    is_flipped = (torch.rand(count, generator=rng) < 0.5)[draw_of].to(images.device)
    images = torch.where(is_flipped.view(-1, 1, 1, 1), images.flip(3), images)
    if shift:
        corners = torch.randint(0, 2 * shift + 1, (2, count), generator=rng)[:, draw_of]
        images = translate(images, corners, shift)
    if colour:
        images = recolour(images, colour, rng, draw_of)
    if intra_class_mixup:
        partner = random_partners(labels, rng)
        draws = torch.rand(len(images), 1, 1, 1, generator=rng).to(images.device)
        images = images.lerp(images[partner], intra_class_mixup * draws)
    return images


def _draw_index(count: int, groups: Tensor | None) -> Tensor:
    """Return the index ``(N,)`` of the draw of each image: one draw per group."""
    if groups is None:
        return torch.arange(count)
    index: Tensor = groups.unique_consecutive(return_inverse=True)[1]
    return index


def translate(
    images: Float[Tensor, "n 3 h w"], corners: Tensor, most: int
) -> Float[Tensor, "n 3 h w"]:
    """Translate images by whole pixels; the border is mirrored.

    Args:
        images: ``(N, 3, H, W)``.
        corners: int64 ``(2, N)``, row and column of the upper left corner in the padded image,
            0 to ``2 * most``.
        most: maximum translation, in pixels.
    """
    padded = F.pad(images, (most, most, most, most), mode="reflect")
    height, width = images.shape[-2:]
    rows = (corners[0].view(-1, 1) + torch.arange(height)).to(images.device)
    columns = (corners[1].view(-1, 1) + torch.arange(width)).to(images.device)
    which = torch.arange(len(images), device=images.device).view(-1, 1, 1)
    cut = padded.permute(0, 2, 3, 1)[which, rows.unsqueeze(2), columns.unsqueeze(1)]
    return cut.permute(0, 3, 1, 2).contiguous()


def recolour(
    images: Float[Tensor, "n 3 h w"], most: float, rng: torch.Generator, draw_of: Tensor
) -> Float[Tensor, "n 3 h w"]:
    """Change each channel's contrast and level at random.

    Args:
        images: ``(N, 3, H, W)`` in [0, 1].
        most: maximum relative change of the contrast.
        rng: CPU generator of the draws.
        draw_of: int64 ``(N,)``, index of the draw of each image.
    """
    count = int(draw_of.max()) + 1
    draws = 2 * torch.rand(2, count, 3, 1, 1, generator=rng) - 1
    gain, offset = draws[:, draw_of].to(images.device)
    stretched: Tensor = (images - 0.5) * (1 + most * gain) + 0.5 + most / 2 * offset
    return stretched.clamp(0, 1)


def random_partners(labels: Num[Tensor, " n"], rng: torch.Generator) -> Int[Tensor, " n"]:
    """Return, for each image, the index ``(N,)`` of a random one of its own class.

    Args:
        labels: int64 ``(N,)``.
        rng: CPU generator of the draws.
    """
    partner = torch.empty_like(labels)
    for label in labels.unique():
        places = (labels == label).nonzero().squeeze(1)
        partner[places] = places[torch.randperm(len(places), generator=rng)]
    return partner
