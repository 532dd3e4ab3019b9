"""Tiles of a model: which there are where they are blended, and what it makes of each."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from geo_p2p.card import ModelCard
from geo_p2p.chips.chip import Source
from geo_p2p.errors import ModelError
from geo_p2p.grid import Tile, TileGrid
from geo_p2p.predict.model import Model
from geo_p2p.predict.sample import padded

__all__ = ["blending_tiles", "require_bands", "require_finite", "seed_of", "translate_tile"]

Values = NDArray[Any]


def blending_tiles(card: ModelCard, height: int, width: int) -> TileGrid:
    """Tiles of the size a model was trained on, half overlapping, for blending."""
    return TileGrid(height, width, card.size, card.size // 2)


def require_finite(scaled: NDArray[Any], valid: NDArray[np.bool_]) -> None:
    """Refuse a translation with NaN or infinity at a valid pixel."""
    if not np.isfinite(scaled[:, valid]).all():
        raise ModelError("the model gave values that are not finite; its weights are unusable")


def require_bands(card: ModelCard, source: Source) -> None:
    """Refuse a raster with more or fewer bands than the model takes."""
    count = source.info.count
    if count != card.input.count:
        raise ModelError(
            f"{source.name}: {count} bands, but the model takes {card.input.count}; "
            "choose them by number (--bidx)"
        )


def seed_of(grid: TileGrid, tile: Tile) -> int:
    """Number of a tile: by its place, so that each block draws the same dropout for it."""
    return tile.row * grid.cols.count + tile.col


def translate_tile(model: Model, tile: Values, seed: int) -> Values:
    """Translate (channels, rows, cols) of any size, mirrored out to whole strides."""
    height, width = tile.shape[1:]
    output: Values = model(padded(tile, model.card.stride)[None], seed)[0]
    return output[:, :height, :width]
