"""Chance that depends on place alone: hashes of lattice cells, and smooth noise made of them.

Only operations that IEEE 754 rounds in one way (+ - * / sqrt floor) act on points, so a point has
one value, whatever array it comes in.
"""

import zlib
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "Flags",
    "Floats",
    "Hashes",
    "draws",
    "hashed",
    "noise",
    "noise_along",
    "once_each",
    "seed_of",
]

Flags = NDArray[np.bool_]
Floats = NDArray[np.float64]
Hashes = NDArray[np.uint32]

GOLDEN = np.uint32(0x9E3779B1)
EAST, NORTH = np.array([[[0], [1], [0], [1]], [[0], [0], [1], [1]]])
ROWS = 2.0**26  # more than there are lattice rows: column * ROWS + row is exact and unique


def _mixed(value: Hashes) -> Hashes:
    """Spread every bit of ``value`` over all 32 (C. Wellons' "lowbias32")."""
    value = (value ^ (value >> np.uint32(16))) * np.uint32(0x7FEB352D)
    value = (value ^ (value >> np.uint32(15))) * np.uint32(0x846CA68B)
    return value ^ (value >> np.uint32(16))


def hashed(*keys: ArrayLike) -> Hashes:
    """Return one 32-bit hash for each combination of keys.

    Parameters
    ----------
    *keys : whole numbers, or arrays of them of any type and of shapes that broadcast; the order
        counts.

    Returns
    -------
    Array of the broadcast shape, at least one-dimensional.

    References
    ----------
    C. Wellons, *Prospecting for hash functions* (2018).
    """
    value = np.zeros(1, np.uint32)
    for key in keys:
        whole = np.asarray(key).astype(np.int64, copy=False)
        value = _mixed(value * GOLDEN + whole.astype(np.uint32))
    return value


@lru_cache(maxsize=256)
def seed_of(seed: int, use: str) -> int:
    """Return the seed for one use of chance, so that no two uses are correlated."""
    return int(hashed(seed % 2**32, zlib.crc32(use.encode())).item())


def draws(key: Hashes, count: int) -> Floats:
    """Return ``count`` independent uniform numbers in [0, 1) for each hash, (count, *key.shape)."""
    salts = np.arange(1, count + 1, dtype=np.uint32).reshape(-1, *[1] * key.ndim)
    return _mixed(key + salts * GOLDEN).astype(np.float64) * 2.0**-32


def once_each(
    key: NDArray[Any], compute: Callable[..., NDArray[Any]], *values: NDArray[Any]
) -> Floats:
    """Compute what depends on a key alone once for each key: pixels share houses and blocks.

    Parameters
    ----------
    key : (points,) what the result depends on.
    compute : takes ``values`` at one point of each key, returns (columns, keys).
    *values : (points,) each; constant wherever ``key`` is.

    Returns
    -------
    (columns, points) array.
    """
    # Points come row by row, so most share their key with the one before: sort only the runs.
    starts = np.flatnonzero(np.concatenate([[True], key[1:] != key[:-1]])[: key.size])
    _, first, inverse = np.unique(key[starts], return_index=True, return_inverse=True)
    columns = np.asarray(compute(*(value[starts[first]] for value in values)), np.float64)
    return np.take(columns, np.repeat(inverse, np.diff(starts, append=key.size)), axis=1)


def _signed(key: Hashes) -> Floats:
    """Return hashes as numbers in [-1, 1)."""
    return key.astype(np.float64) * 2.0**-31 - 1.0


def _eased(fraction: Floats) -> Floats:
    """Return the smoothstep of a fraction in [0, 1], flat at both ends."""
    eased: Floats = fraction * fraction * (3.0 - 2.0 * fraction)
    return eased


def noise(seed: int, x: Floats, y: Floats, size: float) -> Floats:
    """Return smooth noise in [-1, 1] with one independent value every ``size`` metres.

    Parameters
    ----------
    seed : which noise.
    x, y : (points,) metres.
    size : side of a lattice cell, metres.
    """
    x, y = x / size, y / size
    column, row = np.floor(x), np.floor(y)

    def corners(i: Floats, j: Floats) -> Floats:
        return _signed(hashed(seed, i + EAST, j + NORTH))

    low, right, up, far = once_each(column * ROWS + row, corners, column, row)
    s, t = _eased(x - column), _eased(y - row)
    bottom = low + s * (right - low)
    top = up + s * (far - up)
    value: Floats = bottom + t * (top - bottom)
    return value


def noise_along(seed: int, t: Floats, size: float) -> Floats:
    """Return smooth noise in [-1, 1] of one coordinate, as `noise` does of two."""
    t = t / size
    cell = np.floor(t)
    before, after = _signed(hashed(seed, cell)), _signed(hashed(seed, cell + 1))
    value: Floats = before + _eased(t - cell) * (after - before)
    return value
