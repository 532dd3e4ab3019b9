"""Blocks of a model that is tile-safe: read with a halo, translated, cut to their cores."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from geo_p2p.grid import Block, overlap_of
from geo_p2p.predict.plan import Job

__all__ = ["Exact"]

Values = NDArray[Any]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Exact:
    """Side by side, the cores equal the translation of the whole raster."""

    job: Job

    def needs(self, block: Block) -> Window:
        """Px of the raster that a block depends on: its core and the halo."""
        return block.read

    def translate(
        self, batch: list[Block], images: list[tuple[Values, Mask]]
    ) -> Iterator[tuple[Values, Mask]]:
        """Translate blocks, all of a batch at once: values of the output, and which are valid."""
        scale, model = self.job.model.card.input.forward, self.job.model
        valids = [
            valid[overlap_of(block.read, self.job.core(block))]
            for block, (_, valid) in zip(batch, images, strict=True)
        ]
        tiles = [
            block.extend(scale(*image))
            for block, image, valid in zip(batch, images, valids, strict=True)
            if valid.any()  # there is nothing to translate where nothing is valid
        ]
        outputs: Iterator[Values] = iter(model(np.stack(tiles), 0) if tiles else ())
        for block, valid in zip(batch, valids, strict=True):
            if not valid.any():
                yield self.job.nothing(valid), valid
                continue
            kept = next(outputs)[:, *overlap_of(block.tile, self.job.core(block))]
            yield self.job.values(kept, valid), valid
