"""From the values of a raster to colours one can look at."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import GeoP2PError

Picture: TypeAlias = NDArray[np.uint8]
Limits: TypeAlias = Sequence[tuple[float, float]]

# Transparent; light grey for viewers that ignore transparency.
HOLE = (224, 224, 224, 0)
# A class the palette does not know must not look like a class, nor like a hole.
UNKNOWN = (255, 0, 255, 255)
_MIDDLE = 128  # of a band that holds one value only


def as_picture(
    values: ArrayLike,
    valid: ArrayLike | None = None,
    *,
    limits: Limits | None = None,
    colors: Mapping[int, Sequence[int]] | None = None,
) -> Picture:
    """Return the picture of a raster window.

    The first three bands are red, green and blue; of one or two bands the first is shown in grey.
    8-bit values are shown as they are; all others are stretched between `robust_limits`. Give
    `limits` to stretch several pictures alike: a translation and its truth, say.

    Parameters
    ----------
    values
        Shape (bands, rows, cols), any real type.
    valid
        Shape (rows, cols), True where there is data. Default: everywhere. Invalid pixels, and
        those that are not finite, are transparent.
    limits
        For each band shown, the values that become 0 and 255; also stretches 8-bit values.
    colors
        Palette of a one-band class map, ``{class value: (r, g, b, a)}``, each 0 to 255, the
        alpha may be missing. Classes it does not hold are bright magenta.

    Returns
    -------
    array
        Shape (rows, cols, 4), uint8: red, green, blue, alpha.

    Raises
    ------
    GeoP2PError
        If the shapes do not agree, a band has no limits, or a palette meets several bands.

    Examples
    --------
    >>> as_picture([[[0.0, 5.0, 10.0]]], limits=[(0.0, 10.0)])[0, :, 0].tolist()
    [0, 128, 255]
    """
    bands, seen = _shown(np.asarray(values), valid)
    if colors is not None:
        picture = _painted(np.asarray(values), colors)
    else:
        rgb = _stretched(bands, seen, limits)
        alpha = np.full((1, *seen.shape), 255, dtype=np.uint8)
        planes = np.concatenate([np.broadcast_to(rgb, (3, *seen.shape)), alpha])
        picture = np.ascontiguousarray(np.moveaxis(planes, 0, -1))
    picture[~seen] = HOLE
    return picture


def robust_limits(values: ArrayLike, valid: ArrayLike | None = None) -> list[tuple[float, float]]:
    """Return the 2 % and 98 % percentiles of the valid pixels of each band shown.

    Where the two coincide (a band that is nearly constant), the extremes are returned; without
    any valid pixel, 0 and 1.

    Parameters
    ----------
    values, valid
        As in `as_picture`.

    Returns
    -------
    list
        (low, high) in data units; three pairs, or one pair for less than three bands.
    """
    bands, seen = _shown(np.asarray(values), valid)
    if not seen.any():
        return [(0.0, 1.0)] * len(bands)
    return [_limits_of(band[seen].astype(np.float64)) for band in bands]


def as_rgba(image: Picture) -> Picture:
    """Return a grey, RGB or RGBA picture as RGBA."""
    image = np.asarray(image)
    grey = image[..., None] if image.ndim == 2 else image
    if image.dtype != np.uint8 or grey.ndim != 3 or grey.shape[2] not in (1, 3, 4) or not grey.size:
        raise GeoP2PError(
            f"a picture is uint8 (rows, cols, 4), not {image.dtype} {image.shape}: see as_picture"
        )
    if grey.shape[2] == 4:
        return np.ascontiguousarray(grey)
    opaque = np.full((*grey.shape[:2], 4), 255, dtype=np.uint8)
    opaque[..., :3] = grey
    return opaque


def _limits_of(values: NDArray[np.float64]) -> tuple[float, float]:
    least, low, high, most = np.percentile(values, [0, 2, 98, 100]).tolist()
    return (low, high) if low < high else (least, most)


def _shown(values: NDArray[Any], valid: ArrayLike | None) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Return the bands to show, three or one, and where they hold data."""
    mask = np.ones(values.shape[1:], bool) if valid is None else np.asarray(valid, dtype=bool)
    if values.ndim != 3 or len(values) == 0 or mask.shape != values.shape[1:]:
        raise GeoP2PError(
            "a picture needs values (bands, rows, cols) and valid (rows, cols): "
            f"got {values.shape} and {mask.shape}"
        )
    bands = values[:3] if len(values) >= 3 else values[:1]
    return bands, mask & np.isfinite(bands).all(axis=0)


def _stretched(
    bands: NDArray[Any], seen: NDArray[np.bool_], limits: Limits | None
) -> NDArray[np.uint8]:
    """Return the bands as 8 bits."""
    if bands.dtype == np.uint8 and limits is None:
        return bands
    limits = robust_limits(bands, seen) if limits is None else limits
    if len(limits) < len(bands):
        raise GeoP2PError(f"{len(bands)} bands are shown, {len(limits)} have limits")
    filled = np.where(seen, bands, 0).astype(np.float64)
    planes = [_scaled(band, *pair) for band, pair in zip(filled, limits, strict=False)]
    return np.stack(planes).astype(np.uint8)


def _scaled(band: NDArray[np.float64], low: float, high: float) -> NDArray[np.float64]:
    """Return `low` to `high` as 0 to 255."""
    if not low < high:
        return np.full_like(band, _MIDDLE)
    return np.rint(np.clip((band - low) / (high - low), 0, 1) * 255)


def _painted(values: NDArray[Any], colors: Mapping[int, Sequence[int]]) -> Picture:
    """Return a class map in the colours of its palette."""
    if len(values) != 1:
        raise GeoP2PError(f"a palette colours one band, not {len(values)}")
    classes, index = np.unique(values[0], return_inverse=True)
    known = {value: (*color, 255)[:4] for value, color in colors.items()}
    table = np.array([known.get(each, UNKNOWN) for each in classes.tolist()], dtype=np.uint8)
    return table[index.reshape(values[0].shape)]
