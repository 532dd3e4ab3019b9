"""Images of values: L1, RMSE, PSNR, SSIM and HP-L1."""

import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from ..errors import GeoP2PError
from .common import LIBRARY, NOTHING, Core, Mask, checked, inside

CONTEXT = 5
"""Pixels a window must be read beyond its core for streaming to equal the whole."""

Floats: TypeAlias = NDArray[np.float64]

_WINDOW = 2 * CONTEXT + 1
_SIGMA, _K1, _K2 = 1.5, 0.01, 0.03
_LAPLACIAN = np.array([[0, -1, 0], [-1, 4, -1], [0, -1, 0]], dtype=np.float64)
_NAMES = ("l1", "rmse", "psnr", "ssim", "hp_l1")
_MADE = {
    "window": f"gaussian {_WINDOW}, sigma {_SIGMA}",
    "ssim": f"K1 {_K1}, K2 {_K2}, weighted covariance, wholly valid windows only",
    "hp_l1": "3x3 Laplacian (0 -1 0; -1 4 -1; 0 -1 0), zero padding, on [-1, 1]",
}


class ImageScores:
    """L1, RMSE, PSNR, SSIM and HP-L1 of a predicted image against its truth.

    Parameters
    ----------
    data_range
        Span of the values a band can take, in data units: one number a band, or one number for
        all bands. PSNR, SSIM and HP-L1 are comparable only at the same range: take it from the
        training targets (or the unit's own span), never from the images compared.

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

    Examples
    --------
    >>> truth = np.zeros((1, 16, 16), dtype=np.uint8)
    >>> scores = ImageScores(255)
    >>> scores.update(truth + 1, truth, np.ones((16, 16), dtype=bool))
    >>> round(scores.result()["psnr"], 2)
    48.13
    """

    def __init__(self, data_range: float | Sequence[float]) -> None:
        self._ranges = np.asarray(data_range, dtype=np.float64)
        usable = np.isfinite(self._ranges) & (self._ranges > 0)
        if self._ranges.ndim > 1 or self._ranges.size == 0 or not usable.all():
            raise GeoP2PError(f"data_range: {data_range} is not one positive number a band")
        self._bands = self._ranges.size if self._ranges.ndim else None
        self._sums: Floats | float = 0.0  # rows: |error|, error^2, ssim, hp; one column a band
        self._pixels = self._windows = 0

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
            image, so give `CONTEXT` pixels wherever the image goes on.

        Raises
        ------
        GeoP2PError
            If the shapes do not agree, the bands are not those of `data_range` or of the windows
            before, or a valid pixel is not finite. Nothing is counted then.
        """
        predicted, truth, valid = checked(predicted, truth, valid)
        if len(truth) != (self._bands or len(truth)):
            raise GeoP2PError(f"images of {len(truth)} bands, {self._bands} expected")
        images = [_filled(image, valid) for image in (predicted, truth)]
        self._bands = len(truth)
        counted, whole = inside(valid, core), inside(_whole_windows(valid), core)
        if counted.any():
            ranges = np.broadcast_to(self._ranges, (self._bands,)).tolist()
            bands = zip(*images, ranges, strict=True)
            self._sums += np.transpose([_band_sums(p, t, r, counted, whole) for p, t, r in bands])
            self._pixels += int(counted.sum())
            self._windows += int(whole.sum())

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
            ``hp_l1``
                Mean absolute 3 x 3 Laplacian of the difference of the images scaled to [-1, 1];
                invalid pixels differ by zero.
            ``data_range``, ``pixels``, ``ssim_pixels``, ``bands``, ``made``
                One range a band; pixels counted, and windows counted for SSIM; each measure as a
                list, one number a band; how the numbers were made.

        Raises
        ------
        GeoP2PError
            If no valid pixel was counted.
        """
        if not isinstance(self._sums, np.ndarray):
            raise GeoP2PError(NOTHING)
        windows = self._windows or math.nan
        counts = np.array([[self._pixels], [self._pixels], [windows], [self._pixels]])
        l1, mse, ssim, hp_l1 = self._sums / counts
        ranges = np.broadcast_to(self._ranges, l1.shape)
        noise = mse / ranges**2
        bands = (l1, np.sqrt(mse), _decibels(noise), ssim, hp_l1)
        means = (l1.mean(), np.sqrt(mse.mean()), _decibels(noise.mean()), ssim.mean(), hp_l1.mean())
        return {
            **{name: _plain(value) for name, value in zip(_NAMES, means, strict=True)},
            "data_range": ranges.tolist(),
            "pixels": self._pixels,
            "ssim_pixels": self._windows,
            "bands": {n: [_plain(v) for v in each] for n, each in zip(_NAMES, bands, strict=True)},
            "made": {"library": LIBRARY, **_MADE},
        }


