"""One opened file: its place, its bands, its mask, and the warp that puts it on a lattice."""

from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.enums import MaskFlags, Resampling
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window

from ..errors import AlignmentError, RasterError
from ..grid import intersection, overlap_of
from .bands import alpha_band, colour_bands, common_nodata, mask_bands, read_bands
from .cover import Cover
from .damage import carefully, require_complete
from .files import GDAL_ERRORS, one_line, open_quietly
from .frame import Frame, frame_of
from .ground import shift_between, turns_between

__all__ = ["Layer", "open_dataset"]

TOLERANCE = 1e-3
"""Largest error of the warp's coordinate transformation, px of the source."""

TWICE = 2.001
"""More than twice as fine: 5 m on 10 m is not, whatever rounding makes of it."""


class Layer:
    """One opened file of a `RasterSource`.

    Parameters
    ----------
    path : the file.
    dataset : it, opened.
    picked : band numbers, from 1; None for all that are no alpha band.
    like, resampling : see `RasterSource`.

    Raises
    ------
    RasterError
        Without a place on Earth, or if an alpha band is picked.
    AlignmentError
        If it cannot be brought onto ``like``.
    """

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
        self.shift: tuple[int, int] | None = None
        self.beyond: list[Any] = []  # the dataset again, from the other side of 180 degrees
        self.indexes = _checked(path, dataset, picked)
        self.info = read_bands(dataset, self.indexes)
        self.tags: dict[str, str] = dataset.tags()
        coloured = colour_bands(dataset)
        # In 8-bit colour a single channel at the nodata value is ordinary: only the colour is not.
        self.colour = bool(coloured)
        self.dataset, self.warped_to_map = self._placed(dataset, resampling)
        self.footprint = self.frame = self._own_frame()
        if like is not None and not self.frame.same_lattice(like):
            spans = self._spans(like)
            self.shift = shift_between(self.frame, like)
            options = self._turned(like)
            self.frame = like
            if self.shift is None:
                warped = [self._warped(like, spans, resampling, **each) for each in options]
                self.dataset, *self.beyond = warped
        self.cover = Cover(self.dataset, self.indexes)
        self.alpha = alpha_band(self.dataset)
        self.masks = mask_bands(self.dataset, coloured or self.indexes)

    def _placed(self, dataset: Any, resampling: str) -> tuple[Any, bool]:
        """Give a dataset that control points or RPCs place a lattice of its own."""
        points, crs = dataset.gcps
        extra: dict[str, Any] = {}
        if dataset.crs and not dataset.transform.is_identity:
            return dataset, False
        if not (points and crs):
            if not dataset.rpcs:
                return dataset, False
            # RPCs lead to longitude and latitude on WGS 84 (RPC00B, STDI-0002 vol. 1, app. E);
            # without a terrain model, the mean height of the scene is the best there is.
            crs, extra = CRS.from_epsg(4326), {"RPC_HEIGHT": repr(dataset.rpcs.height_off)}
        # Blends of class numbers are other classes, and who asks for nearest wants no blends.
        exact = self.info.categorical or resampling == "nearest"
        method = Resampling.nearest if exact else Resampling.bilinear
        options = {**self._warp_options(dataset), **extra}
        try:
            return WarpedVRT(
                dataset, src_crs=crs, crs=crs, resampling=method, tolerance=TOLERANCE, **options
            ), True
        except GDAL_ERRORS as error:
            raise RasterError(
                f"{self.path}: its control points or RPCs do not place it ({one_line(error)})"
            ) from error

    def _own_frame(self) -> Frame:
        """Where the pixels are before any warp onto ``like``."""
        placed = self.dataset
        return frame_of(self.path, placed.height, placed.width, placed.transform, placed.crs)

    def _warped(
        self, like: Frame, spans: tuple[float, float], resampling: str, **extra: Any
    ) -> Any:
        """Put the dataset onto another lattice, with one scale for all windows."""
        self.method = resampling
        if resampling == "auto":
            finer = "average" if max(spans) > TWICE else "bilinear"
            self.method = "nearest" if self.info.categorical else finer
        try:
            return WarpedVRT(
                self.dataset,
                crs=like.crs,
                transform=like.transform,
                height=like.height,
                width=like.width,
                resampling=Resampling[self.method],
                tolerance=TOLERANCE,
                # Fixed, because GDAL would derive it from each window and windows would disagree.
                XSCALE=repr(1 / spans[0]),
                YSCALE=repr(1 / spans[1]),
                **self._warp_options(self.dataset),
                **extra,
            )
        except GDAL_ERRORS as error:
            raise AlignmentError(
                f"{self.path}: cannot be warped onto {like} ({one_line(error)})"
            ) from error

    def _turned(self, like: Frame) -> list[dict[str, Any]]:
        """Options of a warp for each turn around the globe: it takes longitudes for -180 to 180."""
        turns = turns_between(self.frame, like)
        if turns == (0,):
            return [{}]
        place = self.dataset.transform
        return [
            # Where longitudes jump, a few samples of an edge would miss part of what is needed.
            {"src_transform": Affine.translation(-360 * turn, 0) * place, "SAMPLE_STEPS": "ALL"}
            for turn in turns
        ]

    def _spans(self, like: Frame) -> tuple[float, float]:
        """Pixels of this file that one pixel of ``like`` spans, where they share ground."""
        try:
            if self.frame.overlaps(like):
                return self.frame.scale_to(like)
        except AlignmentError as error:
            raise AlignmentError(f"{self.path}: {error}; assign another CRS to either") from error
        raise AlignmentError(
            f"{self.path} ({self.frame}) shares no ground with the raster it should be paired "
            f"with ({like}): check that both show the same place"
        )

    def _warp_options(self, dataset: Any) -> dict[str, Any]:
        """How a warp tells valid from invalid; any other choice lets invalid pixels through."""
        options: dict[str, Any] = {"UNIFIED_SRC_NODATA": "YES" if self.colour else "NO"}
        if alpha_band(dataset) is not None:
            return options
        flags = {flag for i in self.indexes for flag in dataset.mask_flag_enums[i - 1]}
        if MaskFlags.per_dataset in flags:
            # GDAL prefers a mask to a nodata value when it reads, but not when it warps.
            return {**options, "src_nodata": None, "nodata": None, "add_alpha": True}
        nodata = common_nodata([dataset.nodatavals[i - 1] for i in self.indexes], self.info.dtype)
        if nodata is not None and self.info.dtype in ("int64", "uint64"):
            # A warp to 64 bits writes the nodata value, but forgets to declare it.
            return {**options, "src_nodata": nodata, "nodata": None, "add_alpha": True}
        if nodata is not None:
            return {**options, "src_nodata": nodata, "nodata": nodata}
        if MaskFlags.nodata in flags:
            raise RasterError(
                f"{self.path}: its nodata values differ from band to band, or have more digits "
                "than a warp keeps; give all bands one value (rio edit-info --nodata)"
            )
        if np.dtype(self.info.dtype).kind == "f":
            return {**options, "src_nodata": np.nan, "nodata": np.nan}
        return {**options, "add_alpha": True}

    def read(self, window: Window) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Values and mask of a window: see `RasterSource.read`."""
        if self.shift is None:
            return self._read(window)
        # The same lattice from another corner needs no warp, which takes eight times as long.
        row, col = self.shift
        moved = Window(window.col_off + col, window.row_off + row, window.width, window.height)
        inside = intersection(moved, self.footprint.window)
        if inside == moved:
            return self._read(inside)
        shape = window.height, window.width
        values = np.full((self.info.count, *shape), self.info.nodata or 0, self.info.dtype)
        valid = np.zeros(shape, bool)
        if inside is not None:
            there = overlap_of(moved, inside)
            values[:, *there], valid[there] = self._read(inside)
        return values, valid

    def is_blank(self, window: Window) -> bool:
        """Whether it is sure, without reading, that no pixel of a window is valid."""
        plain = self.method == "none" and self.shift is None and not self.warped_to_map
        return plain and self.cover.is_blank(window)

    def _read(self, window: Window) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Values and mask of a window of the dataset."""
        try:
            with carefully():
                values = self._values(self.dataset, window)
                valid = self._valid(self.dataset, window)
                for dataset in self.beyond:
                    there = self._valid(dataset, window)
                    values = np.where(there, self._values(dataset, window), values)
                    valid |= there
        except GDAL_ERRORS as error:
            raise RasterError(
                f"{self.path}: cannot be read at row {window.row_off}, column {window.col_off} "
                f"({one_line(error)}); the file is damaged or incomplete"
            ) from error
        if values.dtype.kind == "f":
            valid &= np.isfinite(values).all(0)
        return values, valid

    def _valid(self, dataset: Any, window: Window) -> NDArray[np.bool_]:
        """What masks and the alpha band say of a window."""
        valid = np.ones((window.height, window.width), bool)
        if self.masks:
            masks = dataset.read_masks(list(self.masks), window=window) > 0
            valid = masks.any(0) if self.colour else masks.all(0)
        if self.alpha is not None:
            valid &= dataset.read(self.alpha, window=window) > 0
        return valid

    def _values(self, dataset: Any, window: Window) -> NDArray[Any]:
        """Values of a window, in one type that holds all bands."""
        indexes, dtype = list(self.indexes), self.info.dtype
        values: NDArray[Any]
        if len({dataset.dtypes[i - 1] for i in indexes}) == 1:
            values = dataset.read(indexes, window=window)
        else:  # rasterio reads bands of several types one by one only
            bands = [dataset.read(i, window=window, out_dtype=dtype) for i in indexes]
            values = np.stack(bands)
        return values


