"""Statistics of chips, band by band, over their valid pixels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["BandStats", "percentiles_of"]

WIDE = {
    np.dtype(small): np.dtype(wide)
    for small, wide in (("u1", "u4"), ("i1", "i4"), ("u2", "u8"), ("i2", "i8"))
}
"""Types that hold the sum of the squares of as many values as a piece has."""

PIECE = 1 << 16
"""Values that are summed up at once."""


@dataclass(frozen=True)
class BandStats:
    """Welford's state of some bands: it merges without looking at the pixels again.

    Parameters
    ----------
    count : valid pixels.
    low, high, mean : (bands,) float64, raster units.
    m2 : (bands,) sum of squared deviations from the mean; sd = sqrt(m2 / (count - 1)).

    References
    ----------
    Chan, Golub & LeVeque 1983, "Algorithms for computing the sample variance",
    https://doi.org/10.1080/00031305.1983.10483115
    """

    count: int
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    mean: NDArray[np.float64]
    m2: NDArray[np.float64]

    @classmethod
    def of(cls, values: NDArray[Any], valid: NDArray[np.bool_]) -> "BandStats":
        """Return the state of one image, (bands, rows, cols) with its (rows, cols) mask.

        At least one pixel must be valid.
        """
        count = int(np.count_nonzero(valid))
        whole = count == valid.size
        # Band by band: reductions along an axis of the array as it comes are ten times slower.
        states = [_state(band.ravel() if whole else band[valid]) for band in values]
        low, high, mean, m2 = np.array(states).T
        return cls(count, low, high, mean, m2)

    @classmethod
    def of_census(cls, census: Mapping[int, int]) -> "BandStats":
        """Return the state of one band of whole numbers, of which so many pixels have each value.

        There must be at least one.
        """
        count = sum(census.values())
        total = sum(value * times for value, times in census.items())
        squares = sum(value * value * times for value, times in census.items())
        state = min(census), max(census), *_moments(count, total, squares)
        return cls(count, *(np.array([number], np.float64) for number in state))

    def to_json(self) -> dict[str, Any]:
        """Plain data for JSON, which gives floats back to the last bit."""
        arrays = {name: getattr(self, name).tolist() for name in ("low", "high", "mean", "m2")}
        return {"count": self.count, **arrays}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> "BandStats":
        """Read what `to_json` gave."""
        arrays = {name: np.array(plain[name], np.float64) for name in ("low", "high", "mean", "m2")}
        return cls(int(plain["count"]), **arrays)

    def described(self) -> list[dict[str, float]]:
        """Say it in words for each band, for JSON; the first band also says the count."""
        rows = np.stack((self.low, self.high, self.mean, self.sd), axis=1).tolist()
        bands = [dict(zip(("min", "max", "mean", "sd"), row, strict=True)) for row in rows]
        bands[0]["count"] = self.count
        return bands

    @classmethod
    def from_described(cls, bands: Sequence[Mapping[str, Any]]) -> "BandStats":
        """Read what `described` gave, but for the last bits of m2."""
        rows = [[band[key] for key in ("min", "max", "mean", "sd")] for band in bands]
        low, high, mean, sd = np.array(rows, np.float64).T
        count = int(bands[0]["count"])
        return cls(count, low, high, mean, sd**2 * max(1, count - 1))

    def merge(self, other: "BandStats") -> "BandStats":
        """Return the state of both together."""
        count = self.count + other.count
        delta = other.mean - self.mean
        return BandStats(
            count,
            np.minimum(self.low, other.low),
            np.maximum(self.high, other.high),
            self.mean + delta * other.count / count,
            self.m2 + other.m2 + delta**2 * self.count * other.count / count,
        )

    @property
    def sd(self) -> NDArray[np.float64]:
        """Standard deviation of each band, raster units; 0 for fewer than two pixels."""
        return np.sqrt(self.m2 / max(1, self.count - 1))


def percentiles_of(values: NDArray[Any], percents: Sequence[float]) -> NDArray[np.float64]:
    """Percentiles of some values, as `numpy.percentile` gives them.

    Parameters
    ----------
    values : (n,) of any real type; whole numbers of 8 and 16 bits are counted, not sorted.
    percents : 0-100.
    """
    if values.dtype not in (np.uint8, np.uint16):
        return np.asarray(np.percentile(values, percents))
    reach = np.cumsum(np.bincount(values))  # values up to each number
    places = np.asarray(percents) / 100 * (len(values) - 1)
    below = np.floor(places)
    low, high = (np.searchsorted(reach, at, "right") for at in (below, np.ceil(places)))
    return low + (high - low) * (places - below)


def _state(pixels: NDArray[Any]) -> tuple[float, float, float, float]:
    """Lowest, highest and mean value of one band, and its sum of squared deviations."""
    if pixels.dtype in WIDE:
        return _exact_state(pixels)
    values = pixels.astype(np.float64)
    mean = values.mean()
    off = values - mean
    return float(values.min()), float(values.max()), float(mean), float((off * off).sum())


def _exact_state(pixels: NDArray[Any]) -> tuple[float, float, float, float]:
    """The same of small whole numbers, in whole numbers: exact, and quicker."""
    wide = pixels.astype(WIDE[pixels.dtype])
    count, total, squares = len(wide), 0, 0
    for start in range(0, count, PIECE):
        piece = wide[start : start + PIECE]
        total += int(np.add.reduce(piece, dtype=piece.dtype))
        squares += int(np.einsum("i,i", piece, piece))
    return float(pixels.min()), float(pixels.max()), *_moments(count, total, squares)


def _moments(count: int, total: int, squares: int) -> tuple[float, float]:
    """Mean and sum of squared deviations of whole numbers, by their sum and sum of squares."""
    return total / count, (count * squares - total * total) / count