def _filled(image: NDArray[Any], valid: Mask) -> Floats:
    """Return `image` as float64, 0 where invalid, so that NaN there cannot spread."""
    filled: Floats = np.where(valid, image, 0).astype(np.float64)
    if not np.isfinite(filled).all():
        raise GeoP2PError("a pixel called valid is NaN or infinite: take it out of the mask first")
    return filled


def _whole_windows(valid: Mask) -> Mask:
    """Return True where all of the 11 x 11 window is valid; outside the array nothing is."""
    whole = ndimage.minimum_filter(valid.astype(np.uint8), size=_WINDOW, mode="constant", cval=0)
    return np.asarray(whole, dtype=bool)


def _band_sums(p: Floats, t: Floats, span: float, counted: Mask, whole: Mask) -> list[float]:
    """Return the sums over one band of |error|, error^2, ssim and |high-pass error|."""
    difference = p - t
    high_pass = ndimage.correlate(difference * (2 / span), _LAPLACIAN, mode="constant", cval=0.0)
    error = difference[counted]
    return [
        float(np.abs(error).sum()),
        float(np.square(error).sum()),
        float(_ssim(p, t, span, whole).sum()),
        float(np.abs(high_pass[counted]).sum()),
    ]


def _ssim(p: Floats, t: Floats, span: float, whole: Mask) -> Floats:
    """Return the SSIM of the pixels in `whole`."""
    if not whole.any():
        return np.zeros(0)
    # E[x^2] - E[x]^2 loses every digit when the values are far from 0 (heights, DN with an
    # offset). Variances do not feel a shift, so they are measured around the mean of the truth.
    shift = float(t[whole].mean())
    p, t = p - shift, t - shift
    mean_p, mean_t = _smooth(p, whole), _smooth(t, whole)
    variances = _smooth(p * p, whole) - mean_p**2 + _smooth(t * t, whole) - mean_t**2
    covariance = _smooth(p * t, whole) - mean_p * mean_t
    c1, c2 = (_K1 * span) ** 2, (_K2 * span) ** 2
    mean_p, mean_t = mean_p + shift, mean_t + shift
    luminance: Floats = (2 * mean_p * mean_t + c1) / (mean_p**2 + mean_t**2 + c1)
    return luminance * (2 * covariance + c2) / (variances + c2)


def _smooth(image: Floats, where: Mask) -> Floats:
    """Return the gaussian-weighted means over 11 x 11 pixels, at the pixels in `where`."""
    smooth: Floats = ndimage.gaussian_filter(image, _SIGMA, radius=CONTEXT, mode="constant")
    return smooth[where]


def _decibels(noise: Any) -> Any:
    """Return the PSNR of squared errors over squared ranges; infinite where there is no error."""
    with np.errstate(divide="ignore"):
        return -10 * np.log10(noise)


def _plain(value: Any) -> float | None:
    """Return a number JSON can hold: None for infinity (PSNR) and for no pixels (SSIM)."""
    return float(value) if math.isfinite(value) else None
