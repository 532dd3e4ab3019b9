"""What the input was like in training, and how much of another image is like that."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from geo_p2p.card.scaling import PERCENTILES, SAMPLE
from geo_p2p.errors import ModelError

__all__ = ["InputRange", "range_seen"]


@dataclass(frozen=True)
class InputRange:
    """Values of the training input, per band, raster units.

    Parameters
    ----------
    low, high : percentiles 0.1 and 99.9.
    least, most : the extremes.
    mean, sd : mean and standard deviation.
    """

    low: tuple[float, ...]
    high: tuple[float, ...]
    least: tuple[float, ...]
    most: tuple[float, ...]
    mean: tuple[float, ...]
    sd: tuple[float, ...]

    def outside(self, values: NDArray[Any], valid: NDArray[np.bool_]) -> float:
        """Share of the valid pixels with a band below `low` or above `high`, 0-1; 0 for none.

        Of the training pixels themselves it is 0.002 a band at most.

        Parameters
        ----------
        values : (bands, rows, cols), raster units.
        valid : (rows, cols).
        """
        count = int(np.count_nonzero(valid))
        if not count:
            return 0.0
        strange = np.zeros(valid.shape, bool)
        for band, low, high in zip(values, self.low, self.high, strict=True):
            strange |= (band < low) | (band > high)
        return float(np.count_nonzero(strange & valid) / count)

    def to_json(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Self:
        """Read what `to_json` gave."""
        return cls(**{field.name: tuple(plain[field.name]) for field in fields(cls)})


def range_seen(arrays: Sequence[NDArray[Any]], valids: Sequence[NDArray[np.bool_]]) -> InputRange:
    """Describe the input of the training chips.

    Parameters
    ----------
    arrays : (bands, rows, cols) of each chip, raster units.
    valids : (rows, cols) of each chip.

    Raises
    ------
    ModelError
        If no pixel is valid.
    """
    total = sum(int(np.count_nonzero(valid)) for valid in valids)
    if not total:
        raise ModelError("no valid training pixel to describe; check the chips' masks")
    step = math.ceil(total / SAMPLE) // 2 * 2 + 1  # odd: see `geo_p2p.card.range_of`
    pairs = list(zip(arrays, valids, strict=True))
    rows = []
    for band in range(len(arrays[0])):
        kept = [array[band][valid] for array, valid in pairs]
        pooled = np.concatenate([each[::step] for each in kept]).astype(np.float64)
        ends = np.percentile(pooled, PERCENTILES)
        least, most = (
            getattr(np, end)([getattr(each, end)() for each in kept if each.size])
            for end in ("min", "max")
        )
        rows.append([*ends, least, most, pooled.mean(), pooled.std()])
    return InputRange(*(tuple(map(float, column)) for column in zip(*rows, strict=True)))
