"""Small rasters as the bytes of a file: in memory, so that a full disk is heard of at once."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
from numpy.typing import NDArray

from ..errors import RasterError
from .bands import Bands
from .frame import Frame
from .tiff import Image, encode_tiffs
from .written import written

__all__ = ["FORMATS", "Format", "encode", "encode_many", "require_encodable"]


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

PICTURE_OPTIONS: Mapping[str, Mapping[str, Any]] = {"PNG": {}, "JPEG": {"quality": 95}}
"""GDAL's creation options: a lower quality leaves blocks that a network would learn."""

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
    return next(encode_many(name, [(values, valid, frame)]))


def encode_many(name: str, images: Sequence[Image]) -> Iterator[dict[str, bytes]]:
    """Return the files of each of many small rasters, in their order: what `encode` gives of each.

    Parameters
    ----------
    name : key of `FORMATS`.
    images : values, valid and frame of each. GeoTIFFs of one kind take a fraction of the time that
        they take one by one, the more so where they overlap and are views of one array.
    """
    kind = FORMATS[name]
    if kind.driver == "GTiff":
        for (*_, frame), data in zip(images, encode_tiffs(images), strict=True):
            yield {kind.suffix: data, kind.world: world_file(frame)}
    else:
        for image in images:
            yield _picture(kind, *image)


def _picture(
    kind: Format, values: NDArray[Any], valid: NDArray[np.bool_], frame: Frame
) -> dict[str, bytes]:
    """Return the files of a PNG or JPEG."""
    wkt = escape(frame.crs.to_wkt())
    files = {
        kind.suffix: written(kind.driver, values, frame, **PICTURE_OPTIONS[kind.driver]),
        kind.world: world_file(frame),
        f"{kind.suffix}.aux.xml": f"<PAMDataset><SRS>{wkt}</SRS></PAMDataset>\n".encode(),
    }
    if not valid.all():
        files[f"{kind.suffix}.msk"] = _mask(valid, len(values), frame)
    return files


def world_file(frame: Frame) -> bytes:
    """Return six lines: the affine's columns, and the centre of the upper-left pixel."""
    t = frame.transform
    x, y = t * (0.5, 0.5)
    return "".join(f"{value:.10f}\n" for value in (t.a, t.d, t.b, t.e, x, y)).encode("ascii")


def _mask(valid: NDArray[np.bool_], bands: int, frame: Frame) -> bytes:
    """Return GDAL's mask file of a picture: one band for all of them."""
    shared = {f"INTERNAL_MASK_FLAGS_{band}": "2" for band in range(1, bands + 1)}
    image = np.where(valid, np.uint8(255), np.uint8(0))[None]
    return written("GTiff", image, frame, tags=shared, compress="deflate")
