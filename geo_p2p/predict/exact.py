"""Blocks of a model that is tile-safe: read with a halo, translated, cut to their cores."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from geo_p2p.grid import Block, overlap_of
from geo_p2p.predict.model import Engine
from geo_p2p.predict.plan import Job
from geo_p2p.predict.strips import by_strips
from geo_p2p.predict.way import Image, Made, Way

__all__ = ["Exact"]

Tile = NDArray[np.float32]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Exact(Way):
    """Side by side, the cores equal the translation of the whole raster."""

    job: Job

    def needs(self, block: Block) -> Window:
        """Px of the raster that a block depends on: its core and the halo."""
        return block.read

    def prepare(self, block: Block, image: Image) -> tuple[Tile, Mask] | None:
        """Scale what was read and mirror it out to a tile; with it goes the mask of the core."""
        values, valid = image
        kept = self.job.kept(block, valid[overlap_of(block.read, self.job.core(block))])
        if not kept.any():
            return None  # there is nothing to translate where nothing is valid
        return block.extend(by_strips(self.job.model.card.input.forward, values, valid)), kept

    def translate(
        self, batch: list[Block], images: list[tuple[Tile, Mask]]
    ) -> Iterator[tuple[Callable[[], Tile], Mask]]:
        """Begin to translate tiles; what waits for the results comes back, and the masks."""
        model = self.job.model
        if isinstance(model, Engine):  # it takes them one by one, and has the next meanwhile
            for tile, valid in images:
                yield partial(_first, model.start(tile[None], 0, self.job.plan.margin)), valid
            return
        outputs = model(np.stack([tile for tile, _ in images]), 0) if images else ()
        for output, (_, valid) in zip(outputs, images, strict=True):
            yield partial(np.asarray, output), valid

    def finish(self, block: Block, made: tuple[Callable[[], Tile], Mask]) -> Made:
        """Cut the core out of a translated tile: its values in the unit of the output."""
        wait, valid = made
        kept = block.crop(wait(), self.job.core(block))
        return Made(self.job.values(kept, valid), valid, self.job.certain(kept, valid))

    def tile(self, image: tuple[Tile, Mask]) -> Tile:
        """Return the tile of a block."""
        return image[0]


def _first(wait: Callable[[], Tile]) -> Tile:
    """Wait for a batch of one."""
    tile: Tile = wait()[0]
    return tile
