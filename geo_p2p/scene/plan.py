"""What is where: the surface of every point of the town, as seen from straight above."""

from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .lattice import Floats, Hashes, draws, hashed, noise, once_each, seed_of
from .lots import Houses, Lots, houses_on, lots_at
from .streets import WALK, Kind, Spots, Streets

__all__ = ["Place", "Plan", "Surface"]

BANK = 5.0  # m of grass along a river


class Surface(IntEnum):
    """What covers a point, trees and cars aside."""

    GARDEN = 0
    PAVED = 1
    WALK = 2
    STREET = 3
    MAIN = 4
    ROOF = 5
    WATER = 6
    FIELD = 7
    LAWN = 8
    WOOD = 9
    BANK = 10


class Place(NamedTuple):
    """What is at each point: (points,) arrays."""

    surface: NDArray[np.uint8]
    s: Floats  # plan metres across the lanes, and along them
    t: Floats
    block: Hashes
    edge: Floats  # plan metres to the nearest street, negative on it
    run: Floats  # plan metres along that street
    lots: Lots
    houses: Houses


@dataclass(frozen=True)
class Plan:
    """The plan of the town with this seed; every method is a pure function of points."""

    seed: int

    @cached_property
    def streets(self) -> Streets:
        """Streets, blocks and waters."""
        return Streets(self.seed)

    def houses(self, x: Floats, y: Floats) -> Houses:
        """Return the house on the lot of each world point."""
        return houses_on(self.streets, lots_at(self.streets, self.streets.at(x, y))[0])

    def place(self, x: Floats, y: Floats) -> Place:
        """Return what is at world points, (points,) each, metres."""
        spots = self.streets.at(x, y)
        lots, edge, run = lots_at(self.streets, spots)
        houses = houses_on(self.streets, lots)
        s, t = spots.swapped(spots.u, spots.v)
        surface = self._open_ground(spots, lots, s, t)
        surface[(edge < WALK) & (lots.kind >= Kind.HOUSES)] = Surface.WALK
        river = self.streets.river_distance(lots.river, spots.u, spots.v)
        surface[river < BANK] = Surface.BANK
        surface[np.minimum(river, self.streets.pond_distance(spots)) < 0] = Surface.WATER
        surface[edge < 0] = Surface.STREET
        surface[spots.on_main()] = Surface.MAIN
        surface[houses.distance(x, y) < 0] = Surface.ROOF
        block = hashed(seed_of(self.seed, "block"), spots.i, spots.j)
        return Place(surface, s, t, block, edge, run, lots, houses)

    def _open_ground(self, spots: Spots, lots: Lots, s: Floats, t: Floats) -> NDArray[np.uint8]:
        """Return surfaces as they would be without streets, waters and houses."""
        surface = np.full(s.shape, Surface.GARDEN, np.uint8)
        surface[lots.kind == Kind.FIELD] = Surface.FIELD
        park = lots.kind == Kind.PARK
        if park.any():
            wood = noise(seed_of(self.seed, "wood"), spots.u, spots.v, 42.0) > -0.05
            surface[park] = np.where(wood[park], Surface.WOOD, Surface.LAWN)
        surface[self._paved(lots, s - lots.s, t - lots.t)] = Surface.PAVED
        return surface

    def _paved(self, lots: Lots, s: Floats, t: Floats) -> NDArray[np.bool_]:
        """Whether points, given from the middle of their lots, are yards, car parks or drives."""
        car_park, drive = once_each(lots.key, lambda key: draws(key, 11)[9:], lots.key)
        inside = np.minimum(lots.half_s - np.abs(s), lots.half_t - np.abs(t)) > 1.5
        forward = s * lots.front
        works = (lots.kind == Kind.WORKS) & inside
        behind = (lots.kind == Kind.ROWS) & inside & (forward < -3) & (car_park < 0.7)
        beside = np.abs(t - (1.6 * drive - 0.8) * lots.half_t) < 1.4
        drives = (lots.kind == Kind.HOUSES) & beside & (forward > 0)
        paved: NDArray[np.bool_] = works | behind | drives
        return paved
