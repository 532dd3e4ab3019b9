"""How it is done: read, translate and write blocks, side by side."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from geo_p2p.grid import Block
from geo_p2p.predict.blended import Blended
from geo_p2p.predict.exact import Exact
from geo_p2p.predict.parts import Parts
from geo_p2p.predict.plan import Job
from geo_p2p.predict.reading import Reader
from geo_p2p.raster import RasterSink

__all__ = ["Runner"]

AHEAD = 2
"""Batches read before they are needed, and blocks waiting to be written."""

Values = NDArray[Any]
Mask = NDArray[np.bool_]


class Way(Protocol):
    """How the blocks of a model are made."""

    def needs(self, block: Block) -> Window:
        """Px of the raster that a block depends on."""

    def translate(
        self, batch: list[Block], images: list[tuple[Values, Mask]]
    ) -> Iterator[tuple[Values, Mask]]:
        """Translate blocks: values of the output, and which of them are valid."""


@dataclass(frozen=True)
class Runner:
    """Runs blocks of a job into a folder."""

    job: Job
    parts: Parts

    @cached_property
    def way(self) -> Way:
        """How the model's blocks are made."""
        return Exact(self.job) if self.job.model.card.tile_safe else Blended(self.job)

    @cached_property
    def reader(self) -> Reader:
        """Who reads the raster."""
        return Reader(self.job.source, self.job.config.on_error == "nodata")

    def run(self, blocks: list[Block]) -> Generator[Block, None, None]:
        """Read, translate and write blocks; reading and writing run beside the model."""
        with ThreadPoolExecutor(1) as readers, ThreadPoolExecutor(1) as writers:
            written: deque[Future[Block]] = deque()
            try:
                for batch, images in _ahead(
                    readers, self._read, _batches(blocks, self.job.config.batch_size)
                ):
                    for block, (values, valid) in zip(
                        batch, self.way.translate(batch, images), strict=True
                    ):
                        written.append(writers.submit(self._write, block, values, valid))
                    while len(written) > AHEAD:
                        yield written.popleft().result()
                while written:
                    yield written.popleft().result()
            finally:
                # After an error nobody waits for what was to be read; what is translated is kept.
                readers.shutdown(wait=False, cancel_futures=True)

    def _read(self, batch: list[Block]) -> list[tuple[Values, Mask]]:
        """Read what the blocks need."""
        return [self.reader.read(self.way.needs(block)) for block in batch]

    def _write(self, block: Block, values: Values, valid: Mask) -> Block:
        core = self.job.core(block)
        frame = self.job.source.frame.crop(core)
        harmed = self.reader.lost(self.way.needs(block)) > 0
        if harmed:
            self.parts.note(block, self.reader.lost(core))
        with RasterSink(self.parts.file(block), frame, self.job.bands, overwrite=True) as sink:
            sink.write(values, valid=valid)
        if not harmed:
            self.parts.settle(block)
        return block


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
