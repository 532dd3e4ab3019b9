"""Tiles, halos and blocks: whole-pixel arithmetic with no rasters and no georeference.

Two tilings, for two purposes:

``TileGrid``
    Tiles of one size, never outside the image, the last one shifted back to its edge. Chips are
    cut with it, and models that are not tile-safe are blended over it.
``BlockPlan``
    Blocks for exact prediction: cores on multiples of the generator's stride, each read with a
    halo around it; what lies outside the image is reflected, so every tile has one shape.

One law binds them to the image they cut::

    assemble(grid, (image[:, *tile.window.toslices()] for tile in grid)) == image

Windows are `rasterio.windows.Window` with int fields: (column, row, width, height) in pixels.
"""

from geo_p2p.grid.blocks import Block, BlockPlan
from geo_p2p.grid.tiles import Tile, TileGrid, assemble
from geo_p2p.grid.windows import intersection, overlap_of, span_window

__all__ = [
    "Block",
    "BlockPlan",
    "Tile",
    "TileGrid",
    "assemble",
    "intersection",
    "overlap_of",
    "span_window",
]
