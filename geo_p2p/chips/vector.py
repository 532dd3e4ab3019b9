"""Shapes of a vector file, rasterised onto the input's lattice."""

import logging
import math
import os
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, fields, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from rasterio.features import rasterize
from rasterio.windows import Window

from geo_p2p.chips.classes import MOST, ClassTable
from geo_p2p.chips.shapes import Layer, Shapes, read_column, read_shapes, warp_shapes
from geo_p2p.errors import AlignmentError, ChipError
from geo_p2p.raster import Bands, Frame, window_inside

__all__ = ["VectorSource"]

log = logging.getLogger(__name__)

TILE = 256
"""Side of the squares that are rasterised, px, on a lattice of the whole raster.

A window is put together from them, so that it agrees with the whole whatever the arithmetic of
the rasteriser makes of an edge through the centre of a pixel.
"""

KEPT = 64
"""Squares kept for the windows next to them."""

ROUND = 16
"""Segments of a quarter circle: a buffer is 0.1 % smaller than its circle at most."""

FEW = 512
"""Points of a shape above which it is cut to the square first: GDAL looks at all on each row."""

COARSE = 16 * TILE
"""Side of the larger squares to which such a shape is cut before, once for all squares in it."""


@dataclass(frozen=True)
class _Burnt:
    """What is burnt: shapes in px of the lattice, the class of each, in the order of the file."""

    shapes: NDArray[np.object_]
    numbers: NDArray[np.int64]

    @cached_property
    def tree(self) -> shapely.STRtree:
        """Where which shape lies."""
        return shapely.STRtree(self.shapes)

    @cached_property
    def large(self) -> NDArray[np.bool_]:
        """Which shapes have more than a few points."""
        many: NDArray[np.bool_] = shapely.get_num_coordinates(self.shapes) > FEW
        return many

    @cached_property
    def near(self) -> Callable[[int, int, int], shapely.Geometry]:
        """Cut a shape, by its number, to a larger square, by its upper-left pixel."""
        shapes = self.shapes
        return lru_cache(KEPT)(
            lambda index, top, left: shapely.intersection(shapes[index], _around(top, left, COARSE))
        )

    def moved(self, here: Frame, there: Frame) -> "_Burnt":
        """Those of the shapes that lie on another lattice of the same CRS, in px of it."""
        ground = shapely.transform(there.polygon, _affine(~here.transform)).buffer(2)
        found = np.sort(self.tree.query(ground))
        shapes, large = self.shapes[found], self.large[found]
        shapes[large] = shapely.intersection(shapes[large], ground)
        onto = _affine(~there.transform * here.transform)
        return _Burnt(shapely.transform(shapes, onto), self.numbers[found])

    def square(self, top: int, left: int, all_touched: bool, dtype: str) -> NDArray[Any]:
        """Class numbers of one square, 0 where there is no shape."""
        around = _around(top, left, TILE)
        found = np.sort(self.tree.query(around))
        shapes = self.shapes[found]
        for at in np.nonzero(self.large[found])[0]:
            near = self.near(int(found[at]), top // COARSE * COARSE, left // COARSE * COARSE)
            shapes[at] = shapely.intersection(near, around)
        kept = ~shapely.is_empty(shapes)
        out = np.zeros((TILE, TILE), dtype)
        # At (1, 1): rasterio warns that unit pixels at (0, 0) have no place.
        moved = shapely.transform(shapes[kept], _affine(Affine.translation(1 - left, 1 - top)))
        pairs = list(zip(moved, self.numbers[found][kept].tolist(), strict=True))
        if pairs:
            place = Affine.translation(1, 1)
            rasterize(pairs, out=out, transform=place, all_touched=all_touched)
        out.flags.writeable = False
        return out


def _around(top: int, left: int, side: int) -> shapely.Polygon:
    """A square, two pixels larger on each side: the cut stays out of it."""
    return shapely.box(left - 2, top - 2, left + side + 2, top + side + 2)


def _affine(transform: Affine) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    """A transform of (n, 2) points."""
    t = transform
    return lambda p: np.column_stack(
        [t.a * p[:, 0] + t.b * p[:, 1] + t.c, t.d * p[:, 0] + t.e * p[:, 1] + t.f]
    )


@dataclass(frozen=True)
class VectorSource:
    """Shapes of a vector file as a class raster, such as a map drawn of the input.

    What ArcGIS calls in_class_data. Class 0, "background", is what no shape covers; where shapes
    overlap, the later one in the file counts; every pixel is valid. Invalid rings are repaired,
    and the log tells how many. A `Source`: picklable, and read by several threads.

    Parameters
    ----------
    path : any file GDAL's vector drivers read, of any CRS.
    like : frame to rasterise onto.
    field : attribute that tells the class: whole numbers from 0 to 65535, or text, of which the
        sorted values become classes 1 to n. Features without a value are left out. The whole
        layer decides, so that every raster gets the same classes.
    burn : class number of all shapes where there is no ``field``.
    all_touched : whether a shape covers every pixel it touches, not only those whose centre it
        covers.
    buffer : by how much shapes are grown, CRS units of the file. Points and lines count where it
        is above 0 (ArcGIS: buffer_radius).
    layer : name or number, from 0; the first if None.

    Raises
    ------
    ChipError
        If the file, layer or attribute is missing or cannot be read, has no CRS, holds no shape
        that can be burnt, or a value that is no class.
    AlignmentError
        If no shape lies on the raster.
    """

    path: str
    like: Frame
    field: str | None = None
    burn: int = 1
    all_touched: bool = False
    buffer: float = 0.0
    layer: Layer = None

    def __post_init__(self) -> None:
        """Read the shapes once, and tell what was wrong with them."""
        object.__setattr__(self, "path", os.fspath(self.path))
        if not 0 < self.burn <= MOST:
            raise ChipError(f"burn value {self.burn}: give a class number from 1 to {MOST}")
        if not (math.isfinite(self.buffer) and self.buffer >= 0):
            raise ChipError(f"buffer {self.buffer}: give a width of 0 or more")
        shapes = read_shapes(self.path, self.layer, self.like, self.buffer)
        object.__setattr__(self, "_burnt", self._burn(shapes))
        if shapes.repaired:
            log.warning("%s: repaired the rings of %d invalid shapes", self.path, shapes.repaired)
        if missing := self._classes.missing:
            log.warning("%s: %d features have no %s: left out", self.path, missing, self.field)

    def __getstate__(self) -> dict[str, Any]:
        """Pickle the description; another process reads the shapes when it needs them."""
        return {item.name: getattr(self, item.name) for item in fields(self)}

    @property
    def name(self) -> str:
        """The path, for messages."""
        return self.path

    @property
    def paths(self) -> tuple[str, ...]:
        """The file."""
        return (self.path,)

    @property
    def bands(self) -> None:
        """A vector file has no bands to choose from."""
        return

    @property
    def frame(self) -> Frame:
        """Where the pixels are."""
        return self.like

    @property
    def method(self) -> str:
        """The resampling in force: none, shapes are burnt where they are."""
        return "none"

    @cached_property
    def info(self) -> Bands:
        """One band of class numbers, with names and colours."""
        return self._classes.bands(self.field or "")

    def warped(self, frame: Frame) -> "VectorSource":
        """Return the shapes on another lattice; in the same CRS without reading them again."""
        if frame.crs != self.like.crs:
            return replace(self, like=frame)
        other = copy(self)
        object.__setattr__(other, "like", frame)
        object.__setattr__(other, "_classes", self._classes)
        object.__setattr__(other, "_burnt", self._burnt.moved(self.like, frame))
        return other

    def touches(self, window: Window) -> bool:
        """Whether a shape touches a window, px of the frame; it may cover no pixel's centre."""
        (top, bottom), (left, right) = window.toranges()
        around = shapely.box(left, top, right, bottom)
        return bool(self._burnt.tree.query(around, predicate="intersects").size)

    def read(self, window: Window | None = None) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Rasterise a window.

        Parameters
        ----------
        window : px of the frame, inside it; the whole if None.

        Returns
        -------
        values : (1, rows, cols) class numbers.
        valid : (rows, cols), True throughout.

        Raises
        ------
        RasterError
            If the window leaves the raster.
        """
        window = window_inside(self.name, self.frame, window)
        (top, bottom), (left, right) = window.toranges()
        values = np.empty((1, bottom - top, right - left), self.info.dtype)
        for row in range(top - top % TILE, bottom, TILE):
            for col in range(left - left % TILE, right, TILE):
                a, b = max(top, row), min(bottom, row + TILE)
                c, d = max(left, col), min(right, col + TILE)
                square = self._square(row, col)
                values[0, a - top : b - top, c - left : d - left] = square[
                    a - row : b - row, c - col : d - col
                ]
        return values, np.ones(values.shape[1:], bool)

    @cached_property
    def _square(self) -> Callable[[int, int], NDArray[Any]]:
        """Rasterise a square by its upper-left pixel, or take it from those kept."""
        all_touched, dtype = self.all_touched, self.info.dtype

        def burnt(top: int, left: int) -> NDArray[Any]:
            return self._burnt.square(top, left, all_touched, dtype)

        return lru_cache(KEPT)(burnt)

    @cached_property
    def _burnt(self) -> _Burnt:
        """The shapes to burn; in another process they are read again."""
        return self._burn(read_shapes(self.path, self.layer, self.like, self.buffer))

    def _burn(self, shapes: Shapes) -> _Burnt:
        """Bring shapes onto the lattice, each with its class number."""
        parts, features = shapes.parts, shapes.features
        if self.buffer:
            parts = shapely.buffer(parts, self.buffer, quad_segs=ROUND)
        solid = shapely.area(parts) > 0
        if len(parts) and not solid.any():
            raise ChipError(f"{self.path}: holds no polygon; give points and lines a buffer")
        try:
            warped = warp_shapes(parts[solid], shapes.crs, self.like)
        except (AlignmentError, ChipError) as error:
            raise type(error)(f"{self.path}: {error}") from error
        pixels = shapely.transform(warped, _affine(~self.like.transform))
        polygons, index = shapely.get_parts(pixels, return_index=True)
        raster = shapely.box(0, 0, self.like.width, self.like.height)
        there = (shapely.area(polygons) > 0) & shapely.intersects(polygons, raster)
        if not there.any():
            raise AlignmentError(
                f"{self.path}: none of its shapes lies on the raster ({self.like})"
            )
        numbers = self._classes.numbers
        found = [numbers.get(n, self.burn) for n in features[solid][index[there]].tolist()]
        chosen = np.array([number is not None for number in found])
        burnt = np.array([number for number in found if number is not None], np.int64)
        return _Burnt(polygons[there][chosen], burnt)

    @cached_property
    def _classes(self) -> ClassTable:
        """Class number by feature, where an attribute tells it, and the names of classes."""
        if self.field is None:
            return ClassTable({}, {self.burn: Path(self.path).stem})
        column = read_column(self.path, self.field, self.layer)
        return ClassTable.of(column, f"{self.path}: attribute {self.field!r}")
