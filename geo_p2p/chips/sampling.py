"""Choose chips: windows at random, so many of each kind, or a few spread over all."""

import zlib
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from rasterio.windows import Window

from geo_p2p.errors import ChipError, GridError

__all__ = ["Placement", "balanced", "place_at_random", "quantile_strata", "spread"]

T = TypeVar("T")

ATTEMPTS = 100
"""Draws for each window asked for, before it is said that no more fit."""

LOT = 1024
"""Draws at once: one by one is slow."""


@dataclass(frozen=True)
class Placement:
    """Windows placed at random.

    Parameters
    ----------
    windows : in row-major order, px.
    asked : how many were asked for.
    attempts : draws it took.
    """

    windows: tuple[Window, ...]
    asked: int
    attempts: int

    def __str__(self) -> str:
        """Say how many fitted, for people."""
        if len(self.windows) == self.asked:
            return f"{self.asked} windows at random"
        return f"{len(self.windows)} of {self.asked} windows fitted in {self.attempts} draws"


def place_at_random(
    shape: tuple[int, int],
    size: int | tuple[int, int],
    count: int,
    *,
    seed: int = 42,
    overlap: bool = True,
    step: int = 1,
    accept: Callable[[Window], bool] | None = None,
) -> Placement:
    """Draw windows anywhere inside a raster, all of whole pixels and no two alike.

    They are drawn one after the other before a pixel is read, so they depend on nothing but the
    arguments: not on who reads them, nor on how many do.

    Parameters
    ----------
    shape : rows and columns of the raster, px.
    size : side of a window, or its rows and columns, px.
    count : windows to draw.
    seed : of the draw.
    overlap : whether windows may share pixels; without, random windows fill about half the ground.
    step : px of which the windows' first row and column are multiples.
    accept : tells whether a window may be taken, by an area of interest for one.

    Raises
    ------
    GridError
        If no window fits into the raster, or there is nothing to draw.
    """
    height, width = (size, size) if isinstance(size, int) else size
    if min(height, width, step) < 1 or count < 1:
        raise GridError(
            f"{count} windows of {height} x {width} px on every {step} px: give 1 or more of each"
        )
    if height > shape[0] or width > shape[1]:
        raise GridError(
            f"windows of {height} x {width} px in {shape[0]} x {shape[1]} px: give a smaller size"
        )
    room = _Room(height, width, overlap)
    attempts = 0
    for row, col in _draws(shape, (height, width), step, seed, count):
        attempts += 1
        window = Window(col, row, width, height)
        if room.has(row, col) and (accept is None or accept(window)):
            room.take(row, col)
        if len(room) == count:
            break
    windows = tuple(Window(c, r, width, height) for r, c in sorted(room.taken))
    return Placement(windows, count, attempts)


def _draws(
    shape: tuple[int, int], size: tuple[int, int], step: int, seed: int, count: int
) -> Iterator[tuple[int, int]]:
    """First rows and columns, as many as may be tried; the same first ones whatever the count."""
    rng = np.random.default_rng(seed)
    places = [(shape[axis] - size[axis]) // step + 1 for axis in (0, 1)]
    left = count * ATTEMPTS
    while left > 0:
        yield from (rng.integers(0, places, (LOT, 2))[:left] * step).tolist()
        left -= LOT


class _Room:
    """Which windows are taken, by first row and column.

    Of windows that do not overlap, a cell of their size holds one first pixel at most: nine cells
    around a window tell whether it is free.
    """

    def __init__(self, height: int, width: int, overlap: bool) -> None:
        self.height, self.width, self.overlap = height, width, overlap
        self.taken: set[tuple[int, int]] = set()
        self.cells: dict[tuple[int, int], tuple[int, int]] = {}

    def __len__(self) -> int:
        return len(self.taken)

    def has(self, row: int, col: int) -> bool:
        """Whether a window may lie here."""
        if self.overlap:
            return (row, col) not in self.taken
        down, across = row // self.height, col // self.width
        near = ((down + i, across + j) for i in (-1, 0, 1) for j in (-1, 0, 1))
        return not any(
            abs(row - r) < self.height and abs(col - c) < self.width
            for r, c in (self.cells[cell] for cell in near if cell in self.cells)
        )

    def take(self, row: int, col: int) -> None:
        """Take the window."""
        self.taken.add((row, col))
        self.cells[row // self.height, col // self.width] = row, col


def balanced(strata: Sequence[Hashable], most: int, *, seed: int = 42) -> list[int]:
    """Choose at most so many chips of each stratum.

    A stratum's choice depends on the seed, its name and its chips alone: chips of another stratum
    may come and go.

    Parameters
    ----------
    strata : of each chip; None for a chip that is never chosen.
    most : chips of a stratum.
    seed : of the draw.

    Returns
    -------
    Places of the chosen chips, in their order.

    Raises
    ------
    ChipError
        For less than one chip.

    Examples
    --------
    >>> balanced(["wood", "water", "water", "wood"], 2)
    [0, 1, 2, 3]
    """
    if most < 1:
        raise ChipError(f"at most {most} chips of each stratum: give 1 or more")
    members: dict[Hashable, list[int]] = {}
    for place, stratum in enumerate(strata):
        if stratum is not None:
            members.setdefault(stratum, []).append(place)
    chosen: list[int] = []
    for stratum, places in members.items():
        # Not Python's hash, which changes from one process to the next.
        rng = np.random.default_rng([seed, zlib.crc32(repr(stratum).encode())])
        chosen += rng.permutation(places)[:most].tolist()
    return sorted(chosen)


def quantile_strata(means: Sequence[float], number: int = 4) -> list[int | None]:
    """Strata of chips by the mean of their target: as many chips in each, from the lowest up.

    Parameters
    ----------
    means : of each chip, raster units; NaN for a chip without a valid pixel.
    number : strata; equal means are in one, so there may come out fewer.

    Returns
    -------
    0 to ``number - 1`` for each chip, None where the mean is NaN.

    Raises
    ------
    ChipError
        For less than one stratum.
    """
    if number < 1:
        raise ChipError(f"{number} strata: give 1 or more")
    values = np.asarray(means, np.float64)
    known = np.isfinite(values)
    if not known.any():
        return [None] * len(values)
    edges = np.quantile(values[known], np.arange(1, number) / number)
    strata = np.searchsorted(edges, values, side="right").tolist()
    return [s if k else None for s, k in zip(strata, known.tolist(), strict=True)]


def spread(items: Sequence[T], most: int) -> list[T]:
    """Take at most so many of some items, spread evenly from the first to the last.

    Examples
    --------
    >>> spread("abcdefg", 4)
    ['a', 'c', 'e', 'g']
    """
    places = np.linspace(0, len(items) - 1, min(most, len(items))).astype(int)
    return [items[place] for place in np.unique(places)]
