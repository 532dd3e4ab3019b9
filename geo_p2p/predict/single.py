"""Blocks one after another, in this thread and without files."""

from collections.abc import Iterable, Iterator

import numpy as np

from geo_p2p.grid import Block
from geo_p2p.predict.blended import Blended
from geo_p2p.predict.exact import Exact
from geo_p2p.predict.plan import Job
from geo_p2p.predict.way import Image, Made, Way

__all__ = ["read_block", "translate_block", "translate_blocks"]


def way_of(job: Job) -> Way:
    """How the blocks of a job are made."""
    return Exact(job) if job.model.card.tile_safe else Blended(job)


def read_block(job: Job, block: Block) -> Image:
    """Read what a block needs: values and which are valid."""
    return job.source.read(way_of(job).needs(block))


def translate_block(job: Job, block: Block, image: Image) -> Made:
    """Translate what was read for a block: values of its core, and which are valid."""
    way = way_of(job)
    ready = way.prepare(block, image)
    if ready is None:
        core = job.core(block)
        valid = np.zeros((core.height, core.width), bool)
        return Made(job.nothing(valid), valid)
    (begun,) = way.translate([block], [ready])
    return way.finish(block, begun)


def translate_blocks(job: Job, blocks: Iterable[Block]) -> Iterator[tuple[Block, Made]]:
    """Read and translate blocks."""
    for block in blocks:
        yield block, translate_block(job, block, read_block(job, block))
