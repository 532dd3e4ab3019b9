"""Rasters on Earth: where pixels are, what they hold, and the one place that opens files.

`Frame` says where pixels are and needs no file; `Bands` says what they hold; `RasterSource`
reads values with a mask, warped onto another frame if asked; `PlainImage` reads a picture, placed
or not; `RasterSink` writes a GeoTIFF that appears only when it is whole; `encode` gives a small
raster as bytes; `write_mosaic` turns block files into one Cloud Optimized GeoTIFF, with the
`Statistics` of their values.
"""

from .bands import Bands, common_nodata, read_bands
from .crs import transform_points
from .encoding import FORMATS, encode, encode_many, require_encodable
from .files import partial_path, refuse_to_clobber
from .find import find_rasters
from .frame import PIXELS, Frame
from .ground import reach, shares_ground, union_frame, window_inside
from .interim import bounded_cache, quick_options
from .lattice import crs_of, lattice_for, metres_of
from .mosaic import check_options, write_mosaic
from .pixels import PixelSource
from .plain import UNKNOWN, PlainImage, resample
from .sink import RasterSink
from .source import RESAMPLINGS, RasterSource
from .statistics import Statistics

__all__ = [
    "FORMATS",
    "PIXELS",
    "RESAMPLINGS",
    "UNKNOWN",
    "Bands",
    "Frame",
    "PixelSource",
    "PlainImage",
    "RasterSink",
    "RasterSource",
    "Statistics",
    "bounded_cache",
    "check_options",
    "common_nodata",
    "crs_of",
    "encode",
    "encode_many",
    "find_rasters",
    "lattice_for",
    "metres_of",
    "partial_path",
    "quick_options",
    "reach",
    "read_bands",
    "refuse_to_clobber",
    "require_encodable",
    "resample",
    "shares_ground",
    "transform_points",
    "union_frame",
    "window_inside",
    "write_mosaic",
]
