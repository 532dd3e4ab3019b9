"""Pictures: image files that need no place on Earth, read whole."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.warp import reproject

from .bands import Bands
from .frame import PIXELS, Frame, frame_of
from .layer import Layer, open_dataset

__all__ = ["UNKNOWN", "PlainImage", "resample"]

UNKNOWN = CRS.from_wkt('LOCAL_CS["unknown",UNIT["unknown",1]]')
"""Of pictures with a world file but no CRS: they lie side by side, nobody knows where on Earth."""

WHOLE = 0.999
"""Least valid share of a resampled pixel, 0-1; the rest is a float's rounding."""


class _Picture(Layer):
    """A layer that takes its file as it is, and finds it a frame in any case."""

    def __init__(self, path: str, dataset: Any, crs: CRS | None) -> None:
        self._crs = crs
        super().__init__(path, dataset, None, None, "auto")

    def _placed(self, dataset: Any, resampling: str) -> tuple[Any, bool]:
        return dataset, False

    def _own_frame(self) -> Frame:
        src = self.dataset
        if src.transform.is_identity:
            return Frame.of_pixels(src.height, src.width)
        crs = src.crs or self._crs or UNKNOWN
        return frame_of(self.path, src.height, src.width, src.transform, crs)


@dataclass(frozen=True)
class PlainImage:
    """A small image file, with or without a place on Earth.

    No handle is kept: it is opened for its description, and again to be read. Nothing is written
    beside it.

    Parameters
    ----------
    path : any format GDAL reads: PNG, JPEG, TIFF ... World files, internal and external masks
        (``.msk``) and alpha bands count as they do for `RasterSource`.
    crs : what the coordinates of its world file are in, if the file itself does not tell.

    Raises
    ------
    RasterError
        For a file that is missing, damaged, complex or a container.
    """

    path: str
    crs: CRS | None = None

    @cached_property
    def _described(self) -> tuple[Frame, Bands]:
        with open_dataset(self.path) as dataset:
            layer = _Picture(self.path, dataset, self.crs)
            return layer.frame, layer.info

    @property
    def frame(self) -> Frame:
        """Where the pixels are; in `PIXELS` where the file does not say."""
        return self._described[0]

    @property
    def info(self) -> Bands:
        """What the bands hold."""
        return self._described[1]

    def read(self) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Return values (bands, rows, cols) in the file's own type, and valid (rows, cols).

        Raises
        ------
        RasterError
            If the file cannot be read.
        """
        with open_dataset(self.path) as dataset:
            layer = _Picture(self.path, dataset, self.crs)
            # What is open now need not be opened again to be described.
            self.__dict__.setdefault("_described", (layer.frame, layer.info))
            return layer.read(layer.frame.window)


def resample(
    values: NDArray[Any], valid: NDArray[np.bool_], shape: tuple[int, int], method: str = "auto"
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Resample an image to another number of pixels of the same ground.

    Parameters
    ----------
    values : (bands, rows, cols), any type of real numbers.
    valid : (rows, cols).
    shape : rows and columns wanted, px.
    method : one of `RESAMPLINGS`; "auto": average where the image shrinks, else bilinear.

    Returns
    -------
    values : (bands, *shape), in the type they had.
    valid : ``shape``; a pixel that an invalid one has a part in is invalid.
    """
    if valid.shape == shape:
        return values, valid
    shrinks = shape[0] < valid.shape[0] or shape[1] < valid.shape[1]
    smooth = "average" if shrinks else "bilinear"
    chosen = smooth if method == "auto" else method
    # A blend is as valid as all of its parts; what is copied is as valid as it was.
    mask = _resampled(valid[None].astype(np.float32), shape, chosen)[0] > WHOLE
    return _resampled(values, shape, chosen), mask


def _resampled(values: NDArray[Any], shape: tuple[int, int], method: str) -> NDArray[Any]:
    """Let GDAL's warp resample between two lattices of the same ground."""
    out = np.zeros((len(values), *shape), values.dtype)
    scale = Affine.scale(values.shape[2] / shape[1], values.shape[1] / shape[0])
    # GDAL takes a transform of unit pixels at (0, 0) for none at all.
    ground = Affine(1, 0, 1, 0, -1, 0)
    reproject(
        values,
        out,
        src_transform=ground,
        src_crs=PIXELS,
        dst_transform=ground * scale,
        dst_crs=PIXELS,
        resampling=Resampling[method],
    )
    return out
