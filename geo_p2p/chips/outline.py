"""Where the chips lie, as GeoJSON that any map shows."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from rasterio.crs import CRS

from geo_p2p.chips.chip import ChipRecord
from geo_p2p.raster import Frame, transform_points

__all__ = ["feature_collection", "outline"]

SPACING = 64
"""Px between points along an outline, so that it stays true where its CRS bends."""

DECIMALS = 8
"""Of a degree: about a millimetre."""


def feature_collection(
    records: Sequence[ChipRecord], parts: Mapping[str, str], frames: Mapping[str, Frame]
) -> dict[str, Any]:
    """Describe chips as a GeoJSON FeatureCollection.

    Parameters
    ----------
    records : the chips.
    parts : "train" or "val", by name.
    frames : lattice of each scene.
    """
    return {
        "type": "FeatureCollection",
        "features": [
            {
                "type": "Feature",
                "geometry": json.loads(
                    shapely.to_geojson(outline(record.frame(frames[record.scene])))
                ),
                "properties": {
                    "name": record.name,
                    "scene": record.scene,
                    "split": parts[record.name],
                    "valid": round(record.valid, 4),
                    "angle": record.angle,
                },
            }
            for record in records
        ],
    }


def outline(frame: Frame) -> shapely.Geometry:
    """Outline of a frame in longitude and latitude on WGS 84, degrees.

    Exterior rings run counter-clockwise, and what crosses the 180th meridian is cut there in two.

    References
    ----------
    RFC 7946, "The GeoJSON Format", sections 3.1.6 and 3.1.9
    """
    border = shapely.segmentize(frame.polygon, max(frame.res) * SPACING)
    xs, ys = shapely.get_coordinates(border).T
    points = transform_points(frame.crs, CRS.from_epsg(4326), xs, ys).T
    points = points[np.isfinite(points).all(1)]
    if len(points) < 3:  # beyond where the CRS leads back to the globe
        return shapely.Polygon()
    # Without leaps of 360 degrees along the border, wherever it begins.
    points[:, 0] = np.unwrap(points[:, 0], period=360)
    points = _closed_over_the_pole(points)
    around = shapely.Polygon(points)
    turns = [_onto_the_map(around, turn * 360.0) for turn in (-1, 0, 1)]
    whole = shapely.union_all([part for part in turns if part.area])
    return shapely.orient_polygons(shapely.transform(whole, _rounded))


def _closed_over_the_pole(ring: NDArray[np.float64]) -> NDArray[np.float64]:
    """A ring that goes around a pole, (n, 2) in degrees, closed along the edge of the map."""
    first, last = ring[0, 0], ring[-1, 0]
    if abs(last - first) < 180:
        return ring
    pole = math.copysign(90, ring[:, 1].mean())
    return np.vstack([ring, [(last, pole), (first, pole)]])


def _onto_the_map(polygon: shapely.Polygon, shift: float) -> shapely.Geometry:
    """The part of a polygon that lies on the map once it is moved along by ``shift`` degrees."""
    moved = shapely.transform(polygon, lambda points: points + (shift, 0))
    # Around a pole an outline crosses itself in longitude and latitude.
    simple = shapely.make_valid(moved, method="structure", keep_collapsed=False)
    return shapely.intersection(simple, shapely.box(-180, -90, 180, 90))


def _rounded(points: NDArray[np.float64]) -> NDArray[np.float64]:
    return points.round(DECIMALS)
