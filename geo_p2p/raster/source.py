"""Read rasters: values with a mask, warped onto another lattice if asked."""

import os
import threading
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import ColorInterp, Resampling
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window

from ..errors import AlignmentError, RasterError
from .bands import Bands, read_bands
from .frame import Frame, frame_of

__all__ = ["RESAMPLINGS", "RasterSource"]

RESAMPLINGS = ("auto", "nearest", "bilinear", "cubic", "average", "mode", "lanczos")
"""Names of resampling methods; "auto" decides by what the raster holds and how fine it is."""

TOLERANCE = 1e-3
"""Largest error of the warp's coordinate transformation, px of the source."""

# Changing the warning filters is not thread-safe, and neither are some drivers' open calls.
_opening = threading.Lock()


@dataclass(frozen=True)
class RasterSource:
    """A raster to read from, by any process and any thread.

    Handles are opened late, one per process and thread, and are not pickled.

    Parameters
    ----------
    paths : one path or several; several co-registered files stack as bands.
    bands : band numbers to read, from 1, counted through all files; None for every band that is
        not an alpha band. An alpha band is a mask, not a band.
    like : frame to warp onto; None keeps the raster's own.
    resampling : one of `RESAMPLINGS`. "auto": nearest for class rasters and where the lattices
        coincide, average where the raster is more than twice as fine, bilinear otherwise.

    Raises
    ------
    RasterError
        For a file that is missing, damaged, complex, without CRS or transform, a container of
        subdatasets (they are listed), or a band that does not exist.
    AlignmentError
        If stacked files lie on different lattices (and ``like`` does not bring them together), or
        the raster shares no ground with ``like``.

    Notes
    -----
    A source placed by ground control points or RPCs is warped to its own CRS first, and lies on
    that lattice from then on: see `warped_to_map`.
    """

    paths: tuple[str, ...]
    bands: tuple[int, ...] | None = None
    like: Frame | None = None
    resampling: str = "auto"

    def __init__(
        self,
        paths: str | Path | Iterable[str | Path],
        bands: Sequence[int] | None = None,
        like: Frame | None = None,
        resampling: str = "auto",
    ) -> None:
        """Take the description and check it against the files."""
        several = [paths] if isinstance(paths, str | Path) else paths
        object.__setattr__(self, "paths", tuple(os.fspath(path) for path in several))
        object.__setattr__(self, "bands", None if bands is None else tuple(bands))
        object.__setattr__(self, "like", like)
        object.__setattr__(self, "resampling", resampling)
        if resampling not in RESAMPLINGS:
            raise RasterError(f"resampling {resampling!r}: choose one of {', '.join(RESAMPLINGS)}")
        if not self.paths:
            raise RasterError("no raster named: give at least one path")
        first, *others = self._layers
        for layer in others:
            first.frame.require_same(layer.frame, first.path, layer.path)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the description without the handles."""
        return RasterSource, (self.paths, self.bands, self.like, self.resampling)

    @property
    def name(self) -> str:
        """The paths, for messages."""
        return ", ".join(self.paths)

    @cached_property
    def frame(self) -> Frame:
        """Where the pixels are."""
        return self._layers[0].frame

    @cached_property
    def info(self) -> Bands:
        """What the bands hold."""
        parts = [layer.info for layer in self._layers]
        if len(parts) == 1:
            return parts[0]
        return Bands(
            count=sum(part.count for part in parts),
            dtype=np.result_type(*(part.dtype for part in parts)).name,
            nodata=parts[0].nodata,
            names=tuple(name for part in parts for name in part.names),
            units=tuple(unit for part in parts for unit in part.units),
            interp=tuple(i for part in parts for i in part.interp),
        )

    @property
    def count(self) -> int:
        """Number of bands read."""
        return self.info.count

    @property
    def dtype(self) -> str:
        """Numpy name of the type of the values."""
        return self.info.dtype

    @cached_property
    def warped_to_map(self) -> bool:
        """Whether control points or RPCs placed it, so that its lattice is a warped one."""
        return any(layer.warped_to_map for layer in self._layers)

    @cached_property
    def method(self) -> str:
        """The resampling in force on the way to ``like``; "none" where there is no warp."""
        return self._layers[0].method

    def read(self, window: Window | None = None) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Read a window.

        Parameters
        ----------
        window : px of the frame, inside it; the whole if None.

        Returns
        -------
        values : (bands, rows, cols) in the raster's own type and unit.
        valid : (rows, cols), True where every band has a value. For 8-bit colour, nodata is a
            colour: a pixel is invalid where all three bands hold it.

        Raises
        ------
        RasterError
            If the file cannot be read there.
        """
        window = self.frame.window if window is None else window
        parts = [layer.read(window) for layer in self._layers]
        if len(parts) == 1:
            return parts[0]
        values = np.concatenate([part[0] for part in parts], dtype=self.dtype)
        return values, np.logical_and.reduce([part[1] for part in parts])

    @property
    def _layers(self) -> "list[Layer]":
        """The opened files of this process and thread."""
        handles = self._handles
        if getattr(handles, "process", None) != os.getpid():
            handles.layers = self._open()
            handles.process = os.getpid()
        layers: list[Layer] = handles.layers
        return layers

    @cached_property
    def _handles(self) -> threading.local:
        return threading.local()

    def _open(self) -> "list[Layer]":
        """Open every file with the share of the band numbers that falls to it."""
        layers, before = [], 0
        wanted = None if self.bands is None else set(self.bands)
        for path in self.paths:
            dataset = open_dataset(path)
            own = range(before + 1, before + dataset.count + 1)
            picked = None if self.bands is None else [b - before for b in self.bands if b in own]
            before += dataset.count
            if wanted is not None:
                wanted -= set(own)
            if picked != []:
                layers.append(Layer(path, dataset, picked, self.like, self.resampling))
        if wanted or not layers:
            raise RasterError(
                f"{self.name}: no band {', '.join(map(str, sorted(wanted or [0])))}; "
                f"it has {before}, counted from 1"
            )
        return layers


