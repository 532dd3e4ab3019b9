"""Single trees, in two sizes, and the ground and sky they cover."""

from typing import NamedTuple

import numpy as np

from ..errors import GeoP2PError
from .lattice import Floats, draws, hashed, seed_of
from .plan import Plan, Surface

__all__ = ["SPECIES", "Crowns", "Forest", "Species"]


class Species(NamedTuple):
    """Trees on a lattice: at most one in each cell, anywhere in it.

    Lengths are metres. A crown is at most as wide as the cell, hence the crown over a point
    stands in one of the two by two cells nearest to it.
    """

    name: str
    cell: float
    radius: tuple[float, float]  # of a crown, least and most
    height: float
    chance: dict[Surface, float]


G, L, W, B = Surface.GARDEN, Surface.LAWN, Surface.WOOD, Surface.BANK
# From low to high, as they cover each other.
SPECIES = (
    Species("small", 5.6, (1.0, 2.4), 2.3, {G: 0.22, L: 0.06, W: 0.9, B: 0.3, Surface.WALK: 0.12}),
    Species("large", 8.5, (2.4, 4.25), 4.2, {G: 0.16, L: 0.10, W: 0.96, B: 0.3}),
)
MOST_CELLS = 2**22
OFF_WALLS = 1.0  # m from a stem to the nearest house, at least


class Crowns(NamedTuple):
    """The crown over each point: (points,) arrays."""

    rise: Floats  # 1 at its top, 0 at its rim and where there is none
    x: Floats  # from its middle, in radii
    y: Floats
    tone: Floats  # in [-1, 1)


class Forest:
    """All trees of one species that matter for some points.

    Parameters
    ----------
    plan : what the trees grow on.
    species : their size and where they like to be.
    x, y : (points,) world metres.
    reach : metres around the points to know trees for.

    Raises
    ------
    GeoP2PError
        If the points lie so far apart that there would be millions of trees between them.
    """

    def __init__(self, plan: Plan, species: Species, x: Floats, y: Floats, reach: float) -> None:
        self.cell = species.cell
        lows = [np.floor((c.min() - reach) / self.cell - 0.5) for c in (x, y)]
        highs = [np.floor((c.max() + reach) / self.cell - 0.5) + 2 for c in (x, y)]
        columns, rows = (np.arange(low, high) for low, high in zip(lows, highs, strict=True))
        if columns.size * rows.size > MOST_CELLS:
            raise GeoP2PError(
                "points too far apart to see trees between them: photograph the town with pixels "
                "of 20 m at most"
            )
        self.origin, self.rows = lows, rows.size
        i, j = np.repeat(columns, rows.size), np.tile(rows, columns.size)
        chance = draws(hashed(seed_of(plan.seed, species.name), i, j), 5)
        self.x, self.y = (i + chance[0]) * self.cell, (j + chance[1]) * self.cell
        place = plan.place(self.x, self.y)
        likely = np.array([species.chance.get(surface, 0.0) for surface in Surface])
        grows = chance[2] < likely[place.surface]
        grows &= place.houses.distance(self.x, self.y) > OFF_WALLS
        least, most = species.radius
        self.radius = np.where(grows, least + (most - least) * chance[3], 0)
        self.tone = 2 * chance[4] - 1

    def over(self, x: Floats, y: Floats) -> Crowns:
        """Return the crown over each point; of several, the one whose top is nearest in radii."""
        i = np.floor(x / self.cell - 0.5) - self.origin[0]
        j = np.floor(y / self.cell - 0.5) - self.origin[1]
        first = (i * self.rows + j).astype(np.int64)
        rise, which = np.zeros(x.shape), first
        for step in (0, 1, self.rows, self.rows + 1):
            tree = first + step
            dx, dy, radius = x - self.x[tree], y - self.y[tree], self.radius[tree]
            new = 1 - (dx * dx + dy * dy) / np.maximum(radius * radius, 1e-6)
            which = np.where(new > rise, tree, which)
            rise = np.maximum(new, rise)
        radius = np.maximum(self.radius[which], 1e-3)
        dx, dy = (x - self.x[which]) / radius, (y - self.y[which]) / radius
        return Crowns(rise, dx, dy, self.tone[which])
