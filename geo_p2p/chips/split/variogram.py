"""How far values of a raster resemble each other: the range of an empirical variogram."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geo_p2p.chips.sampling import spread

__all__ = ["autocorrelation_range"]

SAMPLE = 32
"""Chips looked at, spread evenly over those given."""

LARGEST = 128
"""Pixels along a side looked at; of larger chips every second, third, ... pixel counts."""

SILL = 0.95
"""Share of the largest difference at which pixels count as unrelated: the practical range."""

TAIL = 0.01
"""Share of the values at either end that are drawn in, so that a few of them do not decide."""

ROUNDING = 1e-9
"""Share of the variance that a sum of many products may be off by."""

CLASSES = 8
"""Most frequent classes that are looked at."""


def autocorrelation_range(
    images: Sequence[NDArray[Any]], valids: Sequence[NDArray[np.bool_]], *, classes: bool = False
) -> float:
    """Distance from which pixels of a raster are as different as any two, px.

    The variogram of each band, half the mean squared difference of pixels by their distance, is
    averaged over sampled chips and all directions; the range is where it first reaches 95 % of its
    highest, or of the variance over all sampled chips if that is less. Of several bands the largest
    counts. Chips cannot tell of more than they hold: the range is at most their side, and what
    changes over many chips only, as a slope does, counts as far as it shows in one.

    Parameters
    ----------
    images : (bands, rows, cols) each, any type, raster units; spread over the ground.
    valids : (rows, cols) each, True where there are values.
    classes : whether values are class numbers; then pixels differ or they do not.

    Returns
    -------
    Px; 0 where nothing varies or nothing is valid.

    References
    ----------
    Marcotte 1996, "Fast variogram computation with FFT",
    https://doi.org/10.1016/S0098-3004(96)00026-X
    """
    given = list(zip(images, valids, strict=True))
    sample = [(image, valid) for image, valid in spread(given, SAMPLE) if valid.any()]
    if not sample:
        return 0.0
    side: int = max(max(valid.shape) for _, valid in sample)
    step = -(-side // LARGEST)
    sample = [(image[:, ::step, ::step], valid[::step, ::step]) for image, valid in sample]
    ranges = [_range(layers, [valid for _, valid in sample]) for layers in _layers(sample, classes)]
    return min(float(side), step * max(ranges, default=0.0))


def _layers(
    sample: Sequence[tuple[NDArray[Any], NDArray[np.bool_]]], classes: bool
) -> Iterator[list[NDArray[np.float64]]]:
    """Each band of the sampled chips, or for each class where it is, as (rows, cols) of numbers."""
    for band in range(len(sample[0][0])):
        images = [np.where(valid, image[band], 0).astype(np.float64) for image, valid in sample]
        values = np.concatenate(
            [image[valid] for image, (_, valid) in zip(images, sample, strict=True)]
        )
        if not len(values):
            continue
        if classes:
            found, counts = np.unique(values, return_counts=True)
            for value in found[np.argsort(-counts, kind="stable")[:CLASSES]]:
                yield [(image == value).astype(np.float64) for image in images]
        else:
            low, high = np.quantile(values, (TAIL, 1 - TAIL))
            if low == high:  # nearly constant: what is rare is all there is
                low, high = values.min(), values.max()
            # Around zero, for the sake of the digits.
            yield [np.clip(image, low, high) - (low + high) / 2 for image in images]


def _range(layers: Sequence[NDArray[np.float64]], valids: Sequence[NDArray[np.bool_]]) -> float:
    """Lag at which the variogram of one layer reaches its sill, px."""
    values = np.concatenate([layer[v] for layer, v in zip(layers, valids, strict=True)])
    variance = values.var()
    if not variance > 0:
        return 0.0
    # Further than the side of a chip there are but the few pairs in its corners.
    size = max(max(valid.shape) for valid in valids)
    pairs, squares = np.zeros(size), np.zeros(size)
    for layer, valid in zip(layers, valids, strict=True):
        more_pairs, more_squares = _variogram(layer, valid, size)
        pairs += more_pairs
        squares += more_squares
    lags = np.flatnonzero(pairs)
    gamma = squares[lags] / pairs[lags] / 2
    sill = SILL * min(variance, gamma.max())
    if sill < ROUNDING * variance:  # chips differ, but no pixel from its neighbours
        return float(size)
    last = np.flatnonzero(gamma >= sill)[0]  # never 0: a pixel does not differ from itself
    share = (sill - gamma[last - 1]) / (gamma[last] - gamma[last - 1])
    return float(lags[last - 1] + share * (lags[last] - lags[last - 1]))


def _variogram(
    layer: NDArray[np.float64], valid: NDArray[np.bool_], size: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Pairs of valid pixels, and their squared differences added up, by whole px of distance.

    With the mask m and z = 0 beyond it, the sum of m m' (z - z')^2 over all pairs at one lag is
    corr(m z^2, m) + corr(m, m z^2) - 2 corr(z, z).
    """
    from scipy import fft  # late, because processes that cut chips would wait for it

    shape = [fft.next_fast_len(2 * n - 1, real=True) for n in valid.shape]
    z = np.where(valid, layer, 0)
    m, z1, z2 = (fft.rfft2(a, shape) for a in (valid.astype(np.float64), z, z * z))
    number = np.rint(fft.irfft2(m * m.conj(), shape))
    squares = fft.irfft2(2 * (z2 * m.conj()).real - 2 * z1 * z1.conj(), shape)
    rows, cols = (np.minimum(np.arange(n), n - np.arange(n)) for n in shape)
    lags = np.rint(np.hypot(rows[:, None], cols)).astype(int)
    counted = (number > 0) & (lags < size)
    pairs = np.bincount(lags[counted], number[counted], size).astype(np.float64)
    added = np.bincount(lags[counted], np.maximum(squares[counted], 0), size).astype(np.float64)
    return pairs, added
