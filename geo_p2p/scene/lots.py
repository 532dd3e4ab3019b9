"""Lots along the lanes of a block, and the house on each."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .lattice import Flags, Floats, Hashes, draws, hashed, once_each, seed_of
from .streets import LANE_HALF, WALK, Kind, Spots, Streets

__all__ = ["CLEARANCE", "TALLEST", "Houses", "Lots", "houses_on", "lots_at"]

# By Kind, m: size of a lot (across the lane, along it); of the house in it, the least and most of
# half its length, half its depth, and its height. FIELD and PARK have lots too large to matter.
LOT = np.array([[999, 999], [999, 999], [26, 17], [33, 44], [52, 46]], float)
HALF_LENGTH = np.array([[0, 0], [0, 0], [4.6, 6.6], [13, 17], [12, 16]], float)
HALF_DEPTH = np.array([[0, 0], [0, 0], [3.8, 5.0], [5.4, 6.6], [9, 13]], float)
HEIGHT = np.array([[0, 0], [0, 0], [4.5, 6.0], [6, 7.5], [6, 7.5]], float)
TALLEST = float(HEIGHT.max())
CLEARANCE = 1.8  # m from a house to the border of its lot, at least
SETBACK = 3.5  # m it may stand further back
DRY = 6.0  # m from a house to the river, at least


class Lots(NamedTuple):
    """The lot of each point: (points,) arrays; plan metres, s across the lanes, t along them."""

    key: Hashes
    kind: NDArray[np.int64]
    turned: Floats
    river: Floats
    s: Floats  # the middle of the lot
    t: Floats
    half_s: Floats
    half_t: Floats
    front: Floats  # where its street is: -1 towards low s, 1 towards high s, 0 nowhere


class Houses(NamedTuple):
    """The house on the lot of each point: (points,) arrays, world metres; length 0 for none."""

    x: Floats  # its middle
    y: Floats
    axis_x: Floats  # unit vector along its ridge
    axis_y: Floats
    length: Floats  # half of it, as of depth
    depth: Floats
    height: Floats
    roof: Floats  # in [0, 1): what it is covered with
    gabled: Floats  # 0 or 1
    tone: Floats  # in [-1, 1)

    def at(self, chosen: Flags) -> "Houses":
        """Return the houses of some of the points."""
        return Houses(*(column[chosen] for column in self))

    def local(self, x: Floats, y: Floats) -> tuple[Floats, Floats]:
        """Return points along and across the ridge, metres from the middle of the house."""
        dx, dy = x - self.x, y - self.y
        return dx * self.axis_x + dy * self.axis_y, dy * self.axis_x - dx * self.axis_y

    def distance(self, x: Floats, y: Floats) -> Floats:
        """Return metres to the walls, negative inside, infinite where there is no house."""
        along, across = self.local(x, y)
        away = np.maximum(np.abs(along) - self.length, np.abs(across) - self.depth)
        return np.where(self.length > 0, away, np.inf)


def lots_at(streets: Streets, spots: Spots) -> tuple[Lots, Floats, Floats]:
    """Return the lots of points, plan metres to the nearest street, and metres along it."""
    b = spots.block
    s, t = spots.swapped(spots.u, spots.v)
    s_low, t_low = spots.swapped(b.left, b.bottom)
    s_high, t_high = spots.swapped(b.right, b.top)
    beyond = s > b.lane
    s_low = np.where(beyond, b.lane + LANE_HALF, s_low)
    s_high = np.where(beyond, s_high, np.minimum(s_high, b.lane - LANE_HALF))
    across, along = np.minimum(s - s_low, s_high - s), np.minimum(t - t_low, t_high - t)
    kind = b.kind.astype(np.int64)
    p, mid_s, half_s, last = _slots(s, s_low + WALK, s_high - WALK, LOT[kind, 0])
    q, mid_t, half_t, _ = _slots(t, t_low + WALK, t_high - WALK, LOT[kind, 1])
    front = np.where(p == last, 1.0, np.where(p == 0, -1.0, 0.0))
    key = hashed(seed_of(streets.seed, "lot"), spots.i, spots.j, 2 * p + beyond, q)
    lots = Lots(key, kind, b.turned, b.river, mid_s, mid_t, half_s, half_t, front)
    return lots, np.minimum(across, along), np.where(across < along, t, s)


def _slots(t: Floats, low: Floats, high: Floats, size: Floats) -> tuple[Floats, ...]:
    """Share [low, high] out in equal slots of about ``size``: index, middle, half, last index."""
    last = np.maximum(np.rint((high - low) / size), 1) - 1
    width = (high - low) / (last + 1)
    index = np.minimum(np.maximum(np.floor((t - low) / width), 0), last)
    return index, low + (index + 0.5) * width, width / 2, last


def houses_on(streets: Streets, lots: Lots) -> Houses:
    """Return the house on each lot."""
    return Houses(*once_each(lots.key, lambda *lot: _houses(streets, Lots(*lot)), *lots))


def _houses(streets: Streets, lots: Lots) -> Floats:
    """Return the columns of `Houses`."""
    chance = draws(lots.key, 9)
    length = np.minimum(_between(HALF_LENGTH[lots.kind], chance[0]), lots.half_t - CLEARANCE)
    depth = np.minimum(_between(HALF_DEPTH[lots.kind], chance[1]), lots.half_s - CLEARANCE)
    forward = np.maximum(0, lots.half_s - depth - CLEARANCE - SETBACK * chance[2])
    s = lots.s + lots.front * forward
    t = lots.t + (2 * chance[3] - 1) * (lots.half_t - CLEARANCE - length)
    turned = lots.turned > 0
    u, v = np.where(turned, t, s), np.where(turned, s, t)
    # The ridge is a metre along the lane, as it lies in the world.
    ends = streets.to_world(np.concatenate([u, u + turned]), np.concatenate([v, v + ~turned]))
    (x, x_end), (y, y_end) = (end.reshape(2, -1) for end in ends)
    dx, dy = x_end - x, y_end - y
    step = np.sqrt(dx * dx + dy * dy)
    wet = streets.river_distance(lots.river, u, v) < np.maximum(length, depth) + DRY
    works = lots.kind == Kind.WORKS
    there: Flags = (lots.kind >= Kind.HOUSES) & (chance[4] < 0.9) & ~wet
    there &= np.minimum(length, depth) > 3
    height = _between(HEIGHT[lots.kind], chance[5])
    gabled = ~works & (chance[6] < 0.75)
    roof = np.where(works, 0.4 * chance[7], chance[7])  # never red on a hall
    columns = (np.where(there, length, 0), depth, height, roof, gabled, 2 * chance[8] - 1)
    return np.stack([x, y, dx / step, dy / step, *columns])


def _between(bounds: Floats, chance: Floats) -> Floats:
    return bounds[:, 0] + (bounds[:, 1] - bounds[:, 0]) * chance
