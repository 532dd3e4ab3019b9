"""Where the chips lie, as GeoJSON that any map shows."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

import numpy as np
import shapely
import shapely.affinity
from numpy.typing import NDArray
from rasterio.crs import CRS

from geo_p2p.chips.chip import ChipRecord
from geo_p2p.errors import AlignmentError
from geo_p2p.raster import Frame, transform_points

__all__ = ["Area", "area_collection", "feature_collection", "outline", "outlines", "qgis_style"]

SPACING = 64
"""Px between points along an outline, so that it stays true where its CRS bends."""

DECIMALS = 8
"""Of a degree: about a millimetre."""

COLORS = {"train": (31, 120, 180), "val": (255, 127, 0), "test": (106, 61, 154)}
"""Of the parts, RGB 0-255; colour-blind readers tell them apart."""

OPACITY = 64
"""Of a fill, 0-255: chips overlap, and the map below must stay readable."""


@dataclass(frozen=True)
class Area:
    """A (multi)polygon in px of a frame, with what there is to say about it."""

    shape: shapely.Geometry
    frame: Frame
    properties: Mapping[str, Any]


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
    shapes = outlines([record.place.frame(frames[record.scene]) for record in records])
    return {
        "type": "FeatureCollection",
        "features": [
            {
                "type": "Feature",
                # Null, as GeoJSON has it, for what lies nowhere.
                "geometry": None if shape.is_empty else json.loads(shapely.to_geojson(shape)),
                "properties": {
                    "name": record.name,
                    "scene": record.scene,
                    "split": parts[record.name],
                    "valid": round(record.valid, 4),
                    "angle": record.angle,
                },
            }
            for record, shape in zip(records, shapes, strict=True)
        ],
    }


def area_collection(areas: Iterable[Area]) -> dict[str, Any]:
    """Describe areas as a GeoJSON FeatureCollection; those beyond the globe are left out.

    Parameters
    ----------
    areas : their properties become those of the features.
    """
    features = []
    for area in areas:
        shape = _on_the_globe(area)
        if not shape.is_empty:
            geometry = json.loads(shapely.to_geojson(shape))
            features.append(
                {"type": "Feature", "geometry": geometry, "properties": dict(area.properties)}
            )
    return {"type": "FeatureCollection", "features": features}


def qgis_style(field: str = "split") -> str:
    """Style for QGIS, XML: polygons coloured by the part that a field names.

    QGIS takes it of itself where it lies beside a layer under the same name:
    ``chips.qml`` beside ``chips.geojson``.

    References
    ----------
    QGIS user guide, "Saving and Sharing Layer Properties", on QML files
    """
    style = ElementTree.Element("qgis", version="3.22.0", styleCategories="Symbology")
    renderer = ElementTree.SubElement(
        style, "renderer-v2", type="categorizedSymbol", attr=field, forceraster="0"
    )
    categories = ElementTree.SubElement(renderer, "categories")
    symbols = ElementTree.SubElement(renderer, "symbols")
    for number, (part, color) in enumerate(COLORS.items()):
        about = {"value": part, "label": part, "symbol": str(number), "render": "true"}
        ElementTree.SubElement(categories, "category", about)
        symbol = ElementTree.SubElement(
            symbols, "symbol", type="fill", name=str(number), alpha="1", clip_to_extent="1"
        )
        _fill(symbol, color)
    ElementTree.indent(style)
    heading = "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>"
    return f"{heading}\n{ElementTree.tostring(style, encoding='unicode')}\n"


def _fill(symbol: ElementTree.Element, color: tuple[int, int, int]) -> None:
    """Give a symbol its one layer: a pale fill in a strong outline."""
    layer = ElementTree.SubElement(
        symbol, "layer", {"class": "SimpleFill", "enabled": "1", "locked": "0", "pass": "0"}
    )
    options = ElementTree.SubElement(layer, "Option", type="Map")
    rgb = ",".join(map(str, color))
    values = {
        "color": f"{rgb},{OPACITY}",
        "outline_color": f"{rgb},255",
        "outline_style": "solid",
        "outline_width": "0.26",
        "outline_width_unit": "MM",
        "style": "solid",
    }
    for name, value in values.items():
        ElementTree.SubElement(options, "Option", name=name, value=value, type="QString")


def outline(frame: Frame) -> shapely.Geometry:
    """Outline of a frame in longitude and latitude on WGS 84, degrees; empty in pixel space.

    Exterior rings run counter-clockwise, and what crosses the 180th meridian is cut there in two.

    References
    ----------
    RFC 7946, "The GeoJSON Format", sections 3.1.6 and 3.1.9
    """
    return _finished(_ring_on_the_globe(frame.polygon.exterior, frame))


def outlines(frames: Sequence[Frame]) -> list[shapely.Geometry]:
    """Outlines of many frames, as `outline` gives them, in a fraction of its time."""
    found: list[shapely.Geometry] = [None] * len(frames)
    alike: dict[str, list[int]] = {}
    for number, frame in enumerate(frames):
        alike.setdefault(frame.crs.wkt, []).append(number)
    for numbers in alike.values():
        shapes = _plain_outlines([frames[number] for number in numbers])
        for number, shape in zip(numbers, shapes, strict=True):
            found[number] = outline(frames[number]) if shape is None else shape
    return found


def _plain_outlines(frames: Sequence[Frame]) -> list[shapely.Geometry | None]:
    """Outlines of frames of one CRS; None for those that meet the edge of the map, or none."""
    rings = shapely.polygons(np.stack([frame.corners for frame in frames]))
    spacing = [max(frame.res) * SPACING for frame in frames]
    borders, owners = shapely.get_coordinates(shapely.segmentize(rings, spacing), return_index=True)
    try:
        points = transform_points(frames[0].crs, CRS.from_epsg(4326), *borders.T).T
    except AlignmentError:
        return [None] * len(frames)
    starts = np.flatnonzero(np.diff(owners, prepend=-1))
    low, high = (end.reduceat(points, starts) for end in (np.minimum, np.maximum))
    # Not a number for points beyond the globe, and so never plain.
    plain = ((low > (-180, -90)) & (high < (180, 90))).all(1) & (high - low < 180).all(1)
    here = np.repeat(plain, np.diff(starts, append=len(points)))
    numbers = np.flatnonzero(plain)
    kept = shapely.linearrings(
        _rounded(points[here]), indices=np.searchsorted(numbers, owners[here])
    )
    shapes = shapely.orient_polygons(shapely.polygons(kept))
    found: list[shapely.Geometry | None] = [None] * len(frames)
    for number, shape, sound in zip(numbers, shapes, shapely.is_valid(shapes), strict=True):
        found[number] = shape if sound else None
    return found


def _on_the_globe(area: Area) -> shapely.Geometry:
    """An area in longitude and latitude, as `outline` gives them."""
    a, b, c, d, e, f = area.frame.transform[:6]
    placed = shapely.affinity.affine_transform(area.shape, (a, b, d, e, c, f))
    whole = []
    for polygon in shapely.get_parts(placed):
        rings = [_ring_on_the_globe(ring, area.frame) for ring in shapely.get_rings(polygon)]
        if rings:
            whole.append(shapely.difference(rings[0], shapely.union_all(rings[1:])))
    return _finished(shapely.union_all(whole))


def _finished(shape: shapely.Geometry) -> shapely.Geometry:
    return shapely.orient_polygons(shapely.transform(shape, _rounded))


def _ring_on_the_globe(ring: shapely.LinearRing, frame: Frame) -> shapely.Geometry:
    """Ground inside a ring on a frame's CRS, in longitude and latitude on WGS 84, degrees."""
    border = shapely.segmentize(ring, max(frame.res) * SPACING)
    xs, ys = shapely.get_coordinates(border).T
    try:
        points = transform_points(frame.crs, CRS.from_epsg(4326), xs, ys).T
    except AlignmentError:
        return shapely.Polygon()
    points = points[np.isfinite(points).all(1)]
    if len(points) < 3:  # beyond where the CRS leads back to the globe
        return shapely.Polygon()
    # Without leaps of 360 degrees along the border, wherever it begins.
    points[:, 0] = np.unwrap(points[:, 0], period=360)
    points = _closed_over_the_pole(points)
    around = shapely.Polygon(points)
    turns = [_onto_the_map(around, turn * 360.0) for turn in (-1, 0, 1)]
    return shapely.union_all([part for part in turns if part.area])


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
