"""Overlapping tiles of one size, and how to put them back together."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from geo_p2p.errors import GridError
from geo_p2p.grid.windows import Span, intersection, overlap_of, span_window

__all__ = ["Axis", "Tile", "TileGrid", "assemble"]

Blend = Literal["crop", "feather"]


@dataclass(frozen=True)
class Tile:
    """One cell of a `TileGrid`.

    ``row`` and ``col`` are its place in the grid, ``window`` the pixels to read, ``core`` the
    pixels it owns: the cores of a grid partition the image.
    """

    row: int
    col: int
    window: Window
    core: Window


@dataclass(frozen=True)
class TileGrid(Sequence[Tile]):
    """Overlapping tiles over an image, as a lazy sequence in row-major order.

    Starts are 0, stride, 2 stride, ... with ``stride = size - overlap``; the last tile is
    shifted back so that it ends on the edge. Along an axis of length ``n`` there are
    ``ceil((n - size) / stride) + 1`` tiles, or a single one of length ``n`` if ``n <= size``.

    Parameters
    ----------
    height, width : rows and columns of the image, px, at least 1.
    size : side of a tile, px, or its rows and columns; smaller only where the image is.
    overlap : px that neighbouring tiles share, 0 <= overlap < size; or in (rows, columns).

    Raises
    ------
    GridError
        For a size or an image below one pixel, or an overlap outside [0, size).

    Examples
    --------
    >>> grid = TileGrid(height=5, width=5, size=3, overlap=1)
    >>> len(grid), grid.strides
    (4, (2, 2))
    >>> grid[-1].window
    Window(col_off=2, row_off=2, width=3, height=3)
    """

    height: int
    width: int
    size: int | tuple[int, int]
    overlap: int | tuple[int, int] = 0

    def __post_init__(self) -> None:
        """Refuse grids that cannot exist."""
        if min(self.height, self.width) < 1:
            raise GridError(f"image of {self.height} x {self.width} px: nothing to tile")
        for size, overlap in zip(self.sizes, _pair(self.overlap), strict=True):
            if size < 1:
                raise GridError(f"tile size {size} px: give at least 1")
            if not 0 <= overlap < size:
                raise GridError(
                    f"overlap of {overlap} px with tiles of {size} px: give 0 to {size - 1}"
                )

    @property
    def sizes(self) -> tuple[int, int]:
        """Rows and columns of a tile, px."""
        return _pair(self.size)

    @property
    def strides(self) -> tuple[int, int]:
        """Distance between neighbouring tiles down and across, px."""
        (rows, cols), (down, across) = self.sizes, _pair(self.overlap)
        return rows - down, cols - across

    @cached_property
    def rows(self) -> "Axis":
        """The vertical axis of the grid."""
        return Axis(self.height, self.sizes[0], self.strides[0])

    @cached_property
    def cols(self) -> "Axis":
        """The horizontal axis of the grid."""
        return Axis(self.width, self.sizes[1], self.strides[1])

    def __len__(self) -> int:
        """Return the number of tiles."""
        return self.rows.count * self.cols.count

    @overload
    def __getitem__(self, index: int) -> Tile: ...
    @overload
    def __getitem__(self, index: slice) -> list[Tile]: ...
    def __getitem__(self, index: int | slice) -> Tile | list[Tile]:
        """Return one tile, or a list of them for a slice."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"tile {index} of {len(self)}")
        return self.tile(*divmod(index % len(self), self.cols.count))

    def tile(self, row: int, col: int) -> Tile:
        """Return the tile in grid row ``row`` and grid column ``col``."""
        return Tile(
            row,
            col,
            span_window(self.rows.span(row), self.cols.span(col)),
            span_window(self.rows.core(row), self.cols.core(col)),
        )

    def touching(self, window: Window) -> list[Tile]:
        """Return the tiles that share pixels with ``window``, in grid order."""
        rows = self.rows.touching(window.row_off, window.row_off + window.height)
        cols = self.cols.touching(window.col_off, window.col_off + window.width)
        return [self.tile(row, col) for row in rows for col in cols]

    def __hash__(self) -> int:
        """Hash by value; the cached axes do not count."""
        return hash((self.height, self.width, self.size, self.overlap))


