"""Arithmetic on large images in strips that stay in the caches of a core."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["by_strips"]

ROWS = 32
"""Rows of a strip: with what is made on the way a MiB or two."""


def by_strips(function: Callable[..., NDArray[Any]], *images: NDArray[Any]) -> NDArray[Any]:
    """Return what a function of single pixels gives for images (..., rows, cols).

    The same values as at once, and several times as fast: memory that is touched once is slow, and
    what the function makes on the way is thrown away before it gets there.

    Parameters
    ----------
    function : gives (bands, rows, cols) for as many rows of each image as it is given.
    *images : at least one row.
    """
    height = images[0].shape[-2]
    first = function(*(image[..., :ROWS, :] for image in images))
    whole = np.empty((first.shape[0], height, first.shape[2]), first.dtype)
    whole[:, :ROWS] = first
    for row in range(ROWS, height, ROWS):
        rows = slice(row, row + ROWS)
        whole[:, rows] = function(*(image[..., rows, :] for image in images))
    return whole
