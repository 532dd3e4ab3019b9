"""Translate an array: NumPy's, or one of xarray with its coordinates."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geo_p2p.errors import RasterError
from geo_p2p.model_file import Translator
from geo_p2p.predict import PredictConfig
from geo_p2p.predict.array import ArraySource, predict_values
from geo_p2p.raster import Frame
from geo_p2p.translate.labelled import Labelled
from geo_p2p.translate.one import loaded

__all__ = ["predict_array"]

FILES = ("keep_parts", "options", "confidence")
"""Settings that are of files alone."""


def predict_array(
    image: Any,
    valid: NDArray[np.bool_] | None = None,
    *,
    model: str | Path | Translator | None = None,
    frame: Frame | None = None,
    bidx: Sequence[int] | None = None,
    progress: Callable[[int, int], None] | None = None,
    **settings: Any,
) -> Any:
    """Translate an array by the blocks, and into the values, that a file of it would give.

    Parameters
    ----------
    image : (bands, rows, cols) in the unit and type that the model was trained on: an array, a
        masked array, or an ``xarray.DataArray`` of dimensions (band, y, x) or (y, x) in any order,
        as rioxarray opens a raster.
    valid : (rows, cols), True where the pixels have values; besides it NaN, masked pixels, and a
        DataArray's nodata value (``_FillValue``) are invalid.
    model : see `geo_p2p.predict_raster`.
    frame : where the pixels of an array are, if the settings speak of a place; a DataArray knows.
    bidx : bands to translate, from 1; None for those the model was trained on.
    progress : called with (pixels of the output done, pixels in all).
    **settings : fields of `geo_p2p.predict.PredictConfig`, but for those of files.

    Returns
    -------
    numpy.ma.MaskedArray or xarray.DataArray
        (bands, rows, cols) in the target's type and unit. Of an array a masked array, invalid
        pixels masked, its ``fill_value`` the target's nodata value if it has one. Of a DataArray
        one with the same coordinates, CRS and attributes along y and x, the target's names along
        "band", and its nodata value in ``_FillValue``; where the target has none and pixels are
        invalid, they are NaN, in floats.

    Raises
    ------
    ModelError
        If there is no such model, or the bands are not what it takes.
    RasterError
        If it is no image, or a setting is of files.
    """
    for name in (*FILES, "dst_crs", "res"):
        if settings.get(name):
            raise RasterError(f"{name}: is of files; write the result, or name a file to translate")
    translator, config = loaded(model), PredictConfig(**settings)
    labelled = None
    if not isinstance(image, np.ndarray) and hasattr(image, "dims"):
        labelled = Labelled.of(image)
        image, frame = labelled.values, labelled.frame
    source = _source(translator, image, valid, frame, bidx)
    values, known, job = predict_values(translator, source, config, progress)
    if labelled is not None:
        return labelled.like(values, known, job.bands, job.window)
    made = np.ma.MaskedArray(values, np.broadcast_to(~known, values.shape).copy())
    if job.bands.nodata is not None:
        made.fill_value = job.bands.nodata
    return made


def _source(
    translator: Translator,
    image: Any,
    valid: NDArray[np.bool_] | None,
    frame: Frame | None,
    bidx: Sequence[int] | None,
) -> ArraySource:
    """Check an array, and pick the bands that the model takes."""
    values = np.asarray(image)
    if values.ndim != 3:
        raise RasterError(f"array: of shape {values.shape}; give (bands, rows, cols)")
    card, shape = translator.card, values.shape[1:]
    chosen = bidx
    if bidx is None and card.bands and len(values) > card.input.count:
        chosen = card.bands
    known = np.ones(shape, bool) if valid is None else np.asarray(valid, bool)
    if chosen is not None:
        missing = [band for band in chosen if not 1 <= band <= len(values)]
        if missing:
            raise RasterError(f"array: no band {missing[0]}; it has {len(values)}, from 1")
        image = image[[band - 1 for band in chosen]]
    if isinstance(image, np.ma.MaskedArray) and known.shape == shape:
        known = known & ~np.ma.getmaskarray(image).any(0)
    return ArraySource(np.asarray(image), known, frame or Frame.of_pixels(*shape))
