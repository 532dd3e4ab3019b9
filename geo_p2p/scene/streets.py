"""Streets and the blocks between them.

They are drawn on a plan of (u, v) metres, which is (x, y) turned and gently bent: columns of
blocks between long streets, each column with cross streets of its own, so that these meet the
long ones in T junctions. Blocks of houses are halved by lanes. Every choice is a hash of the
indices that lead to it, hence the plan needs no memory and has no edge.
"""

import math
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .lattice import ROWS, Floats, draws, hashed, noise, noise_along, once_each, seed_of

__all__ = ["LANE_HALF", "MAIN_HALF", "WALK", "Blocks", "Kind", "Spots", "Streets"]

COLUMN, ROW = 125.0, 115.0  # m between streets, on average
SWAY = 0.32  # how far a street may lie from its even place, as a share of that
BEND, BEND_SIZE = 20.0, 260.0  # m streets are bent by, and over which length
MAIN_HALF, STREET_HALF, LANE_HALF, WALK = 5.5, 3.2, 2.6, 1.75  # m
RIVER_EVERY = 6  # columns
MEANDER, MEANDER_SIZE = 18.0, 70.0  # m
POND, POND_MORE = 13.0, 9.0  # m of radius


class Kind(IntEnum):
    """What a block is used for; from HOUSES on, it is built on."""

    FIELD = 0
    PARK = 1
    HOUSES = 2
    ROWS = 3
    WORKS = 4


class Blocks(NamedTuple):
    """The block of each point: (points,) arrays; edges in plan metres, flags 0 or 1."""

    left: Floats
    right: Floats
    bottom: Floats
    top: Floats
    main_left: Floats
    main_right: Floats
    main_bottom: Floats
    main_top: Floats
    kind: Floats
    turned: Floats  # lanes and lots run along u, not v
    lane: Floats  # where the lane lies, infinite for none
    river: Floats  # u around which a river meanders, infinite for none


class Spots(NamedTuple):
    """Points on the plan, and the column and row of their blocks: (points,) arrays."""

    u: Floats
    v: Floats
    i: Floats
    j: Floats
    block: Blocks

    def swapped(self, across: Floats, along: Floats) -> tuple[Floats, Floats]:
        """Return the pair, swapped where the block is turned: (u, v) <-> (across, along) lanes."""
        turned = self.block.turned > 0
        return np.where(turned, along, across), np.where(turned, across, along)

    def on_main(self) -> NDArray[np.bool_]:
        """Whether points lie on a main street."""
        b = self.block
        return (
            ((self.u < b.left) & (b.main_left > 0))
            | ((self.u > b.right) & (b.main_right > 0))
            | ((self.v < b.bottom) & (b.main_bottom > 0))
            | ((self.v > b.top) & (b.main_top > 0))
        )


