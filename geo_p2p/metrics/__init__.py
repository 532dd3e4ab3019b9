"""Masked, streaming image measures, in the units of the data.

Two accumulators, one for values and one for classes, compare with the truth. Each is fed windows
of a raster and gives the numbers of the whole raster, so memory follows the window and not the
raster::

    scores = ImageScores(data_range=255.0)
    for window, core in windows:  # the core, and 80 pixels around it
        scores.update(predicted, truth, valid, core)
    scores.result()

Windows whose cores partition the raster give the numbers of the whole raster, to rounding:

- L1, RMSE, PSNR, SAM, ERGAS, and all of classes: always. They are ratios and roots of sums over
  pixels, taken when all is summed.
- HP-L1 and SSIM look at a pixel's neighbours: with 1 and 5 pixels around each core (fewer only
  where the raster ends). Without them SSIM leaves out a frame of every window.
- MS-SSIM looks at 5 pixels of its coarsest scale, 16 as wide: with `CONTEXT` pixels around each
  core, cores and windows beginning at multiples of `STEP`. It is the product of the means over the
  whole raster, not a mean of products.

`ChipScores` feeds either with chips, each an image of its own, and tells how they spread. `fid`
compares the features of two sets of images, by a network that is the user's.

`SeamRatio` needs no truth: it is fed the pixels along the lines between blocks, and lines beside
them.
"""

from .chips import ChipScores
from .classes import ClassScores
from .frechet import FeatureMoments, fid
from .seams import SeamRatio
from .structure import CONTEXT, STEP
from .values import ImageScores

__all__ = [
    "CONTEXT",
    "STEP",
    "ChipScores",
    "ClassScores",
    "FeatureMoments",
    "ImageScores",
    "SeamRatio",
    "fid",
]
