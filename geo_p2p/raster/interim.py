"""Reading and writing of many blocks on the way to one raster: bounded memory, little packing."""

import functools
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import rasterio
from affine import Affine

# rasterio sets GDAL's cache, but exports nothing to ask for it.
from rasterio._env import get_gdal_config
from rasterio.io import MemoryFile

from .files import GDAL_ERRORS

__all__ = ["bounded_cache", "quick_options"]

CACHE = 64 * 2**20
"""Bytes of GDAL's cache where blocks are read once, but for their halos."""

STRIPS = 512 * 2**20
"""Bytes of GDAL's cache at most, where all blocks of a row read the same strips."""


@contextmanager
def bounded_cache(needed: int = 0) -> Iterator[None]:
    """Bound GDAL's cache, which takes a twentieth of all memory if it is left to itself.

    Parameters
    ----------
    needed : bytes that are read again by the next block; a cache of up to `STRIPS` holds them.

    Notes
    -----
    ``GDAL_CACHEMAX`` in the environment has the last word.
    """
    with rasterio.Env():
        before = get_gdal_config("GDAL_CACHEMAX")
        bytes_ = before if "GDAL_CACHEMAX" in os.environ else min(max(CACHE, needed), STRIPS)
        with rasterio.Env(GDAL_CACHEMAX=bytes_):
            yield
        with rasterio.Env(GDAL_CACHEMAX=before):  # the setting is the process's, and stays
            pass


@functools.cache
def quick_options() -> Mapping[str, str]:
    """Return creation options of a GeoTIFF that is read once and thrown away.

    ZSTD at its lowest level packs as DEFLATE does in a fifth of the time, where GDAL has it.
    """
    sparse = {"SPARSE_OK": "TRUE"}
    quick = {"COMPRESS": "ZSTD", "ZSTD_LEVEL": "1", **sparse}
    shape = {"height": 16, "width": 16, "count": 1, "dtype": "uint8", "transform": Affine.scale(2)}
    try:
        with (
            rasterio.Env(),
            MemoryFile() as file,
            file.open(driver="GTiff", **shape, **quick) as dataset,
        ):
            dataset.write(np.ones((1, 16, 16), "uint8"))
        return quick
    except GDAL_ERRORS:
        return sparse
