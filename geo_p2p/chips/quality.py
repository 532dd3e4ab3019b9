"""Pixels that a cloud or quality band rules out."""

import operator
import re
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from geo_p2p.chips.chip import Source
from geo_p2p.chips.mosaicked import footprint_of
from geo_p2p.errors import ChipError
from geo_p2p.raster import Bands, Frame

__all__ = ["BitField", "Masked", "parse_bits", "parse_numbers"]

SIGNS = {"=": operator.eq, ">=": operator.ge, "<=": operator.le}
"""What the number in some bits may be compared by."""

FIELD = re.compile(r"\s*(\d+)(?:\s*-\s*(\d+))?\s*(=|>=|<=)\s*(\d+)\s*")


@dataclass(frozen=True)
class BitField:
    """A condition on the number that some neighbouring bits of a quality band hold.

    Parameters
    ----------
    first, last : the lowest and the highest of the bits, counted from 0.
    sign : key of `SIGNS`.
    value : what the number is compared with.

    Raises
    ------
    ChipError
        For bits in the wrong order, another sign, or a number that so few bits cannot hold.
    """

    first: int
    last: int
    sign: str = "="
    value: int = 1

    def __post_init__(self) -> None:
        """Refuse what no quality can be."""
        most = 2 ** (self.last - self.first + 1) - 1
        if self.last < self.first or self.sign not in SIGNS:
            raise ChipError(f"quality bits '{self}': give such as 8-9=3 or 8-9>=2")
        if self.value > most:
            raise ChipError(f"quality bits '{self}': these bits hold at most {most}")

    @classmethod
    def of(cls, rule: int | str) -> Self:
        """Read a rule: the number of a bit, which holds where it is set, or text.

        Raises
        ------
        ChipError
            If it is none.

        Examples
        --------
        >>> BitField.of("8-9>=2")
        BitField(first=8, last=9, sign='>=', value=2)
        >>> BitField.of(3) == BitField.of("3=1")
        True
        """
        if not isinstance(rule, str):
            return cls(rule, rule)
        found = FIELD.fullmatch(rule)
        if found is None:
            raise ChipError(f"quality bits {rule!r}: give such as 8-9=3 or 8-9>=2")
        first, last, sign, value = found.groups()
        return cls(int(first), int(last or first), sign, int(value))

    def holds(self, quality: NDArray[Any]) -> NDArray[np.bool_]:
        """Whether the condition holds, in each of an array of whole numbers."""
        # The last bit of a signed number counts like the others.
        unsigned = quality.view(f"u{quality.itemsize}")
        number = (unsigned >> self.first) & (2 ** (self.last - self.first + 1) - 1)
        held: NDArray[np.bool_] = SIGNS[self.sign](number, self.value)
        return held

    def __str__(self) -> str:
        """As it is written: 8-9>=2."""
        bits = f"{self.first}" if self.first == self.last else f"{self.first}-{self.last}"
        return f"{bits}{self.sign}{self.value}"


@dataclass(frozen=True)
class Masked:
    """A raster, invalid where its quality band says so.

    A `Source`: picklable, and read by several threads.

    Parameters
    ----------
    source : the raster.
    quality : its quality, one band of whole numbers on the same lattice, by nearest neighbour:
        ``RasterSource(path, [band], like=source.frame, resampling="nearest")``.
    bits : a pixel is invalid where any of these bits is set, counted from 0, or any of these
        conditions on several bits holds (see `BitField.of`). Landsat Collection 2, QA_PIXEL: 1, 2,
        3 and 4 for dilated cloud, cirrus, cloud and cloud shadow, "8-9=3" for cloud with high
        confidence, "8-9>=2" for medium and high.
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
    bits: tuple[int | str, ...] = ()
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
        for field in map(BitField.of, self.bits):
            for bit in (field.first, field.last):
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
        for rule in self.bits:
            bad |= BitField.of(rule).holds(quality)
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
        between = range(0)
        if first.isdecimal() and (not dash or last.isdecimal()):
            between = range(int(first), int(last or first) + 1)
        if not between:
            raise ChipError(f"{text!r}: give whole numbers, such as 1,3,4 or 8-11")
        numbers += between
    return tuple(dict.fromkeys(numbers))


def parse_bits(text: str) -> tuple[int | str, ...]:
    """Read bits as `parse_numbers` does, and conditions on the number that some of them hold.

    Raises
    ------
    ChipError
        If it is no list of such.

    Examples
    --------
    >>> parse_bits("1-3, 8-9=3, 6=0")
    (1, 2, 3, '8-9=3', '6=0')
    """
    rules: list[int | str] = []
    for part in text.split(","):
        rules += [str(BitField.of(part))] if "=" in part else parse_numbers(part)
    return tuple(dict.fromkeys(rules))
