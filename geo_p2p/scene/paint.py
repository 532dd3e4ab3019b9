"""Colours of the ground, of roofs and of what stands on the ground, in full light.

Colours are float64 (3, points), 0 to 255. What looks alike does so on purpose: streets, yards and
grey roofs; crops, lawns and gardens; water and shadow. Only shape and neighbourhood tell them
apart, as a translation from image to map should have to learn.
"""

import numpy as np

from .lattice import Flags, Floats, Hashes, draws, hashed, noise, once_each, seed_of
from .light import Sun
from .plan import Place, Surface
from .streets import MAIN_HALF, Kind
from .trees import Crowns

__all__ = ["ground", "leaves", "paint_cars", "roofs"]

ASPHALT, RED, DARK, LEAF = (116, 115, 113), (152, 92, 70), (70, 67, 68), (66, 86, 48)

# Red, green, blue, and how much the tone varies over 45, 9 and 2 m; roofs and crops have tones of
# their own.
LOOK = {
    Surface.GARDEN: (102, 120, 71, 0.07, 0.09, 0.06),
    Surface.PAVED: (*ASPHALT, 0.17, 0.11, 0.02),
    Surface.WALK: (158, 153, 144, 0.04, 0.03, 0.02),
    Surface.STREET: (*ASPHALT, 0.17, 0.11, 0.02),
    Surface.MAIN: (*ASPHALT, 0.17, 0.11, 0.02),
    Surface.ROOF: (*ASPHALT, 0, 0, 0),
    Surface.WATER: (46, 55, 55, 0.05, 0.02, 0.01),
    Surface.FIELD: (0, 0, 0, 0.04, 0.05, 0.04),
    Surface.LAWN: (100, 121, 69, 0.07, 0.09, 0.06),
    Surface.WOOD: (64, 78, 46, 0.07, 0.10, 0.10),
    Surface.BANK: (94, 112, 64, 0.06, 0.10, 0.07),
}
LOOKS = np.array([LOOK[surface] for surface in Surface], float)
SIZES = (45.0, 9.0, 2.2)
CROPS = np.array(
    [(101, 120, 70), (94, 114, 68), (112, 124, 74), (172, 157, 105), (140, 113, 88)], float
)
STRIP = 52.0  # m of one crop
PAINT = 185.0
CARS = np.array(
    [(205, 206, 207), (150, 152, 154), (92, 95, 98), (52, 53, 56), (150, 46, 42), (52, 72, 112)],
    float,
)


def _triangle(t: Floats) -> Floats:
    """Return a wave of period 1 between -1 and 1."""
    return 4 * np.abs(t - np.floor(t) - 0.5) - 1


def ground(seed: int, place: Place, x: Floats, y: Floats) -> Floats:
    """Return the colours of the ground, without cars."""
    looks = LOOKS[place.surface].T
    layers = [noise(seed_of(seed, f"tone {n}"), x, y, size) for n, size in enumerate(SIZES)]
    colours, tone = looks[:3], 1 + sum(a * b for a, b in zip(looks[3:], layers, strict=True))
    gardens = place.surface == Surface.GARDEN
    shade, dry = once_each(place.lots.key, lambda key: draws(key, 13)[11:], place.lots.key)
    tone += np.where(gardens, 0.3 * (shade - 0.45), 0)
    grass = gardens | (place.surface == Surface.LAWN)
    colours[0] *= (
        1 + np.where(grass, 0.09 * layers[1], 0) + np.where(gardens, 0.25 * (dry - 0.5), 0)
    )
    fields = place.surface == Surface.FIELD
    colours[:, fields], furrows = _crops(seed, place, fields)
    tone[fields] += furrows
    colours *= tone
    middle = np.abs(place.edge + MAIN_HALF) < 0.25
    colours[:, (place.surface == Surface.MAIN) & middle & (np.mod(place.run, 9.0) < 5)] = PAINT
    return colours


def _crops(seed: int, place: Place, fields: Flags) -> tuple[Floats, Floats]:
    """Return the colours of crops in strips, and the tone of their furrows."""
    s, t = place.s[fields], place.t[fields]
    key = hashed(seed_of(seed, "crop"), place.block[fields], np.floor(t / STRIP))
    crop, turned, width = once_each(key, lambda key: draws(key, 3), key)
    furrows = 0.07 * _triangle(np.where(turned < 0.5, s, t) / (2.6 + 1.8 * width))
    return CROPS[np.floor(crop * len(CROPS)).astype(np.int64)].T, furrows


def paint_cars(seed: int, place: Place, colours: Floats) -> None:
    """Draw cars along the kerbs of streets and in rows on yards and car parks."""
    surface, kinds = place.surface, place.lots.kind
    kerb = ((surface == Surface.STREET) | (surface == Surface.MAIN)) & (place.edge < -0.4)
    kerb &= (place.edge > -2.3) & (np.mod(place.run, 6.2) < 4.4)
    here = hashed(seed_of(seed, "kerb"), place.block, np.floor(place.run / 6.2))
    _park(colours, kerb, here, 0.25)
    aisle = np.mod(place.s, 15.5)
    stall = (aisle > 0.4) & (aisle < 9.8) & (np.abs(aisle - 5.1) > 0.3)
    stall &= (surface == Surface.PAVED) & (kinds >= Kind.ROWS) & (np.mod(place.t, 2.8) < 1.9)
    row, column = np.floor(place.s / 15.5), np.floor(place.t / 2.8)
    _park(colours, stall, hashed(place.lots.key, row, aisle > 5.1, column), 0.5)


def _park(colours: Floats, where: Flags, key: Hashes, share: float) -> None:
    """Draw a car on a share of the keys."""
    at = np.flatnonzero(where)
    there, colour = draws(key[at], 2)
    at, colour = at[there < share], colour[there < share]
    colours[:, at] = CARS[np.floor(colour * len(CARS)).astype(np.int64)].T


def roofs(sun: Sun, place: Place, x: Floats, y: Floats) -> tuple[Flags, Floats]:
    """Return where roofs are, and their colours: gables face the sun or turn from it."""
    on = place.surface == Surface.ROOF
    houses = place.houses.at(on)
    _, across = houses.local(x[on], y[on])
    towards_x, towards_y = sun.towards
    facing = houses.axis_x * towards_y - houses.axis_y * towards_x
    light = 1 + 0.17 * houses.tone + 0.1 * houses.gabled * facing * np.sign(across)
    cover = np.digitize(houses.roof, (0.4, 0.6))  # grey, dark, red
    return on, np.array([ASPHALT, DARK, RED])[cover].T * light


def leaves(seed: int, sun: Sun, crowns: Crowns, x: Floats, y: Floats) -> tuple[Flags, Floats]:
    """Return where crowns are, and their colours: round, lit from one side, dark at the rim."""
    on = crowns.rise > 0
    towards_x, towards_y = sun.towards
    side = crowns.x[on] * towards_x + crowns.y[on] * towards_y
    texture = noise(seed_of(seed, "leaves"), x[on], y[on], 1.1)
    light = 1 + 0.38 * side + 0.16 * crowns.tone[on] + 0.15 * texture
    light *= np.where(crowns.rise[on] < 0.12, 0.8, 1.0)
    return on, np.array(LEAF)[:, None] * light