@dataclass(frozen=True)
class Streets:
    """The streets, blocks and waters of the town with this seed."""

    seed: int

    def chance(self, use: str, *indices: Floats) -> Floats:
        """Return uniform numbers in [0, 1) for lattice indices."""
        return draws(hashed(seed_of(self.seed, use), *indices), 1).ravel()

    # -- world and plan

    @cached_property
    def _turn(self) -> tuple[float, float]:
        angle = math.radians(8 + 30 * seed_of(self.seed, "turn") / 2**32)
        return math.cos(angle), math.sin(angle)

    def _bend(self, p: Floats, q: Floats) -> tuple[Floats, Floats]:
        du, dv = (noise(seed_of(self.seed, f"bend {axis}"), p, q, BEND_SIZE) for axis in "uv")
        return BEND * du, BEND * dv

    def to_plan(self, x: Floats, y: Floats) -> tuple[Floats, Floats]:
        """Return plan coordinates (u, v) of world points, metres."""
        cos, sin = self._turn
        p, q = cos * x + sin * y, cos * y - sin * x
        du, dv = self._bend(p, q)
        return p + du, q + dv

    def to_world(self, u: Floats, v: Floats) -> tuple[Floats, Floats]:
        """Return world coordinates (x, y) of plan points, metres, to a few centimetres."""
        cos, sin = self._turn
        p, q = u, v
        for _ in range(5):  # the bend changes lengths by a quarter at most, so errors shrink
            du, dv = self._bend(p, q)
            p, q = u - du, v - dv
        return cos * p - sin * q, sin * p + cos * q

    def at(self, x: Floats, y: Floats) -> Spots:
        """Return world points on the plan."""
        u, v = self.to_plan(x, y)
        i = self._column(u)
        j = self._row(i, v)
        return Spots(u, v, i, j, Blocks(*once_each(i * ROWS + j, self._block, i, j)))

    # -- streets

    def _long_street(self, i: Floats) -> Floats:
        return COLUMN * (i + SWAY * (self.chance("long street", i) - 0.5))

    def _cross_street(self, i: Floats, j: Floats) -> Floats:
        sway = SWAY * (self.chance("cross street", i, j) - 0.5)
        return ROW * (j + self.chance("stagger", i) + sway)

    def _column(self, u: Floats) -> Floats:
        """Return which long street lies last at or before u."""
        i = np.floor(u / COLUMN)
        low, high = once_each(
            i, lambda i: np.stack([self._long_street(i), self._long_street(i + 1)]), i
        )
        column: Floats = i - (u < low) + (u >= high)
        return column

    def _row(self, i: Floats, v: Floats) -> Floats:
        """Return which cross street of the column lies last at or before v."""
        (stagger,) = once_each(i, lambda i: self.chance("stagger", i)[None], i)
        j = np.floor(v / ROW - stagger)
        low, high = once_each(
            i * ROWS + j,
            lambda i, j: np.stack([self._cross_street(i, j), self._cross_street(i, j + 1)]),
            *(i, j),
        )
        row: Floats = j - (v < low) + (v >= high)
        return row

    # -- blocks

    def _kind(self, i: Floats, j: Floats) -> NDArray[np.int64]:
        """Return kinds such that any three by three blocks have fields, parks and houses."""
        chance = self.chance("kind", i, j)
        choices = [
            np.full(i.shape, Kind.FIELD),
            np.full(i.shape, Kind.PARK),
            np.where(chance < 0.3, Kind.FIELD, Kind.HOUSES),
            np.full(i.shape, Kind.HOUSES),
            np.where(chance < 0.5, Kind.ROWS, Kind.WORKS),
        ]
        return np.choose(np.mod(i + 2 * j + self.seed % 5, 5).astype(np.int64), choices)

    def _block(self, i: Floats, j: Floats) -> Floats:
        """Return the columns of `Blocks` for block indices."""
        mains = [
            np.mod(i, 2) == 0,
            np.mod(i, 2) == 1,
            self.chance("main", i, j) < 0.2,
            self.chance("main", i, j + 1) < 0.2,
        ]
        half = [np.where(main, MAIN_HALF, STREET_HALF) for main in mains]
        left, right = self._long_street(i) + half[0], self._long_street(i + 1) - half[1]
        bottom, top = self._cross_street(i, j) + half[2], self._cross_street(i, j + 1) - half[3]
        kind = self._kind(i, j)
        # A lane halves the longer side, so that lots are never deep; and it crosses no river.
        turned = top - bottom > right - left
        flows = np.mod(i + self.seed % RIVER_EVERY, RIVER_EVERY) == 0
        chance = self.chance("lane", i, j)
        divided = ((kind == Kind.HOUSES) | ((kind == Kind.ROWS) & (chance < 0.5))) & ~flows
        low, high = np.where(turned, bottom, left), np.where(turned, top, right)
        lane = np.where(divided, low + (high - low) * (0.42 + 0.16 * chance), np.inf)
        river = np.where(flows, (left + right) / 2, np.inf)
        return np.stack([left, right, bottom, top, *mains, kind, turned, lane, river])

    # -- waters

    def river_distance(self, middle: Floats, u: Floats, v: Floats) -> Floats:
        """Return plan metres to the river that meanders around u = ``middle``, negative in it."""
        if not np.isfinite(middle).any():
            return np.full(u.shape, np.inf)
        meander = MEANDER * noise_along(seed_of(self.seed, "meander"), v, MEANDER_SIZE)
        half = 8.0 + 2.5 * noise_along(seed_of(self.seed, "river width"), v, 38.0)
        return np.abs(u - middle - meander) - half

    def pond_distance(self, spots: Spots) -> Floats:
        """Return plan metres to the pond of a park, negative in it."""
        b, parks = spots.block, spots.block.kind == Kind.PARK
        if not parks.any():
            return np.full(parks.shape, np.inf)
        chance = once_each(spots.i * ROWS + spots.j, self._pond, spots.i, spots.j)
        du = spots.u - (b.left + b.right) / 2 - 30 * (chance[0] - 0.5)
        dv = spots.v - (b.bottom + b.top) / 2 - 30 * (chance[1] - 0.5)
        ripple = noise(seed_of(self.seed, "pond shore"), spots.u, spots.v, 19.0)
        radius = (POND + POND_MORE * chance[2]) * (1 + 0.4 * ripple)
        return np.where(parks, np.sqrt(du * du + dv * dv) - radius, np.inf)

    def _pond(self, i: Floats, j: Floats) -> Floats:
        return draws(hashed(seed_of(self.seed, "pond"), i, j), 3)
