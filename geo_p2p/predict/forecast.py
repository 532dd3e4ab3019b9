"""What a prediction would do, without doing it."""

import math
import shutil
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from geo_p2p.grid import Block
from geo_p2p.predict.model import Engine
from geo_p2p.predict.plan import Job
from geo_p2p.predict.run import AHEAD
from geo_p2p.predict.single import read_block, translate_block
from geo_p2p.raster.written import written

__all__ = ["Forecast", "forecast"]

SAMPLE = 16
"""Blocks that are looked at, at most, to find one with something in it."""

OVERVIEWS = 4 / 3
"""What overviews add to a file: a quarter of it, a quarter of that, ..."""

T = TypeVar("T")


@dataclass(frozen=True)
class Forecast:
    """What a prediction would do.

    ``output`` is where the mosaic would appear, ``width`` and ``height`` its px, ``crs`` and
    ``res`` its CRS and pixel size. ``blocks`` is how many the plan has, ``block_size`` their side
    and ``tile`` the rows and columns that the network sees, px; ``exact`` whether they equal the
    translation of the whole, ``precision`` the number format of the network ("" if it does not
    tell). ``raw_bytes`` is what the values come to, ``output_bytes`` about what the file would
    (with confidence: both files), ``parts_bytes`` what the blocks would until then, ``free_bytes``
    what is free there; ``memory_bytes`` about the most memory of the process, 0 where the system
    does not tell.
    ``seconds`` is the time of the blocks at most, by one that was timed here; those without a
    valid pixel take less, and the last step, making one file of them, is not in it.
    """

    output: Path
    width: int
    height: int
    crs: str
    res: tuple[float, float]
    blocks: int
    block_size: int
    tile: tuple[int, int]
    exact: bool
    precision: str
    raw_bytes: int
    output_bytes: int
    parts_bytes: int
    free_bytes: int
    memory_bytes: int
    seconds: float


def forecast(job: Job, output: Path, precision: str = "") -> Forecast:
    """Foresee a job: a few blocks are read and one is translated, nothing is written."""
    card, bands = job.model.card, job.bands
    frame = job.source.frame.crop(job.window)
    several = [bands] if job.certainty is None else [bands, job.certainty.bands]
    pixel = sum(each.count * np.dtype(each.dtype).itemsize for each in several)
    raw = frame.height * frame.width * pixel
    seconds, share, waiting = _try_one(job)
    tile = job.plan.tile_shape if card.tile_safe else (card.size, card.size)
    return Forecast(
        output=output,
        width=frame.width,
        height=frame.height,
        crs=frame.crs_name,
        res=frame.res,
        blocks=len(job.blocks),
        block_size=job.plan.size,
        tile=tile,
        exact=card.tile_safe,
        precision=precision,
        raw_bytes=raw,
        output_bytes=round(raw * share * OVERVIEWS),
        parts_bytes=round(raw * share),
        free_bytes=shutil.disk_usage(output.absolute().parent).free,
        memory_bytes=_peak() + waiting if _peak() else 0,
        seconds=seconds * len(job.blocks),
    )


def _try_one(job: Job) -> tuple[float, float, int]:
    """Translate a block.

    Returns
    -------
    Seconds, the share of its bytes that compression leaves, and the bytes of those that wait.
    """
    block, image, reading = _one_with_something(job)
    translate = partial(translate_block, job, block, image)
    model = job.model
    with model.session() if isinstance(model, Engine) else nullcontext():
        translate()  # the first time is slower
        made, working = _timed(translate)
    values = [array for array in (made.values, made.certainty) if array is not None]
    size = sum(array.nbytes for array in values)
    packed = sum(_packed(job, block, array) for array in values)
    # Reading runs beside the model.
    return max(reading, working), min(1.0, packed / size), _waiting(job, size)


def _packed(job: Job, block: Block, values: NDArray[Any]) -> int:
    """Bytes of a block's file, as the output is compressed."""
    options: dict[str, Any] = {
        "compress": "deflate",
        "tiled": True,
        "blockxsize": 512,
        "blockysize": 512,
    }
    plain = job.bands.categorical
    predictor = 1 if plain else 3 if values.dtype.kind == "f" else 2
    place = job.source.frame.crop(job.core(block))
    return len(written("GTiff", values, place, predictor=predictor, **options))


def _waiting(job: Job, written: int) -> int:
    """Bytes of the tiles that are read ahead, and of the blocks that wait to be written."""
    model, config = job.model, job.config
    threads = config.workers or (model.threads if isinstance(model, Engine) else 1)
    tile = np.float32().itemsize * model.card.input.channels * math.prod(job.plan.tile_shape)
    return AHEAD * threads * config.batch_size * (tile + written)


def _one_with_something(
    job: Job,
) -> tuple[Block, tuple[NDArray[Any], NDArray[np.bool_]], float]:
    """Find a block with a valid pixel, in the middle rather than at the edge, and time its read."""
    blocks = job.blocks
    order = np.argsort(np.abs(np.arange(len(blocks)) - len(blocks) / 2), kind="stable")
    step = -(-len(blocks) // SAMPLE)
    for index in order[::step].tolist():
        image, seconds = _timed(partial(read_block, job, blocks[index]))
        if image[1].any():
            break
    return blocks[index], image, seconds


def _timed(work: Callable[[], T]) -> tuple[T, float]:
    """Do something, and take its time."""
    started = time.perf_counter()
    result = work()
    return result, time.perf_counter() - started


def _peak() -> int:
    """Most memory that this process has had so far, bytes; 0 where the system does not tell."""
    if sys.platform == "win32":
        return 0
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else 1024 * most
