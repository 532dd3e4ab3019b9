"""From one coordinate reference system to another, point by point."""

import numpy as np
from numpy.typing import NDArray

# rasterio has no name of its own for what PROJ refuses.
from rasterio._err import CPLE_BaseError, CPLE_NotSupportedError
from rasterio.crs import CRS
from rasterio.errors import CRSError
from rasterio.warp import transform as warp_points

from ..errors import AlignmentError

__all__ = ["name_of", "transform_points"]


def name_of(crs: CRS) -> str:
    """A short name of a CRS: its authority code if it has one, else its projection."""
    authority = crs.to_authority()
    # By its name, because GDAL takes all local systems for equal.
    if not authority and crs.wkt.startswith('LOCAL_CS["pixels"'):
        return "pixels"
    return ":".join(authority) if authority else (crs.to_dict().get("proj") or "custom")


def transform_points(
    src: CRS, dst: CRS, xs: NDArray[np.float64], ys: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Transform points from one CRS to another.

    Parameters
    ----------
    src, dst : the two CRSs.
    xs, ys : (n,) coordinates in ``src``, in its units.

    Returns
    -------
    (2, n) array of x and y in ``dst``; NaN for points outside the domain of the projection.

    Raises
    ------
    AlignmentError
        If no transformation leads from one CRS to the other at all.
    """
    if src == dst:
        return np.array([xs, ys])
    try:
        return _transformed(src, dst, xs, ys)
    except (CPLE_NotSupportedError, CRSError) as error:
        raise AlignmentError(
            f"no transformation leads from {name_of(src)} to {name_of(dst)}"
        ) from error


def _transformed(
    src: CRS, dst: CRS, xs: NDArray[np.float64], ys: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Transform points; rasterio gives up on all where PROJ gives up on one, hence the halving."""
    try:
        points = np.array(warp_points(src, dst, xs, ys))
    except CPLE_NotSupportedError:
        raise
    except CPLE_BaseError:
        if len(xs) == 1:
            return np.full((2, 1), np.nan)
        half = len(xs) // 2
        halves = (slice(half), slice(half, None))
        return np.concatenate([_transformed(src, dst, xs[h], ys[h]) for h in halves], axis=1)
    return np.where(np.isfinite(points), points, np.nan)
