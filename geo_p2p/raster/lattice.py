"""Another lattice for the ground of a raster: another CRS, another pixel size."""

import math

import numpy as np
from affine import Affine
from rasterio._err import CPLE_BaseError
from rasterio.crs import CRS
from rasterio.errors import CRSError
from rasterio.warp import calculate_default_transform

from ..errors import AlignmentError, RasterError
from .crs import name_of, transform_points
from .frame import Frame

__all__ = ["crs_of", "lattice_for", "metres_of"]

DEGREE = math.radians(6_371_008.8)
"""Metres of a degree of a great circle, on the mean radius of the Earth (IUGG)."""

WORLD = CRS.from_epsg(4326)
WEB_MERCATOR = CRS.from_epsg(3857)


def crs_of(text: str) -> CRS:
    """Read a CRS: an authority code, WKT, PROJ string or PROJJSON.

    Raises
    ------
    RasterError
        If it is none.
    """
    try:
        return CRS.from_user_input(text)
    except CRSError as error:
        raise RasterError(f"{text!r}: not a coordinate reference system, as EPSG:32633") from error


def lattice_for(
    frame: Frame, crs: CRS | None = None, res: tuple[float, float] | None = None
) -> Frame:
    """Lay other pixels over the ground of a frame.

    Parameters
    ----------
    frame : the ground.
    crs : of the pixels; None for the frame's own, then its corner and its rotation stay.
    res : their size (x, y), units of that CRS; None for the frame's own, or as fine in another.

    Returns
    -------
    A frame that covers all of it.

    Raises
    ------
    RasterError
        For a size that is none, or leads to more pixels than a raster can have.
    AlignmentError
        If no transformation leads to the CRS.
    """
    if res is not None and not all(math.isfinite(side) and side > 0 for side in res):
        raise RasterError(f"pixel size {res[0]:g} x {res[1]:g}: give lengths above 0")
    try:
        if crs is None or crs == frame.crs:
            found = frame if res is None else _resized(frame, res)
        else:
            transform, width, height = calculate_default_transform(
                frame.crs, crs, frame.width, frame.height, *frame.bounds, resolution=res
            )
            found = Frame(int(height), int(width), transform, crs)
    except (CPLE_BaseError, CRSError, OverflowError) as error:
        raise AlignmentError(
            f"no lattice of {name_of(crs or frame.crs)} for the raster ({frame}): "
            f"{' '.join(str(error).split())}"
        ) from error
    if max(found.shape) > np.iinfo(np.int32).max:
        raise RasterError(f"pixel size: {found} are more than a raster can have; take larger ones")
    return found


def _resized(frame: Frame, res: tuple[float, float]) -> Frame:
    """Other pixels from the same corner on, in the same directions."""
    across, down = (new / old for new, old in zip(res, frame.res, strict=True))
    # What misses whole pixels by rounding must not get one more.
    width = max(1, math.ceil(round(frame.width / across, 6)))
    height = max(1, math.ceil(round(frame.height / down, 6)))
    return Frame(height, width, frame.transform * Affine.scale(across, down), frame.crs)


def metres_of(res: tuple[float, float], crs: CRS, place: Frame) -> float | None:
    """How wide a pixel is on the ground.

    Parameters
    ----------
    res : its size (x, y), units of ``crs``.
    crs : of the pixel.
    place : a raster; where it lies decides for degrees, and for Web Mercator.

    Returns
    -------
    Metres, of a CRS made for another place roughly; None where there is no way to tell.
    """
    if not (crs.is_geographic or crs.is_projected):
        return None
    if not (crs.is_geographic or crs == WEB_MERCATOR):
        return float(res[0] * crs.linear_units_factor[1])
    x, y = place.transform * (place.width / 2, place.height / 2)
    try:
        latitude = transform_points(place.crs, WORLD, np.array([x]), np.array([y]))[1, 0]
    except AlignmentError:
        return None
    unit = DEGREE if crs.is_geographic else 1.0
    across = float(res[0] * unit * math.cos(math.radians(latitude)))
    return across if math.isfinite(across) and across > 0 else None
