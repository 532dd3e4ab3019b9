"""Small rasters as the bytes of a file: in memory, so that a full disk is heard of at once."""

import zlib
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.io import MemoryFile

from ..errors import RasterError
from .bands import Bands
from .files import quietly
from .frame import Frame

__all__ = ["FORMATS", "Format", "encode", "require_encodable"]


@dataclass(frozen=True)
class Format:
    """A file format of small rasters: its suffix, that of its world file, and GDAL's driver."""

    suffix: str
    world: str
    driver: str


FORMATS: Mapping[str, Format] = MappingProxyType(
    {
        "TIFF": Format(".tif", ".tfw", "GTiff"),
        "PNG": Format(".png", ".pgw", "PNG"),
        "JPEG": Format(".jpg", ".jgw", "JPEG"),
    }
)
"""Formats by the names that ArcGIS gives them."""

SIDE = 128
"""Side of the tiles inside a GeoTIFF, px, as ArcGIS Pro writes them; with LZW, no predictor."""

PROBE, WORTH = 8192, 0.7
"""Bytes that are tried, and how small they must become; LZW is not quite as good as what tries."""

PICTURE_OPTIONS: Mapping[str, Mapping[str, Any]] = {"PNG": {}, "JPEG": {"quality": 95}}
"""GDAL's creation options: a lower quality leaves blocks that a network would learn."""

SETTINGS = {"GDAL_TIFF_INTERNAL_MASK": True, "GDAL_PAM_ENABLED": False}
"""GDAL's configuration while it writes."""

PICTURE = (1, 3)
"""Numbers of bands a PNG or JPEG may have: a second or fourth one would be taken for alpha."""


def require_encodable(name: str, bands: Bands, source: str) -> None:
    """Refuse a format that would lose values.

    Parameters
    ----------
    name : key of `FORMATS`.
    bands : what is to be written.
    source : where it comes from, for the message.

    Raises
    ------
    RasterError
        For an unknown format, a JPEG of classes or of more than 8 bits, a PNG of floats or of more
        than 16 bits, or another number of bands than 1 or 3 in either.
    """
    if name not in FORMATS:
        raise RasterError(f"image format {name!r}: choose one of {', '.join(FORMATS)}")
    types = {"TIFF": None, "PNG": ("uint8", "uint16"), "JPEG": ("uint8",)}[name]
    if types is None:
        return
    if bands.dtype not in types:
        raise RasterError(f"{source}: {bands.dtype} does not fit into {name}; write TIFF chips")
    if bands.count not in PICTURE:
        raise RasterError(
            f"{source}: {bands.count} bands do not fit into {name}, which holds 1 or 3; choose "
            "bands by number, or write TIFF chips"
        )
    if name == "JPEG" and bands.categorical:
        raise RasterError(
            f"{source}: JPEG blurs class numbers into other classes; write PNG or TIFF chips"
        )


def encode(
    name: str, values: NDArray[Any], valid: NDArray[np.bool_], frame: Frame
) -> dict[str, bytes]:
    """Return the files that hold a small raster.

    A GeoTIFF is tiled and LZW-compressed, as ArcGIS Pro writes it, unless that gains nothing: on
    photographs it would take most of the time and make them larger. No nodata value is declared.
    Invalid pixels go into an internal mask in a GeoTIFF, into a ``.msk`` beside a PNG or JPEG;
    these also get an ``.aux.xml``, because a world file tells the place but no CRS. Three bands of
    8 bits are marked as colour, without which PIL, and so arcgis.learn, cannot open them.

    Parameters
    ----------
    name : key of `FORMATS`.
    values : (bands, rows, cols).
    valid : (rows, cols).
    frame : where the pixels are.

    Returns
    -------
    dict
        Contents by suffix: the image first.
    """
    kind = FORMATS[name]
    files = {kind.suffix: _image(kind, values, valid, frame), kind.world: world_file(frame)}
    if kind.driver != "GTiff":
        wkt = escape(frame.crs.to_wkt())
        files[f"{kind.suffix}.aux.xml"] = f"<PAMDataset><SRS>{wkt}</SRS></PAMDataset>\n".encode()
        if not valid.all():
            files[f"{kind.suffix}.msk"] = _mask(valid, len(values), frame)
    return files


def world_file(frame: Frame) -> bytes:
    """Return six lines: the affine's columns, and the centre of the upper-left pixel."""
    t = frame.transform
    x, y = t * (0.5, 0.5)
    return "".join(f"{value:.10f}\n" for value in (t.a, t.d, t.b, t.e, x, y)).encode("ascii")


def _image(kind: Format, values: NDArray[Any], valid: NDArray[np.bool_], frame: Frame) -> bytes:
    if kind.driver == "GTiff":
        return _written(kind.driver, values, frame, None if valid.all() else valid, **_tiff(values))
    return _written(kind.driver, values, frame, **PICTURE_OPTIONS[kind.driver])


def _tiff(values: NDArray[Any]) -> dict[str, Any]:
    """Creation options as ArcGIS Pro has them; tiles are multiples of 16 px."""
    side = min(SIDE, -(-max(values.shape[1:]) // 16) * 16)
    return {
        "tiled": True,
        "blockxsize": side,
        "blockysize": side,
        "compress": "lzw" if _shrinks(values) else "none",
        "interleave": "pixel",
        "photometric": "rgb" if values.dtype == np.uint8 and len(values) == 3 else "minisblack",
    }


def _shrinks(values: NDArray[Any]) -> bool:
    """Whether compression pays, judged by a few rows of the middle."""
    rows = max(1, PROBE // (values[:, :1].nbytes or 1))
    top = max(0, (values.shape[1] - rows) // 2)
    sample = np.ascontiguousarray(values[:, top : top + rows]).tobytes()
    return len(zlib.compress(sample, 1)) < WORTH * len(sample)


def _mask(valid: NDArray[np.bool_], bands: int, frame: Frame) -> bytes:
    """Return GDAL's mask file of a picture: one band for all of them."""
    shared = {f"INTERNAL_MASK_FLAGS_{band}": "2" for band in range(1, bands + 1)}
    image = np.where(valid, np.uint8(255), np.uint8(0))[None]
    return _written("GTiff", image, frame, tags=shared, compress="deflate")


def _written(
    driver: str,
    values: NDArray[Any],
    frame: Frame,
    valid: NDArray[np.bool_] | None = None,
    *,
    tags: Mapping[str, str] | None = None,
    **options: Any,
) -> bytes:
    """Return the bytes of a file in one of GDAL's formats."""
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