def open_dataset(path: str) -> Any:
    """Open a raster for reading, or refuse it by name.

    Raises
    ------
    RasterError
        If it is missing, not a raster, complex, or a container of subdatasets (they are listed).
    """
    try:
        with carefully():
            dataset = open_quietly(path)
    except GDAL_ERRORS as error:
        if "://" not in path and ":" not in path and not Path(path).exists():
            raise RasterError(f"{path}: no such file") from error
        raise RasterError(f"{path}: not a raster that can be opened ({one_line(error)})") from error
    try:
        _refuse_unusable(path, dataset)
    except RasterError:
        dataset.close()
        raise
    return dataset


def _refuse_unusable(path: str, dataset: Any) -> None:
    if dataset.subdatasets:
        raise RasterError(
            f"{path}: a container of {len(dataset.subdatasets)} subdatasets; "
            f"name one of them: {', '.join(dataset.subdatasets)}"
        )
    if not dataset.count:
        raise RasterError(f"{path}: holds no bands")
    try:
        require_complete(dataset)
    except OSError as error:
        raise RasterError(f"{path}: is damaged or incomplete ({error}); fetch it again") from error
    if any("complex" in dtype for dtype in dataset.dtypes):
        raise RasterError(
            f"{path}: holds complex numbers, which have no order to scale by; "
            "convert to amplitude or phase first"
        )


def _checked(path: str, dataset: Any, picked: list[int] | None) -> tuple[int, ...]:
    """Band numbers to read; the alpha band is none of them."""
    alpha = alpha_band(dataset)
    indexes = [i for i in dataset.indexes if i != alpha] if picked is None else picked
    if not indexes:
        raise RasterError(f"{path}: holds nothing but an alpha band")
    if alpha in indexes:
        raise RasterError(
            f"{path}: band {alpha} is the alpha band, which is a mask and not a band; "
            f"choose from the others"
        )
    return tuple(indexes)
