"""Translate a raster of any size: a plan of independent blocks, then one mosaic.

A model that is tile-safe is run on blocks read with its halo: side by side they equal the
translation of the whole raster. One that is not is made so where it can be (see `settle`), or run
on overlapping tiles, blended under weights that are the same whichever block asks. Either way a
block depends on nothing but the raster and its place, and is written atomically: what an
interrupted run has finished stays good, and who makes which block does not matter.
"""

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

from geo_p2p.card import confidence_path
from geo_p2p.chips.chip import Source
from geo_p2p.errors import RasterError
from geo_p2p.grid import Block
from geo_p2p.predict.config import PredictConfig
from geo_p2p.predict.disagreement import explain
from geo_p2p.predict.forecast import Forecast, forecast
from geo_p2p.predict.mosaicking import Prediction, mosaic, publish
from geo_p2p.predict.parts import Parts
from geo_p2p.predict.plan import Job, Model
from geo_p2p.predict.resume import Resumption, as_begun
from geo_p2p.predict.scattered import Crew, Loader, crew_of
from geo_p2p.predict.shards import Shard
from geo_p2p.raster import check_options, refuse_to_clobber

__all__ = [
    "Forecast",
    "Loader",
    "Model",
    "PredictConfig",
    "Prediction",
    "foresee",
    "mosaic",
    "predict",
]

log = logging.getLogger(__name__)

Progress = Callable[[int, int], None]


def predict(
    model: Model,
    source: Source,
    dst: str | Path,
    config: PredictConfig | None = None,
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
    loader: Loader | None = None,
) -> Prediction:
    """Translate a raster into a Cloud Optimized GeoTIFF.

    Blocks that an interrupted run of the same plan left in ``dst.parts/`` are not run again. One
    of several shards (``config.shard``) makes only its own blocks there; `mosaic` does the rest.

    Parameters
    ----------
    model : any callable with a card.
    source : the raster; its bands in the order the model was trained on.
    dst : where the mosaic shall appear; with ``config.confidence`` also
        ``<stem of dst>_confidence.tif`` beside it.
    config : settings; the defaults if None.
    overwrite : whether to replace a file of that name, and the unfinished work of another plan.
    progress : called with (pixels of the output done, pixels in all).
    loader : loads the model on the workers of a cluster (``config.scheduler``).

    Raises
    ------
    ModelError
        If the raster's bands are not what the model takes, what it gives is not finite, or it
        cannot tell of the confidence asked for.
    RasterError
        If the raster cannot be read or the output not written, or if another run is at work on it
        or has left there what is of another plan.
    GridError
        If the block size is no multiple of the model's stride, or there is no such shard.
    """
    config, dst = config or PredictConfig(), Path(dst)
    shard = None if config.shard is None else Shard.parse(config.shard)
    parts, tell = Parts.of(dst), progress or (lambda done, total: None)
    _require_room(dst, source, overwrite)
    planned = partial(as_begun, model, source, config, parts)
    job = planned()
    replaces = _replaces(job, parts, dst, overwrite)
    check_options(job.bands, config.options)
    with parts.held(shard):
        job = Resumption(parts, config.resume, overwrite, shard).settle(job, planned)
        explain(job.model, job.disagreement)
        safe = job.model.card.tile_safe
        if safe:
            log.info("%s", job)
        mine = job.blocks if shard is None else shard.share(job.blocks)
        speed = _run(job, mine, parts, crew_of(job, parts, loader), tell)
        if shard is not None:
            width, height = job.window.width, job.window.height
            return Prediction(parts.folder, width, height, len(mine), speed, safe)
        parts.sweep(dst)
        done = publish([parts], parts.layout, dst, overwrite=replaces)
        # What could not be read may be read another day: then only those blocks are to be run.
        if not (config.keep_parts or done.lost):
            parts.remove()
    return replace(done, mpx_per_s=speed)


def foresee(
    model: Model,
    source: Source,
    dst: str | Path,
    config: PredictConfig | None = None,
    *,
    overwrite: bool = False,
    precision: str = "",
) -> Forecast:
    """Foresee what `predict` would do, and refuse what it would refuse; nothing is written.

    Parameters
    ----------
    model, source, dst, config, overwrite : as for `predict`.
    precision : name of the number format of the model, to be told.
    """
    config, dst = config or PredictConfig(), Path(dst)
    _require_room(dst, source, overwrite)
    parts = Parts.of(dst)
    job = as_begun(model, source, config, parts)
    _replaces(job, parts, dst, overwrite)
    check_options(job.bands, config.options)
    return forecast(job, dst, precision)


def _replaces(job: Job, parts: Parts, dst: Path, overwrite: bool) -> bool:
    """Whether files may be replaced; a second file that is in the way and may not be is refused."""
    if job.certainty is None:
        return overwrite
    # Without the mosaic, it was left by an interruption of this very run.
    replaces = overwrite or parts.recipe == job.recipe
    _require_room(confidence_path(dst), job.source, replaces)
    return replaces


def _require_room(dst: Path, source: Source, overwrite: bool) -> None:
    """Refuse a place that is taken, by the very raster to read before all."""
    if dst.exists() and any(Path(p).exists() and dst.samefile(p) for p in source.paths):
        raise RasterError(f"{dst}: is the raster to translate; choose another name")
    refuse_to_clobber(dst, overwrite)


def _run(job: Job, blocks: Sequence[Block], parts: Parts, crew: Crew, tell: Progress) -> float:
    """Run the blocks that are not there yet; output megapixels a second."""
    started, finished = time.perf_counter(), parts.finished()
    todo = [block for block in blocks if parts.file(block).name not in finished]
    total, ahead = (sum(map(job.pixels, some)) for some in (blocks, todo))
    made = 0
    tell(total - ahead, total)
    try:
        with closing(crew(todo)) as run:
            for block in run:
                made += job.pixels(block)
                tell(total - ahead + made, total)
    except KeyboardInterrupt:
        log.warning("%s: say the same again to go on with what is done", parts.folder)
        raise
    except RasterError as error:
        kept = len(parts.finished())
        again = f"; {kept} blocks are done and lie in {parts.folder}: say the same again to go on"
        raise type(error)(f"{error}{again if kept else ''}") from error
    return made / 1e6 / (time.perf_counter() - started)
