"""How it is done: read, translate and write blocks, side by side."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from geo_p2p.errors import ModelError
from geo_p2p.grid import Block, Tile, TileGrid, assemble, overlap_of
from geo_p2p.predict.plan import Job, Model, blending_tiles
from geo_p2p.raster import RasterSink

__all__ = ["Runner", "require_finite", "translate_tile"]

AHEAD = 2
"""Batches read before they are needed, and blocks waiting to be written."""

Values = NDArray[Any]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Runner:
    """Runs blocks of a job into a folder."""

    job: Job
    folder: Path

    def run(self, blocks: list[Block]) -> Generator[Block, None, None]:
        """Read, translate and write blocks; reading and writing run beside the model."""
        work = self._exact if self.job.model.card.tile_safe else self._blended
        with ThreadPoolExecutor(1) as readers, ThreadPoolExecutor(1) as writers:
            written: deque[Future[Block]] = deque()
            try:
                for batch, images in _ahead(
                    readers, self._read, _batches(blocks, self.job.config.batch_size)
                ):
                    for block, (values, valid) in zip(batch, work(batch, images), strict=True):
                        written.append(writers.submit(self._write, block, values, valid))
                    while len(written) > AHEAD:
                        yield written.popleft().result()
                while written:
                    yield written.popleft().result()
            finally:
                # After an error nobody waits for what was to be read; what is translated is kept.
                readers.shutdown(wait=False, cancel_futures=True)

    def _read(self, batch: list[Block]) -> list[tuple[Values, Mask]]:
        """Read what the blocks need: with a halo, or with every tile that touches them."""
        return [self.job.source.read(self._needs(block)) for block in batch]

    def _needs(self, block: Block) -> Window:
        """Px of the raster that a block depends on."""
        if self.job.model.card.tile_safe:
            return block.read
        tiles = [tile.window for tile in self._tiles.touching(self.job.core(block))]
        rows = min(t.row_off for t in tiles), max(t.row_off + t.height for t in tiles)
        cols = min(t.col_off for t in tiles), max(t.col_off + t.width for t in tiles)
        return Window(cols[0], rows[0], cols[1] - cols[0], rows[1] - rows[0])

    @property
    def _tiles(self) -> TileGrid:
        """Half-overlapping tiles of the size the model was trained on, for blending."""
        return blending_tiles(self.job.model.card, self.job.plan.height, self.job.plan.width)

    def _exact(
        self, batch: list[Block], images: list[tuple[Values, Mask]]
    ) -> Iterator[tuple[Values, Mask]]:
        """Translate blocks with their halo, all of a batch at once."""
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
                yield self._nothing(valid), valid
                continue
            kept = next(outputs)[:, *overlap_of(block.tile, self.job.core(block))]
            yield self._values(kept, valid), valid

    def _blended(
        self, batch: list[Block], images: list[tuple[Values, Mask]]
    ) -> Iterator[tuple[Values, Mask]]:
        """Translate every tile that touches a block and blend them."""
        forward, grid = self.job.model.card.input.forward, self._tiles
        for block, (values, valid) in zip(batch, images, strict=True):
            core, read = self.job.core(block), self._needs(block)
            kept = valid[overlap_of(read, core)]
            if not kept.any():
                yield self._nothing(kept), kept
                continue
            scaled = forward(values, valid)
            tiles = grid.touching(core)
            parts = (scaled[:, *overlap_of(read, tile.window)] for tile in tiles)
            outputs = map(self._tile, tiles, parts)
            yield self._values(assemble(grid, outputs, "feather", core), kept), kept

    def _tile(self, tile: Tile, part: Values) -> Values:
        """Translate one tile."""
        # The seed is the tile's place, so that each block draws the same dropout for it.
        seed = tile.row * self._tiles.cols.count + tile.col
        return translate_tile(self.job.model, part, seed)

    def _values(self, scaled: NDArray[np.float32], valid: Mask) -> Values:
        """Raster values of a translation."""
        require_finite(scaled, valid)
        return self.job.scaling.inverse(np.where(np.isfinite(scaled), scaled, 0))

    def _nothing(self, valid: Mask) -> Values:
        return np.zeros((self.job.scaling.count, *valid.shape), self.job.scaling.dtype)

    def _write(self, block: Block, values: Values, valid: Mask) -> Block:
        frame = self.job.source.frame.crop(self.job.core(block))
        with RasterSink(
            self.job.file(self.folder, block), frame, self.job.bands, overwrite=True
        ) as sink:
            sink.write(values, valid=valid)
        return block


def translate_tile(model: Model, tile: Values, seed: int) -> Values:
    """Translate (channels, rows, cols) of any size, mirrored out to whole strides."""
    height, width = tile.shape[1:]
    up, over = (-n % model.card.stride for n in (height, width))
    padded = np.pad(tile, ((0, 0), (0, up), (0, over)), mode="symmetric")
    output: Values = model(padded[None], seed)[0]
    return output[:, :height, :width]


def require_finite(scaled: Values, valid: Mask) -> None:
    """Refuse a translation with NaN or infinity at a valid pixel."""
    if not np.isfinite(scaled[:, valid]).all():
        raise ModelError("the model gave values that are not finite; its weights are unusable")


def _batches(blocks: list[Block], size: int) -> Iterator[list[Block]]:
    for start in range(0, len(blocks), size):
        yield blocks[start : start + size]


def _ahead(
    pool: ThreadPoolExecutor,
    read: Callable[[list[Block]], list[tuple[Values, Mask]]],
    batches: Iterable[list[Block]],
) -> Iterator[tuple[list[Block], list[tuple[Values, Mask]]]]:
    """Pairs of batches and what was read for them, `AHEAD` of need."""
    waiting: deque[tuple[list[Block], Future[list[tuple[Values, Mask]]]]] = deque()
    for batch in batches:
        waiting.append((batch, pool.submit(read, batch)))
        if len(waiting) > AHEAD:
            done, images = waiting.popleft()
            yield done, images.result()
    while waiting:
        done, images = waiting.popleft()
        yield done, images.result()
