"""Turn block files into one Cloud Optimized GeoTIFF."""

import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.shutil
from affine import Affine
from rasterio.crs import CRS
from rasterio.io import MemoryFile
from rasterio.windows import Window

from ..errors import RasterError
from .bands import Bands
from .files import (
    GDAL_ERRORS,
    Reports,
    discard,
    one_line,
    open_quietly,
    partial_path,
    publish,
    refuse_to_clobber,
    translated,
)
from .frame import Frame
from .interim import bounded_cache
from .source import RasterSource
from .statistics import Statistics

__all__ = ["check_options", "write_mosaic"]

GDAL_TYPES = {
    "uint8": "Byte",
    "int8": "Int8",
    "uint16": "UInt16",
    "int16": "Int16",
    "uint32": "UInt32",
    "int32": "Int32",
    "uint64": "UInt64",
    "int64": "Int64",
    "float32": "Float32",
    "float64": "Float64",
}

GDAL_INTERP = {"Y": "YCbCr_Y", "Cb": "YCbCr_Cb", "Cr": "YCbCr_Cr", "other_ir": "OtherIR"}
"""Colour interpretations of which GDAL's name is not rasterio's."""

OPEN = 20
"""Block files that are open at once: two or three MiB each, and no faster for more."""

Part = tuple[Path, Window]


def write_mosaic(
    parts: Sequence[Part],
    path: Path,
    frame: Frame,
    bands: Bands,
    *,
    overwrite: bool = False,
    options: Mapping[str, str] | None = None,
    tags: Mapping[str, str] | None = None,
) -> Path:
    """Put block files together into a Cloud Optimized GeoTIFF.

    Idempotent: it reads the blocks through a VRT and moves the finished file to its place. Values
    carry the statistics of their bands, so that QGIS and others need not guess a first stretch.

    Parameters
    ----------
    parts : files and the windows of the frame they fill, none twice; where there is none, pixels
        are invalid.
    path : where the mosaic shall appear.
    frame, bands : where its pixels are and what they hold.
    overwrite : whether to replace a file of that name.
    options : creation options of GDAL's COG driver, over the defaults.
    tags : metadata items of the file.

    Returns
    -------
    The path.

    Raises
    ------
    RasterError
        If the file exists, or cannot be written.

    References
    ----------
    https://gdal.org/drivers/raster/cog.html
    """
    refuse_to_clobber(path, overwrite)
    check_options(bands, options)
    partial = partial_path(path)
    vrt = Path(f"{partial}.vrt")
    discard(partial)
    try:
        # Blocks are read once: a larger cache than that makes it slower, and takes gigabytes.
        gdal_options = {"GDAL_TIFF_INTERNAL_MASK": True, "GDAL_MAX_DATASET_POOL_SIZE": OPEN}
        with translated(path), bounded_cache(), rasterio.Env(**gdal_options):
            filled, measured = _filled(parts, frame, bands)
            vrt.write_text(vrt_of(filled, frame, bands, tags or {}, measured), encoding="utf-8")
            with Reports() as gdal:
                rasterio.shutil.copy(vrt, partial, driver="COG", **_creation(bands, options))
            if gdal.errors:
                raise OSError(gdal.errors[0])
            publish(partial, path)
    finally:
        discard(partial)
    return path


def _filled(
    parts: Sequence[Part], frame: Frame, bands: Bands
) -> tuple[list[Part], list[dict[str, str]]]:
    """Return the parts with a valid pixel, and the statistics of each band as metadata items.

    Of the others nothing need be read: of a sparse raster with much between, that halves the time.
    Of class numbers statistics would mean nothing.
    """
    carried = [(part, _carried(part[0])) for part in parts]
    filled = [(part, known) for part, known in carried if known is None or known.valid]
    files = [part for part, _ in filled]
    if bands.categorical:
        return files, []
    found = Statistics.total(
        known or Statistics.of(*RasterSource(path).read()) for (path, _), known in filled
    )
    return files, [found.of_band(i, frame.height * frame.width) for i in range(bands.count)]


def _carried(path: Path) -> Statistics | None:
    """Statistics that a block file carries, if it does."""
    with open_quietly(str(path)) as dataset:
        return Statistics.from_tags(dataset.tags())


def check_options(bands: Bands, options: Mapping[str, str] | None = None) -> None:
    """Try creation options on a small empty mosaic.

    GDAL ignores a name it does not know and a value it cannot read, and dies of a block size
    that is no number: better to hear of it before hours of work.

    Parameters
    ----------
    bands : what the mosaic will hold.
    options : creation options of GDAL's COG driver, in capitals or not.

    Raises
    ------
    RasterError
        In GDAL's own words.
    """
    if not options:
        return
    chosen = _creation(bands, options)
    side = str(chosen["BLOCKSIZE"])
    if not side.isdecimal() or int(side) < 128 or int(side) % 16:
        raise RasterError(f"BLOCKSIZE={side}: give a multiple of 16 that is at least 128")
    place = Frame(600, 600, Affine(1, 0, 0, 0, -1, 0), CRS.from_epsg(3857))  # has an overview
    xml = vrt_of([], place, bands, {}).encode()
    try:
        with (
            rasterio.Env(),
            Reports() as gdal,
            MemoryFile(xml, ext=".vrt") as src,
            MemoryFile(ext=".tif") as dst,
        ):
            rasterio.shutil.copy(src.name, dst.name, driver="COG", **chosen)
        wrong = [*gdal.warnings, *gdal.errors]
    except GDAL_ERRORS as error:
        wrong = [one_line(error)]
    if wrong:
        given = " ".join(f"{name}={value}" for name, value in options.items())
        raise RasterError(f"creation options {given}: GDAL says: {wrong[0]}")


