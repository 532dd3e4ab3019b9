"""Tiles of a raster that stand for all of it: the same ones, whoever asks."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from geo_p2p.card import ModelCard
from geo_p2p.chips.chip import Source
from geo_p2p.errors import RasterError
from geo_p2p.grid import span_window

__all__ = ["padded", "places", "sample_of"]

TILES = 16
"""Tiles of a sample, at most: of twice as many, the statistics differ by little."""

ENOUGH = 0.9
"""Valid share of a tile, 0-1, from which no better one is looked for."""

FEW, TRIES = 64, 1024
"""Places that are looked at, at most, for better tiles, and for any with a valid pixel."""

STEPS = 0.7548776662466927, 0.5698402909980532
"""Down and across, as shares of the raster: each place falls into the largest gap so far [1]_.

.. [1] M. Roberts, The Unreasonable Effectiveness of Quasirandom Sequences, 2018,
   https://extremelearning.com.au/unreasonable-effectiveness-of-quasirandom-sequences/
"""


def sample_of(card: ModelCard, source: Source) -> NDArray[np.float32]:
    """Read tiles of the training size, spread over a raster.

    Whole tiles in full resolution: what a network sees of a reduced image is not what it was
    trained on. They depend on nothing but the raster and the card, so that all blocks, shards and
    resumed runs have the same ones; of a raster of any size there are no more than `TILES`.

    Returns
    -------
    (count, channels, rows, cols) in [-1, 1].

    Raises
    ------
    RasterError
        If no valid pixel is found.
    """
    height, width = source.frame.shape
    count = min(TILES, math.ceil(height * width / card.size**2))
    best: list[tuple[float, int, NDArray[np.float32]]] = []
    for number, window in enumerate(places(height, width, card.size)):
        if len(best) == count and (number >= FEW or -best[-1][0] >= ENOUGH):
            break
        values, valid = source.read(window)
        if valid.any():
            tile = padded(card.input.forward(values, valid), card.stride)
            best = sorted([*best, (-float(valid.mean()), number, tile)], key=_rank)[:count]
    if not best:
        raise RasterError(
            f"{source.name}: no valid pixel in {TRIES} places, so there is nothing to take "
            "statistics of; cut out what is valid, or take those of each tile (statistics 'tile')"
        )
    return np.stack([tile for _, _, tile in best])


def _rank(tile: tuple[float, int, Any]) -> tuple[float, int]:
    """The more is valid the better, then the earlier."""
    return tile[:2]


def places(height: int, width: int, size: int) -> Iterator[Window]:
    """Windows of one shape, the next one always far from those before."""
    rows, cols = min(size, height), min(size, width)
    for number in range(TRIES):
        top, left = ((number + 0.5) * step % 1 for step in STEPS)
        row, col = round(top * (height - rows)), round(left * (width - cols))
        yield span_window((row, row + rows), (col, col + cols))


def padded(tile: NDArray[np.float32], stride: int) -> NDArray[np.float32]:
    """Mirror (channels, rows, cols) out to whole strides, downwards and to the right."""
    up, over = (-n % stride for n in tile.shape[1:])
    return np.pad(tile, ((0, 0), (0, up), (0, over)), mode="symmetric")
