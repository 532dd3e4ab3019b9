"""Translate a raster of any size: a plan of independent blocks, then one mosaic.

A model that is tile-safe is run on blocks read with its halo: side by side they equal the
translation of the whole raster. One that is not is made so where it can be (see `settle`), or run
on overlapping tiles, blended under weights that are the same whichever block asks. Either way a
block depends on nothing but the raster and its place, and is written atomically: what an
interrupted run has finished stays good.
"""

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from geo_p2p.errors import RasterError
from geo_p2p.predict.config import PredictConfig
from geo_p2p.predict.parts import Parts
from geo_p2p.predict.plan import Job, Model
from geo_p2p.predict.run import Runner
from geo_p2p.predict.settle import settle
from geo_p2p.raster import RasterSource, check_options, refuse_to_clobber, write_mosaic

__all__ = ["Model", "PredictConfig", "Prediction", "predict"]

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Prediction:
    """What a prediction did.

    ``output`` is the mosaic, ``width`` and ``height`` its px, ``blocks`` how many the plan has,
    ``mpx_per_s`` output pixels over the wall time of the blocks run now (0 if none was left),
    ``tile_safe`` whether its blocks are exact, ``disagreement`` what two tiles that are blended
    differ by on average, in units of the output (of classes the share of pixels; None if exact).
    """

    output: Path
    width: int
    height: int
    blocks: int
    mpx_per_s: float
    tile_safe: bool
    disagreement: float | None = None


def predict(
    model: Model,
    source: RasterSource,
    dst: str | Path,
    config: PredictConfig | None = None,
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Prediction:
    """Translate a raster into a Cloud Optimized GeoTIFF.

    Blocks that an interrupted run of the same plan left in ``dst.parts/`` are not run again.

    Parameters
    ----------
    model : any callable with a card.
    source : the raster; its bands in the order the model was trained on.
    dst : where the mosaic shall appear.
    config : settings; the defaults if None.
    overwrite : whether to replace a file of that name.
    progress : called with (blocks done, blocks in all).

    Raises
    ------
    ModelError
        If the raster's bands are not what the model takes, or what it gives is not finite.
    RasterError
        If the raster cannot be read or the output not written.
    GridError
        If the block size is no multiple of the model's stride.
    """
    config = config or PredictConfig()
    dst = Path(dst)
    settled = settle(model, source, config)
    job = Job.of(settled.model, source, config)
    _require_room(dst, source, overwrite)
    check_options(job.bands, config.options)
    settled.tell()
    parts = Parts.of(dst)
    parts.open(job.recipe)
    speed = _run(job, parts, progress or (lambda done, total: None))
    frame = source.frame.crop(job.window)
    write_mosaic(
        [(parts.file(block), job.place(block)) for block in job.blocks],
        dst,
        frame,
        job.bands,
        overwrite=overwrite,
        options=config.options,
        tags=job.tags() | settled.tags,
    )
    if not config.keep_parts:
        parts.remove()
    safe, found = job.model.card.tile_safe, settled.disagreement
    differ = found["mean"] if found else None
    return Prediction(dst, frame.width, frame.height, len(job.blocks), speed, safe, differ)


def _require_room(dst: Path, source: RasterSource, overwrite: bool) -> None:
    """Refuse a place that is taken, by the very raster to read before all."""
    if dst.exists() and any(Path(p).exists() and dst.samefile(p) for p in source.paths):
        raise RasterError(f"{dst}: is the raster to translate; choose another name")
    refuse_to_clobber(dst, overwrite)


def _run(job: Job, parts: Parts, tell: Progress) -> float:
    """Run the blocks that are not there yet; output megapixels a second."""
    started, pixels = time.perf_counter(), 0
    todo = [block for block in job.blocks if not parts.has(block)]
    done = len(job.blocks) - len(todo)
    tell(done, len(job.blocks))
    with closing(Runner(job, parts).run(todo)) as blocks:
        for block in blocks:
            core = job.core(block)
            pixels, done = pixels + core.width * core.height, done + 1
            tell(done, len(job.blocks))
    return pixels / 1e6 / (time.perf_counter() - started) if pixels else 0.0
