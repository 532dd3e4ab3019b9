"""Statistics of chips, band by band, over their valid pixels."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["BandStats"]


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
        """Return the state of one image, (bands, rows, cols) with its (rows, cols) mask."""
        pixels = values[:, valid].astype(np.float64)
        if not pixels.shape[1]:
            return cls.empty(len(values))
        mean = pixels.mean(1)
        m2 = ((pixels - mean[:, None]) ** 2).sum(1)
        return cls(pixels.shape[1], pixels.min(1), pixels.max(1), mean, m2)

    @classmethod
    def empty(cls, bands: int) -> "BandStats":
        """Return the state of no pixels."""
        nothing = np.zeros(bands)
        return cls(0, np.full(bands, np.inf), np.full(bands, -np.inf), nothing, nothing)

    def merge(self, other: "BandStats") -> "BandStats":
        """Return the state of both together."""
        count = self.count + other.count
        if not count:
            return self
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
