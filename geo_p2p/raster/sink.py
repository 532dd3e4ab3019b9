"""Write a GeoTIFF by windows; it appears under its name only when it is whole."""

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import ColorInterp
from rasterio.windows import Window

from ..errors import RasterError
from .bands import Bands, fits
from .files import (
    Reports,
    discard,
    open_quietly,
    partial_path,
    publish,
    refuse_to_clobber,
    translated,
)
from .frame import Frame

__all__ = ["RasterSink"]

SIDE = 512
"""Side of the tiles inside the file, px, unless the raster is smaller."""


class RasterSink:
    """A georeferenced GeoTIFF to write window by window, as a context manager.

    The file is written beside its place and moved there when the block ends without an error;
    after an error nothing is left. GeoTIFF has no place for class names, nor for the palette of a
    type other than uint8 and uint16: they are not written.

    Parameters
    ----------
    path : where the file shall appear.
    frame : where its pixels are.
    bands : what they hold. Without a nodata value, invalid pixels go into an internal mask.
    overwrite : whether to replace a file of that name.
    tags : metadata items of the file.
    options : creation options of GDAL's GTiff driver, in capitals, over the defaults.

    Raises
    ------
    RasterError
        If the file exists, its folder does not, or it cannot be written.
    """

    def __init__(
        self,
        path: str | Path,
        frame: Frame,
        bands: Bands,
        *,
        overwrite: bool = False,
        tags: Mapping[str, str] | None = None,
        options: Mapping[str, str] | None = None,
    ) -> None:
        self.path = Path(path)
        self.frame = frame
        self.bands = bands
        self._tags = dict(tags or {})
        self._options = {name.lower(): value for name, value in (options or {}).items()}
        refuse_to_clobber(self.path, overwrite)
        self._partial = partial_path(self.path)
        self._written: list[Window] = []
        self._masked = False
        self._dataset: Any = None

    def __enter__(self) -> Self:
        """Create the file beside its place."""
        # What a killed process of the same number left would be in the way.
        discard(self._partial)
        try:
            with translated(self.path):
                self._dataset = open_quietly(str(self._partial), "w", **self._creation())
                self._describe()
        except BaseException:
            self._abandon()
            raise
        return self

    def _creation(self) -> dict[str, Any]:
        """GDAL's creation options: tiles, and deflate with a predictor."""
        frame, bands = self.frame, self.bands
        if bands.nodata is not None and not fits(bands.nodata, bands.dtype):
            raise RasterError(
                f"{self.path}: nodata {bands.nodata:g} is no {bands.dtype}; choose another"
            )
        predictor = {"f": 3, "i": 2, "u": 2}[np.dtype(bands.dtype).kind]
        colour = bands.interp[:3] == ("red", "green", "blue")
        side = min(SIDE, max(16, -(-max(frame.shape) // 16) * 16))
        return {
            "driver": "GTiff",
            "height": frame.height,
            "width": frame.width,
            "count": bands.count,
            "dtype": bands.dtype,
            "nodata": bands.nodata,
            "crs": frame.crs,
            "transform": frame.transform,
            "tiled": True,
            "blockxsize": side,
            "blockysize": side,
            "compress": "deflate",
            "predictor": 1 if bands.palette else predictor,
            "photometric": "rgb" if colour else "palette" if bands.palette else "minisblack",
            "interleave": "pixel",
            "bigtiff": "if_safer",
            **self._options,
        }

    def _describe(self) -> None:
        """Write names, units, colours and tags."""
        bands, dataset = self.bands, self._dataset
        if any(bands.names):
            dataset.descriptions = tuple(name or None for name in bands.names)
        if any(bands.units):
            dataset.units = tuple(bands.units)
        if bands.scales:
            dataset.scales = bands.scales
        if bands.offsets:
            dataset.offsets = bands.offsets
        if bands.palette:
            dataset.write_colormap(1, bands.palette)
        elif bands.interp and bands.interp != ("palette",):
            dataset.colorinterp = [ColorInterp[name] for name in bands.interp]
        dataset.update_tags(**self._tags)

    def write(
        self,
        values: NDArray[Any],
        window: Window | None = None,
        valid: NDArray[np.bool_] | None = None,
    ) -> None:
        """Write a window.

        Parameters
        ----------
        values : (bands, rows, cols) in the type of the bands.
        window : px, inside the frame; the whole if None.
        valid : (rows, cols); invalid pixels become nodata, or masked. All valid if None.

        Notes
        -----
        Pixels that no window covers hold the nodata value; without one they are masked where
        the file has a mask, and 0 where it has none.
        """
        window = self.frame.window if window is None else window
        hole = valid is not None and not valid.all()
        if hole and self.bands.nodata is not None:
            nodata = np.asarray(self.bands.nodata).astype(values.dtype)
            values = np.where(np.asarray(valid), values, nodata)
        with translated(self.path), rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
            self._dataset.write(values, window=window)
            if self.bands.nodata is None and (hole or self._masked):
                self._write_mask(window, valid)
        self._written.append(window)

    def _write_mask(self, window: Window, valid: NDArray[np.bool_] | None) -> None:
        """Write a window of the mask; a new mask first learns what was valid so far."""
        before = [] if self._masked else self._written
        self._masked = True
        # Arrays, because rasterio's write_mask(True, window) fills the whole mask.
        for earlier in before:
            shape = earlier.height, earlier.width
            self._dataset.write_mask(np.ones(shape, bool), window=earlier)
        everywhere = np.ones((window.height, window.width), bool)
        self._dataset.write_mask(everywhere if valid is None else valid, window=window)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Publish the file, or leave nothing after an error."""
        try:
            if kind is None:
                with translated(self.path), rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
                    with Reports() as gdal:
                        self._dataset.close()
                    if gdal.errors:
                        raise OSError(gdal.errors[0])
                    publish(self._partial, self.path)
        finally:
            self._abandon()

    def _abandon(self) -> None:
        """Close what is still open and remove what was not published."""
        if self._dataset is not None:
            with rasterio.Env():  # what GDAL has to say of an abandoned file goes to the log
                self._dataset.close()
        discard(self._partial)
