"""Between raster units and what a network sees."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from geo_p2p.errors import ModelError

__all__ = ["FILL", "Category", "Scaling", "range_of"]

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

    Training and prediction both use it, and nothing else scales. Two scalings with the same fields
    are equal, also where nodata is NaN.

    Parameters
    ----------
    dtype : numpy name of the raster's type, integer or float.
    low, high : per band, the values that become -1 and 1; values outside are clipped.
    nodata : the raster's nodata value, which `inverse` never gives a valid pixel.
    names, units, interp : per band, as `geo_p2p.raster.Bands` has them; or empty.
    scales, offsets : unit = value * scale + offset, per band, carried along; or empty.
    classes : for a class raster, its classes; then low and high are empty and there is one band.

    Raises
    ------
    ModelError
        For a type that has no order, an empty or infinite range, or a class that is listed twice
        or is nodata.

    Notes
    -----
    Scaled space is float32, so ``inverse(forward(v))`` is off by at most
    ``(high - low) * 2**-26``, and by the last bit of a float type. For integers that is less than
    half a quantum, hence exact, as long as the range is narrower than 2**25: always for 8 and 16
    bits, which need 2**16.
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
        """Refuse what cannot scale."""
        if not _has_order(self.dtype):
            raise ModelError(f"scaling needs integers or floats, not {self.dtype!r}")
        if self.classes:
            self._check_classes()
        elif not self.low or len(self.low) != len(self.high):
            raise ModelError(f"scaling needs a low and a high a band, not {self.low} {self.high}")
        elif not all(0 < width < math.inf for width in self.data_range):
            raise ModelError(f"scaling needs high > low in every band, not {self.low} {self.high}")

    def _check_classes(self) -> None:
        numbers = [category.value for category in self.classes]
        if len(set(numbers)) < len(numbers):
            raise ModelError(f"classes are listed twice: {numbers}")
        if self.nodata in numbers:
            raise ModelError(f"class {self.nodata} is the nodata value: it cannot be both")

    def __eq__(self, other: object) -> bool:
        """Compare fields; the default would call NaN different from NaN."""
        if not isinstance(other, Scaling):
            return NotImplemented
        return self.to_json() == other.to_json()

    def __hash__(self) -> int:
        """Hash by what tells scalings apart and compares well."""
        return hash((self.dtype, self.low, self.high, self.classes))

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
            onehot: NDArray[np.bool_] = (values[0] == self.values[:, None, None]) & valid
            return onehot.astype(np.float32)
        low, high = self._ends()
        # Clipped before any arithmetic, which what lies at invalid pixels could overflow.
        scaled = (np.clip(values, low, high) - low) * (2 / (high - low)) - 1
        filled: NDArray[np.float32] = np.where(valid, scaled, FILL).astype(np.float32)
        return filled

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
        kind = np.dtype(self.dtype)
        if self.classes:
            numbers: NDArray[Any] = self.values[scaled.argmax(0)].astype(kind)[None]
            return numbers
        low, high = self._ends()
        values = (np.clip(scaled.astype(np.float64), -1, 1) + 1) * ((high - low) / 2) + low
        return self._clear_of_nodata(_as_type(values, kind))

    def _clear_of_nodata(self, values: NDArray[Any]) -> NDArray[Any]:
        """Move values that equal the declared nodata one quantum, towards the range's middle."""
        nodata = _representable(self.nodata, values.dtype)
        if nodata is None:
            return values
        clash = values == nodata
        if not clash.any():
            return values
        low, high = self._ends()
        up = (low + high) / 2 > float(nodata)
        if values.dtype.kind == "f":
            ends = np.where(up, np.inf, -np.inf).astype(values.dtype)
            return np.where(clash, np.nextafter(nodata, ends), values)
        info = np.iinfo(values.dtype)
        up = (up | (nodata == info.min)) & (nodata != info.max)
        above, below = min(int(nodata) + 1, info.max), max(int(nodata) - 1, info.min)
        neighbour = np.where(up, np.array(above, values.dtype), np.array(below, values.dtype))
        return np.where(clash, neighbour, values)

    def _ends(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """``low`` and ``high`` shaped to broadcast over (bands, rows, cols)."""
        low, high = (np.array(ends, np.float64)[:, None, None] for ends in (self.low, self.high))
        return low, high

    def to_json(self) -> dict[str, Any]:
        """Plain data for JSON; NaN and infinite nodata as text, which JSON has no number for."""
        plain = asdict(self)
        if self.nodata is not None and not math.isfinite(self.nodata):
            plain["nodata"] = str(self.nodata)
        return plain

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Self:
        """Read what `to_json` gave.

        Raises
        ------
        ModelError
            If keys are missing or unknown, or a value is impossible.
        """
        try:
            fields: dict[str, Any] = {
                key: tuple(value) if isinstance(value, list) else value
                for key, value in plain.items()
            }
            fields["classes"] = tuple(
                Category(**{**c, "color": tuple(c["color"])}) for c in plain["classes"]
            )
            if isinstance(fields["nodata"], str):
                fields["nodata"] = float(fields["nodata"])
            return cls(**fields)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ModelError(f"not a scaling this version reads ({error})") from error


def _has_order(dtype: str) -> bool:
    """Whether this names a type of real numbers."""
    try:
        return np.dtype(dtype).kind in "iuf"
    except TypeError:
        return False


def _as_type(values: NDArray[np.float64], kind: np.dtype[Any]) -> NDArray[Any]:
    """Round to a type, without leaving what it holds."""
    if kind.kind == "f":
        return values.astype(kind)
    info = np.iinfo(kind)
    # The largest 64-bit integers have no float64: the next one below has.
    highest = np.nextafter(float(info.max), 0) if kind.itemsize == 8 else info.max
    return np.clip(np.rint(values), info.min, highest).astype(kind)


def _representable(nodata: float | None, kind: np.dtype[Any]) -> Any:
    """``nodata`` as a number of a type; None if no value of the type can equal it."""
    if nodata is None or not math.isfinite(nodata):
        return None
    if kind.kind == "f":
        fits = abs(nodata) <= float(np.finfo(kind).max)
        return kind.type(nodata) if fits else None
    info = np.iinfo(kind)
    fits = nodata == int(nodata) and info.min <= nodata <= info.max
    return kind.type(int(nodata)) if fits else None


def range_of(dtype: str, samples: Sequence[NDArray[Any]]) -> tuple[float, float]:
    """Choose the range of one band from its valid training pixels.

    The full range of 8-bit types, whose values already are a display range; robust percentiles of
    wider types, which one hot pixel would flatten otherwise. Where these coincide, as in a band
    that is zero nearly everywhere, the extremes; and one unit where these do too.

    Parameters
    ----------
    dtype : numpy name of the type.
    samples : arrays of valid values, raster units.

    Returns
    -------
    low, high : raster units, low < high.

    Raises
    ------
    ModelError
        If there is no pixel.
    """
    kind = np.dtype(dtype)
    total = sum(sample.size for sample in samples)
    if not total:
        raise ModelError("no valid training pixel to scale by; check the chips' masks")
    if kind.itemsize == 1:
        info = np.iinfo(kind)
        return float(info.min), float(info.max)
    # An odd step, so that it does not keep to some columns of chips that are a power of two wide.
    step = -(-total // SAMPLE) // 2 * 2 + 1
    pooled = np.concatenate([sample.ravel()[::step] for sample in samples]).astype(np.float64)
    low, high = (float(end) for end in np.percentile(pooled, PERCENTILES))
    if not high > low:
        low = min(float(sample.min()) for sample in samples if sample.size)
        high = max(float(sample.max()) for sample in samples if sample.size)
    # Not a whole unit where floats are so large that one more changes nothing.
    return low, high if high > low else low + max(1.0, abs(low) * 1e-6)