def _pair(value: int | tuple[int, int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else value


@dataclass(frozen=True)
class Axis:
    """One axis of a `TileGrid`: spans, cores and blending weights of its tiles, in px."""

    length: int
    size: int
    stride: int

    @property
    def count(self) -> int:
        """Number of tiles along the axis."""
        return max(0, math.ceil((self.length - self.size) / self.stride)) + 1

    def span(self, index: int) -> Span:
        """Half-open range of pixels that tile ``index`` reads."""
        start = max(0, min(index * self.stride, self.length - self.size))
        return start, min(start + self.size, self.length)

    def core(self, index: int) -> Span:
        """Half-open range of pixels that tile ``index`` owns: up to mid-overlap on either side."""
        return self._border(index), self._border(index + 1)

    def _border(self, index: int) -> int:
        if index == 0:
            return 0
        if index == self.count:
            return self.length
        return (self.span(index - 1)[1] + self.span(index)[0]) // 2

    def touching(self, start: int, stop: int) -> range:
        """Indices of the tiles that share pixels with [start, stop)."""
        first = max(0, (start - self.size) // self.stride)
        touched = [
            i
            for i in range(first, min(self.count, stop // self.stride + 2))
            if self.span(i)[0] < stop and self.span(i)[1] > start
        ]
        # The shifted-back last tile can start before its lattice position.
        last = self.count - 1
        if last not in touched and self.span(last)[0] < stop and self.span(last)[1] > start:
            touched.append(last)
        return range(touched[0], touched[-1] + 1) if touched else range(0)

    def feather(self, index: int) -> NDArray[np.float64]:
        """Weights of tile ``index`` along its span: they sum to one over all tiles, everywhere.

        A Hann window, sampled at pixel centres so that it never vanishes, divided by the sum of
        the windows that overlap it. Because a grid is a Cartesian product, products of these 1-D
        weights sum to one in 2-D too: no weight image, no special case at the edges.
        """
        return _feather(self, index)

    def hann(self, index: int) -> NDArray[np.float64]:
        """Hann window over the span of tile ``index``, at pixel centres: never zero."""
        start, stop = self.span(index)
        n = stop - start
        return np.sin(np.pi * (np.arange(n) + 0.5) / n) ** 2


@lru_cache(maxsize=1024)
def _feather(axis: Axis, index: int) -> NDArray[np.float64]:
    start, stop = axis.span(index)
    total = np.zeros(stop - start)
    for other in axis.touching(start, stop):
        begin, end = axis.span(other)
        low, high = max(start, begin), min(stop, end)
        total[low - start : high - start] += axis.hann(other)[low - begin : high - begin]
    return axis.hann(index) / total


def assemble(
    grid: TileGrid,
    arrays: Iterable[NDArray[Any]],
    blend: Blend = "crop",
    window: Window | None = None,
) -> NDArray[Any]:
    """Put the arrays of a grid's tiles back together.

    Parameters
    ----------
    grid : the grid they were cut with.
    arrays : one (bands, rows, cols) array a tile, in the order of ``grid``, or of
        ``grid.touching(window)`` if a window is given.
    blend : "crop" copies each tile's core, bit for bit; "feather" sums the tiles under Hann
        weights that add up to one (float64 inside, float32 out).
    window : the part of the image to build; the whole if None. A part equals the same part of
        the whole.

    Returns
    -------
    (bands, rows, cols) array of the window; with "crop" in the type of the tiles.

    Raises
    ------
    GridError
        If there are more or fewer arrays than tiles, or one has the wrong shape.
    """
    whole = Window(0, 0, grid.width, grid.height) if window is None else window
    tiles = grid if window is None else grid.touching(window)
    out: NDArray[Any] | None = None
    try:
        for tile, array in zip(tiles, arrays, strict=True):
            if array.shape[1:] != (tile.window.height, tile.window.width):
                raise GridError(
                    f"tile {tile.row}, {tile.col} is {tile.window.height} x {tile.window.width} px,"
                    f" its array {array.shape[1]} x {array.shape[2]}"
                )
            if out is None:
                kind = np.float64 if blend == "feather" else array.dtype
                out = np.zeros((array.shape[0], whole.height, whole.width), kind)
            _lay(out, whole, grid, tile, array, blend)
    except ValueError as error:
        if isinstance(error, GridError):
            raise
        raise GridError(f"{len(tiles)} tiles need as many arrays") from error
    if out is None:
        raise GridError(f"no tile of the grid touches {window}")
    return out.astype(np.float32) if blend == "feather" else out


def _lay(
    out: NDArray[Any],
    whole: Window,
    grid: TileGrid,
    tile: Tile,
    array: NDArray[Any],
    blend: Blend,
) -> None:
    """Lay one tile's array into ``out``, the array of window ``whole``."""
    part = intersection(whole, tile.core if blend == "crop" else tile.window)
    if part is None:
        return
    target, source = overlap_of(whole, part), overlap_of(tile.window, part)
    if blend == "crop":
        out[:, *target] = array[:, *source]
    else:
        down, across = grid.rows.feather(tile.row), grid.cols.feather(tile.col)
        weights = down[source[0], None] * across[None, source[1]]
        out[:, *target] += weights * array[:, *source]
