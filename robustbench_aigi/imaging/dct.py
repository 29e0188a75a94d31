"""The DCT as a matrix, for the generator and the attacks that work on frequencies."""

from functools import cache

import numpy as np
import torch
from scipy.fft import dct
from torch import Tensor


@cache
def dct_matrix(size: int) -> Tensor:
    """The orthonormal DCT-II of ``size`` values, float64 ``(size, size)``: ``m @ pixels @ m.T`` is
    that of an image.
    """
    return torch.from_numpy(dct(np.eye(size), axis=0, norm="ortho"))
