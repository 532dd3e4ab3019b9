"""Where one frame lies in another, and one frame around several."""

import math
from collections.abc import Sequence

import numpy as np
from affine import Affine
from rasterio.windows import Window

from ..errors import AlignmentError, RasterError
from .frame import STEPS, Frame

__all__ = [
    "reach",
    "shares_ground",
    "shift_between",
    "turns_between",
    "union_frame",
    "window_inside",
]

COINCIDE = 1e-4
"""Px by which lattices may differ that coincide, as for `Frame.same_lattice`."""

REACH = 2.0
"""Px beyond its ground that a warped raster may still fill: its own edge, rounding included."""


def reach(frame: Frame, other: Frame) -> tuple[float, float, float, float]:
    """Box of ``other``'s pixels that ``frame`` can fill; rather too large than too small.

    Parameters
    ----------
    frame : the ground.
    other : the lattice to express it in, of any CRS.

    Returns
    -------
    Left, top, right, bottom, px of ``other``; all of it where the way there is unclear.

    Raises
    ------
    AlignmentError
        If no transformation leads from one CRS to the other.
    """
    points = frame.positions_in(other)
    if not np.isfinite(points).all():
        return 0.0, 0.0, float(other.width), float(other.height)
    low, high = points.min(1), points.max(1)
    # Between the positions an edge may bulge, and a pole may hide.
    bulge = 0.0 if frame.crs == other.crs else (high - low) / (STEPS - 1)
    (left, top), (right, bottom) = low - bulge - REACH, high + bulge + REACH
    return float(left), float(top), float(right), float(bottom)


def shares_ground(frame: Frame, other: Frame) -> bool:
    """Whether two frames share more than an edge.

    Raises
    ------
    AlignmentError
        If no transformation leads from one CRS to the other.
    """
    if frame.crs != other.crs:
        return frame.overlaps(other)
    return bool(frame.polygon.intersection(other.polygon).area > 0)


def shift_between(frame: Frame, other: Frame) -> tuple[int, int] | None:
    """Row and column of ``frame`` at the corner of ``other``, where their pixels coincide.

    Returns
    -------
    Whole px, negative where ``other`` begins first; None if the lattices differ.
    """
    if frame.crs != other.crs:
        return None
    cols = np.array([0.0, other.width, other.width, 0.0])
    rows = np.array([0.0, 0.0, other.height, other.height])
    shift = other.pixels_in(frame, cols, rows) - [cols, rows]
    col, row = np.round(shift[:, 0])
    if np.abs(shift - [[col], [row]]).max() > COINCIDE:
        return None
    return int(row), int(col)


def turns_between(frame: Frame, other: Frame) -> tuple[int, ...]:
    """Turns around the globe by which ``frame`` counts longitudes of ``other``'s ground higher.

    A transformation gives longitudes of -180 to 180. A raster of 0 to 360 has those west of
    Greenwich one turn higher, and one that reaches over 180 degrees some of them.

    Raises
    ------
    AlignmentError
        If no transformation leads from one CRS to the other.
    """
    if frame.crs == other.crs or not frame.crs.is_geographic:
        return (0,)
    globe = Frame(1, 1, Affine.translation(-0.5, 0), frame.crs)  # longitudes nearest to 0
    plain, counted = other.positions_in(globe)[0] - 0.5, other.positions_in(frame)
    cols, rows = counted
    known = np.isfinite(counted).all(0) & np.isfinite(plain)
    xs = frame.transform.a * cols[known] + frame.transform.b * rows[known] + frame.transform.c
    found = np.unique(np.round((xs - plain[known]) / 360).astype(int))
    return tuple(found.tolist()) or (0,)


def union_frame(frames: Sequence[Frame]) -> Frame:
    """The lattice of the first frame, extended over the ground of all.

    Parameters
    ----------
    frames : at least one, in any CRS.

    Returns
    -------
    A frame whose pixels coincide with those of the first.

    Raises
    ------
    AlignmentError
        If a frame reaches beyond where the first one's CRS leads.
    """
    first = frames[0]
    low, high = np.zeros(2), np.array([first.width, first.height], float)
    for frame in frames[1:]:
        points = frame.positions_in(first)
        if not np.isfinite(points).all():
            raise AlignmentError(
                f"{first.crs_name} does not lead to all the ground of a raster {frame}, so the two "
                "make no mosaic; process the items separately"
            )
        low, high = np.minimum(low, points.min(1)), np.maximum(high, points.max(1))
    # An edge that misses the lattice by rounding must not claim a pixel more.
    left, top = (math.floor(round(value, 3)) for value in low)
    right, bottom = (math.ceil(round(value, 3)) for value in high)
    moved = first.transform * Affine.translation(left, top)
    return Frame(bottom - top, right - left, moved, first.crs)


def window_inside(name: str, frame: Frame, window: Window | None) -> Window:
    """Return the window to read, the whole frame if None.

    One that leaves the raster is refused: GDAL would quietly return fewer pixels.

    Raises
    ------
    RasterError
        Naming the raster and both places.
    """
    if window is None:
        return frame.window
    (top, bottom), (left, right) = window.toranges()
    height, width = frame.shape
    if not (0 <= top < bottom <= height and 0 <= left < right <= width):
        raise RasterError(
            f"{name}: rows {top} to {bottom}, columns {left} to {right} lie outside its "
            f"{height} rows and {width} columns"
        )
    return window
