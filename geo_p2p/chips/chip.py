"""One training pair, and what pairs are cut from."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from geo_p2p.raster import Bands, Frame

__all__ = ["Chip", "ChipRecord", "Source"]


class Source(Protocol):
    """What either side of a pair is read from; `geo_p2p.raster.RasterSource` is one.

    Picklable, so that other processes can read; safe to be read by several threads.
    """

    @property
    def name(self) -> str:
        """The paths, for messages."""

    @property
    def paths(self) -> tuple[str, ...]:
        """The files."""

    @property
    def bands(self) -> tuple[int, ...] | None:
        """Band numbers read, from 1; None for all."""

    @property
    def frame(self) -> Frame:
        """Where the pixels are."""

    @property
    def info(self) -> Bands:
        """What the bands hold."""

    @property
    def method(self) -> str:
        """The resampling in force; "none" where there is none."""

    def read(self, window: Window | None = None) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Return values (bands, rows, cols) and valid (rows, cols) of a window, px of the frame."""


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
