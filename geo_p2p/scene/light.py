"""The sun, and the shadows that houses cast."""

import math
from dataclasses import dataclass

import numpy as np

from .lattice import Flags, Floats
from .lots import CLEARANCE, TALLEST, Houses
from .plan import Place, Plan
from .streets import Kind

__all__ = ["Sun", "house_shadows"]


@dataclass(frozen=True)
class Sun:
    """Where the sun stands: azimuth in degrees from grid north, clockwise; elevation in degrees."""

    azimuth: float
    elevation: float

    @property
    def towards(self) -> tuple[float, float]:
        """Unit vector (x, y) on the ground towards the sun."""
        azimuth = math.radians(self.azimuth)
        return math.sin(azimuth), math.cos(azimuth)

    @property
    def length(self) -> float:
        """Metres of shadow for a metre of height."""
        return 1 / math.tan(math.radians(self.elevation))

    def source(self, x: Floats, y: Floats, height: float) -> tuple[Floats, Floats]:
        """Return the points above which something ``height`` metres high shades (x, y)."""
        reach = self.length * height
        return x + self.towards[0] * reach, y + self.towards[1] * reach


def house_shadows(plan: Plan, sun: Sun, place: Place, x: Floats, y: Floats) -> Flags:
    """Whether points lie in the shadow of a house, roofs included.

    The houses that matter stand on the lots which a ray towards the sun crosses; as they keep
    clear of their borders, steps of twice that clearance miss none.
    """
    dark = _shaded(sun, place.houses, x, y)
    reach = TALLEST * sun.length
    # In open country only what lies near a street can be shaded; the plan stretches by a third
    # at most.
    near = (place.lots.kind >= Kind.HOUSES) | (place.edge < reach * 4 / 3)
    at = np.flatnonzero(near & ~dark)
    steps = math.ceil(reach / (2 * CLEARANCE))
    for step in range(1, steps + 1):
        houses = plan.houses(*sun.source(x[at], y[at], TALLEST * step / steps))
        dark[at] |= _shaded(sun, houses, x[at], y[at])
    return dark


def _shaded(sun: Sun, houses: Houses, x: Floats, y: Floats) -> Flags:
    """Whether the ray from each point to the sun meets its house: slabs along both axes."""
    along, across = houses.local(x, y)
    ray_along, ray_across = houses.local(*sun.source(houses.x, houses.y, 1.0))
    enter, leave = np.zeros(x.shape), houses.height
    for start, ray, half in (
        (along, ray_along, houses.length),
        (across, ray_across, houses.depth),
    ):
        ray = np.where(np.abs(ray) < 1e-9, 1e-9, ray)
        one, other = (-half - start) / ray, (half - start) / ray
        enter = np.maximum(enter, np.minimum(one, other))
        leave = np.minimum(leave, np.maximum(one, other))
    return (enter < leave) & (houses.length > 0)
