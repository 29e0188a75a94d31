"""The state of a Square attack's search."""

from dataclasses import dataclass

from torch import Tensor


@dataclass
class SquareState:
    """The state of a search, one row per image still in it.

    Attributes:
        which: indices of the images.
        clean: the clean images, in grey levels.
        change: the best change so far, in grey levels.
        margins: ``(M,)``, its margins.
        uniform: ``(M, squares, 8)``, the random numbers of all squares.
        tried: int64 ``(M,)``, squares tried so far.
    """

    which: Tensor
    clean: Tensor
    change: Tensor
    margins: Tensor
    uniform: Tensor
    tried: Tensor

    def only(self, mask: Tensor) -> "SquareState":
        """Return the state of the images where ``mask`` ``(M,)`` is true."""
        if bool(mask.all()):
            return self
        return SquareState(*(value[mask] for value in vars(self).values()))


def first_improvement(scores: Tensor, margins: Tensor) -> Tensor:
    """Return the position of each image's first score below its margin, or K where none is.

    Args:
        scores: ``(M, K)``, the margins of K candidates per image, in the order they are tried.
        margins: ``(M,)``, the margins to improve on.

    Returns:
        int64 ``(M,)``, from 0 to K.

    Example:
        >>> import torch
        >>> scores = torch.tensor([[3.0, 1.0, 0.0], [2.0, 2.0, 5.0]])
        >>> first_improvement(scores, torch.tensor([2.0, 2.0]))
        tensor([1, 3])
    """
    return (scores >= margins[:, None]).cumprod(dim=1).sum(dim=1)
