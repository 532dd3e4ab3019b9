"""Where pixels are: shape, transform and CRS, without a file or an array."""

import math
from dataclasses import dataclass

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.warp import transform as warp_points
from rasterio.windows import Window

from ..errors import AlignmentError, RasterError

__all__ = ["Frame"]


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
        shift = Affine.translation(window.col_off, window.row_off)
        return Frame(window.height, window.width, self.transform * shift, self.crs)

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
        authority = self.crs.to_authority()
        return ":".join(authority) if authority else (self.crs.to_dict().get("proj") or "custom")

    def pixels_in(self, other: "Frame", cols: NDArray, rows: NDArray) -> NDArray[np.float64]:
        """Where pixel positions of this frame lie in another's.

        Parameters
        ----------
        other : the frame to express them in, in any CRS.
        cols, rows : (n,) positions in this frame, px from the upper-left corner, fractional.

        Returns
        -------
        (2, n) array of (column, row) positions in ``other``, px; infinite where no
        transformation leads.
        """
        t = self.transform
        xs, ys = t.a * cols + t.b * rows + t.c, t.d * cols + t.e * rows + t.f
        if self.crs != other.crs:
            xs, ys = (np.asarray(v) for v in warp_points(self.crs, other.crs, xs, ys))
        t = ~other.transform
        return np.array([t.a * xs + t.b * ys + t.c, t.d * xs + t.e * ys + t.f])

    def scale_to(self, other: "Frame") -> tuple[float, float]:
        """Pixels of this frame that one pixel of ``other`` spans, along this frame's axes.

        Measured at the centre of ``other``. Lengths, so that a rotation between the two does not
        count: 2.0 means that ``other`` is twice as coarse.

        Raises
        ------
        AlignmentError
            If no transformation leads from one CRS to the other there.
        """
        c, r = other.width / 2, other.height / 2
        points = other.pixels_in(self, np.array([c, c + 1, c]), np.array([r, r, r + 1]))
        across, down = points[:, 1] - points[:, 0], points[:, 2] - points[:, 0]
        spans = np.hypot(across, down)
        if not np.isfinite(spans).all() or (spans == 0).any():
            raise AlignmentError(
                f"no transformation leads from {other.crs_name} to {self.crs_name} here"
            )
        return float(spans[0]), float(spans[1])

    def overlaps(self, other: "Frame") -> bool:
        """Whether the two share ground, judged by the box around this frame in the other's pixels."""
        steps = np.linspace(0, 1, 21)
        cols, rows = np.meshgrid(steps * self.width, steps * self.height)
        points = self.pixels_in(other, cols.ravel(), rows.ravel())
        points = points[:, np.isfinite(points).all(0)]
        if not points.size:
            return False
        low, high = points.min(1), points.max(1)
        return bool(
            low[0] < other.width and low[1] < other.height and high[0] > 0 and high[1] > 0
        )

    def same_lattice(self, other: "Frame", tolerance: float = 1e-4) -> bool:
        """Whether shape, CRS and (to ``tolerance`` px) the corners agree."""
        if self.shape != other.shape or self.crs != other.crs:
            return False
        off = np.abs(self.corners - other.corners).max(0) / self.res
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
        Without a CRS, or without a transform.
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
    return Frame(height, width, transform, crs)
