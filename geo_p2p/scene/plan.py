"""Where everything lies: the streets, blocks, lots and houses of the town.

The plan is drawn on a lattice of (u, v) metres that is a turned and gently bent (x, y):
columns of blocks between long streets, each column with cross streets of its own, so that they
meet in T junctions; lanes halve the blocks of houses; lots line the lanes. Every choice is a hash
of the indices that lead to it, hence the plan needs no memory and has no edge.
"""

import math
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .lattice import Floats, Hashes, by_runs, cell_of, draws, hashed, noise, noise_along

__all__ = ["Houses", "Kind", "Lots", "Place", "Plan", "Surface"]

COLUMN, ROW = 125.0, 115.0  # m between streets, on average
SWAY = 0.32  # of that, how far a street may lie from its place
BEND, BEND_SIZE = 20.0, 260.0  # m that streets are bent by, and over which length
MAIN_HALF, STREET_HALF, LANE_HALF, WALK = 5.5, 3.2, 2.6, 1.75  # m
RIVER_EVERY = 6  # columns
MEANDER = 18.0  # m

class Kind(IntEnum):
    """What a block is used for."""

    FIELD = 0
    PARK = 1
    HOUSES = 2
    ROWS = 3
    WORKS = 4


class Surface(IntEnum):
    """What a point of the ground is."""

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


# By Kind: size of a lot (across, along the lane), and of a house in it: half of its length and of
# its depth, (least, most), and its height; all in m. Blocks without lots have entries too.
LOT = np.array([[999, 999], [999, 999], [26, 17], [33, 44], [52, 46]], float)
HALF_LENGTH = np.array([[0, 0], [0, 0], [4.6, 6.6], [13, 18], [12, 18]], float)
HALF_DEPTH = np.array([[0, 0], [0, 0], [3.8, 5.0], [5.4, 6.6], [9, 15]], float)
HEIGHT = np.array([[0, 0], [0, 0], [4.5, 6.5], [6, 8], [6, 8]], float)
TALLEST = float(HEIGHT.max())
CLEARANCE = 1.8  # m between a house and the border of its lot, at least


class Blocks(NamedTuple):
    """The block of each point: (points,) arrays; edges in plan metres, flags as 0 or 1."""

    left: Floats
    right: Floats
    bottom: Floats
    top: Floats
    main_left: Floats
    main_right: Floats
    main_bottom: Floats
    main_top: Floats
    kind: Floats
    turned: Floats
    lane: Floats
    river: Floats


class Lots(NamedTuple):
    """The lot of each point: (points,) arrays; s runs across the lanes, t along them."""

    key: Hashes
    kind: NDArray[np.int64]
    turned: Floats
    river: Floats
    s: Floats
    t: Floats
    half_s: Floats
    half_t: Floats
    front: Floats


class Houses(NamedTuple):
    """The house on the lot of each point: (points,) arrays, world metres; length 0 for none."""

    x: Floats
    y: Floats
    axis_x: Floats
    axis_y: Floats
    length: Floats
    depth: Floats
    height: Floats
    roof: Floats
    gabled: Floats
    tone: Floats

    def local(self, x: Floats, y: Floats) -> tuple[Floats, Floats]:
        """Return points along and across the ridge, in metres from the middle of the house."""
        dx, dy = x - self.x, y - self.y
        return dx * self.axis_x + dy * self.axis_y, dy * self.axis_x - dx * self.axis_y

    def outside(self, x: Floats, y: Floats) -> Floats:
        """Return metres to the nearest wall line, negative inside, infinite without a house."""
        along, across = self.local(x, y)
        away = np.maximum(np.abs(along) - self.length, np.abs(across) - self.depth)
        return np.where(self.length > 0, away, np.inf)


class Place(NamedTuple):
    """What is at each point: (points,) arrays."""

    u: Floats
    v: Floats
    surface: NDArray[np.uint8]
    block: Hashes
    edge: Floats  # m to the nearest street, negative on it
    shore: Floats  # m to the nearest water, negative in it
    run: Floats  # m along the nearest street
    lots: Lots
    houses: Houses