def _creation(bands: Bands, options: Mapping[str, str] | None) -> dict[str, Any]:
    """Creation options of GDAL's COG driver: the defaults, and over them what was asked for."""
    return {
        "COMPRESS": "DEFLATE",
        # Differences of class numbers compress worse than the numbers.
        "PREDICTOR": "NO" if bands.categorical else "YES",
        "BLOCKSIZE": "512",
        "BIGTIFF": "IF_SAFER",
        # Means of class numbers, or of colours in a palette, are other classes.
        "OVERVIEW_RESAMPLING": "MODE" if bands.categorical else "AVERAGE",
        "NUM_THREADS": "ALL_CPUS",
        **{name.upper(): value for name, value in (options or {}).items()},
    }


def vrt_of(
    parts: Sequence[Part],
    frame: Frame,
    bands: Bands,
    tags: Mapping[str, str],
    band_tags: Sequence[Mapping[str, str]] = (),
) -> str:
    """Return the XML of a VRT over block files.

    Mask, description, unit, scale, colour interpretation, palette, class names, nodata value and
    the metadata of the bands are spelled out: a VRT knows of them only what it is told.

    References
    ----------
    https://gdal.org/drivers/raster/vrt.html
    """
    root = ElementTree.Element(
        "VRTDataset", rasterXSize=str(frame.width), rasterYSize=str(frame.height)
    )
    _child(root, "SRS", frame.crs.to_wkt())
    _child(root, "GeoTransform", ", ".join(repr(v) for v in frame.transform.to_gdal()))
    _add_tags(root, tags)
    for index in range(bands.count):
        band = _child(root, "VRTRasterBand", dataType=GDAL_TYPES[bands.dtype], band=str(index + 1))
        if band_tags:
            _add_tags(band, band_tags[index])
        _describe(band, bands, index)
        _add_sources(band, parts, str(index + 1))
    if bands.nodata is None:
        mask = _child(_child(root, "MaskBand"), "VRTRasterBand", dataType="Byte")
        _add_sources(mask, parts, "mask,1")
    return ElementTree.tostring(root, encoding="unicode")


def _add_tags(element: ElementTree.Element, tags: Mapping[str, str]) -> None:
    """Spell out metadata items."""
    metadata = _child(element, "Metadata")
    for key, value in tags.items():
        _child(metadata, "MDI", value, key=key)


def _describe(element: ElementTree.Element, bands: Bands, index: int) -> None:
    """Spell out one band of ``bands``."""
    for tag, values in (
        ("Description", bands.names),
        ("UnitType", bands.units),
        ("Scale", bands.scales),
        ("Offset", bands.offsets),
    ):
        if values and values[index] != "":
            _child(element, tag, str(values[index]))
    if bands.nodata is not None:
        nodata = "nan" if np.isnan(bands.nodata) else repr(bands.nodata)
        _child(element, "NoDataValue", nodata)
    if bands.interp and (bands.palette or bands.interp != ("palette",)):
        interp = bands.interp[index]
        _child(element, "ColorInterp", GDAL_INTERP.get(interp, interp.capitalize()))
    _describe_classes(element, bands)


def _describe_classes(element: ElementTree.Element, bands: Bands) -> None:
    """Spell out palette and class names."""
    if bands.palette:
        table = _child(element, "ColorTable")
        for value in range(max(bands.palette) + 1):
            red, green, blue, alpha = map(str, bands.palette.get(value, (0, 0, 0, 255)))
            _child(table, "Entry", c1=red, c2=green, c3=blue, c4=alpha)
    if bands.classes:
        names = _child(element, "CategoryNames")
        for value in range(max(bands.classes) + 1):
            _child(names, "Category", bands.classes.get(value, ""))


def _add_sources(element: ElementTree.Element, parts: Sequence[Part], band: str) -> None:
    """Lay the block files side by side in a VRT band."""
    for path, window in parts:
        source = _child(element, "SimpleSource")
        _child(source, "SourceFilename", str(path.absolute()), relativeToVRT="0")
        _child(source, "SourceBand", band)
        size = {"xSize": str(window.width), "ySize": str(window.height)}
        _child(source, "SrcRect", xOff="0", yOff="0", **size)
        _child(source, "DstRect", xOff=str(window.col_off), yOff=str(window.row_off), **size)


def _child(
    parent: ElementTree.Element, tag: str, text: str = "", **attributes: Any
) -> ElementTree.Element:
    element = ElementTree.SubElement(parent, tag, attributes)
    element.text = text
    return element
