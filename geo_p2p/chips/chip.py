"""One training pair."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from geo_p2p.raster import Frame

__all__ = ["Chip", "ChipRecord"]


@dataclass(frozen=True)
class Chip:
    """A pair of images of one place, exported or cut on the fly.

    Parameters
    ----------
    x : (bands, rows, cols) of the input raster, its type and unit.
    y : (bands, rows, cols) of the additional raster on the same lattice, its type and unit.
    valid : (rows, cols), True where both have values.
    frame : where the pixels are.
    name : unique in its set.
    """

    x: NDArray[Any]
    y: NDArray[Any]
    valid: NDArray[np.bool_]
    frame: Frame
    name: str


@dataclass(frozen=True)
class ChipRecord:
    """A chip that was written: its name, its window of the input raster, its valid share (0-1)."""

    name: str
    window: Window
    valid: float
