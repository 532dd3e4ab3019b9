"""The town: what is at a point, and its photograph and its map on any frame."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS

from ..errors import GeoP2PError
from ..grid import TileGrid
from ..raster import Frame
from .lattice import Flags, Floats
from .light import Sun
from .photo import developed, photograph, softened
from .plan import Place, Plan, Surface

__all__ = ["CLASSES", "MapClass", "Town"]

Painter: TypeAlias = Callable[[Floats, Floats], NDArray[np.uint8]]


class MapClass(NamedTuple):
    """A class of the map: its number, name, colour, and the colour of its outline."""

    value: int
    name: str
    color: tuple[int, int, int]
    outline: tuple[int, int, int]


GROUND = MapClass(1, "ground", (242, 239, 233), (242, 239, 233))
STREET = MapClass(2, "street", (255, 255, 255), (204, 199, 192))
MAIN = MapClass(3, "main street", (249, 208, 130), (207, 158, 82))
BUILDING = MapClass(4, "building", (208, 194, 184), (176, 158, 146))
WATER = MapClass(5, "water", (170, 211, 223), (170, 211, 223))
FIELD = MapClass(6, "field", (238, 234, 182), (238, 234, 182))
GREEN = MapClass(7, "green", (187, 220, 160), (187, 220, 160))

CLASSES = (GROUND, STREET, MAIN, BUILDING, WATER, FIELD, GREEN)
"""What the map shows, numbered from 1; 0 is ground that the town's CRS does not reach."""

CLASS_OF = {
    Surface.GARDEN: GROUND,
    Surface.PAVED: GROUND,
    Surface.WALK: GROUND,
    Surface.STREET: STREET,
    Surface.MAIN: MAIN,
    Surface.ROOF: BUILDING,
    Surface.WATER: WATER,
    Surface.FIELD: FIELD,
    Surface.LAWN: GREEN,
    Surface.WOOD: GREEN,
    Surface.BANK: GREEN,
}
VALUES = np.array([CLASS_OF[surface].value for surface in Surface], np.uint8)
COLORS = np.array([CLASS_OF[surface].color for surface in Surface], float)
OUTLINES = np.array([CLASS_OF[surface].outline for surface in Surface], float)
OUTLINE = 0.9  # m of an outline

SIDE = 256  # px that are computed at a time: their arrays fit a processor's cache
INNER = (slice(1, -1), slice(1, -1))
FINENESS = 12
"""Pixel centres are rounded to about 2**-12 px, a power of two.

The transform of a window is rounded otherwise than that of the whole, by a nanometre; this undoes
it before it meets an edge. Centres that are short decimals are never near the middle between two
multiples of a power of two, so for the usual lattices a window is exactly its part of the whole.
"""


