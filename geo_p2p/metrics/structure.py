"""SSIM and MS-SSIM: their sums over the windows that are wholly valid."""

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from .common import Core, Mask, inside

Floats: TypeAlias = NDArray[np.float64]

WEIGHTS = np.array([0.0448, 0.2856, 0.3001, 0.2363, 0.1333])
"""Exponents of the scales of MS-SSIM, finest first (Wang et al. 2003, section 3.2)."""

RADIUS = 5
"""Pixels that a window of SSIM reaches beyond its own, at each scale."""

STEP = 2 ** (len(WEIGHTS) - 1)
"""Side of a pixel of the coarsest scale, px: where windows begin at multiples of it, coarse
pixels are those of the whole image."""

CONTEXT = RADIUS * STEP
"""Pixels a window must be read beyond its core for streaming to equal the whole."""

SIGMA, K1, K2 = 1.5, 0.01, 0.03


def whole_windows(valid: Mask, core: Core | None) -> list[Mask]:
    """Return, scale by scale, which pixels of the core have a wholly valid 11 x 11 window.

    Outside the array nothing is valid. A coarse pixel is valid where its four finer ones are, and
    in the core where the first of them is, so that cores which partition the image partition the
    coarse pixels too. The list ends before the first scale without a window.
    """
    scales: list[Mask] = []
    inner = inside(np.ones_like(valid), core)
    for _ in WEIGHTS:
        around = ndimage.minimum_filter(
            valid.astype(np.uint8), size=2 * RADIUS + 1, mode="constant", cval=0
        )
        whole = np.asarray(around, dtype=bool) & inner
        if not whole.any():
            break
        scales.append(whole)
        valid = np.asarray(_quads(valid).all(axis=(1, 3)))
        inner = _quads(inner)[:, 0, :, 0]
    return scales


def similarity_sums(p: Floats, t: Floats, span: float, scales: list[Mask]) -> Floats:
    """Return the sums over one band of SSIM and of contrast-structure, a column a scale.

    Parameters
    ----------
    p, t
        Shape (rows, cols), data units; what lies at invalid pixels has no influence.
    span
        The band's range, data units.
    scales
        From `whole_windows`.
    """
    sums = np.zeros((2, len(WEIGHTS)))
    for index, whole in enumerate(scales):
        sums[:, index] = _sums_at_one_scale(p, t, span, whole)
        p, t = (_quads(image).mean(axis=(1, 3)) for image in (p, t))
    return sums


def multi_scale(sums: Floats, windows: NDArray[np.int64]) -> Floats:
    """Return the MS-SSIM of each band from sums over the whole image; NaN without a window.

    Parameters
    ----------
    sums
        Shape (bands, 2, scales), of `similarity_sums`.
    windows
        Shape (scales,), how many were summed. Scales without any are left out, and the weights
        of the others scaled to the sum of 1.
    """
    used = int(np.count_nonzero(windows))
    if not used:
        return np.full(len(sums), np.nan)
    means = sums[:, :, :used] / windows[:used]
    # Luminance counts at the coarsest scale only. A mean below 0 has no real power.
    terms = np.concatenate([means[:, 1, :-1], means[:, 0, -1:]], axis=1).clip(min=0)
    # All five as published, though they sum to 1.0001: numbers compare with those of others.
    weights = WEIGHTS if used == len(WEIGHTS) else WEIGHTS[:used] / WEIGHTS[:used].sum()
    product: Floats = np.prod(terms**weights, axis=1)
    return product


def _quads(image: NDArray[Any]) -> NDArray[Any]:
    """Return (rows / 2, 2, cols / 2, 2): the pixels two by two, without an odd last row or column.

    One scale further every pixel is the mean of four.
    """
    rows, cols = image.shape[0] // 2, image.shape[1] // 2
    return image[: 2 * rows, : 2 * cols].reshape(rows, 2, cols, 2)


def _sums_at_one_scale(p: Floats, t: Floats, span: float, whole: Mask) -> tuple[float, float]:
    """Return the sums of SSIM and of contrast-structure over the pixels in `whole`."""
    # E[x^2] - E[x]^2 loses every digit when the values are far from 0 (heights, DN with an
    # offset). Variances do not feel a shift, so they are measured around the mean of the truth.
    shift = float(t[whole].mean())
    p, t = p - shift, t - shift
    mean_p, mean_t = _smooth(p, whole), _smooth(t, whole)
    variances = _smooth(p * p, whole) - mean_p**2 + _smooth(t * t, whole) - mean_t**2
    covariance = _smooth(p * t, whole) - mean_p * mean_t
    c1, c2 = (K1 * span) ** 2, (K2 * span) ** 2
    mean_p, mean_t = mean_p + shift, mean_t + shift
    luminance: Floats = (2 * mean_p * mean_t + c1) / (mean_p**2 + mean_t**2 + c1)
    structure = (2 * covariance + c2) / (variances + c2)
    return float((luminance * structure).sum()), float(structure.sum())


def _smooth(image: Floats, where: Mask) -> Floats:
    """Return the gaussian-weighted means over 11 x 11 pixels, at the pixels in `where`."""
    smooth: Floats = ndimage.gaussian_filter(image, SIGMA, radius=RADIUS, mode="constant")
    return smooth[where]
