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
        rows = _folded(self.tile.row_off, self.tile.height, self.read.row_off, self.read.height)
        cols = _folded(self.tile.col_off, self.tile.width, self.read.col_off, self.read.width)
        return array[..., rows[:, None], cols[None, :]]

    def crop(self, array: NDArray[Any]) -> NDArray[Any]:
        """Cut the core out of an array over ``tile`` (..., rows, cols)."""
        return array[..., *overlap_of(self.tile, self.core)]


def _folded(start: int, length: int, first: int, count: int) -> NDArray[np.intp]:
    """Indices for ``length`` pixels from ``start``, mirrored at the ends of [first, first + count).

    A triangle wave: the mirror bounces as often as needed, so an image smaller than the halo is
    fine. The ends of a read window are either ends of the image, where this is the reflection
    wanted, or at least a halo away from the core, where nothing that is kept depends on it.
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
    size : side of a core, px, a multiple of ``stride``. Cores at the right and bottom edge are
        what remains; tiles are ``size + 2 halo`` everywhere, less only if the image is smaller.

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

    def __post_init__(self) -> None:
        """Refuse plans that cannot be exact."""
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
        return self._tile_length(self.height), self._tile_length(self.width)

    def _tile_length(self, length: int) -> int:
        covered = -(-length // self.stride) * self.stride
        return min(self.size, covered) + 2 * self.margin

    @property
    def counts(self) -> tuple[int, int]:
        """Blocks down and across."""
        return -(-self.height // self.size), -(-self.width // self.size)

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
        return self.at(row * self.size, col * self.size)

    def at(self, row: int, col: int) -> Block:
        """Return the block whose core begins at a pixel: of the plan, or out of step with it.

        It sees a tile of the plan's one shape, and is exact at multiples of the stride.
        """
        down = self._spans(row, self.height)
        across = self._spans(col, self.width)
        windows = (span_window(r, c) for r, c in zip(down, across, strict=True))
        return Block(row // self.size, col // self.size, *windows)

    def __iter__(self) -> Iterator[Block]:
        """Iterate row-major."""
        return (self[i] for i in range(len(self)))

    def _spans(self, start: int, length: int) -> tuple[Span, Span, Span]:
        """Core, read and tile span along an axis of the block whose core begins at ``start``."""
        core = start, min(start + self.size, length)
        read = max(0, core[0] - self.margin), min(length, core[1] + self.margin)
        tile = start - self.margin, start - self.margin + self._tile_length(length)
        return core, read, tile
