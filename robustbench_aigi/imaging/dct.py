"""The discrete cosine transform as a matrix."""

from functools import cache

import numpy as np
import torch
from jaxtyping import Float
from scipy.fft import dct
from torch import Tensor


@cache
def dct_matrix(size: int) -> Float[Tensor, "size size"]:
    """Return the orthonormal DCT-II as a matrix, float64 ``(size, size)``.

    With matrix m, the DCT of an image is ``m @ pixels @ m.T``.

    Args:
        size: number of values.

    Example:
        >>> bool(torch.allclose(dct_matrix(8) @ dct_matrix(8).T, torch.eye(8).double()))
        True
    """
    return torch.from_numpy(dct(np.eye(size), axis=0, norm="ortho"))
