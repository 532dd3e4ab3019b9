"""What the accumulators share: checked arrays, the core of a window, who made the numbers."""

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import __version__
from ..errors import GeoP2PError

Core: TypeAlias = tuple[slice, slice]
Mask: TypeAlias = NDArray[np.bool_]

LIBRARY = f"geo_p2p {__version__}"
NOTHING = "no valid pixel to score: prediction and truth share no valid ground"


def checked(
    predicted: ArrayLike, truth: ArrayLike, valid: ArrayLike
) -> tuple[NDArray[Any], NDArray[Any], Mask]:
    """Return the three as arrays, or say how their shapes disagree."""
    p, t, mask = np.asarray(predicted), np.asarray(truth), np.asarray(valid, dtype=bool)
    if p.ndim != 3 or p.shape != t.shape or p.shape[1:] != mask.shape:
        raise GeoP2PError(
            "predicted and truth must be (bands, rows, cols) alike, valid (rows, cols): "
            f"got {p.shape}, {t.shape} and {mask.shape}"
        )
    return p, t, mask


def inside(mask: Mask, core: Core | None) -> Mask:
    """Return `mask`, False outside the core."""
    kept = np.zeros_like(mask)
    where = core or (slice(None), slice(None))
    kept[where] = mask[where]
    return kept
