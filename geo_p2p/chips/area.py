"""The area of interest: polygons of any vector file, in the pixels' CRS."""

from pathlib import Path

import numpy as np
import pyogrio
import shapely
from numpy.typing import NDArray
from pyogrio.errors import DataLayerError, DataSourceError
from rasterio.crs import CRS
from rasterio.errors import CRSError

from geo_p2p.errors import AlignmentError, ChipError
from geo_p2p.raster import Frame, transform_points

__all__ = ["read_area"]

LONGEST = 32
"""Px between points that a polygon's edges get before they are warped, so that they stay true."""

SLACK = 0.1
"""Px by which the area is grown, so that chips up to its very edge survive rounded coordinates."""

STEPS = 21
"""Points along a side of the raster, to find its extent in the area's CRS."""

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
        try:
            polygons = _warped(polygons, crs, frame)
        except (AlignmentError, ChipError) as error:
            raise ChipError(f"{path}: {error}") from error
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
    low, high = _extent(frame, crs)
    # In degrees a box across the 180th meridian is inside out, and one around a pole misses it.
    if not crs.is_geographic or (low[0] >= -180 and high[0] <= 180 and high[0] - low[0] < 180):
        wide = MARGIN * (high - low)
        polygons = shapely.intersection(polygons, shapely.box(*(low - wide), *(high + wide)))
    dense = shapely.segmentize(polygons, max(high - low) / max(frame.shape) * LONGEST)

    def warp(points: NDArray[np.float64]) -> NDArray[np.float64]:
        return transform_points(crs, frame.crs, *points.T).T

    warped: NDArray[np.object_] = shapely.transform(dense, warp)
    if not np.isfinite(shapely.get_coordinates(warped)).all():
        raise ChipError(
            f"the area of interest reaches beyond where {frame.crs_name} leads to the ground; "
            "cut it to the raster first"
        )
    valid: NDArray[np.object_] = shapely.make_valid(warped)
    return valid


def _extent(frame: Frame, crs: CRS) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lowest and highest (x, y) of a frame's border in another CRS; degrees run on past 180."""
    border = shapely.segmentize(frame.polygon, max(frame.shape) * max(frame.res) / STEPS)
    points = transform_points(frame.crs, crs, *shapely.get_coordinates(border).T)
    points = points[:, np.isfinite(points).all(0)]
    if not points.size:
        raise ChipError(f"the raster ({frame}) lies outside the area of interest's CRS")
    if crs.is_geographic:
        points[0] = np.unwrap(points[0], period=360)
    return points.min(1), points.max(1)
