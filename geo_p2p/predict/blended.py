"""Blocks of a model that is not tile-safe: overlapping tiles, blended."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from geo_p2p.grid import Block, Tile, TileGrid, assemble, overlap_of
from geo_p2p.predict.plan import Job
from geo_p2p.predict.tiles import blending_tiles, seed_of, translate_tile
from geo_p2p.predict.way import Way

__all__ = ["Blended"]

Values = NDArray[Any]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Blended(Way):
    """The weights of the tiles are the same whichever block asks, so blocks meet without a step."""

    job: Job

    def needs(self, block: Block) -> Window:
        """Px of the raster that a block depends on: every tile that touches it."""
        tiles = [tile.window for tile in self.tiles.touching(self.job.core(block))]
        rows = min(t.row_off for t in tiles), max(t.row_off + t.height for t in tiles)
        cols = min(t.col_off for t in tiles), max(t.col_off + t.width for t in tiles)
        return Window(cols[0], rows[0], cols[1] - cols[0], rows[1] - rows[0])

    @property
    def tiles(self) -> TileGrid:
        """Half-overlapping tiles of the size the model was trained on."""
        return blending_tiles(self.job.model.card, self.job.plan.height, self.job.plan.width)

    def translate(
        self, batch: list[Block], images: list[tuple[Values, Mask]]
    ) -> Iterator[tuple[Values, Mask]]:
        """Translate every tile that touches a block, and blend them."""
        forward, grid = self.job.model.card.input.forward, self.tiles
        for block, (values, valid) in zip(batch, images, strict=True):
            core, read = self.job.core(block), self.needs(block)
            kept = self.job.kept(block, valid[overlap_of(read, core)])
            if not kept.any():
                yield self.job.nothing(kept), kept
                continue
            scaled = forward(values, valid)
            tiles = grid.touching(core)
            parts = (scaled[:, *overlap_of(read, tile.window)] for tile in tiles)
            outputs = map(self._tile, tiles, parts)
            yield self.job.values(assemble(grid, outputs, "feather", core), kept), kept

    def _tile(self, tile: Tile, part: Values) -> Values:
        """Translate one tile."""
        return translate_tile(self.job.model, part, seed_of(self.tiles, tile))
