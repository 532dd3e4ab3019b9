"""Read rasters: values with a mask, warped onto another lattice if asked."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.windows import Window

from ..errors import RasterError
from .bands import Bands, stacked
from .damage import CAREFUL
from .frame import Frame
from .ground import window_inside
from .handles import HANDLES, Key
from .layer import Layer, open_dataset

__all__ = ["RESAMPLINGS", "RasterSource"]

RESAMPLINGS = ("auto", "nearest", "bilinear", "cubic", "average", "mode", "lanczos")
"""Names of resampling methods; "auto" decides by what the raster holds and how fine it is."""


@dataclass(frozen=True)
class RasterSource:
    """A raster to read from, by any process and any thread.

    Handles are opened late, one per process and thread, and are not pickled. A thread keeps those
    of the sources that it read last (see `HANDLES`).

    Parameters
    ----------
    paths : one path or several; several co-registered files stack as bands.
    bands : band numbers to read, from 1, counted through all files, in the order to read them; one
        may come twice. None for every band that is not an alpha band, which is a mask.
    like : frame to warp onto; None keeps the raster's own.
    resampling : one of `RESAMPLINGS`. "auto": nearest for class rasters, average where the raster
        is more than twice as fine, bilinear otherwise. Where the lattices coincide all agree.

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

    _layer: ClassVar[type[Layer]] = Layer

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
        object.__setattr__(self, "bands", None if bands is None else tuple(map(int, bands)))
        object.__setattr__(self, "like", like)
        object.__setattr__(self, "resampling", resampling)
        if resampling not in RESAMPLINGS:
            raise RasterError(f"resampling {resampling!r}: choose one of {', '.join(RESAMPLINGS)}")
        if not self.paths:
            raise RasterError("no raster named: give at least one path")
        if self.bands == ():
            raise RasterError(f"{self.name}: no band chosen; give at least one, counted from 1")
        first, *others = self._layers
        for layer in others:
            first.frame.require_same(layer.frame, first.path, layer.path)

    def __getstate__(self) -> dict[str, Any]:
        """Pickle the description; the files were checked, and are opened again when needed."""
        return {item.name: getattr(self, item.name) for item in fields(self)}

    @property
    def name(self) -> str:
        """The paths, for messages."""
        return ", ".join(self.paths)

    @cached_property
    def frame(self) -> Frame:
        """Where the pixels are."""
        return self._layers[0].frame

    @cached_property
    def footprint(self) -> Frame:
        """Where the pixels of the first file are, before any warp onto ``like``."""
        return self._layers[0].footprint

    @cached_property
    def info(self) -> Bands:
        """What the bands hold."""
        return stacked([layer.info for layer in self._layers], self._order)

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
    def tags(self) -> dict[str, str]:
        """Metadata items of the first file."""
        return self._layers[0].tags

    @cached_property
    def method(self) -> str:
        """The resampling in force on the way to ``like``; "none" where there is no warp.

        Files that differ in it are named in turn: "nearest, bilinear".
        """
        return ", ".join(dict.fromkeys(layer.method for layer in self._layers))

    def warped(self, frame: Frame) -> "RasterSource":
        """Return the same bands on another lattice, from the files themselves."""
        return RasterSource(self.paths, self.bands, frame, self.resampling)

    def read(self, window: Window | None = None) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Read a window.

        Parameters
        ----------
        window : px of the frame, inside it; the whole if None.

        Returns
        -------
        values : (bands, rows, cols) in the raster's own type and unit.
        valid : (rows, cols), True where every band has a value. For 8-bit colour, nodata is a
            colour: a pixel is invalid where all bands of the file hold it.

        Raises
        ------
        RasterError
            If the window leaves the raster, or the file cannot be read there.
        """
        window = window_inside(self.name, self.frame, window)
        parts = [layer.read(window) for layer in self._layers]
        values = parts[0][0]
        if len(parts) > 1:
            values = np.concatenate([part[0] for part in parts], dtype=self.dtype)
        if self._order != tuple(range(len(values))):
            values = values[list(self._order)]
        return values, np.logical_and.reduce([part[1] for part in parts])

    def is_blank(self, window: Window) -> bool:
        """Whether it is sure, without reading, that no pixel of a window is valid.

        It is of the holes of a VRT and of the tiles that a GeoTIFF never had, if there is a nodata
        value. False says nothing: read it.

        Parameters
        ----------
        window : px of the frame, inside it.
        """
        return any(layer.is_blank(window) for layer in self._layers)

    def strip_bytes(self, rows: int) -> int:
        """Bytes of so many rows in those files that lie in strips as wide as they are."""
        return sum(layer.cover.strip_bytes(rows) for layer in self._layers)

    @cached_property
    def _order(self) -> tuple[int, ...]:
        """Positions of the bands asked for among those that the layers read, from 0."""
        if self.bands is None:
            return tuple(range(sum(layer.info.count for layer in self._layers)))
        # Each layer reads its share in rising order and once, so together they do.
        read = sorted(set(self.bands))
        return tuple(read.index(band) for band in self.bands)

    @property
    def _layers(self) -> "list[Layer]":
        """The opened files of this process and thread."""
        layers: list[Layer] = HANDLES.of(self._key, self._open)
        return layers

    @cached_property
    def _key(self) -> Key:
        return Key()

    def _open(self) -> "list[Layer]":
        """Open every file with the share of the band numbers that falls to it."""
        layers, before = [], 0
        wanted = set(self.bands or ())
        for path in self.paths:
            dataset = open_dataset(path)
            own = range(before + 1, before + dataset.count + 1)
            picked = None if self.bands is None else sorted(b - before for b in wanted & set(own))
            if picked != []:
                with rasterio.Env(**CAREFUL):  # a VRT opens its files when it is first asked
                    layer = self._layer(path, dataset, picked, self.like, self.resampling)
                layers.append(layer)
            before += dataset.count
        if missing := wanted - set(range(1, before + 1)):
            raise RasterError(
                f"{self.name}: no band {', '.join(map(str, sorted(missing)))}; "
                f"it has {before}, counted from 1"
            )
        return layers
