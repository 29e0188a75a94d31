"""Where the squares of a Square attack lie, and what its L2 version puts into them."""

import torch
from torch import Tensor


def windows(change: Tensor, side: int, places: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the masks of one square per image, and the squares' first rows and columns.

    Args:
        change: ``(M, 3, H, W)``, whose height and width are meant.
        side: of the squares, in pixels.
        places: ``(M, 2)`` uniform random numbers in [0, 1).

    Returns:
        Bool ``(M, 1, H, W)``, int64 ``(M,)`` and int64 ``(M,)``.
    """
    height, width = change.shape[-2:]
    top = (places[:, 0] * (height - side + 1)).long()
    left = (places[:, 1] * (width - side + 1)).long()
    rows = torch.arange(height, device=change.device)
    columns = torch.arange(width, device=change.device)
    tall = (rows >= top[:, None]) & (rows < top[:, None] + side)
    wide = (columns >= left[:, None]) & (columns < left[:, None] + side)
    return (tall[:, :, None] & wide[:, None, :]).unsqueeze(1), top, left


def per_channel(change: Tensor) -> Tensor:
    """Return the L2 norm of each channel, ``(M, 3, 1, 1)``.

    Args:
        change: ``(M, 3, H, W)``.
    """
    lengths: Tensor = torch.linalg.vector_norm(change, dim=(2, 3), keepdim=True)
    return lengths


def bumps(side: int) -> Tensor:
    """Return a tile ``(side, side)`` of norm 1.

    Its upper half is a stepped hill, its lower half the negative of one.

    Args:
        side: in pixels.
    """
    whole = torch.zeros(side, side)
    for start, stop, sign in ((0, side // 2, 1.0), (side // 2, side, -1.0)):
        tall = stop - start
        middle_row = start + tall // 2
        middle_column = side // 2
        for ring in range(max(tall // 2, side // 2) + 1):
            top = max(middle_row - ring, start)
            bottom = min(middle_row + ring + 1, stop)
            left = max(middle_column - ring, 0)
            right = min(middle_column + ring + 1, side)
            whole[top:bottom, left:right] += sign / (ring + 1) ** 2
    unit: Tensor = whole / torch.linalg.vector_norm(whole).clamp(min=1e-12)
    return unit


def placed(tile: Tensor, top: Tensor, left: Tensor, like: Tensor, turned: Tensor) -> Tensor:
    """Return the tile at each image's position, zero around it, ``(M, 1, H, W)``.

    Args:
        tile: ``(side, side)``.
        top: int64 ``(M,)``, the first row of each.
        left: int64 ``(M,)``, the first column of each.
        like: ``(M, 3, H, W)``, whose size and type are meant.
        turned: bool ``(M,)``, whether the tile is transposed.
    """
    side = len(tile)
    out = like.new_zeros(len(like), 1, *like.shape[-2:])
    tiles = torch.where(turned.view(-1, 1, 1), tile.T, tile)
    within = torch.arange(side, device=like.device)
    rows = (top[:, None] + within).unsqueeze(2)
    columns = (left[:, None] + within).unsqueeze(1)
    images = torch.arange(len(like), device=like.device).view(-1, 1, 1)
    out[images, 0, rows, columns] = tiles
    return out
