"""Pixels that sets of chips share, counted exactly, and how far apart they are.

A box is a row (row, col, stop row, stop col) of an (n, 4) array, px, half open.
"""

from collections.abc import Iterator

import numpy as np
import shapely
from numpy.typing import NDArray

__all__ = ["Boxes", "common_area", "distance", "overlapping"]

Boxes = NDArray[np.int64]

CELLS = 1 << 18
"""Cells that are painted at once; beyond it the ground is halved."""


def common_area(a: Boxes, b: Boxes) -> int:
    """Pixels that lie in a box of ``a`` and in a box of ``b``, each counted once."""
    total = 0
    for heights, widths, (in_a, in_b) in _painted((a, b)):
        both = (in_a > 0) & (in_b > 0)
        total += int(heights @ (both @ widths))
    return total


def overlapping(boxes: Boxes) -> bool:
    """Whether any two boxes share a pixel."""
    return any(bool((painted[0] > 1).any()) for _, _, painted in _painted((boxes,)))


def distance(a: Boxes, b: Boxes) -> float | None:
    """Px between the nearest two boxes of ``a`` and ``b``; 0 where they touch, None without."""
    if not len(a) or not len(b):
        return None
    few, many = sorted((a, b), key=len)
    tree = shapely.STRtree(_rectangles(many))
    _, gaps = tree.query_nearest(_rectangles(few), return_distance=True, all_matches=False)
    return float(gaps.min())


def _rectangles(boxes: Boxes) -> NDArray[np.object_]:
    rectangles: NDArray[np.object_] = shapely.box(*boxes[:, [1, 0, 3, 2]].T)
    return rectangles


def _painted(
    sets: tuple[Boxes, ...],
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], list[NDArray[np.int64]]]]:
    """Cut the ground that all sets reach into cells, and count each set's boxes on them.

    The edges of the boxes are the lines between the cells, so that no box covers a part of one.
    Where these would be too many, the ground is halved: chips on a grid have few edges however
    many they are, and chips anywhere have few neighbours.

    Yields
    ------
    Heights and widths of rows and columns of cells, px, and for each set the number of boxes on
    each cell.
    """
    sets = _clipped(sets)
    if not all(len(boxes) for boxes in sets):
        return
    every = np.concatenate(sets)
    lines = np.unique(every[:, 0::2]), np.unique(every[:, 1::2])
    if len(lines[0]) * len(lines[1]) <= CELLS:
        heights, widths = (np.diff(line) for line in lines)
        yield heights, widths, [_count(boxes, *lines) for boxes in sets]
        return
    axis = int(len(lines[1]) > len(lines[0]))
    cut = lines[axis][len(lines[axis]) // 2]
    for first, limit in ((True, np.minimum), (False, np.maximum)):
        halves = []
        for boxes in sets:
            half = boxes.copy()
            half[:, axis + 2 * first] = limit(half[:, axis + 2 * first], cut)
            halves.append(half[half[:, axis] < half[:, axis + 2]])
        yield from _painted(tuple(halves))


def _clipped(sets: tuple[Boxes, ...]) -> tuple[Boxes, ...]:
    """Cut boxes to the ground that each set reaches; the others cannot matter."""
    if not all(len(boxes) for boxes in sets):
        return sets
    low = np.max([boxes[:, :2].min(0) for boxes in sets], axis=0)
    high = np.min([boxes[:, 2:].max(0) for boxes in sets], axis=0)
    cut = [
        np.hstack([np.maximum(boxes[:, :2], low), np.minimum(boxes[:, 2:], high)]) for boxes in sets
    ]
    return tuple(boxes[(boxes[:, :2] < boxes[:, 2:]).all(1)] for boxes in cut)


def _count(boxes: Boxes, rows: NDArray[np.int64], cols: NDArray[np.int64]) -> NDArray[np.int64]:
    """Boxes on each cell between the lines."""
    shape = len(rows), len(cols)
    top, bottom = (np.searchsorted(rows, boxes[:, i]) for i in (0, 2))
    left, right = (np.searchsorted(cols, boxes[:, i]) for i in (1, 3))
    steps = np.zeros(shape[0] * shape[1], np.int64)
    for row, col, sign in (
        (top, left, 1),
        (top, right, -1),
        (bottom, left, -1),
        (bottom, right, 1),
    ):
        corners = np.ravel_multi_index((row, col), shape)
        steps += sign * np.bincount(corners, minlength=steps.size)
    return steps.reshape(shape).cumsum(0).cumsum(1)[:-1, :-1]
