"""By how much tiles that are blended disagree, told to whoever uses what comes of them."""

import json
import logging
from collections.abc import Iterator, Mapping
from typing import Any

from numpy.typing import NDArray
from rasterio.windows import Window

from geo_p2p.chips.chip import Source
from geo_p2p.grid import Tile, TileGrid, intersection, overlap_of
from geo_p2p.predict.differences import Differences
from geo_p2p.predict.model import Model
from geo_p2p.predict.sample import places
from geo_p2p.predict.settle import obstacle_of, settlement_of
from geo_p2p.predict.tiles import blending_tiles, seed_of, translate_tile

__all__ = ["TAG", "disagreement_in", "disagreement_of", "explain"]

log = logging.getLogger(__name__)

PAIRS = 8
"""Pairs of neighbouring tiles that are compared, at most."""

TAG = "GEO_P2P_DISAGREEMENT"
"""Metadata item of an output."""


def disagreement_of(model: Model, source: Source) -> dict[str, float] | None:
    """Compare a few tiles with their neighbours, about the pixels they share, before blending.

    The same ones whatever part of the raster is wanted, and whoever asks.

    Returns
    -------
    See `Differences.result`; None where tiles are exact, and where no two have valid pixels in
    common.
    """
    if model.card.tile_safe:
        return None
    found = Differences(model.card.target)
    grid = blending_tiles(model.card, *source.frame.shape)
    for tile, other in _pairs(grid):
        shared = intersection(tile.window, other.window)
        assert shared is not None  # neighbours overlap by half
        valid = source.read(shared)[1]
        if valid.any():
            one, two = (_part(model, source, grid, each, shared) for each in (tile, other))
            found.add(one, two, valid)
    return found.result() if found.pixels else None


def _part(model: Model, source: Source, grid: TileGrid, tile: Tile, part: Window) -> NDArray[Any]:
    """Translate a tile, and cut out a part of it."""
    scaled = model.card.input.forward(*source.read(tile.window))
    output = translate_tile(model, scaled, seed_of(grid, tile))
    return output[:, *overlap_of(tile.window, part)]


def _pairs(grid: TileGrid) -> Iterator[tuple[Tile, Tile]]:
    """Tiles and their neighbours, to the right or below in turn, at places spread over a grid."""
    down, across = grid.rows.count, grid.cols.count
    seen: set[tuple[int, int, bool]] = set()
    for number, window in enumerate(places(down, across, 1)):
        if len(seen) == PAIRS:
            return
        right = across > 1 and (number % 2 == 0 or down == 1)
        row, col = window.row_off, window.col_off
        other = (row, col + 1) if right else (row + 1, col)
        if other[0] < down and other[1] < across and (row, col, right) not in seen:
            seen.add((row, col, right))
            yield grid.tile(row, col), grid.tile(*other)


def explain(model: Model, found: Mapping[str, float] | None) -> None:
    """Tell a user how the tiles of a model are made to agree, or that they do not."""
    if model.card.tile_safe:
        if settlement_of(model):
            log.info("statistics and dropout are fixed for all the raster: tiles are exact")
        return
    differ = ""
    if found:
        differ = "where two meet they differ by {mean:.3g} on average, {max:.3g} at most; "
    log.warning(
        "tiles cannot agree exactly: they are blended (%s%s)",
        differ.format_map(found or {}),
        obstacle_of(model),
    )


def disagreement_in(tags: Mapping[str, str]) -> float | None:
    """The mean that an output tells, in its units; None if its tiles are exact."""
    mean = json.loads(tags[TAG])["mean"] if TAG in tags else None
    return None if mean is None else float(mean)
