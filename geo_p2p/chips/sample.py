"""Where to look at two rasters together: blocks of ground that both show."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from geo_p2p.chips.chip import Source
from geo_p2p.grid import TileGrid

__all__ = ["SMALLEST", "CommonBlock", "common_blocks"]

SMALLEST = 64
"""Side of the smallest block that tells anything, px."""

PROBE = 16
"""Side of the window that is read first, px: most places without ground cost no more."""

GROUND = 0.5
"""Least share of a block's pixels that must be valid in either raster, 0-1."""

Read = tuple[NDArray[Any], NDArray[np.bool_]]


class CommonBlock(NamedTuple):
    """A block of two rasters: its window, and what either holds there, values and valid."""

    window: Window
    x: Read
    y: Read


def common_blocks(
    sources: tuple[Source, Source], area: Window, block: int, tries: int, seed: int
) -> Iterator[CommonBlock]:
    """Read blocks at which both rasters hold data, drawn evenly over an area.

    Parameters
    ----------
    sources : the two, on one lattice.
    area : px of that lattice to look in.
    block : side of a block, px; smaller where the area is, and none if that is under 64 px.
    tries : places to look at, at most.
    seed : of the draw.
    """
    x, y = sources
    for window in _places(area, block, tries, seed):
        middle = window.width // 2 - PROBE // 2
        probe = Window(window.col_off + middle, window.row_off + middle, PROBE, PROBE)
        # The warped raster first: outside it there is nothing to decode.
        if not all(source.read(probe)[1].any() for source in (y, x)):
            continue
        common = CommonBlock(window, x.read(window), y.read(window))
        if min(common.x[1].mean(), common.y[1].mean()) >= GROUND:
            yield common


def _places(area: Window, block: int, tries: int, seed: int) -> Iterator[Window]:
    """Windows spread over an area; half of one may lie in the next."""
    side = min(block, area.height, area.width)
    if side < SMALLEST:
        return
    grid = TileGrid(area.height, area.width, side, side // 2)
    points = _spread(tries, seed)
    cells = (points * (grid.rows.count, grid.cols.count)).astype(int).tolist()
    for row, col in dict.fromkeys(map(tuple, cells)):
        window = grid.tile(row, col).window
        yield Window(window.col_off + area.col_off, window.row_off + area.row_off, side, side)


def _spread(count: int, seed: int) -> NDArray[np.float64]:
    """Points of the unit square, (count, 2), that fill it evenly, however early they are left.

    Halton's sequence, shifted at random around the square. (That of scipy takes half a second to
    import, for each process that cuts chips.)

    References
    ----------
    Halton 1960, "On the efficiency of certain quasi-random sequences of points"; Cranley &
    Patterson 1976, "Randomization of number theoretic methods", https://doi.org/10.1137/0713071
    """
    points = np.zeros((count, 2))
    for axis, base in enumerate((2, 3)):
        left, share = np.arange(1, count + 1), 1.0
        while left.any():
            share /= base
            left, digit = np.divmod(left, base)
            points[:, axis] += digit * share
    shifted: NDArray[np.float64] = (points + np.random.default_rng(seed).random(2)) % 1
    return shifted
