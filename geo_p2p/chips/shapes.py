"""Shapes of any vector file, on a raster's CRS."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.errors import CRSError

from geo_p2p.errors import AlignmentError, ChipError
from geo_p2p.raster import Frame, transform_points

__all__ = ["SLACK", "Shapes", "holds_shapes", "read_column", "read_shapes", "warp_shapes"]

SLACK = 0.1
"""Px by which a chip may stick out of polygons that hold it: their coordinates are rounded."""

LONGEST = 32
"""Px between points that a shape's edges get before they are warped, so that they stay true."""

STEPS = 21
"""Points along a side of the raster, to find its extent in the shapes' CRS."""

MARGIN = 0.1
"""Share of its size by which the ground around the raster is larger, when shapes are cut to it."""

VECTORS = (".geojson", ".json", ".gpkg", ".shp", ".fgb", ".kml", ".gml", ".gdb", ".sqlite")
"""Ends of the names of vector files, lower case."""

STAC, LEADING = '"stac_version"', 100_000
"""What a STAC file says among its first characters, and a GeoJSON does not."""

Layer = int | str | None
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Shapes:
    """Shapes as they stand in a file, in parts.

    Parameters
    ----------
    parts : (n,) points, lines and polygons, in CRS units of the file; all of them valid.
    features : (n,) number of the feature that each is part of, as `read_column` counts them.
    crs : of the file.
    repaired : how many features had rings that were not valid.
    """

    parts: NDArray[np.object_]
    features: NDArray[np.int64]
    crs: CRS
    repaired: int


def holds_shapes(path: str | Path) -> bool:
    """Whether a file holds shapes and not rasters; a STAC file holds the places of rasters."""
    file = Path(path)
    suffix = file.suffix.lower()
    if suffix not in VECTORS or not file.exists():
        return suffix in VECTORS and suffix != ".json"  # what is missing is refused by its reader
    if suffix in (".json", ".geojson"):
        with file.open(encoding="utf-8", errors="replace") as text:
            return STAC not in text.read(LEADING)
    ogr = _ogr()
    try:
        return len(ogr.list_layers(file)) > 0
    except (ogr.errors.DataSourceError, ValueError):  # a GeoPackage of rasters
        return False


def read_shapes(
    path: str | Path, layer: Layer = None, frame: Frame | None = None, beyond: float = 0.0
) -> Shapes:
    """Read the shapes of a vector file's layer.

    Parameters
    ----------
    path : any file GDAL's vector drivers read.
    layer : name or number, from 0; the first if None.
    frame : a raster; features that lie far from it are left out.
    beyond : how far around the raster they still count, CRS units of the file.

    Raises
    ------
    ChipError
        If the file or layer is missing, unreadable, or has no CRS.
    """
    info = _ask(path, layer, _ogr().read_info)
    try:
        crs = CRS.from_user_input(info["crs"])
    except CRSError as error:
        raise ChipError(
            f"{path}: shapes without a coordinate reference system have no place; assign one"
        ) from error
    try:
        box = None if frame is None else _box(*_extent(frame, crs), crs, beyond)
    except (AlignmentError, ChipError) as error:
        raise type(error)(f"{path}: {error}") from error
    asked = {"columns": [], "return_fids": True, "bbox": box, "force_2d": True}
    _, numbers, wkb, _ = _ask(path, layer, _ogr().raw.read, **asked)
    # A spatial index hands out features in an order of its own.
    order = np.argsort(numbers, kind="stable")
    shapes = shapely.from_wkb(wkb[order])
    sound = shapely.is_valid(shapes) | shapely.is_missing(shapes)
    shapes[~sound] = shapely.make_valid(shapes[~sound])
    parts, feature = _parts(shapes)
    return Shapes(parts, numbers[order][feature], crs, int((~sound).sum()))


def _parts(shapes: NDArray[np.object_]) -> tuple[NDArray[np.object_], NDArray[np.int64]]:
    """Take collections apart, also those in collections; with the position each part is from."""
    parts, index = shapely.get_parts(shapes, return_index=True)
    while (shapely.get_type_id(parts) > shapely.GeometryType.POLYGON).any():
        parts, inner = shapely.get_parts(parts, return_index=True)
        index = index[inner]
    return parts, index


