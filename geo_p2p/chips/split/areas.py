"""The ground of each part, for a map."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import shapely
from rasterio.windows import Window

from geo_p2p.chips.outline import Area
from geo_p2p.chips.split.config import PARTS
from geo_p2p.chips.split.ground import ground_of
from geo_p2p.chips.split.overlap import Boxes
from geo_p2p.chips.split.result import Split
from geo_p2p.raster import Frame

__all__ = ["split_areas"]


def split_areas(
    split: Split,
    windows: Sequence[Window],
    frames: Frame | Mapping[str, Frame],
    scenes: Sequence[str] | None = None,
) -> list[Area]:
    """Ground that each part covers: the blocks held out, and what the chips of a part cover.

    Parameters
    ----------
    split : of the chips.
    windows : of the chips, px of the raster or of their scenes.
    frames : of the raster, or of each scene.
    scenes : name of the scene of each chip, where there are several.
    """
    by_name = {"": frames} if isinstance(frames, Frame) else dict(frames)
    names = np.array([""] * len(windows) if scenes is None else list(scenes))
    parts = np.array(split.parts)
    boxes = ground_of(windows).boxes
    about = {"method": split.method, "seed": split.seed, "side": split.side, "buffer": split.buffer}
    areas = []
    for block in split.held:
        frame, shape = by_name[block.scene], shapely.box(*_corners(block.window))
        if len(by_name) == 1:  # among several scenes a block may go on in the next
            shape = shape.intersection(shapely.box(0, 0, frame.width, frame.height))
        areas.append(Area(shape, frame, {"split": block.part, "kind": "block", **about}))
    for name, frame in by_name.items():
        for part in PARTS:
            mine = boxes[(names == name) & (parts == part)]
            if len(mine):
                properties = {"split": part, "kind": "chips", "chips": len(mine), **about}
                areas.append(Area(_union(mine), frame, properties))
    return areas


def _corners(window: Window) -> tuple[int, int, int, int]:
    col, row = window.col_off, window.row_off
    return col, row, col + window.width, row + window.height


def _union(boxes: Boxes) -> shapely.Geometry:
    """Ground that boxes cover; merged along rows first, because a union takes its time."""
    strips = np.array(list(_strips(boxes)))
    return shapely.union_all(shapely.box(*strips[:, [1, 0, 3, 2]].T))


def _strips(boxes: Boxes) -> Iterator[tuple[int, int, int, int]]:
    """Merge boxes of the same rows that touch."""
    order = np.lexsort([boxes[:, 1], boxes[:, 2], boxes[:, 0]])
    row, col, stop_row, stop_col = boxes[order[0]].tolist()
    for top, left, bottom, right in boxes[order[1:]].tolist():
        if (top, bottom) == (row, stop_row) and left <= stop_col:
            stop_col = max(stop_col, right)
            continue
        yield row, col, stop_row, stop_col
        row, col, stop_row, stop_col = top, left, bottom, right
    yield row, col, stop_row, stop_col
