"""The area of interest: polygons of any vector file, in the pixels' CRS."""

from pathlib import Path

import numpy as np
import pyogrio
import shapely
from pyogrio.errors import DataLayerError, DataSourceError
from rasterio.crs import CRS
from rasterio.warp import transform as warp_points

from geo_p2p.errors import ChipError
from geo_p2p.raster import Frame

__all__ = ["read_area"]

LONGEST = 32
"""Px between points that a polygon's edges get before they are warped, so that they stay true."""


def read_area(path: str | Path, frame: Frame) -> shapely.Geometry:
    """Read the polygons of a vector file as one geometry on a raster's CRS.

    Parameters
    ----------
    path : GeoJSON, GeoPackage, Shapefile or any other file GDAL's vector drivers read; its first
        layer counts, in any CRS.
    frame : the raster's frame.

    Returns
    -------
    (Multi)polygon in CRS units of the frame.

    Raises
    ------
    ChipError
        If the file is missing, unreadable, without CRS, or holds no polygon on the raster.
    """
    if not Path(path).exists():
        raise ChipError(f"{path}: no such file; give a vector file with polygons")
    try:
        meta, _, wkb, _ = pyogrio.raw.read(path, columns=[])
    except (DataSourceError, DataLayerError, ValueError) as error:
        raise ChipError(f"{path}: not a vector file that can be read ({error})") from error
    shapes = shapely.make_valid(shapely.from_wkb(wkb))
    parts = shapely.get_parts(shapes)
    polygons = parts[np.isin(shapely.get_type_id(parts), (3, 6))]
    if not len(polygons):
        raise ChipError(f"{path}: the area of interest holds no polygon")
    if not meta["crs"]:
        raise ChipError(f"{path}: polygons without a coordinate reference system have no place")
    area = shapely.union_all(_warped(polygons, CRS.from_user_input(meta["crs"]), frame))
    if not area.intersects(frame.polygon):
        raise ChipError(f"{path}: the area of interest does not touch the raster ({frame})")
    return area


def _warped(polygons: np.ndarray, crs: CRS, frame: Frame) -> np.ndarray:
    """Warp polygons to the frame's CRS, with points along their edges."""
    if crs == frame.crs:
        return polygons
    dense = shapely.segmentize(polygons, _step(polygons, frame))

    def warp(points: np.ndarray) -> np.ndarray:
        return np.column_stack(warp_points(crs, frame.crs, points[:, 0], points[:, 1]))

    return np.asarray(shapely.make_valid(shapely.transform(dense, warp)))


def _step(polygons: np.ndarray, frame: Frame) -> float:
    """Length of `LONGEST` pixels in the polygons' units, near enough; at least 1/1000 of them."""
    bounds = shapely.total_bounds(polygons)
    extent = max(bounds[2] - bounds[0], bounds[3] - bounds[1])
    pixels = max(frame.shape) / LONGEST
    return float(max(extent / max(pixels, 1), extent / 1000))