@dataclass(frozen=True)
class Plan:
    """The plan of one town."""

    seed: int

    @cached_property
    def _turn(self) -> tuple[float, float]:
        angle = math.radians(8 + 30 * float(draws(hashed(self.seed, 0), 1)[0, 0]))
        return math.cos(angle), math.sin(angle)

    def _bend(self, p: Floats, q: Floats) -> tuple[Floats, Floats]:
        first, second = (hashed(self.seed, salt).item() for salt in (1, 2))
        return BEND * noise(first, p, q, BEND_SIZE), BEND * noise(second, p, q, BEND_SIZE)

    def to_plan(self, x: Floats, y: Floats) -> tuple[Floats, Floats]:
        """Return plan coordinates of world points."""
        cos, sin = self._turn
        p, q = cos * x + sin * y, cos * y - sin * x
        du, dv = self._bend(p, q)
        return p + du, q + dv

    def to_world(self, u: Floats, v: Floats) -> tuple[Floats, Floats]:
        """Return world coordinates of plan points, to a centimetre."""
        cos, sin = self._turn
        p, q = u, v
        for _ in range(8):  # the bend is a contraction, by 0.25 at most
            du, dv = self._bend(p, q)
            p, q = u - du, v - dv
        return cos * p - sin * q, sin * p + cos * q

    # -- streets and blocks

    def _long_street(self, i: Floats) -> Floats:
        return COLUMN * (i + SWAY * (draws(cell_of(self.seed, i, i * 0 + 3), 1)[0] - 0.5))

    def _shift(self, i: Floats) -> Floats:
        return draws(cell_of(self.seed, i, i * 0 + 4), 1)[0]

    def _cross_street(self, i: Floats, j: Floats) -> Floats:
        sway = draws(cell_of(self.seed, i, j, i * 0 + 5), 1)[0] - 0.5
        return ROW * (j + self._shift(i) + SWAY * sway)

    def indices(self, u: Floats, v: Floats) -> tuple[Floats, Floats]:
        """Return the column and the row of the block of each point."""
        i = np.floor(u / COLUMN)
        low, high = by_runs(hashed(i.astype(np.int64)),
                            lambda a: np.stack([self._long_street(a), self._long_street(a + 1)]), i)
        i = i - (u < low) + (u >= high)
        shift, = by_runs(hashed(i.astype(np.int64)), lambda a: self._shift(a)[None], i)
        j = np.floor(v / ROW - shift)
        low, high = by_runs(
            cell_of(0, i, j),
            lambda a, b: np.stack([self._cross_street(a, b), self._cross_street(a, b + 1)]), i, j)
        return i, j - (v < low) + (v >= high)

    def _kind(self, i: Floats, j: Floats) -> tuple[NDArray[np.int64], Floats]:
        """Return kinds such that any three by three blocks have all that a map shows."""
        key = cell_of(self.seed, i, j, i * 0 + 6)
        chance, turned, *_ = draws(key, 3)
        turn = np.mod(i + 2 * j + self.seed, 5).astype(np.int64)
        choices = [
            np.full(i.shape, Kind.FIELD),
            np.full(i.shape, Kind.PARK),
            np.where(chance < 0.3, Kind.FIELD, Kind.HOUSES),
            np.full(i.shape, Kind.HOUSES),
            np.where(chance < 0.5, Kind.ROWS, Kind.WORKS),
        ]
        return np.choose(turn, choices), turned

    def _block(self, i: Floats, j: Floats) -> Floats:
        """Return the columns of :class:`Blocks` for block indices."""
        main_left, main_right = np.mod(i, 2) == 0, np.mod(i, 2) == 1
        main_bottom, main_top = (
            draws(cell_of(self.seed, i, j + k, i * 0 + 7), 1)[0] < 0.2 for k in (0, 1))
        half = [np.where(m, MAIN_HALF, STREET_HALF)
                for m in (main_left, main_right, main_bottom, main_top)]
        left, right = self._long_street(i) + half[0], self._long_street(i + 1) - half[1]
        bottom = self._cross_street(i, j) + half[2]
        top = self._cross_street(i, j + 1) - half[3]
        kind, chance = self._kind(i, j)
        where = draws(cell_of(self.seed, i, j, i * 0 + 8), 1)[0]
        # Lanes halve the longer side, so that lots are never deep.
        turned = top - bottom > right - left
        low, high = np.where(turned, bottom, left), np.where(turned, top, right)
        lane = low + (high - low) * (0.42 + 0.16 * where)
        flows = np.mod(i + self.seed, RIVER_EVERY) == 0
        divided = (kind == Kind.HOUSES) | ((kind == Kind.ROWS) & (chance < 0.5))
        lane = np.where(divided & ~flows, lane, np.inf)
        river = np.where(flows, (left + right) / 2, np.inf)
        return np.stack([left, right, bottom, top, main_left, main_right, main_bottom, main_top,
                         kind, turned, lane, river])

    def river_distance(self, middle: Floats, u: Floats, v: Floats) -> Floats:
        """Return metres to the river of a column (``middle``: where it is, or infinite)."""
        if not np.isfinite(middle).any():
            return np.full(u.shape, np.inf)
        meander = MEANDER * noise_along(hashed(self.seed, 9).item(), v, 70.0)
        half = 8.0 + 2.5 * noise_along(hashed(self.seed, 10).item(), v, 38.0)
        return np.abs(u - middle - meander) - half

    def lots(self, i: Floats, j: Floats, blocks: Blocks, u: Floats, v: Floats
             ) -> tuple[Lots, Floats, Floats]:
        """Return the lots of points, metres to the nearest street, and metres along it."""
        turned = blocks.turned > 0
        s, t = np.where(turned, v, u), np.where(turned, u, v)
        s_low, s_high = np.where(turned, blocks.bottom, blocks.left), np.where(turned, blocks.top, blocks.right)
        t_low, t_high = np.where(turned, blocks.left, blocks.bottom), np.where(turned, blocks.right, blocks.top)
        beyond = s > blocks.lane
        s_low = np.where(beyond, blocks.lane + LANE_HALF, s_low)
        s_high = np.where(beyond, s_high, np.minimum(s_high, blocks.lane - LANE_HALF))
        across = np.minimum(s - s_low, s_high - s)
        along = np.minimum(t - t_low, t_high - t)
        kind = blocks.kind.astype(np.int64)
        p, mid_s, half_s, last = _slots(s, s_low + WALK, s_high - WALK, LOT[kind, 0])
        q, mid_t, half_t, _ = _slots(t, t_low + WALK, t_high - WALK, LOT[kind, 1])
        front = np.where(p == 0, -1.0, 0.0) + np.where(p == last, 1.0, 0.0)
        key = cell_of(self.seed, i, j, beyond, p, q)
        lots = Lots(key, kind, blocks.turned, blocks.river, mid_s, mid_t, half_s, half_t, front)
        return lots, np.minimum(across, along), np.where(across < along, t, s)

    def _house(self, key: Hashes, *columns: Floats) -> Floats:
        """Return the columns of :class:`Houses` for lots."""
        lot = Lots(key, columns[0].astype(np.int64), *columns[1:])
        chance = draws(key, 10)

        def between(bounds: Floats, draw: Floats) -> Floats:
            low, high = bounds[lot.kind].T
            return low + (high - low) * draw

        length = np.minimum(between(HALF_LENGTH, chance[0]), lot.half_t - CLEARANCE)
        depth = np.minimum(between(HALF_DEPTH, chance[1]), lot.half_s - CLEARANCE)
        s = lot.s + lot.front * np.maximum(0, lot.half_s - depth - CLEARANCE - 3.5 * chance[2])
        t = lot.t + (2 * chance[3] - 1) * (lot.half_t - CLEARANCE - length)
        turned = lot.turned > 0
        u, v = np.where(turned, t, s), np.where(turned, s, t)
        x, y = self.to_world(u, v)
        ahead_x, ahead_y = self.to_world(u + turned, v + ~turned)
        step = np.sqrt((ahead_x - x) ** 2 + (ahead_y - y) ** 2)
        swamped = self.river_distance(lot.river, u, v) < length + 6
        there = (lot.kind >= Kind.HOUSES) & (chance[4] < 0.9) & ~swamped & (np.minimum(length, depth) > 3)
        works = lot.kind == Kind.WORKS
        gabled = ~works & (chance[6] < 0.75)
        return np.stack([x, y, (ahead_x - x) / step, (ahead_y - y) / step,
                         np.where(there, length, 0), depth, between(HEIGHT, chance[5]),
                         np.where(works, 0.4 * chance[7], chance[7]), gabled, 2 * chance[8] - 1])

    def houses(self, lots: Lots) -> Houses:
        """Return the house on each lot."""
        columns = by_runs(lots.key, self._house, *lots)
        return Houses(*columns)

    # -- what is where

    def blocks(self, i: Floats, j: Floats) -> Blocks:
        """Return the block of each pair of indices."""
        return Blocks(*by_runs(cell_of(0, i, j), self._block, i, j))

    def houses_at(self, x: Floats, y: Floats) -> Houses:
        """Return the house on the lot of each world point."""
        u, v = self.to_plan(x, y)
        i, j = self.indices(u, v)
        return self.houses(self.lots(i, j, self.blocks(i, j), u, v)[0])

    def pond_distance(self, i: Floats, j: Floats, blocks: Blocks, u: Floats, v: Floats) -> Floats:
        parks = blocks.kind == Kind.PARK
        if not parks.any():
            return np.full(u.shape, np.inf)
        chance = by_runs(cell_of(0, i, j), lambda a, b: draws(cell_of(self.seed, a, b, a * 0 + 11), 3), i, j)
        du = u - (blocks.left + blocks.right) / 2 - 30 * (chance[0] - 0.5)
        dv = v - (blocks.bottom + blocks.top) / 2 - 30 * (chance[1] - 0.5)
        ripple = noise(hashed(self.seed, 12).item(), u, v, 19.0)
        radius = (13 + 9 * chance[2]) * (1 + 0.4 * ripple)
        return np.where(parks, np.sqrt(du * du + dv * dv) - radius, np.inf)

    def place(self, x: Floats, y: Floats) -> Place:
        """Return what is at world points, (points,) each."""
        u, v = self.to_plan(x, y)
        i, j = self.indices(u, v)
        blocks = self.blocks(i, j)
        lots, edge, run = self.lots(i, j, blocks, u, v)
        houses = self.houses(lots)
        river = self.river_distance(blocks.river, u, v)
        shore = np.minimum(river, self.pond_distance(i, j, blocks, u, v))
        surface = self._open_ground(lots, u, v, edge)
        surface[(river < 5) & (edge >= 0)] = Surface.BANK
        surface[(shore < 0) & (edge >= 0)] = Surface.WATER
        surface[edge < 0] = Surface.STREET
        surface[self._on_main(blocks, u, v)] = Surface.MAIN
        surface[houses.outside(x, y) < 0] = Surface.ROOF
        return Place(u, v, surface, cell_of(self.seed, i, j), edge, shore, run, lots, houses)

    @staticmethod
    def _on_main(blocks: Blocks, u: Floats, v: Floats) -> NDArray[np.bool_]:
        return (
            ((u < blocks.left) & (blocks.main_left > 0)) | ((u > blocks.right) & (blocks.main_right > 0))
            | ((v < blocks.bottom) & (blocks.main_bottom > 0)) | ((v > blocks.top) & (blocks.main_top > 0)))

    def _open_ground(self, lots: Lots, u: Floats, v: Floats, edge: Floats) -> NDArray[np.uint8]:
        turned = lots.turned > 0
        s, t = np.where(turned, v, u) - lots.s, np.where(turned, u, v) - lots.t
        chance = by_runs(lots.key, lambda key: draws(key, 12)[10:], lots.key)
        kind = lots.kind
        surface = np.full(u.shape, Surface.GARDEN, np.uint8)
        surface[kind == Kind.FIELD] = Surface.FIELD
        park = kind == Kind.PARK
        surface[park] = Surface.LAWN
        if park.any():
            surface[park & (noise(hashed(self.seed, 13).item(), u, v, 42.0) > -0.05)] = Surface.WOOD
        inside = np.minimum(lots.half_s - np.abs(s), lots.half_t - np.abs(t))
        yard = (kind == Kind.WORKS) & (inside > 1.5)
        yard |= (kind == Kind.ROWS) & (s * lots.front < -3) & (inside > 1.5) & (chance[0] < 0.7)
        drive = (kind == Kind.HOUSES) & (np.abs(t - (1.6 * chance[1] - 0.8) * lots.half_t) < 1.4)
        yard |= drive & (s * lots.front > 0)
        surface[yard] = Surface.PAVED
        surface[(edge < WALK) & (kind >= Kind.HOUSES)] = Surface.WALK
        return surface


def _slots(t: Floats, low: Floats, high: Floats, size: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Share [low, high] out in equal slots of about ``size``: index, middle, half, last index."""
    last = np.maximum(np.rint((high - low) / size), 1) - 1
    width = (high - low) / (last + 1)
    index = np.clip(np.floor((t - low) / width), 0, last)
    return index, low + (index + 0.5) * width, width / 2, last
