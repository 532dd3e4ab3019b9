"""Masked, streaming image measures, in the units of the data.

Two accumulators, one for values and one for classes. Each is fed windows of a raster and gives
the numbers of the whole raster, so memory follows the window and not the raster::

    scores = ImageScores(data_range=255.0)
    for window, core in windows:  # the core, and 5 pixels around it
        scores.update(predicted, truth, valid, core)
    scores.result()

Windowed measures look at a pixel's neighbours. Windows whose cores partition the raster, read
with `CONTEXT` pixels around each core (fewer only where the raster ends), give the numbers of the
whole raster to rounding. Without that context SSIM leaves out a frame of every window.
"""

from .classes import ClassScores
from .values import CONTEXT, ImageScores

__all__ = ["CONTEXT", "ClassScores", "ImageScores"]
