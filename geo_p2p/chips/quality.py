"""Pixels that a cloud or quality band rules out."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from geo_p2p.chips.chip import Source
from geo_p2p.chips.mosaicked import footprint_of
from geo_p2p.errors import ChipError
from geo_p2p.raster import Bands, Frame

__all__ = ["Masked", "parse_numbers"]


@dataclass(frozen=True)
class Masked:
    """A raster, invalid where its quality band says so.

    A `Source`: picklable, and read by several threads.

    Parameters
    ----------
    source : the raster.
    quality : its quality, one band of whole numbers on the same lattice, by nearest neighbour:
        ``RasterSource(path, [band], like=source.frame, resampling="nearest")``.
    bits : a pixel is invalid where any of these bits is set, counted from 0. Landsat Collection
        2, QA_PIXEL: 1, 2, 3 and 4 for dilated cloud, cirrus, cloud and cloud shadow.
    values : a pixel is invalid where the quality is one of these. Sentinel-2, SCL: 3, 8, 9 and 10
        for cloud shadow, clouds of medium and high probability, and thin cirrus.

    Where the quality itself is invalid, so is the pixel.

    Raises
    ------
    ChipError
        Without bits and values, for bits that the quality's type does not have, or a quality of
        several bands or of fractions.
    AlignmentError
        If the two lie on different lattices.

    References
    ----------
    USGS LSDS-1619, "Landsat 8-9 Collection 2 Level 2 Science Product Guide"
    """

    source: Source
    quality: Source
    bits: tuple[int, ...] = ()
    values: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """See that the two fit."""
        object.__setattr__(self, "bits", tuple(self.bits or ()))
        object.__setattr__(self, "values", tuple(self.values or ()))
        source, quality = self.source, self.quality
        source.frame.require_same(quality.frame, source.name, quality.name)
        if quality.info.count != 1:
            raise ChipError(
                f"{quality.name}: a quality raster has one band, this has {quality.info.count}; "
                "choose one of them"
            )
        kind = np.dtype(quality.info.dtype)
        if kind.kind not in "iu":
            raise ChipError(f"{quality.name}: holds {kind}, but quality is told by whole numbers")
        if not self.bits and not self.values:
            raise ChipError(f"{quality.name}: say which bits or values of it rule a pixel out")
        last = 8 * kind.itemsize - 1
        for bit in self.bits:
            if not 0 <= bit <= last:
                raise ChipError(f"{quality.name}: has no bit {bit}; {kind} has 0 to {last}")

    @property
    def name(self) -> str:
        """The raster's paths, for messages."""
        return self.source.name

    @property
    def paths(self) -> tuple[str, ...]:
        """The raster's files, and its quality's where they are others."""
        return tuple(dict.fromkeys((*self.source.paths, *self.quality.paths)))

    @property
    def bands(self) -> tuple[int, ...] | None:
        """Band numbers of the raster, from 1; None for all."""
        return self.source.bands

    @property
    def frame(self) -> Frame:
        """Where the pixels are."""
        return self.source.frame

    @property
    def footprint(self) -> Frame:
        """Where the raster's pixels are before any warp."""
        return footprint_of(self.source)

    @property
    def info(self) -> Bands:
        """What the raster's bands hold."""
        return self.source.info

    @property
    def method(self) -> str:
        """The resampling of the raster."""
        return self.source.method

    def warped(self, frame: Frame) -> "Masked":
        """Return the raster and its quality on another lattice."""
        return Masked(self.source.warped(frame), self.quality.warped(frame), self.bits, self.values)

    def read(self, window: Window | None = None) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Read a window.

        Parameters
        ----------
        window : px of the frame, inside it; the whole if None.

        Returns
        -------
        values : (bands, rows, cols) of the raster, unchanged.
        valid : (rows, cols), True where it is valid and its quality rules nothing out.

        Raises
        ------
        RasterError
            If the window leaves the raster, or either cannot be read there.
        """
        values, valid = self.source.read(window)
        if not valid.any():
            return values, valid
        (quality,), known = self.quality.read(window)
        bad = np.isin(quality, self.values)
        for bit in self.bits:
            # Shifting keeps the sign, so the last bit of a signed number counts like the others.
            bad |= (quality >> bit) & 1 == 1
        return values, valid & known & ~bad


def parse_numbers(text: str) -> tuple[int, ...]:
    """Read bits or values as people write them; a dash stands for all between.

    Raises
    ------
    ChipError
        If it is no list of whole numbers.

    Examples
    --------
    >>> parse_numbers("3,8-10")
    (3, 8, 9, 10)
    """
    numbers: list[int] = []
    for part in text.split(","):
        first, dash, last = (word.strip() for word in part.partition("-"))
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise ChipError(f"{text!r}: give whole numbers, such as 1,3,4 or 8-11")
        numbers += range(int(first), int(last or first) + 1)
    if not numbers:
        raise ChipError(f"{text!r}: give whole numbers, such as 1,3,4 or 8-11")
    return tuple(dict.fromkeys(numbers))
