"""Single trees, on two lattices: large and small crowns."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .lattice import Floats, cell_of, draws
from .plan import Plan, Surface

__all__ = ["LARGE", "SMALL", "Forest", "Grove", "Species"]


class Species(NamedTuple):
    """A lattice of trees: at most one in each cell, its crown no wider than the cell."""

    salt: int
    cell: float
    least: float
    most: float
    cast: float  # length of its shadow, as a share of the tallest house's


# Radii in metres; twice the most is at most the cell, so that two by two cells hold all crowns.
LARGE = Species(21, 8.5, 2.4, 4.25, 0.55)
SMALL = Species(22, 5.6, 1.0, 2.4, 0.3)

CHANCE = np.zeros((2, len(Surface)))
CHANCE[0, [Surface.GARDEN, Surface.LAWN, Surface.WOOD, Surface.BANK]] = 0.16, 0.10, 0.96, 0.3
CHANCE[1, [Surface.GARDEN, Surface.LAWN, Surface.WOOD, Surface.BANK]] = 0.22, 0.06, 0.9, 0.3
CHANCE[1, Surface.WALK] = 0.12


class Grove(NamedTuple):
    """The crown over each point: ``rise`` in (0, 1] where there is one, (x, y) from its middle."""

    rise: Floats
    x: Floats
    y: Floats
    tone: Floats


class Forest:
    """The trees of one species that can matter for points within given bounds."""

    def __init__(self, plan: Plan, species: Species, x: Floats, y: Floats, reach: float) -> None:
        self.species = species
        cell = species.cell
        low_i, low_j = (int(np.floor((c.min() - reach) / cell - 0.5)) for c in (x, y))
        high_i, high_j = (int(np.floor((c.max() + reach) / cell - 0.5)) + 2 for c in (x, y))
        self.origin = low_i, low_j
        self.width = high_j - low_j
        j, i = np.meshgrid(np.arange(low_j, high_j, dtype=float), np.arange(low_i, high_i, dtype=float))
        i, j = i.ravel(), j.ravel()
        key = cell_of(plan.seed, i, j, i * 0 + species.salt)
        chance = draws(key, 5)
        self.x, self.y = (i + chance[0]) * cell, (j + chance[1]) * cell
        place = plan.place(self.x, self.y)
        likely = CHANCE[int(species is SMALL)][place.surface]
        clear = (place.houses.outside(self.x, self.y) > 1.0)
        radius = species.least + (species.most - species.least) * chance[2]
        self.radius = np.where((chance[3] < likely) & clear, radius, 0.0)
        self.tone = 2 * chance[4] - 1

    def over(self, x: Floats, y: Floats) -> Grove:
        """Return the crown over each point; of two, the one whose top is nearer."""
        cell = self.species.cell
        i = np.floor(x / cell - 0.5).astype(np.int64) - self.origin[0]
        j = np.floor(y / cell - 0.5).astype(np.int64) - self.origin[1]
        first = i * self.width + j
        best = Grove(*(np.zeros(x.shape) for _ in range(4)))
        for step in (0, 1, self.width, self.width + 1):
            at = first + step
            dx, dy, radius = x - self.x[at], y - self.y[at], self.radius[at]
            rise = 1 - (dx * dx + dy * dy) / np.maximum(radius * radius, 1e-6)
            higher = rise > best.rise
            best = Grove(*(np.where(higher, new, old) for new, old in zip(
                (rise, dx / np.maximum(radius, 1e-3), dy / np.maximum(radius, 1e-3), self.tone[at]), best)))
        return best
