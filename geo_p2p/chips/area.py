"""The area of interest: polygons of any vector file, in the pixels' CRS."""

import logging
from pathlib import Path

import shapely

from geo_p2p.chips.shapes import SLACK, Layer, read_shapes, warp_shapes
from geo_p2p.errors import AlignmentError, ChipError
from geo_p2p.raster import Frame

__all__ = ["read_area"]

log = logging.getLogger(__name__)


def read_area(path: str | Path, frame: Frame, layer: Layer = None) -> shapely.Geometry:
    """Read the polygons of a vector file as one geometry on a raster's CRS.

    Invalid rings are repaired, and the log tells how many.

    Parameters
    ----------
    path : GeoJSON, GeoPackage, Shapefile or any other file GDAL's vector drivers read, of any CRS.
    frame : the raster's frame.
    layer : name or number, from 0; the first if None.

    Returns
    -------
    (Multi)polygon in CRS units of the frame, a tenth of a pixel larger than drawn.

    Raises
    ------
    ChipError
        If the file is missing, unreadable, without CRS, or holds no polygon on the raster.
    """
    shapes = read_shapes(path, layer)
    polygons = shapes.parts[shapely.area(shapes.parts) > 0]
    if not len(polygons):
        raise ChipError(f"{path}: the area of interest holds no polygon")
    if shapes.repaired:
        log.warning("%s: repaired the rings of %d invalid shapes", path, shapes.repaired)
    try:
        area = shapely.union_all(warp_shapes(polygons, shapes.crs, frame))
    except (AlignmentError, ChipError) as error:
        raise ChipError(f"{path}: {error}") from error
    if not area.intersects(frame.polygon):
        raise ChipError(f"{path}: the area of interest does not touch the raster ({frame})")
    return area.buffer(SLACK * min(frame.res), join_style="mitre")
