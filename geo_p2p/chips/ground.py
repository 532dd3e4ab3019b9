"""How large pixels are on the ground, and where on it two rasters meet."""

import math

import numpy as np
from affine import Affine
from rasterio.crs import CRS
from rasterio.windows import Window

from geo_p2p.errors import AlignmentError
from geo_p2p.raster import Frame

__all__ = ["metres", "pixel_ratio_warning", "shared_window"]

RATIO = 4.0
"""Pixels of one raster in a pixel of the other, along a side, from which there is a warning."""

GLOBE = CRS.from_epsg(4326)

AXIS, ECCENTRICITY = 6_378_137.0, 0.0818191908
"""Of the WGS 84 ellipsoid: its longer half axis, metres, and its first eccentricity."""


def metres(frame: Frame, shift: tuple[float, float]) -> tuple[float, float] | None:
    """Turn a shift of (columns, rows), px, into (east, north), metres on the ground.

    Along the axes of the CRS, which on most maps run east and north, but as long as it is on the
    ground in the middle of the frame, whatever the CRS makes of a metre or a degree. None where
    the CRS does not lead to the globe.
    """
    unit = _lengths(Frame(1, 1, Affine.identity(), frame.crs), frame)
    if unit is None:
        return None
    t, (cols, rows) = frame.transform, shift
    return unit[0] * (t.a * cols + t.b * rows), unit[1] * (t.d * cols + t.e * rows)


def shared_window(x: Frame, y: Frame) -> Window | None:
    """Window of an input around the ground that another raster covers; None if there is none.

    Parameters
    ----------
    x : frame of the input.
    y : own frame of the other raster, in any CRS, before it is warped.

    Raises
    ------
    AlignmentError
        If no transformation leads from one CRS to the other.
    """
    points = y.positions_in(x)
    points = points[:, np.isfinite(points).all(0)]
    if not points.size:
        return None
    col, row = (max(0, math.floor(v)) for v in points.min(1))
    stop_col, stop_row = (
        min(n, math.ceil(v)) for n, v in zip((x.width, x.height), points.max(1), strict=True)
    )
    if col >= stop_col or row >= stop_row:
        return None
    return Window(col, row, stop_col - col, stop_row - row)


def pixel_ratio_warning(x: Frame, y: Frame) -> str | None:
    """Warn where pixel sizes differ by more than 4x.

    Parameters
    ----------
    x : frame of the input.
    y : own frame of the additional raster, before it is warped.

    Returns
    -------
    One line with both pixel sizes on the ground; None where they are close enough.

    Raises
    ------
    AlignmentError
        If no transformation leads from one CRS to the other.
    """
    spans = y.scale_to(x)
    finer, coarser = max(spans), 1 / min(spans)
    if max(finer, coarser) <= RATIO:
        return None
    # Where they meet: far from there, a metre of either CRS may be anything.
    place = x.crop(shared_window(x, y) or x.window)
    sizes = f"{_size(x, place)} in the input, {_size(y, place)} in the additional raster"
    if finer >= coarser:
        return (
            f"pixel sizes differ {finer:.3g}-fold ({sizes}): what is smaller than a pixel of the "
            "input is averaged away; take a finer input, or resample the additional raster"
        )
    return (
        f"pixel sizes differ {coarser:.3g}-fold ({sizes}): the additional raster is blown up, and "
        "chips hold no more detail than it does; take a finer one, or resample the input"
    )


def _size(frame: Frame, place: Frame) -> str:
    """Pixel size of a frame in the middle of another, in words."""
    lengths = _lengths(frame, place)
    if lengths is None:
        return f"{frame.res[0]:.3g} x {frame.res[1]:.3g} units of {frame.crs_name}"
    return f"{lengths[0]:.3g} x {lengths[1]:.3g} m"


def _lengths(frame: Frame, place: Frame) -> tuple[float, float] | None:
    """Length of a column's and of a row's step on the ground in the middle of ``place``, metres.

    None where the CRS does not lead to the globe.
    """
    globe = Frame(1, 1, Affine.identity(), GLOBE)
    try:
        middle = place.pixels_in(frame, np.array([place.width / 2]), np.array([place.height / 2]))
        lon, lat = np.radians(frame.pixels_in(globe, *(middle + [[0, 1, 0], [0, 0, 1]])))
    except AlignmentError:
        return None
    # A step across the 180th meridian is short.
    east = np.remainder(lon[1:] - lon[0] + np.pi, 2 * np.pi) - np.pi
    # Radii of curvature along the parallel and along the meridian.
    bent = 1 - (ECCENTRICITY * np.sin(lat[0])) ** 2
    parallel = AXIS / bent**0.5 * np.cos(lat[0])
    meridian = AXIS * (1 - ECCENTRICITY**2) / bent**1.5
    across, down = np.hypot(parallel * east, meridian * (lat[1:] - lat[0]))
    return (float(across), float(down)) if np.isfinite(across + down) else None