@dataclass(frozen=True)
class Town:
    """A procedural town without end: truth at a point is a pure function of seed and place.

    Parameters
    ----------
    seed : which town, 0 to 2**32 - 1.
    crs : projected coordinate reference system in metres, in which the town is square.
    azimuth : where the sun stands, degrees clockwise from grid north.
    elevation : how high the sun stands, degrees, 20 to 90.

    Raises
    ------
    GeoP2PError
        If the CRS is not projected, or the sun does not stand so.

    Examples
    --------
    >>> import numpy as np
    >>> town = Town(seed=3)
    >>> classes = town.classes(np.array([440000.0, 440030.0]), np.array([5500000.0, 5500000.0]))
    >>> classes.shape, classes.dtype
    ((2,), dtype('uint8'))
    """

    seed: int = 0
    crs: CRS = field(default_factory=lambda: CRS.from_epsg(32633))
    azimuth: float = 150.0
    elevation: float = 48.0

    def __post_init__(self) -> None:
        """Refuse what would not be a town."""
        if not self.crs.is_projected:
            raise GeoP2PError(f"the town's CRS must be projected, in metres; got {self.crs}")
        if not 20 <= self.elevation <= 90:
            raise GeoP2PError(f"the sun's elevation must be 20 to 90 degrees: {self.elevation}")

    @cached_property
    def plan(self) -> Plan:
        """What is where."""
        return Plan(self.seed)

    def classes(self, x: NDArray[Any], y: NDArray[Any]) -> NDArray[np.uint8]:
        """Return the class of points of the ground.

        Parameters
        ----------
        x, y : arrays of one shape, metres in the town's CRS.

        Returns
        -------
        Array of that shape: values of `CLASSES`, 0 where a coordinate is not finite.
        """
        x, y, known = _known(np.asarray(x, float), np.asarray(y, float))
        values = VALUES[self.plan.place(x.ravel(), y.ravel()).surface].reshape(x.shape)
        values[~known] = 0
        return values

    def aerial(self, frame: Frame) -> NDArray[np.uint8]:
        """Return the aerial photograph on a frame in any CRS.

        Parameters
        ----------
        frame : where the pixels are.

        Returns
        -------
        (3, height, width): red, green, blue; 0 where the town's CRS does not reach.

        Raises
        ------
        GeoP2PError
            If pixels are much larger than a tree.
        """
        sun = Sun(self.azimuth, self.elevation)

        def paint(x: Floats, y: Floats) -> NDArray[np.uint8]:
            image = photograph(self.plan, sun, x.ravel(), y.ravel()).reshape(3, *x.shape)
            return developed(self.seed, softened(image), x[INNER], y[INNER])

        return self._painted(frame, 3, paint)

    def map_classes(self, frame: Frame) -> NDArray[np.uint8]:
        """Return the class at the centre of each pixel of a frame in any CRS.

        Parameters
        ----------
        frame : where the pixels are.

        Returns
        -------
        (1, height, width): values of `CLASSES`, 0 where the town's CRS does not reach.
        """

        def paint(x: Floats, y: Floats) -> NDArray[np.uint8]:
            return self.classes(x[INNER], y[INNER])[None]

        return self._painted(frame, 1, paint)

    def map_colours(self, frame: Frame) -> NDArray[np.uint8]:
        """Return the map as it is drawn, with outlines and soft edges, on a frame in any CRS.

        Parameters
        ----------
        frame : where the pixels are.

        Returns
        -------
        (3, height, width): red, green, blue; 0 where the town's CRS does not reach.
        """

        def paint(x: Floats, y: Floats) -> NDArray[np.uint8]:
            place = self.plan.place(x.ravel(), y.ravel())
            image = _drawn(place, x.ravel(), y.ravel()).reshape(3, *x.shape)
            drawn: NDArray[np.uint8] = np.rint(softened(image)).astype(np.uint8)
            return drawn

        return self._painted(frame, 3, paint)

    def _painted(self, frame: Frame, count: int, paint: Painter) -> NDArray[np.uint8]:
        """Paint a frame part by part; ``paint`` gets the points of a part and of 1 px around."""
        image = np.empty((count, *frame.shape), np.uint8)
        for tile in TileGrid(*frame.shape, SIDE, 0):
            part = image[:, *tile.core.toslices()]
            x, y, known = _known(*self._points(frame.crop(tile.core)))
            part[...] = paint(x, y)
            part[:, ~known[INNER]] = 0
        return image

    def _points(self, frame: Frame) -> tuple[Floats, Floats]:
        """Return pixel centres of a frame and of 1 px around, metres in the town's CRS."""
        rows, cols = np.mgrid[-1 : frame.height + 1, -1 : frame.width + 1] + 0.5
        t, quantum = frame.transform, 2.0 ** (math.floor(math.log2(frame.res[0])) - FINENESS)
        centres = (t.a * cols + t.b * rows + t.c, t.d * cols + t.e * rows + t.f)
        x, y = (np.rint(c.ravel() / quantum) * quantum for c in centres)
        here, town = (Frame(1, 1, Affine.identity(), crs) for crs in (frame.crs, self.crs))
        x, y = here.pixels_in(town, x, y)
        return x.reshape(cols.shape), y.reshape(cols.shape)


def _known(x: Floats, y: Floats) -> tuple[Floats, Floats, Flags]:
    """Return coordinates, a known point's where there are none, and where there are."""
    known = np.isfinite(x) & np.isfinite(y)
    some = np.flatnonzero(known)[:1]
    x, y = (np.where(known, c, c.flat[some] if some.size else 0) for c in (x, y))
    return x, y, known


def _drawn(place: Place, x: Floats, y: Floats) -> Floats:
    """Return the map's colours (3, points): outlines lie within streets and buildings."""
    surface = place.surface
    street = (surface == Surface.STREET) | (surface == Surface.MAIN)
    depth = np.where(street, -place.edge, -place.houses.distance(x, y))
    outlined = (street | (surface == Surface.ROOF)) & (depth < OUTLINE)
    return np.where(outlined[:, None], OUTLINES[surface], COLORS[surface]).T
