"""One training pair, and what pairs are cut from."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from geo_p2p.chips.stats import BandStats
from geo_p2p.raster import Bands, Frame

__all__ = ["Chip", "ChipRecord", "Placed", "Scene", "Source"]


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

    def warped(self, frame: Frame) -> "Source":
        """Return the same on another lattice."""

    def read(self, window: Window | None = None) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Return values (bands, rows, cols) and valid (rows, cols) of a window, px of the frame."""


@dataclass(frozen=True)
class Scene:
    """Two sources on one lattice, to cut pairs from.

    Parameters
    ----------
    name : unique among its fellows.
    x, y : the input, and the additional raster on its lattice.
    """

    name: str
    x: Source
    y: Source


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


class Placed(NamedTuple):
    """Where a chip is: its scene, its window there, and the degrees it is turned by."""

    scene: str
    window: Window
    angle: float = 0.0

    def frame(self, lattice: Frame) -> Frame:
        """Where it is, by the lattice of its scene."""
        place = lattice.crop(self.window)
        return place.rotated(self.angle) if self.angle else place


@dataclass(frozen=True)
class ChipRecord:
    """What is known of a chip that was cut.

    Parameters
    ----------
    name : unique in its set.
    scene : name of the scene it was cut from.
    window : px of the scene's input raster, before the chip is turned.
    angle : degrees it is turned by, counter-clockwise.
    valid : share of pixels valid in both rasters, 0-1.
    x, y : statistics of either side over its own valid pixels.
    census : valid pixels of each class, where the target holds classes.
    """

    name: str
    scene: str
    window: Window
    angle: float
    valid: float
    x: BandStats
    y: BandStats
    census: Mapping[int, int] = field(default_factory=dict)

    @property
    def place(self) -> Placed:
        """Where the chip is."""
        return Placed(self.scene, self.window, self.angle)

    def to_json(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "name": self.name,
            "scene": self.scene,
            "window": list(self.window.flatten()),
            "angle": self.angle,
            "valid": self.valid,
            "x": self.x.to_json(),
            "y": self.y.to_json(),
            "census": {str(value): count for value, count in self.census.items()},
        }

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Self:
        """Read what `to_json` gave."""
        return cls(
            name=plain["name"],
            scene=plain["scene"],
            window=Window(*plain["window"]),
            angle=plain["angle"],
            valid=plain["valid"],
            x=BandStats.from_json(plain["x"]),
            y=BandStats.from_json(plain["y"]),
            census={int(value): count for value, count in plain["census"].items()},
        )
