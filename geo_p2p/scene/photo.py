"""The town seen from the air: colours, crowns, cast shadows and a sensor."""

import numpy as np
from numpy.typing import NDArray

from .lattice import Floats, by_runs, cell_of, draws, hashed, noise
from .plan import TALLEST, Kind, Place, Plan, Surface

Colours = NDArray[np.float64]

ASPHALT = (116, 115, 113)
# By Surface, roofs and fields aside.
GROUND = np.array([
    (104, 121, 72), ASPHALT, (158, 153, 144), ASPHALT, ASPHALT, ASPHALT, (46, 55, 55), (0, 0, 0),
    (100, 122, 68), (64, 78, 46), (92, 108, 62)], float).T
RED, DARK = (152, 92, 70), (70, 67, 68)
CROPS = np.array([(98, 120, 68), (176, 160, 104), (141, 112, 86), (104, 126, 66), (160, 147, 112)], float)
CARS = np.array([(205, 206, 207), (150, 152, 154), (52, 53, 56), (150, 46, 42), (52, 72, 112), (92, 95, 98)], float)
SHADE = np.array([(0.40,), (0.43,), (0.50,)])
"""Light left in a shadow: the sky's, hence blue."""


def _triangle(t: Floats) -> Floats:
    """Return a wave of period 1 between -1 and 1."""
    return 4 * np.abs(t - np.floor(t) - 0.5) - 1


# By Surface: how much tone varies over 70, 9 and 2 m.
VARIES = np.array([
    (.07, .09, .06), (.1, .09, .02), (.04, .03, .02), (.1, .09, .02), (.1, .09, .02), (0, .02, .02), (.05, .02, .01),
    (.04, .05, .04), (.07, .09, .06), (.07, .1, .1), (.06, .1, .07)]).T


def ground(plan, place, x, y):
    s = place.surface
    colours = GROUND[:, s]
    wide, mid, fine = (noise(hashed(plan.seed, 30 + k).item(), x, y, size) for k, size in enumerate((70., 9., 2.2)))
    tone = 1 + VARIES[0][s] * wide + VARIES[1][s] * mid + VARIES[2][s] * fine
    field = s == Surface.FIELD
    if field.any():
        colours[:, field], tone[field] = fields(plan, place, field, tone[field])
    garden = s == Surface.GARDEN
    lot = by_runs(place.lots.key, lambda key: draws(key, 15)[12:], place.lots.key)
    tone += np.where(garden, 0.16 * (lot[0] - 0.5), 0)
    dry = np.where(garden | (s == Surface.LAWN), 0.09 * mid + 0.10 * (lot[1] - .4) * garden, 0)
    colours[0] *= 1 + dry
    colours *= tone
    cars(plan, place, colours)
    lines = (s == Surface.MAIN) & (np.abs(place.edge + 5.5) < 0.25) & (np.mod(place.run, 9) < 5)
    colours[:, lines] = 185
    return colours


def fields(plan, place, field, tone):
    turned = place.lots.turned[field] > 0
    u, v = place.u[field], place.v[field]
    s, t = np.where(turned, v, u), np.where(turned, u, v)
    key = hashed(place.block[field], np.floor(t / 52).astype(np.int64), 41)
    chance = by_runs(key, lambda k: draws(k, 3), key)
    furrows = _triangle(np.where(chance[0] < .5, s, t) / (2.6 + 1.8 * chance[1]))
    crop = np.floor(chance[2] * len(CROPS)).astype(np.int64)
    return CROPS[crop].T, tone + 0.07 * furrows


def cars(plan, place, colours):
    surface, lots = place.surface, place.lots
    parked = ((surface == Surface.STREET) | (surface == Surface.MAIN)) & (place.edge > -2.3) & (place.edge < -.4)
    paint_cars(colours, parked, hashed(place.block, np.floor(place.run / 6.2).astype(np.int64)), np.mod(place.run, 6.2) < 4.4, .25)
    turned = lots.turned > 0
    s, t = np.where(turned, place.v, place.u), np.where(turned, place.u, place.v)
    row = np.mod(s, 15.5)
    stall = (row > .4) & (row < 9.8) & (np.abs(row - 5.1) > .3) & (np.mod(t, 2.8) < 1.9)
    yard = (surface == Surface.PAVED) & (lots.kind >= Kind.ROWS)
    paint_cars(colours, yard, hashed(lots.key, np.floor(s / 15.5).astype(np.int64), row > 5.1, np.floor(t / 2.8).astype(np.int64)), stall, .5)


