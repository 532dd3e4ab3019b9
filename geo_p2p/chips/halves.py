"""Validation ground in two halves: one to calibrate on, one to see whether that holds."""

from collections.abc import Sequence

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from geo_p2p.chips.chip import Chip
from geo_p2p.raster import PIXELS

__all__ = ["halves"]

Mask = NDArray[np.bool_]

MOST = 2 / 3
"""Share of the chips, 0-1, beyond which a block is cut: two halves of such sizes tell little."""


def halves(chips: Sequence[Chip]) -> tuple[list[Mask], tuple[int, int]]:
    """Part chips so that no ground is in both halves.

    Chips that touch are one block. Whole blocks, the largest first, go to the half that has fewer
    chips; one that holds most of them is cut across its longer side. Pictures without a place are
    halved in their order.

    Parameters
    ----------
    chips : of one set.

    Returns
    -------
    masks : of each chip which pixels (rows, cols) are of the first half.
    blocks : how many blocks are in each half; one that was cut counts in both.
    """
    if not chips:
        return [], (0, 0)
    if len(chips) > 1 and any(chip.frame.crs == PIXELS for chip in chips):
        middle = len(chips) // 2
        masks = [np.full(chip.valid.shape, i < middle) for i, chip in enumerate(chips)]
        return masks, (middle, len(chips) - middle)
    masks = [np.ones(chip.valid.shape, bool) for chip in chips]
    blocks = _touching(chips)
    sizes, counts = [0.0, 0.0], [0, 0]
    if len(blocks[0]) > MOST * len(chips):
        largest = blocks.pop(0)
        for index, mask in zip(largest, _cut([chips[i] for i in largest]), strict=True):
            masks[index] = mask
        sizes, counts = [len(largest) / 2] * 2, [1, 1]
    for block in blocks:
        side = int(sizes[1] < sizes[0])
        for index in block:
            masks[index][:] = side == 0
        sizes[side] += len(block)
        counts[side] += 1
    return masks, (counts[0], counts[1])


def _touching(chips: Sequence[Chip]) -> list[list[int]]:
    """Indices of the chips of each block, the largest block first."""
    outlines = [chip.frame.polygon for chip in chips]
    one, two = shapely.STRtree(outlines).query(outlines, predicate="intersects")
    crs = np.unique([chip.frame.crs.to_wkt() for chip in chips], return_inverse=True)[1]
    alike = crs[one] == crs[two]  # coordinates in two CRSs touch nowhere
    links = coo_array((np.ones(alike.sum()), (one[alike], two[alike])), shape=(len(chips),) * 2)
    count, labels = connected_components(links, directed=False)
    blocks = [np.flatnonzero(labels == label).tolist() for label in range(count)]
    return sorted(blocks, key=len, reverse=True)


def _cut(chips: Sequence[Chip]) -> list[Mask]:
    """Halve one block across its longer side, between pixels where need be."""
    corners = np.concatenate([chip.frame.corners for chip in chips])
    axis = int(np.ptp(corners, axis=0).argmax())
    middle = (corners.max(0) + corners.min(0))[axis] / 2
    masks = []
    for chip in chips:
        rows, cols = np.indices(chip.valid.shape) + 0.5
        t = chip.frame.transform
        place = t.a * cols + t.b * rows + t.c if axis == 0 else t.d * cols + t.e * rows + t.f
        masks.append(place < middle)
    return masks
