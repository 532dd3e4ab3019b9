"""Arrays as rasters: the same blocks, and the same values, as of a file of the same pixels."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from geo_p2p.errors import RasterError
from geo_p2p.grid import overlap_of
from geo_p2p.predict.config import PredictConfig
from geo_p2p.predict.disagreement import explain
from geo_p2p.predict.model import Model
from geo_p2p.predict.plan import Job
from geo_p2p.predict.single import translate_blocks
from geo_p2p.raster import Bands, Frame, window_inside

__all__ = ["ArraySource", "Progress", "predict_values"]

Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class ArraySource:
    """An array with a mask and a place, to be read like a raster.

    Parameters
    ----------
    values : (bands, rows, cols).
    valid : (rows, cols).
    frame : where the pixels are.
    name : for messages.

    Raises
    ------
    RasterError
        If the shapes do not fit, or the values are no real numbers.
    """

    values: NDArray[Any]
    valid: NDArray[np.bool_]
    frame: Frame
    name: str = "array"
    paths: tuple[str, ...] = field(default=(), init=False)
    bands: None = field(default=None, init=False)
    method: str = field(default="none", init=False)

    def __post_init__(self) -> None:
        """Refuse what is no image; what is not finite is not valid."""
        shape = self.values.shape
        if self.values.ndim != 3 or 0 in shape:
            raise RasterError(f"{self.name}: of shape {shape}; give (bands, rows, cols)")
        if shape[1:] != self.valid.shape or shape[1:] != self.frame.shape:
            raise RasterError(
                f"{self.name}: {shape[1]} x {shape[2]} px, but a mask of {self.valid.shape} and a "
                f"frame of {self.frame.shape}; give the same rows and columns"
            )
        if self.values.dtype.kind not in "iuf":
            raise RasterError(f"{self.name}: holds {self.values.dtype}; give integers or floats")
        if self.values.dtype.kind == "f":
            finite = np.isfinite(self.values).all(0)
            object.__setattr__(self, "valid", self.valid & finite)

    @property
    def info(self) -> Bands:
        """What the bands hold."""
        return Bands(len(self.values), self.values.dtype.name)

    def warped(self, frame: Frame) -> "ArraySource":
        """Refuse another lattice: arrays are taken as they are.

        Raises
        ------
        RasterError
            For any lattice but its own.
        """
        if frame.same_lattice(self.frame):
            return self
        raise RasterError(f"{self.name}: an array is not warped; warp it first, or name a file")

    def read(self, window: Window | None = None) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Return values and mask of a window, px of the frame; the whole if None."""
        at = window_inside(self.name, self.frame, window).toslices()
        return self.values[:, *at], self.valid[at]


def predict_values(
    model: Model, source: ArraySource, config: PredictConfig, progress: Progress | None = None
) -> tuple[NDArray[Any], NDArray[np.bool_], Job]:
    """Translate an array by the blocks that a file of it would have.

    Returns
    -------
    values : (bands, rows, cols) in the output's type; its nodata value where invalid, if it has
        one.
    valid : (rows, cols).
    job : how it was done.
    """
    job = Job.of(model, source, config)
    explain(job.model, job.disagreement)
    window, bands = job.window, job.bands
    empty = 0 if bands.nodata is None else bands.nodata
    values = np.full((bands.count, window.height, window.width), empty, bands.dtype)
    valid = np.zeros((window.height, window.width), bool)
    done, total = 0, sum(map(job.pixels, job.blocks))
    for block, (made, known, _) in translate_blocks(job, job.blocks):
        at = overlap_of(window, job.core(block))
        values[:, *at], valid[at] = made, known
        done += job.pixels(block)
        if progress is not None:
            progress(done, total)
    if bands.nodata is not None:
        values[:, ~valid] = bands.nodata
    return values, valid, job
