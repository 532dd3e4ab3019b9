"""By how much one image lies beside another: phase correlation of where their edges run.

Two images of one place seldom share brightness, but their edges run the same way. An edge is kept
as its strength and the double of its direction, a complex number: the double, because a roof may
be brighter or darker than the street, which turns the gradient by 180 degrees and its double by
360. Cross spectra are whitened halfway (divided by the root of their strength): wholly whitened
they drown in the noise of frequencies that only one image has, not at all whitened their peaks are
blunt.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

__all__ = ["Peak", "cross_spectrum", "edges", "highest", "peak_of", "spectrum"]

SIGMA = 1.0
"""Px: scale of the gradient; finer is noise, coarser blunts the peak."""

REACH = 5
"""Px around invalid pixels in which the gradient would see them."""

TAPER = 16
"""Px over which edges fade in beside invalid pixels, so that their outline is no edge itself."""

CLASSES = 8
"""Most frequent classes of a block whose outlines count."""

CONTENT = 0.01
"""Least share of pixels with an edge of a tenth of the strongest one's strength, 0-1."""

WHITENING = 0.5
"""Power of its strength by which a cross spectrum is divided; 1 would be phase only."""

LOBE = 8
"""Px around a peak that belong to it: what is higher than chance there is no other peak."""

STEP = 0.1
"""Px to which a peak is found."""

Spectrum = NDArray[np.complex64]


class Peak(NamedTuple):
    """The highest point of a correlation.

    Parameters
    ----------
    shift : (columns, rows) by which the second image lies further right and down, px.
    height : in standard deviations of the correlation.
    second : height of the next peak, a lobe away; where it is as high the shift is ambiguous.
    """

    shift: tuple[float, float]
    height: float
    second: float


def edges(
    values: NDArray[Any], valid: NDArray[np.bool_], categorical: bool
) -> NDArray[np.complex64] | None:
    """Edges of a square image: their strength and doubled direction, faded out at the border.

    Parameters
    ----------
    values : (bands, n, n), any unit: each band counts by its own spread, the strongest gradient
        of all bands at each pixel.
    valid : (n, n); what is invalid has no edges and makes none.
    categorical : whether the values are class numbers, which differ or do not.

    Returns
    -------
    (n, n); None where there is nothing to hold on to.
    """
    weight = _weight(valid)
    if not weight.any():
        return None
    strongest = np.zeros(valid.shape, np.complex64)
    for layer in _layers(values, valid, categorical):
        across, down = (
            ndimage.gaussian_filter(layer, SIGMA, order, mode="nearest")
            for order in ((0, 1), (1, 0))
        )
        gradient = across + 1j * down
        strongest = np.where(np.abs(gradient) > np.abs(strongest), gradient, strongest)
    strongest[weight == 0] = 0
    strength = np.abs(strongest)
    if (strength > strength.max() / 10).mean() < CONTENT:
        return None
    doubled = strongest**2 / np.maximum(strength, np.finfo(np.float32).tiny)
    return (doubled * weight).astype(np.complex64)


def _layers(
    values: NDArray[Any], valid: NDArray[np.bool_], categorical: bool
) -> list[NDArray[np.float32]]:
    """What gradients are taken of: bands of spread 1, or one image of 0 and 1 for each class."""
    if categorical:
        kinds, counts = np.unique(values[0][valid], return_counts=True)
        frequent = kinds[np.argsort(-counts, kind="stable")[:CLASSES]]
        return [((values[0] == kind) & valid).astype(np.float32) for kind in frequent]
    layers = []
    for band in values:
        pixels = band[valid].astype(np.float64)
        spread = pixels.std() or 1.0
        filled = np.where(valid, band, pixels.mean())
        layers.append(((filled - pixels.mean()) / spread).astype(np.float32))
    return layers


def _weight(valid: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Hann's window, and 0 wherever an invalid pixel is within reach."""
    hann = np.hanning(len(valid) + 2)[1:-1]
    weight = np.outer(hann, hann)
    if not valid.all():
        away = ndimage.distance_transform_edt(valid)
        weight *= np.clip((away - REACH) / TAPER, 0, 1)
    return weight.astype(np.float32)


def spectrum(image: NDArray[np.complex64]) -> Spectrum:
    """Fourier transform of an image of edges, whitened halfway."""
    transformed: Spectrum = fft.fft2(image)
    strength = np.maximum(np.abs(transformed), np.finfo(np.float32).tiny)
    transformed *= strength**-WHITENING
    return transformed


def cross_spectrum(first: Spectrum, second: Spectrum) -> Spectrum:
    """Cross spectrum of two images; its correlation has standard deviation 1."""
    cross = second * first.conj()
    # Parseval: the mean square of the correlation, without computing it.
    parts = cross.view(np.float32).ravel()
    power = float(np.einsum("i,i", parts, parts, dtype=np.float64))
    cross *= np.float32(cross.size / max(power, 1e-30) ** 0.5)
    return cross


def highest(cross: Spectrum, reach: int) -> float:
    """Height of the correlation's highest point within ``reach`` px either way."""
    return float(_correlation(cross, reach).max())


def peak_of(cross: Spectrum, reach: int) -> Peak:
    """Find the highest point of a correlation, to a tenth of a pixel.

    Parameters
    ----------
    cross : sum of cross spectra, (n, n).
    reach : longest shift along either axis, px, under n / 2.

    References
    ----------
    Guizar-Sicairos et al. 2008, "Efficient subpixel image registration algorithms",
    https://doi.org/10.1364/OL.33.000156
    """
    surface = _correlation(cross, reach)
    row, col = np.unravel_index(surface.argmax(), surface.shape)
    rows, cols = np.indices(surface.shape)
    elsewhere = np.maximum(np.abs(rows - row), np.abs(cols - col)) > LOBE
    fine = np.arange(-10, 11) * STEP
    # The Fourier transform in its matrix form, at a few positions between the pixels.
    turns = [
        np.exp(2j * np.pi * np.outer(at - reach + fine, fft.fftfreq(n))).astype(np.complex64)
        for at, n in zip((row, col), cross.shape, strict=True)
    ]
    # Not by BLAS, which calls all cores together for it, and waits for those that are busy.
    across = np.einsum("kj,ij->ki", turns[1], cross)
    around: NDArray[np.float32] = np.einsum("ri,ki->rk", turns[0], across).real
    down, right = np.unravel_index(around.argmax(), around.shape)
    shift = round(col - reach + fine[right], 1), round(row - reach + fine[down], 1)
    return Peak(shift, float(surface[row, col]), float(surface[elsewhere].max()))


def _correlation(cross: Spectrum, reach: int) -> NDArray[np.float32]:
    """Correlation for shifts of up to ``reach`` px; no shift is in the middle."""
    surface = fft.fftshift(fft.ifft2(cross).real)
    middle = [slice(n // 2 - reach, n // 2 + reach + 1) for n in surface.shape]
    near: NDArray[np.float32] = surface[*middle]
    return near
