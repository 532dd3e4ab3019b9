"""Write a GeoTIFF by windows; it appears under its name only when it is whole."""

import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import ColorInterp
from rasterio.errors import RasterioError
from rasterio.windows import Window

from ..errors import RasterError
from .bands import Bands
from .frame import Frame

__all__ = ["CHIP", "RASTER", "RasterSink", "discard", "partial_path", "publish", "refuse_to_clobber"]

RASTER: Mapping[str, Any] = {"compress": "deflate", "side": 512, "predict": True}
"""Creation profile of rasters and blocks: 512 px tiles, deflate with a predictor."""

CHIP: Mapping[str, Any] = {"compress": "lzw", "side": 128, "predict": False}
"""Creation profile of chips, as ArcGIS Pro writes them: 128 px tiles, LZW, no predictor."""


class RasterSink:
    """A georeferenced GeoTIFF to write window by window, as a context manager.

    The file is written beside its place and moved there when the block ends without an error;
    after an error nothing is left.

    Parameters
    ----------
    path : where the file shall appear.
    frame : where its pixels are.
    bands : what they hold. Without a nodata value, invalid pixels go into an internal mask.
    overwrite : whether to replace a file of that name.
    profile : creation profile, `RASTER` or `CHIP`.
    tags : metadata items of the file.

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
        profile: Mapping[str, Any] = RASTER,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        self.path = Path(path)
        self.frame = frame
        self.bands = bands
        self._tags = dict(tags or {})
        refuse_to_clobber(self.path, overwrite)
        self._partial = partial_path(self.path)
        self._written: list[Window] = []
        self._masked = False
        with translated(self.path):
            self._dataset = rasterio.open(self._partial, "w", **self._creation(profile))
            self._describe()

    def _creation(self, profile: Mapping[str, Any]) -> dict[str, Any]:
        """GDAL's creation options for this frame, these bands and a profile."""
        frame, bands = self.frame, self.bands
        predictor = {"f": 3, "i": 2, "u": 2}[np.dtype(bands.dtype).kind]
        colour = bands.interp[:3] == ("red", "green", "blue")
        side = min(profile["side"], max(16, -(-max(frame.shape) // 16) * 16))
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
            "compress": profile["compress"],
            "predictor": predictor if profile["predict"] and not bands.colors else 1,
            "photometric": "rgb" if colour else "palette" if bands.colors else "minisblack",
            "interleave": "pixel",
            "bigtiff": "if_safer",
        }

    def _describe(self) -> None:
        """Write names, units, colours and tags."""
        bands, dataset = self.bands, self._dataset
        if any(bands.names):
            dataset.descriptions = tuple(name or None for name in bands.names)
        if any(bands.units):
            dataset.units = tuple(bands.units)
        if bands.scales or bands.offsets:
            dataset.scales, dataset.offsets = bands.scales, bands.offsets
        if bands.colors:
            dataset.write_colormap(1, dict(bands.colors))
        elif bands.interp:
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
        """
        window = self.frame.window if window is None else window
        hole = valid is not None and not valid.all()
        if hole and self.bands.nodata is not None:
            values = np.where(valid, values, np.asarray(self.bands.nodata).astype(values.dtype))
        with translated(self.path), rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
            self._dataset.write(values, window=window)
            if self.bands.nodata is None and (hole or self._masked):
                self._write_mask(window, valid)
        self._written.append(window)

    def _write_mask(self, window: Window, valid: NDArray[np.bool_] | None) -> None:
        """Write a window of the mask; a new mask first learns what was valid so far."""
        before = [] if self._masked else self._written
        self._masked = True
        for earlier in before:
            self._dataset.write_mask(True, window=earlier)
        self._dataset.write_mask(True if valid is None else valid, window=window)

    def __enter__(self) -> Self:
        """Return the sink itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Publish the file, or leave nothing after an error."""
        try:
            with translated(self.path), rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
                self._dataset.close()
                if kind is None:
                    publish(self._partial, self.path)
        finally:
            discard(self._partial)


class translated:
    """Turn GDAL's and the system's errors while writing ``path`` into `RasterError`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None:
        """Nothing to prepare."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Translate."""
        if isinstance(error, RasterioError | OSError):
            reason = " ".join(str(error.__cause__ or error).split())
            raise RasterError(
                f"{self.path}: cannot be written ({reason}); check the folder and the space left"
            ) from error


def refuse_to_clobber(path: Path, overwrite: bool) -> None:
    """Refuse a place that is taken, or whose folder does not exist.

    Raises
    ------
    RasterError
        Naming the path and what to do.
    """
    if path.exists() and not overwrite:
        raise RasterError(f"{path}: exists already; choose another name or say overwrite")
    if path.is_dir():
        raise RasterError(f"{path}: is a folder; name a file")
    if not path.absolute().parent.is_dir():
        raise RasterError(f"{path}: its folder does not exist; make it first")


def partial_path(path: Path) -> Path:
    """Where a file is written until it is whole: beside its place, one name a process."""
    return path.with_name(f".{path.name}.{os.getpid()}.part")


def publish(partial: Path, path: Path) -> None:
    """Move a finished file to its place, with the side-car GDAL may have written."""
    side = Path(f"{partial}.aux.xml")
    target = Path(f"{path}.aux.xml")
    if side.exists():
        side.replace(target)
    else:
        # A side-car of the file that stood here before would describe the new one wrongly.
        target.unlink(missing_ok=True)
    partial.replace(path)


def discard(partial: Path) -> None:
    """Remove an unfinished file and what GDAL may have put beside it."""
    for leftover in (partial, Path(f"{partial}.aux.xml"), Path(f"{partial}.msk")):
        leftover.unlink(missing_ok=True)
