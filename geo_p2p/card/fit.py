"""Fit a scaling to the training chips."""

import colorsys
from collections import Counter
from collections.abc import Container, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geo_p2p.card.scaling import Category, Scaling, range_of
from geo_p2p.errors import ModelError

__all__ = ["fit_scaling", "new_color"]

Color = tuple[int, int, int, int]

MOST_CLASSES = 256
"""Most classes a target may have: each is a channel of the network."""

COLORS: tuple[Color, ...] = (
    (0, 114, 178, 255),
    (230, 159, 0, 255),
    (0, 158, 115, 255),
    (213, 94, 0, 255),
    (86, 180, 233, 255),
    (204, 121, 167, 255),
    (240, 228, 66, 255),
    (0, 0, 0, 255),
)
"""Colours for classes that have none, told apart by colour-blind readers too.

Okabe & Ito 2008, "Color universal design", https://jfly.uni-koeln.de/color/
"""

GOLDEN = (5**0.5 - 1) / 2
"""Turn of the hue from one further colour to the next: no two of them ever meet."""


def fit_scaling(
    arrays: Sequence[NDArray[Any]],
    valids: Sequence[NDArray[np.bool_]],
    fields: Mapping[str, Any],
    categorical: bool,
) -> Scaling:
    """Choose the scaling of one raster from its training chips.

    Parameters
    ----------
    arrays : (bands, rows, cols) of each chip, raster units.
    valids : (rows, cols) of each chip.
    fields : what the raster's bands hold, by the field names of `geo_p2p.raster.Bands`: count,
        dtype, nodata, names, units, interp, scales, offsets, and for classes colors and classes.
    categorical : whether the values are class numbers.

    Returns
    -------
    For values, a range a band (see `range_of`); for classes, a census of the valid pixels. A pixel
    that holds the nodata value is of no class, whatever its mask says.

    Raises
    ------
    ModelError
        If no pixel is valid, or class numbers are asked of several bands, of fractions, or of more
        than 256 numbers.
    """
    kept = ("dtype", "nodata", "names", "units", "interp", "scales", "offsets")
    common = {name: fields[name] for name in kept}
    if categorical:
        return Scaling(**common, classes=_classes(_census(arrays, valids, fields), fields))
    pairs = list(zip(arrays, valids, strict=True))
    ranges = [
        range_of(fields["dtype"], [array[band][valid] for array, valid in pairs])
        for band in range(fields["count"])
    ]
    low, high = zip(*ranges, strict=True)
    return Scaling(**common, low=low, high=high)


def _census(
    arrays: Sequence[NDArray[Any]], valids: Sequence[NDArray[np.bool_]], fields: Mapping[str, Any]
) -> Counter[int]:
    """Count the valid pixels of each class number."""
    if fields["count"] != 1:
        raise ModelError(
            f"class numbers stand in one band, and the target has {fields['count']}: "
            "choose a band, or say --target values"
        )
    census: Counter[int] = Counter()
    for array, valid in zip(arrays, valids, strict=True):
        numbers, counts = np.unique(array[0][valid], return_counts=True)
        if numbers.dtype.kind == "f" and (numbers != np.rint(numbers)).any():
            fraction = numbers[numbers != np.rint(numbers)][0]
            raise ModelError(f"{fraction} is not a class number: say --target values")
        census.update(dict(zip(map(int, numbers), counts.tolist(), strict=True)))
        census.pop(fields["nodata"], None)
        if len(census) > MOST_CLASSES:
            raise ModelError(
                f"the target holds more than {MOST_CLASSES} class numbers: say --target values"
            )
    if not census:
        raise ModelError("no valid training pixel to count classes in; check the chips' masks")
    return census


def _classes(census: Counter[int], fields: Mapping[str, Any]) -> tuple[Category, ...]:
    """Describe the classes that were counted, by number."""
    palette: dict[int, Color] = {v: tuple(fields["colors"][v]) for v in fields["colors"]}
    taken = {palette[value] for value in census if value in palette}
    total = census.total()
    found = []
    for value in sorted(census):
        color = palette.get(value) or new_color(taken)
        taken.add(color)
        name = fields["classes"].get(value, f"class {value}")
        found.append(Category(value, name, color, census[value] / total))
    return tuple(found)


def new_color(taken: Container[Color]) -> Color:
    """Return the first default colour that is not taken."""
    for color in COLORS:
        if color not in taken:
            return color
    turn = 0
    while (color := _further(turn)) in taken:
        turn += 1
    return color


def _further(turn: int) -> Color:
    """Return colour ``turn`` of an endless series, in three lightnesses."""
    rgb = colorsys.hls_to_rgb(turn * GOLDEN % 1, (0.45, 0.65, 0.3)[turn % 3], 0.6)
    red, green, blue = (round(part * 255) for part in rgb)
    return red, green, blue, 255
