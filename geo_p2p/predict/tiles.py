"""Tiles of the training size, which overlap by half to be blended."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from geo_p2p.card import ModelCard
from geo_p2p.errors import ModelError
from geo_p2p.grid import Tile, TileGrid
from geo_p2p.predict.model import Model
from geo_p2p.predict.sample import padded

__all__ = ["blending_tiles", "require_finite", "seed_of", "translate_tile"]


def blending_tiles(card: ModelCard, height: int, width: int) -> TileGrid:
    """Tiles of the size a model was trained on, half overlapping, for blending."""
    return TileGrid(height, width, card.size, card.size // 2)


def seed_of(grid: TileGrid, tile: Tile) -> int:
    """Number of a tile: by its place, so that each block draws the same dropout for it."""
    return tile.row * grid.cols.count + tile.col


def translate_tile(model: Model, tile: NDArray[Any], seed: int) -> NDArray[Any]:
    """Translate (channels, rows, cols) of any size, mirrored out to whole strides."""
    height, width = tile.shape[1:]
    output: NDArray[Any] = model(padded(tile, model.card.stride)[None], seed)[0]
    return output[:, :height, :width]


def require_finite(scaled: NDArray[Any], valid: NDArray[np.bool_]) -> None:
    """Refuse a translation with NaN or infinity at a valid pixel."""
    if not np.isfinite(scaled[:, valid]).all():
        raise ModelError(
            "the model gave values that are not finite: its weights are unusable, or its features "
            "beyond 65504, the largest number of fp16 (--precision bf16 has room for them)"
        )
