"""What the values of a raster come to, band by band: put together from its windows."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Statistics"]

TAG = "GEO_P2P_STATISTICS"
"""Metadata item under which a block file keeps its own."""

Numbers = tuple[float, ...]


@dataclass(frozen=True)
class Statistics:
    """Of the valid pixels of each band.

    Parameters
    ----------
    pixels : how many there are, valid or not.
    valid : how many of them are valid.
    low, high, mean : of each band, in the raster's unit; empty where no pixel is valid.
    squares : sum of the squared deviations from the mean, of each band.
    """

    pixels: int = 0
    valid: int = 0
    low: Numbers = ()
    high: Numbers = ()
    mean: Numbers = ()
    squares: Numbers = ()

    @classmethod
    def of(cls, values: NDArray[Any], valid: NDArray[np.bool_]) -> "Statistics":
        """Measure an array.

        Parameters
        ----------
        values : (bands, rows, cols), finite where valid.
        valid : (rows, cols).
        """
        whole = bool(valid.all())
        known = [band.ravel() if whole else band[valid] for band in values]
        count = valid.size if whole else len(known[0])
        if not count:
            return cls(valid.size)
        mean, squares = zip(*map(_moments, known), strict=True)
        low, high = (tuple(float(end(band)) for band in known) for end in (np.min, np.max))
        return cls(valid.size, count, low, high, mean, squares)

    def __add__(self, other: "Statistics") -> "Statistics":
        """Return those of both, which share no pixel.

        References
        ----------
        Chan, Golub & LeVeque 1983, "Algorithms for computing the sample variance", eq. 2.1,
        https://doi.org/10.1080/00031305.1983.10483115
        """
        pixels, valid = self.pixels + other.pixels, self.valid + other.valid
        if not (self.valid and other.valid):
            some = self if self.valid else other
            return Statistics(pixels, valid, some.low, some.high, some.mean, some.squares)
        share = other.valid / valid
        steps = [b - a for a, b in zip(self.mean, other.mean, strict=True)]
        both = zip(self.squares, other.squares, steps, strict=True)
        return Statistics(
            pixels,
            valid,
            tuple(map(min, self.low, other.low)),
            tuple(map(max, self.high, other.high)),
            tuple(a + step * share for a, step in zip(self.mean, steps, strict=True)),
            tuple(a + b + step**2 * self.valid * share for a, b, step in both),
        )

    @classmethod
    def total(cls, several: Iterable["Statistics"]) -> "Statistics":
        """Add up, in this order: another one may change the last bits."""
        return reduce(cls.__add__, several, cls())

    @property
    def tags(self) -> dict[str, str]:
        """Themselves, as a metadata item of a file."""
        return {TAG: json.dumps(list(vars(self).values()))}

    @classmethod
    def from_tags(cls, tags: Mapping[str, str]) -> "Statistics | None":
        """Read them from the metadata of a file; None if it has none."""
        if TAG not in tags:
            return None
        pixels, valid, *bands = json.loads(tags[TAG])
        return cls(pixels, valid, *map(tuple, bands))

    def of_band(self, index: int, pixels: int) -> dict[str, str]:
        """Metadata items of a band, as GDAL writes them; none where no pixel is valid.

        Parameters
        ----------
        index : of the band, from 0.
        pixels : of the raster, those that nobody has measured included; they are invalid.
        """
        if not self.valid:
            return {}
        deviation = (self.squares[index] / self.valid) ** 0.5
        # Fewer digits than a double has: the last ones hang on how the raster was cut.
        return {
            "STATISTICS_MAXIMUM": f"{self.high[index]:.17g}",
            "STATISTICS_MEAN": f"{self.mean[index]:.12g}",
            "STATISTICS_MINIMUM": f"{self.low[index]:.17g}",
            "STATISTICS_STDDEV": f"{deviation:.12g}",
            "STATISTICS_VALID_PERCENT": f"{100 * self.valid / pixels:.4g}",
        }


def _moments(values: NDArray[Any]) -> tuple[float, float]:
    """Mean and sum of the squared deviations of (n,) values."""
    deviations = values.astype(np.float64)
    mean = float(deviations.mean())
    deviations -= mean
    # Not by a dot product: its sums hang on how many threads there are.
    np.square(deviations, out=deviations)
    return mean, float(deviations.sum())
