"""Parts by polygons that somebody drew and named."""

from collections.abc import Sequence

import numpy as np
import shapely
from numpy.typing import NDArray

from geo_p2p.chips.split.config import PARTS
from geo_p2p.errors import ChipError

__all__ = ["ALIASES", "part_named", "parts_in_polygons"]

ALIASES = {
    "train": ("train", "training", "trn", "fit"),
    "val": ("val", "valid", "validate", "validation", "dev"),
    "test": ("test", "testing", "tst", "holdout", "hold-out"),
    "": ("", "none", "null", "nan", "unused", "ignore"),
}
"""What people write, by part; the last is no part."""


def part_named(text: object) -> str:
    """Part that an attribute names: "train", "val", "test", or "" for none or no value.

    Raises
    ------
    ChipError
        For any other text.

    Examples
    --------
    >>> part_named("Validation"), part_named(None)
    ('val', '')
    """
    word = "" if text is None else str(text).strip().lower()
    for part, names in ALIASES.items():
        if word in names:
            return part
    raise ChipError(f"a polygon's part is {str(text)!r}: write train, val or test")


def parts_in_polygons(
    outlines: Sequence[shapely.Polygon],
    polygons: Sequence[shapely.Geometry],
    names: Sequence[object],
    slack: float = 0.0,
) -> tuple[str, ...]:
    """Part of each chip: that of the polygons it lies wholly in, "" where it lies in none.

    A chip that reaches into the polygons of another part is left out too, so that no pixel is in
    two parts even where the polygons overlap.

    Parameters
    ----------
    outlines : of the chips, CRS units of the raster.
    polygons : warped to the CRS of the raster.
    names : the attribute of each polygon, see `part_named`.
    slack : CRS units by which a chip may stick out of its polygons, and into others; a tenth of a
        pixel makes up for rounded coordinates.

    Raises
    ------
    ChipError
        For a name that is no part.
    """
    parts = [part_named(name) for name in names]
    chips = np.array(outlines, dtype=object)
    shapes = np.array(polygons, dtype=object)
    areas = {
        part: shapely.union_all(shapely.make_valid(shapes[[p == part for p in parts]]))
        for part in PARTS
    }
    found = np.full(len(chips), "", dtype="<U5")
    inside = {part: _covered(area.buffer(slack), chips) for part, area in areas.items()}
    meets = {part: _met(area.buffer(-slack), chips) for part, area in areas.items()}
    for part, mine in inside.items():
        others = [meets[other] for other in areas if other != part]
        found[mine & ~others[0] & ~others[1]] = part
    return tuple(found.tolist())


def _covered(area: shapely.Geometry, chips: NDArray[np.object_]) -> NDArray[np.bool_]:
    """Which chips lie wholly in an area."""
    shapely.prepare(area)
    covered: NDArray[np.bool_] = shapely.covers(area, chips)
    return covered


def _met(area: shapely.Geometry, chips: NDArray[np.object_]) -> NDArray[np.bool_]:
    """Which chips share more than a border with an area."""
    shapely.prepare(area)
    met: NDArray[np.bool_] = shapely.intersects(area, chips) & ~shapely.touches(area, chips)
    return met
