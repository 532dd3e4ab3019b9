"""Files of GDAL's formats, written in memory."""

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import rasterio
from numpy.typing import NDArray
from rasterio.io import MemoryFile

from .files import quietly
from .frame import Frame

__all__ = ["written"]

SETTINGS = {"GDAL_TIFF_INTERNAL_MASK": True, "GDAL_PAM_ENABLED": False}
"""GDAL's configuration while it writes."""


def written(
    driver: str,
    values: NDArray[Any],
    frame: Frame,
    valid: NDArray[Any] | None = None,
    *,
    tags: Mapping[str, str] | None = None,
    **options: Any,
) -> bytes:
    """Return the bytes of a file in one of GDAL's formats.

    Parameters
    ----------
    driver : GDAL's name of the format.
    values : (bands, rows, cols).
    frame : where the pixels are.
    valid : (rows, cols) for an internal mask; None for a file without.
    tags : metadata of the file.
    **options : GDAL's creation options.
    """
    count, height, width = values.shape
    place = {"crs": frame.crs, "transform": frame.transform}
    shape = {"count": count, "height": height, "width": width, "dtype": values.dtype}
    # Without PAM, the drivers of pictures forget the place instead of writing files for it. A plain
    # GeoTIFF needs no setting, and to make some takes a tenth of its time.
    plain = driver == "GTiff" and valid is None
    with MemoryFile() as memory, nullcontext() if plain else rasterio.Env(**SETTINGS):
        with quietly():
            opened = memory.open(driver=driver, **shape, **place, **options)
        with opened as dataset:
            dataset.write(values)
            if valid is not None:
                dataset.write_mask(valid)
            if tags:
                dataset.update_tags(**tags)
        return memory.read()  # type: ignore[no-any-return]
