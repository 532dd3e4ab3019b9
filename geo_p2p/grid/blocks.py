"""Blocks for exact prediction: cores, halos and reflected borders."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from geo_p2p.errors import GridError
from geo_p2p.grid.windows import Span, overlap_of, span_window

__all__ = ["Block", "BlockPlan"]


@dataclass(frozen=True)
class Block:
    """One unit of exact prediction.

    ``core`` is what it owns and writes, ``read`` what it reads (inside the image), ``tile`` what
    the generator sees: it may reach outside the image, and has one shape for a whole plan.
    """

    row: int
    col: int
    core: Window
    read: Window
    tile: Window

    def extend(self, array: NDArray[Any]) -> NDArray[Any]:
        """Reflect an array over ``read`` (..., rows, cols) out to the shape of ``tile``."""
        if self.read == self.tile:
            return array
        rows = _folded(self.tile.row_off, self.tile.height, self.read.row_off, self.read.height)
        cols = _folded(self.tile.col_off, self.tile.width, self.read.col_off, self.read.width)
        return array.take(rows, axis=-2).take(cols, axis=-1)

    def crop(self, array: NDArray[Any], part: Window | None = None) -> NDArray[Any]:
        """Cut the core, or a part of it, out of an array over ``tile`` (..., rows, cols).

        The array may lack as much at all four sides of the tile.
        """
        lacks = (self.tile.height - array.shape[-2]) // 2
        rows, cols = overlap_of(self.tile, self.core if part is None else part)
        return array[
            ...,
            rows.start - lacks : rows.stop - lacks,
            cols.start - lacks : cols.stop - lacks,
        ]


def _folded(start: int, length: int, first: int, count: int) -> NDArray[np.intp]:
    """Indices for ``length`` pixels from ``start``, mirrored at the ends of [first, first + count).

    A triangle wave: the mirror bounces as often as needed, so an image smaller than the halo is
    fine. The ends of a read window are either ends of the image, where this is the reflection
    wanted, or so far from the core that nothing that is kept depends on it.
    """
    index = np.arange(start, start + length) - first
    if count == 1:
        return np.zeros_like(index)
    period = 2 * (count - 1)
    index = index % period
    return np.minimum(index, period - index)


@dataclass(frozen=True)
class BlockPlan(Sequence[Block]):
    """Independent blocks whose predictions, side by side, equal that of the whole image.

    For a generator that is local at test time, tiled output equals whole-image output if tile
    origins are multiples of its total stride and cores keep clear of tile borders by its halo
    [1]_. "Whole" means: the image reflected outwards by the halo.

    Parameters
    ----------
    height, width : rows and columns of the image, px.
    stride : the generator's total stride, px.
    halo : context it needs around a core, px; rounded up to a multiple of ``stride``.
    size : side of a core, px, a multiple of ``stride``. Cores at the edges are what remains; tiles
        are ``size + 2 halo`` everywhere, less only if the image is smaller.
    top, left : row and column of the image where the first core begins, px, 0 or less.
    full_tiles : whether tiles keep their shape if the image is smaller, so that those of another
        image of the same ground have it too.

    Raises
    ------
    GridError
        If ``size`` is not a multiple of ``stride``, or a number is out of range.

    References
    ----------
    .. [1] Majurski & Bajcsy 2021, "Exact tile-based segmentation inference for images larger
       than GPU memory", https://doi.org/10.6028/jres.126.009
    """

    height: int
    width: int
    stride: int
    halo: int
    size: int
    top: int = 0
    left: int = 0
    full_tiles: bool = False

    def __post_init__(self) -> None:
        """Refuse plans that cannot be exact."""
        if not (-self.size < self.top <= 0 and -self.size < self.left <= 0):
            raise GridError(f"{self}: the first core begins less than a block before the image")
        if min(self.height, self.width, self.stride, self.size) < 1 or self.halo < 0:
            raise GridError(f"{self}: sizes are at least 1 px, a halo at least 0")
        if self.size % self.stride:
            raise GridError(
                f"block size {self.size} px is no multiple of the generator's stride "
                f"{self.stride} px: give {-(-self.size // self.stride) * self.stride}"
            )

    @property
    def margin(self) -> int:
        """The halo rounded up to a multiple of the stride, px."""
        return -(-self.halo // self.stride) * self.stride

    @property
    def tile_shape(self) -> tuple[int, int]:
        """Rows and columns of every tile of the plan, px."""
        return (
            self._tile_length(self.top, self.height),
            self._tile_length(self.left, self.width),
        )

    def _tile_length(self, first: int, length: int) -> int:
        covered = -(-(length - first) // self.stride) * self.stride
        core = self.size if self.full_tiles else min(self.size, covered)
        return core + 2 * self.margin

    @property
    def counts(self) -> tuple[int, int]:
        """Blocks down and across."""
        return -(-(self.height - self.top) // self.size), -(-(self.width - self.left) // self.size)

    def __len__(self) -> int:
        """Return the number of blocks."""
        return self.counts[0] * self.counts[1]

    @overload
    def __getitem__(self, index: int) -> Block: ...
    @overload
    def __getitem__(self, index: slice) -> list[Block]: ...
    def __getitem__(self, index: int | slice) -> Block | list[Block]:
        """Return one block, or a list of them for a slice."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"block {index} of {len(self)}")
        row, col = divmod(index % len(self), self.counts[1])
        return self.at(self.top + row * self.size, self.left + col * self.size)

    def at(self, row: int, col: int) -> Block:
        """Return the block whose core begins at a pixel: of the plan, or out of step with it.

        It sees a tile of the plan's one shape, and is exact at multiples of the stride.
        """
        tall, wide = self.tile_shape
        down = self._spans(row, self.height, tall)
        across = self._spans(col, self.width, wide)
        windows = (span_window(r, c) for r, c in zip(down, across, strict=True))
        place = (row - self.top) // self.size, (col - self.left) // self.size
        return Block(*place, *windows)

    def __iter__(self) -> Iterator[Block]:
        """Iterate row-major."""
        return (self[i] for i in range(len(self)))

    def _spans(self, start: int, length: int, seen: int) -> tuple[Span, Span, Span]:
        """Core, read and tile span along an axis of the block whose core begins at ``start``."""
        core = max(0, start), min(start + self.size, length)
        # What a core depends on ends on strides: beyond the image too, where it is its mirror.
        first = start + (core[0] - start) // self.stride * self.stride - self.margin
        last = start - (start - core[1]) // self.stride * self.stride + self.margin
        far = min(first, 2 * (length - 1) - (last - 1)), max(last, 1 - first)
        read = max(0, far[0]), min(length, far[1])
        tile = start - self.margin, start - self.margin + seen
        return core, read, tile
