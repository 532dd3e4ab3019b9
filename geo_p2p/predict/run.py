"""How it is done: read, translate and write blocks, side by side."""

import logging
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geo_p2p.grid import Block, overlap_of
from geo_p2p.predict.blended import Blended
from geo_p2p.predict.exact import Exact
from geo_p2p.predict.model import Engine
from geo_p2p.predict.parts import Parts
from geo_p2p.predict.plan import Job
from geo_p2p.predict.reading import Reader, is_blank, strip_bytes
from geo_p2p.predict.rounding import Rounding
from geo_p2p.predict.way import Made, Way
from geo_p2p.raster import RasterSink, Statistics, bounded_cache, quick_options

__all__ = ["Runner"]

log = logging.getLogger(__name__)

AHEAD = 2
"""For each thread, batches read before they are needed, and blocks waiting to be written."""


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

    @property
    def threads(self) -> int:
        """Threads that read, and as many that write."""
        asked, model = self.job.config.workers, self.job.model
        return asked or (model.threads if isinstance(model, Engine) else 1)

    def run(self, blocks: list[Block]) -> Generator[Block, None, None]:
        """Read, translate and write blocks; reading and writing run beside the model."""
        ahead, job = AHEAD * self.threads, self.job
        again = strip_bytes(job.source, job.plan.tile_shape[0])
        with ExitStack() as stack:
            stack.enter_context(bounded_cache(again))
            if isinstance(job.model, Engine):
                stack.enter_context(job.model.session())
            readers = stack.enter_context(ThreadPoolExecutor(self.threads))
            writers = stack.enter_context(ThreadPoolExecutor(self.threads))
            # After an error nobody waits for what was to be read; what is translated is kept.
            stack.callback(readers.shutdown, wait=False, cancel_futures=True)
            written: deque[Future[Block]] = deque()
            batches = _batches(blocks, job.config.batch_size)
            for batch, images in _ahead(readers, self._read, batches, ahead):
                for block, made in zip(batch, self._translate(batch, images), strict=True):
                    written.append(writers.submit(self._finish, block, made))
                while len(written) > ahead:
                    yield written.popleft().result()
            while written:
                yield written.popleft().result()

    def _read(self, batch: list[Block]) -> list[Any]:
        """Read what the blocks need, and make it ready; None of a block with nothing in it."""
        job = self.job
        return [
            None if is_blank(job.source, job.core(block)) else self._prepare(block)
            for block in batch
        ]

    def _prepare(self, block: Block) -> Any:
        """Read what a block needs, and note if it is not like what was trained on."""
        needs = self.way.needs(block)
        values, valid = self.reader.read(needs)
        own = overlap_of(needs, self.job.core(block))
        self.parts.note_strange(block, self.job.outside(values[:, *own], valid[own]))
        return self.way.prepare(block, (values, valid))

    def _translate(self, batch: list[Block], images: list[Any]) -> Iterator[Any]:
        """Translate the blocks that have something in them; None for those that have not."""
        full = [(b, i) for b, i in zip(batch, images, strict=True) if i is not None]
        if full:
            self._tell_rounding(*full[0])
        made = self.way.translate([block for block, _ in full], [image for _, image in full])
        for image in images:
            yield None if image is None else next(made)

    @cached_property
    def _measured(self) -> set[str]:
        """Files of the blocks on which the precision was measured, here or before this run."""
        return set(self.parts.roundings())

    def _tell_rounding(self, block: Block, image: Any) -> None:
        """Measure what the model's precision costs, unless that is known of an earlier block.

        So of the first one with anything in it, whoever makes it and in whatever order, it always
        is; that is what the output tells.
        """
        model, tile, name = self.job.model, self.way.tile(image), self.parts.file(block).name
        known = any(other <= name for other in self._measured)
        if tile is None or not isinstance(model, Engine) or known:
            return
        found = Rounding.of(model, tile, self.job.scaling)
        self.parts.note_rounding(block, found)
        self._measured.add(name)
        if found.largest is not None:
            log.info("%s", found)

    def _finish(self, block: Block, made: Any) -> Block:
        """Turn a translation into values of the output, and write them."""
        if made is None:
            return self._write_nothing(block)
        return self._write(block, self.way.finish(block, made))

    def _write(self, block: Block, made: Made) -> Block:
        # The block itself last: where that is, the other is too.
        values, valid, certainty = made
        self._write_certainty(block, certainty, valid)
        tags = {} if self.job.bands.categorical else Statistics.of(values, valid).tags
        with self._file(block, tags) as sink:
            sink.write(values, valid=valid)
        return block

    def _write_certainty(
        self, block: Block, values: NDArray[Any] | None, valid: NDArray[np.bool_]
    ) -> None:
        """Write how far off a block may be, if that is asked for; of None, nothing is valid."""
        sure = self.job.certainty
        if sure is None:
            return
        found = Statistics(valid.size) if values is None else Statistics.of(values, valid)
        frame, file = self.job.source.frame.crop(self.job.core(block)), self.parts.certainty(block)
        how: dict[str, Any] = {"options": quick_options(), "tags": found.tags}
        with RasterSink(file, frame, sure.bands, overwrite=True, **how) as sink:
            if values is not None:
                sink.write(values)

    def _write_nothing(self, block: Block) -> Block:
        """Write a block without a valid pixel: what was never written is nodata."""
        core = self.job.core(block)
        valid = np.zeros((core.height, core.width), bool)
        self._write_certainty(block, None, valid)
        with self._file(block, Statistics(valid.size).tags) as sink:
            if self.job.bands.nodata is None:
                sink.write(self.job.nothing(valid), valid=valid)
        return block

    @contextmanager
    def _file(self, block: Block, tags: dict[str, str]) -> Iterator[RasterSink]:
        """Open the file of a block to write to, and note what could not be read for it."""
        core = self.job.core(block)
        harmed = self.reader.lost(self.way.needs(block)) > 0
        if harmed:
            self.parts.note(block, self.reader.lost(core))
        frame, bands = self.job.source.frame.crop(core), self.job.bands
        file, options = self.parts.file(block), quick_options()
        how: dict[str, Any] = {"options": options, "tags": tags}
        with RasterSink(file, frame, bands, overwrite=True, **how) as sink:
            yield sink
        if not harmed:
            self.parts.settle(block)


def _batches(blocks: list[Block], size: int) -> Iterator[list[Block]]:
    for start in range(0, len(blocks), size):
        yield blocks[start : start + size]


def _ahead(
    pool: ThreadPoolExecutor,
    read: Callable[[list[Block]], list[Any]],
    batches: Iterable[list[Block]],
    count: int,
) -> Iterator[tuple[list[Block], list[Any]]]:
    """Pairs of batches and what was read for them, ``count`` of them before they are needed."""
    waiting: deque[tuple[list[Block], Future[list[Any]]]] = deque()
    for batch in batches:
        waiting.append((batch, pool.submit(read, batch)))
        if len(waiting) > count:
            done, images = waiting.popleft()
            yield done, images.result()
    while waiting:
        done, images = waiting.popleft()
        yield done, images.result()
