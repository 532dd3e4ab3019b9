"""Images of values: L1, RMSE, PSNR, SSIM, MS-SSIM, HP-L1, SAM and ERGAS."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from ..errors import GeoP2PError
from .common import LIBRARY, NOTHING, Core, Mask, checked, inside
from .spectra import angles, ergas
from .structure import (
    K1,
    K2,
    RADIUS,
    SIGMA,
    WEIGHTS,
    Floats,
    multi_scale,
    similarity_sums,
    whole_windows,
)

_LAPLACIAN = np.array([[0, -1, 0], [-1, 4, -1], [0, -1, 0]], dtype=np.float64)
_MADE = {
    "window": f"gaussian {2 * RADIUS + 1}, sigma {SIGMA}",
    "ssim": f"K1 {K1}, K2 {K2}, weighted covariance, wholly valid windows only",
    "ms_ssim": f"weights {', '.join(map(str, WEIGHTS))}, those of fewer scales scaled to sum 1; "
    "means of 2x2 pixels; scale means below 0 are 0",
    "hp_l1": "3x3 Laplacian (0 -1 0; -1 4 -1; 0 -1 0), zero padding, on [-1, 1]",
    "sam": "mean angle in degrees, spectra of norm 0 left out",
    "ergas": "100 h/l sqrt(mean over bands of (RMSE / mean of the truth)^2), h/l = 1",
}


@dataclass(frozen=True)
class _Sums:
    """What is summed over windows; sums of two parts of an image add up to those of the whole."""

    pixels: int
    bands: Floats  # (bands, 4): |error|, error^2, |high-pass error|, truth
    windows: NDArray[np.int64]  # (scales,)
    similarity: Floats  # (bands, 2, scales): SSIM, contrast-structure
    angle: float  # degrees
    angles: int

    def __add__(self, other: Self) -> Self:
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return type(self)(*(one + two for one, two in pairs))


class ImageScores:
    """L1, RMSE, PSNR, SSIM, MS-SSIM, HP-L1, SAM and ERGAS of a predicted image against its truth.

    Parameters
    ----------
    data_range
        Span of the values a band can take, in data units: one number a band, or one number for
        all bands. PSNR, SSIM, MS-SSIM and HP-L1 are comparable only at the same range: take it
        from the training targets (or the unit's own span), never from the images compared.

    Raises
    ------
    GeoP2PError
        If a range is not positive and finite.

    Notes
    -----
    arcgis.learn calls 10 log10(1 / MAE) "PSNR" and computes SSIM with the constants of range 1 on
    data in [-1, 1]. These are the published definitions, so the numbers differ from its own.

    References
    ----------
    Wang, Bovik, Sheikh, Simoncelli, "Image quality assessment: from error visibility to
    structural similarity", IEEE Transactions on Image Processing 13(4), 2004.

    Wang, Simoncelli, Bovik, "Multiscale structural similarity for image quality assessment",
    Asilomar Conference on Signals, Systems and Computers, 2003.

    Examples
    --------
    >>> truth = np.zeros((1, 16, 16), dtype=np.uint8)
    >>> scores = ImageScores(255)
    >>> scores.update(truth + 1, truth, np.ones((16, 16), dtype=bool))
    >>> round(scores.result()["psnr"], 2)
    48.13
    """

    MEASURES = ("l1", "rmse", "psnr", "ssim", "ms_ssim", "hp_l1", "sam", "ergas")
    """Those of one number for an image, by their names in the result."""

    def __init__(self, data_range: float | Sequence[float]) -> None:
        self._ranges = np.asarray(data_range, dtype=np.float64)
        usable = np.isfinite(self._ranges) & (self._ranges > 0)
        if self._ranges.ndim > 1 or self._ranges.size == 0 or not usable.all():
            raise GeoP2PError(f"data_range: {data_range} is not one positive number a band")
        self._bands = self._ranges.size if self._ranges.ndim else None
        self._sums: _Sums | None = None

    def blank(self) -> Self:
        """Return an accumulator of the same ranges that has counted nothing."""
        return type(self)(self._ranges.tolist())

    def add(self, other: Self) -> None:
        """Count all that another accumulator of the same ranges has counted.

        Raises
        ------
        GeoP2PError
            If its bands are others. Nothing is counted then.
        """
        if other._sums is None:
            return
        self._require_bands(len(other._sums.bands))
        self._bands = len(other._sums.bands)
        self._sums = other._sums if self._sums is None else self._sums + other._sums

    def _require_bands(self, bands: int) -> None:
        if bands != (self._bands or bands):
            raise GeoP2PError(f"images of {bands} bands, {self._bands} expected")

    def update(
        self, predicted: ArrayLike, truth: ArrayLike, valid: ArrayLike, core: Core | None = None
    ) -> None:
        """Count the pixels of one window.

        Parameters
        ----------
        predicted, truth
            Shape (bands, rows, cols), any real type, in data units.
        valid
            Shape (rows, cols), True where both images hold a value. What lies elsewhere, NaN
            included, has no influence.
        core
            Row slice and column slice of the pixels to count; the rest is context for the
            windowed measures. Default: all. The edge of the arrays is taken for the edge of the
            image, so give `CONTEXT` pixels wherever the image goes on, and begin the core and the
            arrays at multiples of `STEP`.

        Raises
        ------
        GeoP2PError
            If the shapes do not agree, the bands are not those of `data_range` or of the windows
            before, or a valid pixel is not finite. Nothing is counted then.
        """
        predicted, truth, valid = checked(predicted, truth, valid)
        self._require_bands(len(truth))
        p, t = _filled(predicted, valid), _filled(truth, valid)
        self._bands = len(truth)
        counted = inside(valid, core)
        if counted.any():
            ranges = np.broadcast_to(self._ranges, (self._bands,)).tolist()
            sums = _sums_of(p, t, ranges, counted, whole_windows(valid, core))
            self._sums = sums if self._sums is None else self._sums + sums

    def result(self) -> dict[str, Any]:
        """Return the measures over all windows so far, as plain JSON data.

        Returns
        -------
        dict
            ``l1``, ``rmse``
                Data units. L1 is the mean over bands, RMSE the root of the mean square over bands.
            ``psnr``
                dB, from the mean over bands of the squared error over the squared range. **None**
                for identical images: infinity is not JSON.
            ``ssim``
                At most 1, mean over bands. **None** where no 11 x 11 window was wholly valid.
            ``ms_ssim``
                0 to 1, mean over bands: contrast and structure at up to five scales, each half as
                fine as the one before. **None** as for `ssim`.
            ``hp_l1``
                Mean absolute 3 x 3 Laplacian of the difference of the images scaled to [-1, 1];
                invalid pixels differ by zero.
            ``sam``
                Degrees, mean over the pixels where neither spectrum is 0 in all bands. **None**
                for images of one band, which have no spectra, and where no pixel is left.
            ``ergas``
                Percent. **None** where the truth of a band has the mean 0.
            ``data_range``, ``pixels``, ``bands``, ``made``
                One range a band; pixels counted; l1 to hp_l1 as lists, one number a band; how the
                numbers were made.
            ``ssim_pixels``, ``ms_ssim_scales``, ``sam_pixels``
                Windows counted for SSIM; scales of MS-SSIM that have a window, fewer than five
                where the image or its valid parts are smaller than 176 pixels; pixels counted for
                SAM.

        Raises
        ------
        GeoP2PError
            If no valid pixel was counted.
        """
        sums = self._sums
        if sums is None:
            raise GeoP2PError(NOTHING)
        l1, mse, hp_l1, means = (sums.bands / sums.pixels).T
        ranges = np.broadcast_to(self._ranges, l1.shape)
        noise = mse / ranges**2
        ssim = sums.similarity[:, 0, 0] / (sums.windows[0] or math.nan)
        ms_ssim = multi_scale(sums.similarity, sums.windows)
        per_band = (l1, np.sqrt(mse), _decibels(noise), ssim, ms_ssim, hp_l1)
        whole = (
            *(l1.mean(), np.sqrt(mse.mean()), _decibels(noise.mean())),
            *(ssim.mean(), ms_ssim.mean(), hp_l1.mean()),
            *(sums.angle / (sums.angles or math.nan), ergas(mse, means)),
        )
        names = self.MEASURES
        return {
            **{name: _plain(value) for name, value in zip(names, whole, strict=True)},
            "data_range": ranges.tolist(),
            "pixels": sums.pixels,
            "ssim_pixels": int(sums.windows[0]),
            "ms_ssim_scales": int(np.count_nonzero(sums.windows)),
            "sam_pixels": sums.angles,
            "bands": {
                name: [_plain(value) for value in each]
                for name, each in zip(names[: len(per_band)], per_band, strict=True)
            },
            "made": {"library": LIBRARY, **_MADE},
        }


def _filled(image: NDArray[Any], valid: Mask) -> Floats:
    """Return `image` as float64, 0 where invalid, so that NaN there cannot spread."""
    filled: Floats = np.where(valid, image, 0).astype(np.float64)
    if not np.isfinite(filled).all():
        raise GeoP2PError("a pixel called valid is NaN or infinite: take it out of the mask first")
    return filled


def _sums_of(
    p: Floats, t: Floats, ranges: Sequence[float], counted: Mask, scales: list[Mask]
) -> _Sums:
    """Return the sums over one window; ``scales`` are those of `whole_windows`."""
    windows = np.zeros(len(WEIGHTS), dtype=np.int64)
    windows[: len(scales)] = [whole.sum() for whole in scales]
    turned = angles(p[:, counted], t[:, counted]) if len(t) > 1 else np.zeros(0)
    bands = list(zip(p, t, ranges, strict=True))
    return _Sums(
        pixels=int(counted.sum()),
        bands=np.array([_band_sums(*band, counted) for band in bands]),
        windows=windows,
        similarity=np.array([similarity_sums(*band, scales) for band in bands]),
        angle=float(turned.sum()),
        angles=len(turned),
    )


def _band_sums(p: Floats, t: Floats, span: float, counted: Mask) -> list[float]:
    """Return the sums over one band of |error|, error^2, |high-pass error| and truth."""
    difference = p - t
    high_pass = ndimage.correlate(difference * (2 / span), _LAPLACIAN, mode="constant", cval=0.0)
    error = difference[counted]
    return [
        float(np.abs(error).sum()),
        float(np.square(error).sum()),
        float(np.abs(high_pass[counted]).sum()),
        float(t[counted].sum()),
    ]


def _decibels(noise: Any) -> Any:
    """Return the PSNR of squared errors over squared ranges; infinite where there is no error."""
    with np.errstate(divide="ignore"):
        return -10 * np.log10(noise)


def _plain(value: Any) -> float | None:
    """Return a number JSON can hold: None for infinity (PSNR) and for no pixels (SSIM)."""
    return float(value) if math.isfinite(value) else None
