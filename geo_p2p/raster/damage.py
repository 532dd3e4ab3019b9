"""Hear of damage: some of GDAL's drivers only murmur of it, and some fill up with zeros."""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.errors import RasterioIOError

from .files import Reports

__all__ = ["CAREFUL", "carefully", "require_complete"]

CAREFUL = {"GDAL_PNG_WHOLE_IMAGE_OPTIM": "NO"}
"""GDAL's fast way through a PNG takes one that was cut off for a whole one, and tells nobody."""

DAMAGE = re.compile(
    "corrupt|premature|discarding|truncated|unsupported marker|bad code word", re.IGNORECASE
)
"""What decoders of JPEG, PackBits and fax say when they go on with pixels they have made up."""

PCRASTER_HEADER = 256
"""Bytes before the values of a PCRaster map."""


@contextmanager
def carefully() -> Iterator[None]:
    """Open and read rasters in here: damage that GDAL only logs is an error too.

    How a PNG is read is laid down when it is opened, and looked up again when it is read.

    Raises
    ------
    RasterioIOError
        In GDAL's words.
    """
    with rasterio.Env(**CAREFUL), Reports() as gdal:
        yield
    for told in (*gdal.errors, *gdal.warnings):
        if DAMAGE.search(told):
            raise RasterioIOError(told)


def require_complete(dataset: Any) -> None:
    """Refuse a file that is shorter than it says, where GDAL reads zeros for what is missing.

    Raises
    ------
    OSError
        If it is.
    """
    is_short = IS_SHORT.get(dataset.driver)
    if is_short is None:
        return
    path = Path(next(iter(dataset.files), ""))
    if path.is_file() and is_short(path, dataset):
        raise OSError("it is shorter than its header says")


def _envi(path: Path, dataset: Any) -> bool:
    header = dataset.tags(ns="ENVI")
    packed = header.get("file_compression", "0") != "0"
    start = int(header.get("header_offset", 0))
    return not packed and path.stat().st_size < start + _bytes_of_values(dataset)


def _pcraster(path: Path, dataset: Any) -> bool:
    return path.stat().st_size < PCRASTER_HEADER + _bytes_of_values(dataset)


def _bytes_of_values(dataset: Any) -> int:
    """Length of all values, uncompressed."""
    pixels: int = dataset.height * dataset.width
    pixel: int = sum(np.dtype(dtype).itemsize for dtype in dataset.dtypes)
    return pixels * pixel


def _sqlite(path: Path, dataset: Any) -> bool:
    with path.open("rb") as file:
        header = file.read(100)
    page = int.from_bytes(header[16:18], "big")
    length = int.from_bytes(header[28:32], "big") * (65536 if page == 1 else page)
    # The number of pages holds if it was written with the last change.
    return header[24:28] == header[92:96] and path.stat().st_size < length


def _netcdf(path: Path, dataset: Any) -> bool:
    with path.open("rb") as file:
        if file.read(4) not in (b"CDF\x01", b"CDF\x02"):
            return False  # built on HDF5, which sees to it
    from scipy.io import netcdf_file  # slow to load, and seldom needed

    try:
        netcdf_file(path, mmap=True)  # lays its arrays over the file
    except (TypeError, ValueError):
        return True
    return False


IS_SHORT: Mapping[str, Callable[[Path, Any], bool]] = {
    "ENVI": _envi,
    "PCRaster": _pcraster,
    "GPKG": _sqlite,
    "MBTiles": _sqlite,
    "netCDF": _netcdf,
}
"""Whether a file was cut off, by driver.

References
----------
https://www.sqlite.org/fileformat.html, 1.3; https://docs.unidata.ucar.edu/nug/current/file_format_specifications.html
"""
