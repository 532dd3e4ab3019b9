"""Where pixels are: shape, transform and CRS, without a file or an array."""

import math
from dataclasses import dataclass

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.windows import Window

from ..errors import AlignmentError, RasterError
from .crs import name_of, transform_points

__all__ = ["PIXELS", "STEPS", "Frame", "frame_of"]

PIXELS = CRS.from_wkt('LOCAL_CS["pixels",UNIT["pixel",1]]')
"""Of images without a place: coordinates are px from the upper-left corner, y upward."""

STEPS = 21
"""Positions along a side of a frame that is seen from another CRS."""


@dataclass(frozen=True)
class Frame:
    """A lattice of pixels on Earth: odc-geo's GeoBox is the model.

    Parameters
    ----------
    height, width : rows and columns, px.
    transform : affine from (column, row) of a pixel's upper-left corner to (x, y) in CRS units.
    crs : coordinate reference system.
    """

    height: int
    width: int
    transform: Affine
    crs: CRS

    @classmethod
    def of_pixels(cls, height: int, width: int) -> "Frame":
        """Return the frame of an image without a place on Earth: x = column, y = -row, px."""
        return cls(height, width, Affine(1, 0, 0, 0, -1, 0), PIXELS)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns, px."""
        return self.height, self.width

    @property
    def window(self) -> Window:
        """The window of the whole frame."""
        return Window(0, 0, self.width, self.height)

    @property
    def res(self) -> tuple[float, float]:
        """Pixel size along columns and rows, CRS units, positive also when rotated."""
        t = self.transform
        return math.hypot(t.a, t.d), math.hypot(t.b, t.e)

    @property
    def corners(self) -> NDArray[np.float64]:
        """(4, 2) array of (x, y), CRS units, around the frame."""
        w, h = self.width, self.height
        return np.array([self.transform * p for p in ((0, 0), (w, 0), (w, h), (0, h))])

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Left, bottom, right, top of the box around the frame, CRS units."""
        (left, bottom), (right, top) = self.corners.min(0), self.corners.max(0)
        return float(left), float(bottom), float(right), float(top)

    @property
    def polygon(self) -> shapely.Polygon:
        """Outline of the frame, CRS units."""
        return shapely.Polygon(self.corners)

    def crop(self, window: Window) -> "Frame":
        """Return the frame of a window of this one."""
        t, corner = self.transform, (window.col_off, window.row_off)
        x, y = t * corner
        # Not as a product of transforms, which takes ten times as long.
        return Frame(window.height, window.width, Affine(t.a, t.b, x, t.d, t.e, y), self.crs)

    def rotated(self, angle: float) -> "Frame":
        """Return this frame turned about its centre, ``angle`` degrees counter-clockwise.

        Its pixels keep their size where those of this frame are square.
        """
        middle = self.width / 2, self.height / 2
        # In pixels rows run downwards, so that this turn looks the other way around.
        turn = Affine.rotation(-angle, middle)
        return Frame(self.height, self.width, self.transform * turn, self.crs)

    def window_of(self, bounds: tuple[float, float, float, float]) -> Window:
        """Whole-pixel window that covers ``bounds`` (left, bottom, right, top; CRS units).

        Raises
        ------
        AlignmentError
            If the bounds share no pixel with the frame.
        """
        left, bottom, right, top = bounds
        inverse = ~self.transform
        points = [inverse * p for p in ((left, top), (right, top), (right, bottom), (left, bottom))]
        # A bound that misses a pixel edge by rounding must not claim a row more.
        cols = [round(p[0], 6) for p in points]
        rows = [round(p[1], 6) for p in points]
        col, row = max(0, math.floor(min(cols))), max(0, math.floor(min(rows)))
        stop_col = min(self.width, math.ceil(max(cols)))
        stop_row = min(self.height, math.ceil(max(rows)))
        if left >= right or bottom >= top or col >= stop_col or row >= stop_row:
            raise AlignmentError(
                f"bounds {left} {bottom} {right} {top} hold no pixel of the raster, whose bounds "
                f"are {' '.join(f'{b:.10g}' for b in self.bounds)} in {self.crs_name}"
            )
        return Window(col, row, stop_col - col, stop_row - row)

    @property
    def crs_name(self) -> str:
        """A short name of the CRS: its authority code if it has one."""
        return name_of(self.crs)

    def pixels_in(
        self, other: "Frame", cols: NDArray[np.float64], rows: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Where pixel positions of this frame lie in another's.

        Parameters
        ----------
        other : the frame to express them in, in any CRS.
        cols, rows : (n,) positions in this frame, px from the upper-left corner, fractional.

        Returns
        -------
        (2, n) array of (column, row) positions in ``other``, px; NaN where the
        transformation does not reach. Of the turns around the globe the one nearest to the
        centre of ``other``.

        Raises
        ------
        AlignmentError
            If no transformation leads from one CRS to the other at all.
        """
        t = self.transform
        xs, ys = t.a * cols + t.b * rows + t.c, t.d * cols + t.e * rows + t.f
        xs, ys = transform_points(self.crs, other.crs, xs, ys)
        if other.crs.is_geographic and self.crs != other.crs:
            middle, _ = other.transform * (other.width / 2, other.height / 2)
            xs = xs + 360 * np.round((middle - xs) / 360)
        t = ~other.transform
        return np.array([t.a * xs + t.b * ys + t.c, t.d * xs + t.e * ys + t.f])

    def scale_to(self, other: "Frame") -> tuple[float, float]:
        """Pixels of this frame that one pixel of ``other`` spans, along this frame's axes.

        The median over the pixels of ``other`` that lie in this frame, so that neither an edge
        of the projection nor the antimeridian decides. Lengths, so that a rotation between the
        two does not count: 2.0 means that ``other`` is twice as coarse.

        Raises
        ------
        AlignmentError
            If no transformation leads from one CRS to the other there.
        """
        cols, rows = other._positions()
        here = other.pixels_in(self, cols, rows)
        across = other.pixels_in(self, cols + 1, rows) - here
        down = other.pixels_in(self, cols, rows + 1) - here
        spans = np.hypot(across, down)
        known = np.isfinite(spans).all(0) & (spans > 0).all(0)
        inside = known & self._holds(here)
        chosen = spans[:, inside if inside.any() else known]
        if not chosen.size:
            raise AlignmentError(
                f"no transformation leads from {other.crs_name} to {self.crs_name} here"
            )
        across_columns, across_rows = np.median(chosen, axis=1)
        return float(across_columns), float(across_rows)

    def overlaps(self, other: "Frame") -> bool:
        """Whether the two share ground, judged by a lattice of positions in either.

        They do if a position of one lies in the other, or if the box around each meets the
        other: the first alone misses slivers, the second alone a pole.

        Raises
        ------
        AlignmentError
            If no transformation leads from one CRS to the other.
        """
        here, there = other.positions_in(self), self.positions_in(other)
        if self._holds(here).any() or other._holds(there).any():
            return True
        return self._meets(here) and other._meets(there)

    def positions_in(self, other: "Frame") -> NDArray[np.float64]:
        """Where `STEPS` x `STEPS` positions all over this frame lie in another's.

        Returns
        -------
        (2, n) array of (column, row) in ``other``, px; NaN and errors as for `pixels_in`.
        """
        return self.pixels_in(other, *self._positions())

    def _positions(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Columns and rows of a lattice of positions over the frame, px."""
        share = np.linspace(0, 1, STEPS)
        cols, rows = np.meshgrid(share * self.width, share * self.height)
        return cols.ravel(), rows.ravel()

    def _holds(self, points: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which of (2, n) positions, px, lie inside."""
        cols, rows = points
        inside: NDArray[np.bool_] = (cols > 0) & (cols < self.width)
        inside &= (rows > 0) & (rows < self.height)
        return inside

    def _meets(self, points: NDArray[np.float64]) -> bool:
        """Whether the box around (2, n) positions, px, reaches into the frame."""
        points = points[:, np.isfinite(points).all(0)]
        if not points.size:
            return False
        low, high = points.min(1), points.max(1)
        return bool((low < (self.width, self.height)).all() and (high > 0).all())

    def same_lattice(self, other: "Frame", tolerance: float = 1e-4) -> bool:
        """Whether shape, CRS and (to ``tolerance`` px) the corners agree."""
        if self.shape != other.shape or self.crs != other.crs:
            return False
        cols = np.array([0.0, self.width, self.width, 0.0])
        rows = np.array([0.0, 0.0, self.height, self.height])
        # In pixels, because in CRS units the axes of a rotated raster would mix.
        off = np.abs(other.pixels_in(self, cols, rows) - [cols, rows])
        return bool((off <= tolerance).all())

    def require_same(self, other: "Frame", name: str, other_name: str) -> None:
        """Refuse two frames that differ by more than a thousandth of a pixel.

        Raises
        ------
        AlignmentError
            Naming both and what differs.
        """
        if not self.same_lattice(other, 1e-3):
            raise AlignmentError(
                f"{other_name} is {other} but {name} is {self}: they cannot stand pixel on pixel; "
                f"warp one onto the other first (rio warp --like)"
            )

    def __str__(self) -> str:
        """Shape, pixel size, origin and CRS in one line."""
        x, y = self.transform.c, self.transform.f
        return (
            f"{self.width} x {self.height} px of {self.res[0]:.6g} x {self.res[1]:.6g} "
            f"at ({x:.10g}, {y:.10g}) in {self.crs_name}"
        )


def frame_of(path: str, height: int, width: int, transform: Affine, crs: CRS | None) -> Frame:
    """Frame of an opened raster, or a refusal by name.

    Raises
    ------
    RasterError
        Without a CRS, without a transform, or with pixels of no area.
    """
    if not crs:
        raise RasterError(
            f"{path}: has no coordinate reference system, so its pixels have no place on Earth; "
            "assign one (rio edit-info --crs)"
        )
    if transform.is_identity:
        raise RasterError(
            f"{path}: has a CRS but no transform, so its pixels have no place on Earth; "
            "assign one (rio edit-info --transform)"
        )
    if transform.is_degenerate:
        raise RasterError(
            f"{path}: its transform gives pixels no area; assign another "
            "(rio edit-info --transform)"
        )
    return Frame(height, width, transform, crs)
