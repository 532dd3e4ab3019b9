"""Chance that depends on place alone: hashes of lattice cells, and smooth noise made of them.

Only operations that IEEE 754 rounds the same everywhere (+ - * / sqrt floor) act on points, so a
point has one value, whatever array it comes in.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Floats", "Hashes", "by_runs", "cell_of", "draws", "hashed", "noise", "noise_along"]

Floats = NDArray[np.float64]
Hashes = NDArray[np.uint32]

GOLDEN = np.uint32(0x9E3779B1)


def _mixed(value: Hashes) -> Hashes:
    """Spread every bit of ``value`` over all 32."""
    value = (value ^ (value >> np.uint32(16))) * np.uint32(0x7FEB352D)
    value = (value ^ (value >> np.uint32(15))) * np.uint32(0x846CA68B)
    return value ^ (value >> np.uint32(16))


def hashed(*keys: ArrayLike) -> Hashes:
    """Return one 32-bit hash for each combination of whole-number keys.

    Parameters
    ----------
    *keys
        Whole numbers or arrays of them, of any shapes that broadcast; the order counts.

    Returns
    -------
    ndarray of uint32, at least one-dimensional, of the broadcast shape.

    References
    ----------
    The mixing constants are "lowbias32" of C. Wellons, *Prospecting for hash functions* (2018).
    """
    value = np.zeros(1, np.uint32)
    for key in keys:
        value = _mixed(value * GOLDEN + np.atleast_1d(np.asarray(key)).astype(np.uint32))
    return value


def draws(key: Hashes, count: int) -> Floats:
    """Return ``count`` independent uniform numbers in [0, 1) for each hash, shape (count, *key)."""
    salts = np.arange(1, count + 1, dtype=np.uint32).reshape(-1, *[1] * key.ndim)
    return _mixed(key + salts * GOLDEN) * 2.0**-32


def by_runs(key: Hashes, compute: Callable[..., NDArray[np.generic]], *values: Floats) -> Floats:
    """Compute once for each run of equal keys what depends on the key alone.

    Neighbours in a row of pixels mostly share their house, their block, their noise cell.

    Parameters
    ----------
    key
        (points,) what the result depends on.
    compute
        Takes ``values`` at the first point of each run, returns (columns, runs).
    *values
        (points,) each constant wherever ``key`` is.

    Returns
    -------
    ndarray of float64, (columns, points).
    """
    starts = np.flatnonzero(np.concatenate([[True], key[1:] != key[:-1]]))
    lengths = np.diff(starts, append=key.size)
    columns = compute(*(value[starts] for value in values))
    return np.repeat(np.asarray(columns, np.float64), lengths, axis=1)


def cell_of(seed: int, *indices: Floats) -> Hashes:
    """Return the hash of the lattice cell with these whole-number indices."""
    return hashed(seed, *(index.astype(np.int64) for index in indices))


def _eased(fraction: Floats) -> Floats:
    """Return the smoothstep of a fraction in [0, 1], flat at both ends."""
    return fraction * fraction * (3.0 - 2.0 * fraction)


def noise(seed: int, x: Floats, y: Floats, size: float) -> Floats:
    """Return smooth noise in [-1, 1], with one independent value every ``size`` metres.

    Parameters
    ----------
    seed
        Which noise.
    x, y
        (points,) metres.
    size
        Side of a lattice cell in metres.
    """
    column, row = np.floor(x / size), np.floor(y / size)

    def corners(i: Floats, j: Floats) -> Floats:
        around = [(i, j), (i + 1, j), (i, j + 1), (i + 1, j + 1)]
        return np.stack([cell_of(seed, a, b) for a, b in around]) * 2.0**-31 - 1.0

    low, right, up, far = by_runs(hashed(column.astype(np.int64), row.astype(np.int64)),
                                  corners, column, row)
    s, t = _eased(x / size - column), _eased(y / size - row)
    bottom = low + s * (right - low)
    return bottom + t * (up + s * (far - up) - bottom)


def noise_along(seed: int, t: Floats, size: float) -> Floats:
    """Return smooth noise in [-1, 1] of one coordinate, as :func:`noise` does of two."""
    cell = np.floor(t / size)
    before, after = (cell_of(seed, cell + k) * 2.0**-31 - 1.0 for k in (0, 1))
    return before + _eased(t / size - cell) * (after - before)