class Layer:
    """One opened file of a `RasterSource`."""

    def __init__(
        self,
        path: str,
        dataset: Any,
        picked: list[int] | None,
        like: Frame | None,
        resampling: str,
    ) -> None:
        self.path = path
        self.method = "none"
        self.alpha = _alpha_band(dataset)
        indexes = [i for i in dataset.indexes if i != self.alpha] if picked is None else picked
        if not indexes:
            raise RasterError(f"{path}: holds nothing but an alpha band")
        if self.alpha in indexes:
            raise RasterError(
                f"{path}: band {self.alpha} is the alpha band, which is a mask and not a band; "
                f"choose from the others"
            )
        self.indexes = tuple(indexes)
        self.info = read_bands(dataset, self.indexes)
        # In 8-bit colour a single channel at the nodata value is ordinary: only the colour is not.
        self.colour = self.info.dtype == "uint8" and set(self.info.interp) == {
            "red",
            "green",
            "blue",
        }
        dataset, self.warped_to_map = _placed(path, dataset, self._warp_options(dataset))
        self.frame = frame_of(path, dataset.height, dataset.width, dataset.transform, dataset.crs)
        if like is not None and not self.frame.same_lattice(like):
            dataset = self._warped(dataset, like, resampling)
            self.frame = like
        self.dataset = dataset
        self.alpha = _alpha_band(dataset)

    def _warped(self, dataset: Any, like: Frame, resampling: str) -> Any:
        """Put the dataset onto another lattice, with one scale for all windows."""
        if not self.frame.overlaps(like):
            raise AlignmentError(
                f"{self.path} ({self.frame}) shares no ground with the raster it should be paired "
                f"with ({like}): check that both show the same place"
            )
        spans = self.frame.scale_to(like)
        self.method = resampling
        if resampling == "auto":
            finer = "average" if max(spans) > 2 else "bilinear"
            self.method = "nearest" if self.info.categorical else finer
        try:
            return WarpedVRT(
                dataset,
                crs=like.crs,
                transform=like.transform,
                height=like.height,
                width=like.width,
                resampling=Resampling[self.method],
                tolerance=TOLERANCE,
                # Fixed, because GDAL would derive it from each window and windows would disagree.
                XSCALE=repr(1 / spans[0]),
                YSCALE=repr(1 / spans[1]),
                **self._warp_options(dataset),
            )
        except RasterioError as error:
            raise AlignmentError(f"{self.path}: cannot be warped onto {like} ({error})") from error

    def _warp_options(self, dataset: Any) -> dict[str, Any]:
        """How a warp tells valid from invalid pixels; any other choice lets invalid ones through."""
        options: dict[str, Any] = {"UNIFIED_SRC_NODATA": "YES" if self.colour else "NO"}
        if _alpha_band(dataset) is not None or dataset.nodata is not None:
            return options
        if np.dtype(self.info.dtype).kind == "f" and not _has_mask(dataset):
            return {**options, "src_nodata": np.nan, "nodata": np.nan}
        return {**options, "add_alpha": True}

    def read(self, window: Window) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Values and mask of a window: see `RasterSource.read`."""
        indexes = list(self.indexes)
        try:
            values = self.dataset.read(indexes, window=window)
            valid = np.ones(values.shape[1:], bool)
            if self.info.nodata is not None or self.alpha is None:
                masks = self.dataset.read_masks(indexes, window=window) > 0
                valid = masks.any(0) if self.colour else masks.all(0)
            if self.alpha is not None:
                valid &= self.dataset.read(self.alpha, window=window) > 0
        except RasterioError as error:
            raise RasterError(
                f"{self.path}: cannot be read at row {window.row_off}, column {window.col_off} "
                f"({_reason(error)}); the file is damaged or incomplete"
            ) from error
        if values.dtype.kind == "f":
            valid &= np.isfinite(values).all(0)
        return values, valid


def open_dataset(path: str) -> Any:
    """Open a raster for reading, or refuse it by name.

    Raises
    ------
    RasterError
        If it is missing, not a raster, complex, or a container of subdatasets (they are listed).
    """
    try:
        with _opening, warnings.catch_warnings():
            # A raster without a place is refused by name in `frame_of`, not warned of.
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            dataset = rasterio.open(path)
    except RasterioError as error:
        if "://" not in path and not path.startswith("/vsi") and not Path(path).exists():
            raise RasterError(f"{path}: no such file") from error
        raise RasterError(f"{path}: not a raster that can be opened ({_reason(error)})") from error
    if dataset.subdatasets:
        raise RasterError(
            f"{path}: a container of {len(dataset.subdatasets)} subdatasets; "
            f"name one of them: {', '.join(dataset.subdatasets)}"
        )
    if any("complex" in dtype for dtype in dataset.dtypes):
        raise RasterError(
            f"{path}: holds complex numbers, which have no order to scale by; "
            "convert to amplitude or phase first"
        )
    return dataset


def _placed(path: str, dataset: Any, options: dict[str, Any]) -> tuple[Any, bool]:
    """Give a dataset that control points or RPCs place a lattice of its own."""
    points, crs = dataset.gcps
    if dataset.crs or not (points and crs) and not dataset.rpcs:
        return dataset, False
    # RPCs lead to longitude and latitude on WGS 84 (RPC00B, STDI-0002 vol. 1, app. E).
    src_crs = crs if points and crs else "EPSG:4326"
    try:
        return WarpedVRT(
            dataset,
            src_crs=src_crs,
            crs=src_crs,
            resampling=Resampling.bilinear,
            tolerance=TOLERANCE,
            **options,
        ), True
    except RasterioError as error:
        raise RasterError(
            f"{path}: its control points or RPCs do not place it ({_reason(error)})"
        ) from error


def _alpha_band(dataset: Any) -> int | None:
    """Number of the alpha band, from 1, or None."""
    for index, interp in zip(dataset.indexes, dataset.colorinterp, strict=True):
        if interp is ColorInterp.alpha:
            return int(index)
    return None


def _has_mask(dataset: Any) -> bool:
    """Whether the file carries a mask of its own, internal or beside it."""
    return any("per_dataset" in {flag.name for flag in flags} for flags in dataset.mask_flag_enums)


def _reason(error: BaseException) -> str:
    """GDAL's own words, on one line and without the path in front."""
    cause = error.__cause__ or error
    text = " ".join(str(cause).split())
    return (
        text.removeprefix("Read failed. See previous exception for details.").strip()
        or "unreadable"
    )
