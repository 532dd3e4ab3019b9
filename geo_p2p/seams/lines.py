"""The seam ratio of a mosaic, from a few of its rows and columns."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from geo_p2p.errors import GeoP2PError, RasterError
from geo_p2p.metrics import SeamRatio
from geo_p2p.metrics.seams import PIECE
from geo_p2p.raster import RasterSource
from geo_p2p.seams.lattice import Lattice

__all__ = ["seams_of"]

STRETCH = 8 * PIECE
"""Pixels of a line that are read at once."""

MOST = 2500
"""Stretches read of a raster; of those of a larger one as many are drawn. They pin the ratio down
to some 0.3 %, so that more would only take longer."""

Stretch = tuple[Literal["down", "across"], int, int]
"""Which way a line runs, the column or row behind it, and where on it a stretch begins."""


def seams_of(
    raster: str | Path | RasterSource,
    *,
    tile_size: int | None = None,
    origin: tuple[int, int] = (0, 0),
    seed: int = 0,
) -> dict[str, Any]:
    """Measure how much more a raster steps across the lines between its blocks than beside them.

    Parameters
    ----------
    raster : a mosaic of any size; memory does not grow with it.
    tile_size : distance of the lines, px; None to read the plan that a mosaic carries.
    origin : with a tile size, row and column of a pixel at which a block begins.
    seed : of the bootstrap, and of the stretches read of a raster with more than `MOST`.

    Returns
    -------
    dict
        See `geo_p2p.metrics.SeamRatio`; with "tile_size", "origin" (row, column), "offset" (px
        from a line to those beside it), "same_phase" (whether these share its phase of the
        generator's stride; None if that is not known) and "lines" (how many there are).

    Raises
    ------
    RasterError
        If it cannot be read, does not say where its blocks are and no size is given, is smaller
        than one block, or has too few valid pixels on the lines.
    """
    source = raster if isinstance(raster, RasterSource) else RasterSource(raster)
    lattice = Lattice.of(source) if tile_size is None else Lattice(tile_size, *origin)
    lines = Lines(*source.frame.shape, lattice)
    if not lines.count:
        raise RasterError(
            f"{source.name}: {source.frame.width} x {source.frame.height} px are no more than one "
            f"block of {lattice.size} px, so there are no lines between blocks to look at"
        )
    ratio = SeamRatio(classes=source.info.categorical, seed=seed)
    for index in _drawn(lines.count, seed):
        ratio.update(*_read(source, lines.stretch(index), lattice.offset))
    try:
        found = ratio.result()
    except GeoP2PError as error:
        raise RasterError(f"{source.name}: {error}") from error
    return {
        **found,
        "tile_size": lattice.size,
        "origin": [lattice.row % lattice.size, lattice.col % lattice.size],
        "offset": lattice.offset,
        "same_phase": lattice.same_phase,
        "lines": len(lines.rows) + len(lines.cols),
    }


@dataclass(frozen=True)
class Lines:
    """The lines of a lattice over a raster, in stretches."""

    height: int
    width: int
    lattice: Lattice

    @cached_property
    def rows(self) -> range:
        """Lines that run across, by the row behind each."""
        return self.lattice.rows(self.height)

    @cached_property
    def cols(self) -> range:
        """Lines that run down, by the column behind each."""
        return self.lattice.cols(self.width)

    @property
    def _down(self) -> int:
        """Stretches of the lines that run down."""
        return len(self.cols) * -(-self.height // STRETCH)

    @property
    def count(self) -> int:
        """Stretches of all lines."""
        return self._down + len(self.rows) * -(-self.width // STRETCH)

    def stretch(self, index: int) -> Stretch:
        """Return a stretch by its number."""
        if index < self._down:
            # All lines side by side, then the next rows: a raster in strips is read through once.
            part, line = divmod(index, len(self.cols))
            return "down", self.cols[line], part * STRETCH
        line, part = divmod(index - self._down, -(-self.width // STRETCH))
        return "across", self.rows[line], part * STRETCH


def _drawn(count: int, seed: int) -> list[int]:
    """Numbers of the stretches to read, in order: all of them, or `MOST` by chance."""
    if count <= MOST:
        return list(range(count))
    picks = np.random.default_rng(seed).choice(count, MOST, replace=False, shuffle=False)
    return sorted(picks.tolist())


def _read(
    source: RasterSource, stretch: Stretch, offset: int
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Read a stretch of a line and of those beside it, as `SeamRatio.update` takes them."""
    way, line, start = stretch
    down = way == "down"
    across, along = source.frame.shape[::-1] if down else source.frame.shape
    length = min(STRETCH, along - start)
    values = np.zeros((3, source.count, 2, length), source.dtype)
    valid = np.zeros((3, 2, length), bool)
    for index, at in enumerate((line, line - offset, line + offset)):
        if not 1 <= at < across:  # the last block may be narrower than the offset
            continue
        window = Window(at - 1, start, 2, length) if down else Window(start, at - 1, length, 2)
        image, mask = source.read(window)
        values[index] = image.swapaxes(1, 2) if down else image
        valid[index] = mask.T if down else mask
    return values, valid
