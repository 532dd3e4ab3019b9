"""Translate one raster, be it of one file or of several."""

import logging
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, cast

from geo_p2p.chips.chip import Source
from geo_p2p.chips.mosaicked import Mosaicked
from geo_p2p.model_file import Translator, find_model, load_model
from geo_p2p.predict import Forecast, PredictConfig, Prediction, foresee, predict
from geo_p2p.predict.lattice import on_lattice, ratio_of
from geo_p2p.raster import RasterSource, union_frame

__all__ = [
    "loaded",
    "open_mosaic",
    "open_source",
    "output_of",
    "placed",
    "plan_raster",
    "predict_raster",
    "translate",
]

log = logging.getLogger(__name__)

Paths = str | Path | Iterable[str | Path]


def predict_raster(
    src: Paths,
    dst: str | Path | None = None,
    *,
    model: str | Path | Translator | None = None,
    bidx: Sequence[int] | None = None,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
    **settings: Any,
) -> Path:
    """Translate a raster into a georeferenced mosaic of the target kind.

    Parameters
    ----------
    src : the raster, of any size, here or wherever GDAL reaches; several co-registered files
        stack as bands.
    dst : where the mosaic shall appear; ``<stem>_translated.tif`` in the working directory if None.
    model : a model's folder, .emd or name under ``./models``; None for ``$GEO_P2P_MODEL``, else
        the newest one there.
    bidx : bands to translate, from 1; None for those the model was trained on.
    overwrite : whether to replace a file of that name.
    progress : called with (pixels of the output done, pixels in all).
    **settings : fields of `geo_p2p.predict.PredictConfig`.

    Returns
    -------
    Where the mosaic is.

    Raises
    ------
    ModelError
        If there is no such model, or the raster's bands are not what it takes.
    RasterError
        If the raster cannot be read or the mosaic not written.
    """
    translator, config = loaded(model), PredictConfig(**settings)
    return translate(
        translator, src, dst, config, bidx=bidx, overwrite=overwrite, progress=progress
    ).output


def plan_raster(
    src: Paths | Source,
    dst: str | Path | None = None,
    *,
    model: str | Path | Translator | None = None,
    bidx: Sequence[int] | None = None,
    overwrite: bool = False,
    **settings: Any,
) -> Forecast:
    """Foresee what `predict_raster` would do with the same arguments; nothing is written.

    What it would refuse is refused. One block is translated, to time it.

    Returns
    -------
    Blocks, bytes, memory, and the time of the blocks at most.
    """
    translator, config = loaded(model), PredictConfig(**settings)
    source, place = placed(translator, src, dst, config, bidx)
    precision, translator = translator.precision, _telling(translator, config)
    return foresee(translator, source, place, config, overwrite=overwrite, precision=precision)


def translate(
    translator: Translator,
    src: Paths | Source,
    dst: str | Path | None,
    config: PredictConfig,
    *,
    bidx: Sequence[int] | None = None,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Prediction:
    """Do what `predict_raster` does, with a loaded model, and say how it went."""
    source, dst = placed(translator, src, dst, config, bidx)
    translator = _telling(translator, config)
    return predict(
        translator,
        source,
        dst,
        config,
        overwrite=overwrite,
        progress=progress,
        loader=translator.reload,
    )


def _telling(translator: Translator, config: PredictConfig) -> Translator:
    """Have a translator tell its errors' scales, where confidence is asked for."""
    return translator if config.confidence is None else translator.with_scales()


def placed(
    translator: Translator,
    src: Paths | Source,
    dst: str | Path | None,
    config: PredictConfig,
    bidx: Sequence[int] | None,
) -> tuple[Source, Path]:
    """Open a raster on the lattice asked for, name its output, and warn of what is unusual."""
    source: Source
    if isinstance(src, RasterSource | Mosaicked):
        source = src
    else:
        source = open_source(translator, cast(Paths, src), bidx)
    if getattr(source, "warped_to_map", False):
        log.warning(
            "%s is placed by control points; the output lies on its warped lattice", source.name
        )
    source = on_lattice(source, translator.card, config)
    _compare_pixels(translator, source)
    return source, output_of(source.paths[0]) if dst is None else Path(dst)


def output_of(path: str) -> Path:
    """Name the output of a raster: ``<stem>_translated.tif`` in the working directory.

    >>> str(output_of("https://host/scenes/a.tif?token=1"))
    'a_translated.tif'
    """
    text = path.partition("?")[0] if "://" in path else path
    # Behind the "!" is a file of an archive; a subdataset is called by what no file may be.
    stem = re.sub(r'[\\/:*?"<>|]+', "_", Path(text.rpartition("!")[2]).stem).strip("_")
    return Path(f"{stem}_translated.tif")


def loaded(model: str | Path | Translator | None) -> Translator:
    """Load the model that a name stands for; the newest one is told of."""
    return model if isinstance(model, Translator) else load_model(_told(model))


def _told(model: str | Path | None) -> Path:
    """Find the model, and say which if the user did not."""
    path = find_model(model)
    if model is None:
        log.warning("model: %s", path)
    return path


def open_source(translator: Translator, src: Paths, bidx: Sequence[int] | None) -> RasterSource:
    """Open a raster to translate: its bands by number, or those the model was trained on."""
    source, card = RasterSource(src, bidx), translator.card
    if bidx is None and card.bands and source.count > card.input.count:
        return RasterSource(source.paths, card.bands)
    return source


def open_mosaic(
    translator: Translator,
    several: Sequence[Paths],
    bidx: Sequence[int] | None,
    resampling: str = PredictConfig.resampling,
) -> Source:
    """Open rasters as one, on the lattice of the first; where they overlap the first counts.

    Raises
    ------
    AlignmentError
        If they hold different things, or one lies where the CRS of the first does not lead.
    """
    sources = [open_source(translator, paths, bidx) for paths in several]
    if len(sources) == 1:
        return sources[0]
    frame = union_frame([source.frame for source in sources])
    return Mosaicked([RasterSource(s.paths, s.bands, frame, resampling) for s in sources])


def _compare_pixels(translator: Translator, source: Source) -> None:
    """Warn of a raster much coarser or finer than what the model has seen."""
    sizes = ratio_of(translator.card, source.frame)
    if sizes is None or 0.8 < sizes.own / sizes.trained < 1.25:
        return
    log.warning(
        "%s: pixels of %.4g%s are %.2g times those the model was trained on (%.4g%s); --res model "
        "brings it onto pixels of that size",
        *(source.name, sizes.own, sizes.unit, sizes.own / sizes.trained),
        *(sizes.trained, sizes.unit),
    )
