"""The area of interest: polygons of any vector file, in the pixels' CRS."""

from pathlib import Path

import numpy as np
import pyogrio
import shapely
from numpy.typing import NDArray
from pyogrio.errors import DataLayerError, DataSourceError
from rasterio.crs import CRS
from rasterio.errors import CRSError
from rasterio.warp import transform as warp_points
from rasterio.warp import transform_bounds

from geo_p2p.errors import ChipError
from geo_p2p.raster import Frame

__all__ = ["read_area"]

LONGEST = 32
"""Px between points that a polygon's edges get before they are warped, so that they stay true."""

SLACK = 0.1
"""Px by which the area is grown, so that chips up to its very edge survive rounded coordinates."""

MARGIN = 0.1
"""Share of its size by which the ground around the raster is larger, when an area is cut to it."""


def read_area(path: str | Path, frame: Frame) -> shapely.Geometry:
    """Read the polygons of a vector file as one geometry on a raster's CRS.

    Parameters
    ----------
    path : GeoJSON, GeoPackage, Shapefile or any other file GDAL's vector drivers read; its first
        layer counts, in any CRS.
    frame : the raster's frame.

    Returns
    -------
    (Multi)polygon in CRS units of the frame, a tenth of a pixel larger than drawn.

    Raises
    ------
    ChipError
        If the file is missing, unreadable, without CRS, or holds no polygon on the raster.
    """
    polygons, crs = _polygons(path)
    if crs != frame.crs:
        polygons = _warped(polygons, crs, frame)
    area = shapely.union_all(polygons)
    if not area.intersects(frame.polygon):
        raise ChipError(f"{path}: the area of interest does not touch the raster ({frame})")
    return area.buffer(SLACK * min(frame.res), join_style="mitre")


def _polygons(path: str | Path) -> tuple[NDArray[np.object_], CRS]:
    """Read the polygons of a vector file's first layer, and their CRS."""
    if not Path(path).exists():
        raise ChipError(f"{path}: no such file; give a vector file with polygons")
    try:
        meta, _, wkb, _ = pyogrio.raw.read(path, layer=0, columns=[])
    except (DataSourceError, DataLayerError, ValueError) as error:
        raise ChipError(f"{path}: not a vector file that can be read ({error})") from error
    parts = shapely.get_parts(shapely.make_valid(shapely.from_wkb(wkb)))
    polygons = parts[shapely.area(parts) > 0]
    if not len(polygons):
        raise ChipError(f"{path}: the area of interest holds no polygon")
    try:
        return polygons, CRS.from_user_input(meta["crs"])
    except CRSError as error:
        raise ChipError(
            f"{path}: polygons without a coordinate reference system have no place; assign one"
        ) from error


def _warped(polygons: NDArray[np.object_], crs: CRS, frame: Frame) -> NDArray[np.object_]:
    """Warp polygons to the frame's CRS, with points along their edges.

    They are cut to the ground around the raster first: far away from it a projection may lead
    nowhere, and there is no need for points.
    """
    left, bottom, right, top = transform_bounds(frame.crs, crs, *frame.bounds, densify_pts=21)
    step = max(right - left, top - bottom) / max(frame.shape) * LONGEST
    if left < right:  # not across the 180th meridian, where such a box is inside out
        wide, high = MARGIN * (right - left), MARGIN * (top - bottom)
        ground = shapely.box(left - wide, bottom - high, right + wide, top + high)
        polygons = shapely.intersection(polygons, ground)
    dense = shapely.segmentize(polygons, abs(step))

    def warp(points: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.column_stack(warp_points(crs, frame.crs, points[:, 0], points[:, 1]))

    warped: NDArray[np.object_] = shapely.make_valid(shapely.transform(dense, warp))
    return warped