def read_column(path: str | Path, column: str, layer: Layer = None) -> dict[int, Any]:
    """Read an attribute of all features of a layer, by the number of the feature.

    Raises
    ------
    ChipError
        If there is no such file, layer or column.
    """
    columns = list(_ask(path, layer, _ogr().read_info)["fields"])
    if column not in columns:
        raise ChipError(
            f"{path}: has no attribute {column!r}; choose one of {', '.join(columns) or 'none'}"
        )
    asked = {"columns": [column], "return_fids": True, "read_geometry": False}
    _, numbers, _, (values,) = _ask(path, layer, _ogr().raw.read, **asked)
    return dict(zip(numbers.tolist(), values.tolist(), strict=True))


def _ogr() -> Any:
    """Return pyogrio: imported late, for it brings pandas, and processes that cut would wait."""
    import pyogrio
    import pyogrio.errors

    return pyogrio


def _ask(path: str | Path, layer: Layer, how: Any, **asked: Any) -> Any:
    """Call pyogrio, and refuse what it cannot do by name."""
    if not Path(path).exists():
        raise ChipError(f"{path}: no such file; give a vector file")
    ogr = _ogr()
    try:
        layers = [str(name) for name, _ in ogr.list_layers(path)]
        name = 0 if layer is None else layer
        if isinstance(name, str) and name not in layers and name.isdecimal():
            name = int(name)
        if layers and (name not in layers if isinstance(name, str) else name >= len(layers)):
            raise ChipError(f"{path}: has no layer {layer!r}; it has {', '.join(layers)}")
        return how(path, layer=name, **asked)
    except (ogr.errors.DataSourceError, ogr.errors.DataLayerError, ValueError) as error:
        words = " ".join(str(error).split())
        raise ChipError(f"{path}: not a vector file that can be read ({words})") from error


def warp_shapes(shapes: NDArray[np.object_], crs: CRS, frame: Frame) -> NDArray[np.object_]:
    """Warp shapes to the frame's CRS, with points along their edges.

    They are cut to the ground around the raster first: far away from it a projection may lead
    nowhere, and there is no need for points.

    Returns
    -------
    One for each, valid, empty where nothing lies near the raster.

    Raises
    ------
    ChipError, AlignmentError
        If a shape reaches beyond where the frame's CRS leads.
    """
    if crs == frame.crs:
        return shapes
    low, high = _extent(frame, crs)
    box = _box(low, high, crs, 0.0)
    if box is not None:
        shapes = shapely.intersection(shapes, shapely.box(*box))
    dense = shapely.segmentize(shapes, max(high - low) / max(frame.shape) * LONGEST)

    def warp(points: NDArray[np.float64]) -> NDArray[np.float64]:
        return transform_points(crs, frame.crs, *points.T).T

    warped: NDArray[np.object_] = shapely.transform(dense, warp)
    if not np.isfinite(shapely.get_coordinates(warped)).all():
        raise ChipError(
            f"a shape reaches beyond where {frame.crs_name} leads to the ground; "
            "cut it to the raster first"
        )
    valid: NDArray[np.object_] = shapely.make_valid(warped)
    return valid


def _box(
    low: NDArray[np.float64], high: NDArray[np.float64], crs: CRS, beyond: float
) -> Box | None:
    """Ground around a raster, units of a CRS; None where no box can tell."""
    # In degrees a box across the 180th meridian is inside out, and one around a pole misses it.
    if crs.is_geographic and (low[0] < -180 or high[0] > 180 or high[0] - low[0] >= 180):
        return None
    wide = MARGIN * (high - low) + beyond
    (left, bottom), (right, top) = (low - wide).tolist(), (high + wide).tolist()
    return left, bottom, right, top


def _extent(frame: Frame, crs: CRS) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lowest and highest (x, y) of a frame's border in another CRS; degrees run on past 180."""
    border = shapely.segmentize(frame.polygon, max(frame.shape) * max(frame.res) / STEPS)
    points = transform_points(frame.crs, crs, *shapely.get_coordinates(border).T)
    points = points[:, np.isfinite(points).all(0)]
    if not points.size:
        raise ChipError(f"the raster ({frame}) lies outside the CRS of the shapes")
    if crs.is_geographic:
        points[0] = np.unwrap(points[0], period=360)
    return points.min(1), points.max(1)