def paint_cars(colours, where, key, inside, share):
    where = where & inside
    key = key[where]
    chance = draws(key, 2)
    car = np.flatnonzero(where)[chance[0] < share]
    colours[:, car] = CARS[np.floor(chance[1][chance[0] < share] * len(CARS)).astype(int)].T


def shaded(plan, cast, x, y, houses):
    a, b = houses.local(x, y)
    hx, hy = houses.height * cast[0], houses.height * cast[1]
    da = -(hx * houses.axis_x + hy * houses.axis_y)
    db = -(hy * houses.axis_x - hx * houses.axis_y)
    enter, leave = np.zeros(x.shape), np.ones(x.shape)
    for p, d, half in ((a, da, houses.length), (b, db, houses.depth)):
        d = np.where(np.abs(d) < 1e-9, 1e-9, d)
        t1, t2 = (-half - p) / d, (half - p) / d
        enter, leave = np.maximum(enter, np.minimum(t1, t2)), np.minimum(leave, np.maximum(t1, t2))
    return (enter < leave) & (houses.length > 0)


def roofs(plan, sun, place, x, y, colours):
    on = place.surface == Surface.ROOF
    if not on.any():
        return
    h = type(place.houses)(*(c[on] for c in place.houses))
    along, across = h.local(x[on], y[on])
    base = np.where(h.roof < .45, 0, np.where(h.roof < .6, 2, 1))
    grey = h.roof < .4
    red = h.roof > .6
    col = np.where(grey, np.array(ASPHALT)[:, None], np.where(red, np.array(RED)[:, None], np.array(DARK)[:, None]))
    toward = (-h.axis_y * sun[0] + h.axis_x * sun[1]) * np.sign(across) * h.gabled
    tone = 1 + .17 * h.tone + .12 * toward 
    colours[:, on] = col * (tone * 1.0)


def photograph(plan, azimuth, x, y):
    import math
    az, el = math.radians(azimuth), math.radians(48)
    sun = (math.sin(az), math.cos(az))
    cast = (-sun[0] / math.tan(el), -sun[1] / math.tan(el))
    place = plan.place(x, y)
    colours = ground(plan, place, x, y)
    dark = shaded(plan, cast, x, y, place.houses)
    reach = TALLEST / math.tan(el)
    n = math.ceil(reach / 3.6)
    near = (place.lots.kind >= Kind.HOUSES) | (place.edge < 9)
    at = np.flatnonzero(near & ~dark)
    for k in range(1, n + 1):
        f = TALLEST * k / n
        hs = plan.houses_at(x[at] - cast[0] * f, y[at] - cast[1] * f)
        dark[at] |= shaded(plan, cast, x[at], y[at], hs)
    from .trees import SMALL, LARGE, Forest
    groves = []
    for sp in (SMALL, LARGE):
        fo = Forest(plan, sp, x, y, TALLEST * 1.5)
        f = sp.cast * TALLEST
        dark |= fo.over(x - cast[0] * f, y - cast[1] * f).rise > 0
        groves.append(fo.over(x, y))
    colours *= np.where(dark, SHADE, 1)
    roofs(plan, sun, place, x, y, colours)
    for g in groves:
        on = g.rise > 0
        gx, gy, tone, rise = g.x[on], g.y[on], g.tone[on], g.rise[on]
        leaf = noise(hashed(plan.seed, 35).item(), x[on], y[on], 1.1)
        light = 1 + .38 * (gx * sun[0] + gy * sun[1]) + .16 * tone + .15 * leaf
        colours[:, on] = np.array([(66,), (86,), (48,)]) * light * np.where(rise < .12, .8, 1)
    return colours


def render(plan, azimuth, x, y):
    """x,y (h+2,w+2) -> (3,h,w)"""
    c = photograph(plan, azimuth, x.ravel(), y.ravel()).reshape(3, *x.shape)
    c = .2 * c[:, :-2] + .6 * c[:, 1:-1] + .2 * c[:, 2:]
    c = .2 * c[:, :, :-2] + .6 * c[:, :, 1:-1] + .2 * c[:, :, 2:]
    xi = np.floor(x[1:-1, 1:-1] * 32 + .34).astype(np.int64).ravel()
    yi = np.floor(y[1:-1, 1:-1] * 32 + .34).astype(np.int64).ravel()
    d = draws(hashed(plan.seed, xi, yi), 6).reshape(6, *c.shape[1:])
    lum = (d[0] + d[1] + d[2] - 1.5) * 8
    c = c + lum + (d[3:] - .5) * 9
    return np.clip(np.rint(c), 0, 255).astype(np.uint8)
