"""Between raster units and what a network sees."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ..errors import ModelError

__all__ = ["FILL", "Category", "Scaling"]

FILL = 0.0
"""What an invalid pixel is in scaled space: the middle of [-1, 1], in x, y and G(x) alike."""

PERCENTILES = (0.1, 99.9)
"""Robust ends of the range of types wider than 8 bits, in percent of the valid pixels."""

SAMPLE = 4_000_000
"""Most values a band's percentiles are taken from; beyond it every n-th is."""


@dataclass(frozen=True)
class Category:
    """One class of a class raster.

    ``value`` is its number in the raster, ``share`` its part of the valid training pixels, 0-1.
    """

    value: int
    name: str
    color: tuple[int, int, int, int]
    share: float


@dataclass(frozen=True)
class Scaling:
    """The one mapping between a raster's values and [-1, 1], or between class numbers and channels.

    Training and prediction both use it, and nothing else scales.

    Parameters
    ----------
    dtype : numpy name of the raster's type.
    low, high : per band, the values that become -1 and 1; values outside are clipped.
    nodata : the raster's nodata value, which `inverse` never gives a valid pixel.
    names, units, interp : per band, as `geo_p2p.raster.Bands` has them; or empty.
    scales, offsets : unit = value * scale + offset, per band, carried along; or empty.
    classes : for a class raster, its classes; then low and high are empty and there is one band.
    """

    dtype: str
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    nodata: float | None = None
    names: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    interp: tuple[str, ...] = ()
    scales: tuple[float, ...] = ()
    offsets: tuple[float, ...] = ()
    classes: tuple[Category, ...] = ()

    def __post_init__(self) -> None:
        """Refuse ranges that are empty or do not match."""
        if self.classes:
            return
        if not self.low or len(self.low) != len(self.high):
            raise ModelError(f"scaling needs one low and one high a band, not {self}")
        if any(not h > low for low, h in zip(self.low, self.high, strict=True)):
            raise ModelError(f"scaling needs high > low in every band, not {self.low} {self.high}")

    @property
    def count(self) -> int:
        """Bands of the raster."""
        return 1 if self.classes else len(self.low)

    @property
    def channels(self) -> int:
        """Channels a network sees: bands, or classes."""
        return len(self.classes) or len(self.low)

    @property
    def values(self) -> NDArray[np.int64]:
        """Class numbers in channel order; empty for continuous values."""
        return np.array([c.value for c in self.classes], np.int64)

    @property
    def data_range(self) -> tuple[float, ...]:
        """Width of each band's range, raster units: what PSNR and SSIM are measured against."""
        return tuple(h - low for low, h in zip(self.low, self.high, strict=True))

    def forward(self, values: NDArray[Any], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Scale raster values for a network.

        Parameters
        ----------
        values : (bands, rows, cols) in raster units.
        valid : (rows, cols).

        Returns
        -------
        (channels, rows, cols) in [-1, 1], invalid pixels `FILL`; for classes one-hot in {0, 1},
        where an invalid pixel and one of an unknown class are all zeros.
        """
        if self.classes:
            onehot = (values[0] == self.values[:, None, None]) & valid
            return onehot.astype(np.float32)
        low, high = self._ends()
        scaled = (values.astype(np.float64) - low) * (2 / (high - low)) - 1
        return np.where(valid, np.clip(scaled, -1, 1), FILL).astype(np.float32)

    def inverse(self, scaled: NDArray[Any]) -> NDArray[Any]:
        """Turn what a network gives into raster values.

        Parameters
        ----------
        scaled : (channels, rows, cols) in [-1, 1]; for classes scores of any range.

        Returns
        -------
        (bands, rows, cols) in the raster's type and unit: integers rounded, classes by the
        highest score, and never the nodata value (a value that would be moves by one quantum).
        """
        if self.classes:
            return self.values[scaled.argmax(0)].astype(self.dtype)[None]
        low, high = self._ends()
        values = (np.clip(scaled.astype(np.float64), -1, 1) + 1) * ((high - low) / 2) + low
        kind = np.dtype(self.dtype)
        if kind.kind in "iu":
            info = np.iinfo(kind)
            values = np.clip(np.rint(values), info.min, info.max)
        return self._clear_of_nodata(values.astype(kind))

    def _clear_of_nodata(self, values: NDArray[Any]) -> NDArray[Any]:
        """Move values that equal the declared nodata one quantum towards the range's middle."""
        if self.nodata is None or math.isnan(self.nodata):
            return values
        nodata = np.asarray(self.nodata).astype(values.dtype)
        clash = values == nodata
        if not clash.any():
            return values
        low, high = self._ends()
        up = (low + high) / 2 > self.nodata
        if values.dtype.kind == "f":
            neighbour = np.nextafter(nodata, np.where(up, np.inf, -np.inf).astype(values.dtype))
        else:
            neighbour = np.where(up, nodata + 1, nodata - 1).astype(values.dtype)
        return np.where(clash, neighbour, values)

    def _ends(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """``low`` and ``high`` shaped to broadcast over (bands, rows, cols)."""
        return np.array(self.low)[:, None, None], np.array(self.high)[:, None, None]

    def to_json(self) -> dict[str, Any]:
        """Plain data for JSON; NaN nodata as "nan", which JSON has no number for."""
        plain = asdict(self)
        if self.nodata is not None and math.isnan(self.nodata):
            plain["nodata"] = "nan"
        return plain

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Self:
        """Read what `to_json` gave.

        Raises
        ------
        ModelError
            If keys are missing or unknown.
        """
        try:
            fields = {k: tuple(v) if isinstance(v, list) else v for k, v in plain.items()}
            fields["classes"] = tuple(
                Category(**{**c, "color": tuple(c["color"])}) for c in plain["classes"]
            )
            if fields["nodata"] is not None:
                fields["nodata"] = float(fields["nodata"])
            return cls(**fields)
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(f"not a scaling this version reads ({error})") from error


def range_of(dtype: str, samples: list[NDArray[Any]]) -> tuple[float, float]:
    """Choose the range of one band from its valid training pixels.

    The full range of 8-bit types, whose values already are a display range; robust percentiles of
    wider types, which one hot pixel would flatten otherwise.

    Parameters
    ----------
    dtype : numpy name of the type.
    samples : arrays of valid values, raster units.

    Returns
    -------
    low, high : raster units, low < high.
    """
    kind = np.dtype(dtype)
    if kind.itemsize == 1:
        info = np.iinfo(kind)
        return float(info.min), float(info.max)
    total = sum(s.size for s in samples)
    if not total:
        raise ModelError("no valid training pixel to scale by")
    step = -(-total // SAMPLE)
    pooled = np.concatenate([s.ravel() for s in samples])[::step].astype(np.float64)
    low, high = np.percentile(pooled, PERCENTILES)
    if high > low:
        return float(low), float(high)
    return float(low), float(low) + 1.0
