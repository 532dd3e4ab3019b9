"""Measures of spectra: the angle between them, and the error relative to their level."""

import math
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]


def angles(p: Floats, t: Floats) -> Floats:
    """Return the angle between two spectra, degrees, of every pixel where both have a direction.

    Parameters
    ----------
    p, t
        Shape (bands, pixels), data units.

    Notes
    -----
    Twice the arc tangent of |u - v| / |u + v|, u and v of length 1. The arc cosine of their
    product is the same on paper, and wrong by 1e-6 degrees where the spectra are alike.

    References
    ----------
    Kruse et al., "The spectral image processing system (SIPS)", Remote Sensing of Environment
    44, 1993.
    """
    norms = [np.sqrt(np.square(spectra).sum(axis=0)) for spectra in (p, t)]
    kept = (norms[0] > 0) & (norms[1] > 0)
    u, v = (each[:, kept] / norm[kept] for each, norm in zip((p, t), norms, strict=True))
    halves = np.arctan2(*(np.sqrt(np.square(each).sum(axis=0)) for each in (u - v, u + v)))
    degrees: Floats = np.degrees(2 * halves)
    return degrees


def ergas(mse: Floats, means: Floats) -> float:
    """Return the relative global error, percent; not finite where a band's mean is 0.

    Parameters
    ----------
    mse, means
        Shape (bands,): mean squared error, and mean of the truth, in data units.

    Notes
    -----
    100 h/l sqrt(mean over bands of (RMSE / mean)^2). The ratio h/l of the fine to the coarse
    pixel size of a fusion is 1 here: input and output of a translation share one lattice.

    References
    ----------
    Wald, "Quality of high resolution synthesised images: is there a simple criterion?", Fusion of
    Earth Data, 2000.
    """
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return 100 * math.sqrt(float(np.square(np.sqrt(mse) / means).mean()))
