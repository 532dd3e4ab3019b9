"""The aerial photograph: ground, shadows, roofs and crowns, seen by a sensor."""

import numpy as np
from numpy.typing import NDArray

from .lattice import Floats, draws, hashed, seed_of
from .light import Sun, house_shadows
from .paint import ground, leaves, paint_cars, roofs
from .plan import Plan
from .trees import SPECIES, Forest

__all__ = ["developed", "photograph", "softened"]

SKY = np.array([(0.40,), (0.43,), (0.50,)])  # the light that is left in a shadow, hence bluish
BLUR = 0.2  # share of a pixel's light that each neighbour gets, along rows and columns
GRAIN = 1 / 32  # m
LUMA, CHROMA = 8.0, 9.0  # of 255


def photograph(plan: Plan, sun: Sun, x: Floats, y: Floats) -> Floats:
    """Return the colours of world points as the sun lights them.

    Parameters
    ----------
    plan : what is where.
    sun : where light comes from.
    x, y : (points,) metres; not empty.

    Returns
    -------
    (3, points) array, about 0 to 255.
    """
    place = plan.place(x, y)
    colours = ground(plan.seed, place, x, y)
    paint_cars(plan.seed, place, colours)
    dark = house_shadows(plan, sun, place, x, y)
    crowns = []
    for species in SPECIES:
        forest = Forest(plan, species, x, y, species.height * sun.length)
        dark |= forest.over(*sun.source(x, y, species.height)).rise > 0
        crowns.append(forest.over(x, y))
    colours *= np.where(dark, SKY, 1.0)
    on, cover = roofs(sun, place, x, y)
    colours[:, on] = cover
    for crown in crowns:
        on, cover = leaves(plan.seed, sun, crown, x, y)
        colours[:, on] = cover
    return colours


def softened(colours: Floats) -> Floats:
    """Return a (bands, rows + 2, cols + 2) image blurred by 3 x 3, without its outer pixels."""
    for axis in (1, 2):
        size = colours.shape[axis]
        before, here, after = (np.take(colours, np.arange(k, size - 2 + k), axis) for k in range(3))
        colours = BLUR * before + (1 - 2 * BLUR) * here + BLUR * after
    return colours


def developed(seed: int, colours: Floats, x: Floats, y: Floats) -> NDArray[np.uint8]:
    """Return colours with the noise of a sensor, as bytes.

    Parameters
    ----------
    seed : the town's.
    colours : (3, rows, cols), 0 to 255.
    x, y : (rows, cols) metres, on which the noise depends.
    """
    # The offset keeps usual pixel centres off the borders of grains, where rounding would decide.
    grains = (np.floor(c / GRAIN + 0.34) for c in (x, y))
    chance = draws(hashed(seed_of(seed, "grain"), *grains), 6)
    noise = LUMA * (chance[:3].sum(0) - 1.5) + CHROMA * (chance[3:] - 0.5)
    values: NDArray[np.uint8] = np.clip(np.rint(colours + noise), 0, 255).astype(np.uint8)
    return values
