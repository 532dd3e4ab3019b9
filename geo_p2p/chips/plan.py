"""What an export is to do: tiles, in groups that are read at once and cut independently.

Neighbouring chips overlap, and the additional raster is warped for each read: a group is the
square of tiles that fits into one read, so that a pixel is read and warped about once. Groups
depend on nothing but the plan, whoever runs them and in whatever order.
"""

import functools
import hashlib
import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import shapely
from rasterio.windows import Window

from geo_p2p.chips.chip import Scene, Source
from geo_p2p.chips.sampling import Placement, place_at_random
from geo_p2p.chips.settings import ExportConfig
from geo_p2p.grid import TileGrid, span_window
from geo_p2p.raster import Frame
from geo_p2p.raster.files import stamp_of

__all__ = ["Group", "Job", "Tile", "hull_of"]

SPAN = 2048
"""Side of what is read at once, px, unless a chip is larger."""

SAMPLE = 4_000_000
"""About how many pixels the percentiles of an export are taken from."""


@dataclass(frozen=True)
class Tile:
    """A place to cut: its number among all of the plan, and its window of the input raster."""

    index: int
    window: Window


@dataclass(frozen=True)
class Group:
    """A square of tiles that are read at once.

    Parameters
    ----------
    number : among the groups of the plan.
    scene : place of its scene among the scenes.
    rows, cols : the part of the scene's grid, as half-open ranges; of tiles placed at random, the
        ranges of their first rows and columns, px.
    count : how many of its tiles lie inside the area of interest.
    """

    number: int
    scene: int
    rows: tuple[int, int]
    cols: tuple[int, int]
    count: int


@dataclass(frozen=True)
class Job:
    """Scenes and the settings to cut them by; picklable, so that any process can.

    Parameters
    ----------
    scenes : pairs of sources, all of the same bands.
    areas : area of interest of each scene in the CRS of its input; None for all of it.
    config : settings.
    folder : where chips and what is known of them are put until all are cut.
    registration : how the rasters of each scene line up, as measured, for the record.
    appends : what tells the folder that the chips are appended to; "" for a folder of their own.
    """

    scenes: tuple[Scene, ...]
    areas: tuple[shapely.Geometry | None, ...]
    config: ExportConfig
    folder: Path
    registration: Mapping[str, Any] = field(default_factory=dict)
    appends: str = ""

    @property
    def x(self) -> Source:
        """The input of the first scene, which stands for all where bands are asked for."""
        return self.scenes[0].x

    @property
    def y(self) -> Source:
        """The additional raster of the first scene."""
        return self.scenes[0].y

    @cached_property
    def frames(self) -> dict[str, Frame]:
        """The lattice of each scene, by its name."""
        return {scene.name: scene.x.frame for scene in self.scenes}

    @cached_property
    def grids(self) -> list[TileGrid]:
        """The tiles of each scene."""
        shape, steps = self.config.shape, self.config.steps
        overlap = shape[0] - steps[0], shape[1] - steps[1]
        grids = []
        for frame in self.frames.values():
            height, width = frame.shape
            if self.config.edges == "lattice":  # what whole strides do not reach is no part of it
                axes = zip(frame.shape, shape, steps, strict=True)
                height, width = (_whole(*axis) for axis in axes)
            grids.append(TileGrid(height, width, shape, overlap))
        return grids

    @cached_property
    def _before(self) -> list[int]:
        """How many tiles the grids before each scene's have."""
        return list(itertools.accumulate((len(grid) for grid in self.grids), initial=0))

    @cached_property
    def groups(self) -> Sequence[Group]:
        """Groups of the tiles inside the area of interest."""
        squares = self._cells() if self.config.placement == "random" else self._squares()
        counted = (replace(square, count=self._count(square)) for square in squares)
        filled = (group for group in counted if group.count)
        return [replace(group, number=number) for number, group in enumerate(filled)]

    def _squares(self) -> Iterator[Group]:
        """Squares of the grids, as many tiles as fit into one read."""
        sides = zip(self.config.shape, self.config.steps, strict=True)
        down, across = (max(1, (SPAN - size) // step + 1) for size, step in sides)
        for scene, grid in enumerate(self.grids):
            rows, cols = grid.rows.count, grid.cols.count
            for r, c in itertools.product(range(0, rows, down), range(0, cols, across)):
                yield Group(0, scene, (r, min(r + down, rows)), (c, min(c + across, cols)), 0)

    def _cells(self) -> Iterator[Group]:
        """Cells of the rasters, in which tiles that were placed at random begin."""
        for scene, cells in enumerate(self._placed):
            height, width = self._cell_size
            for r, c in sorted(cells):
                rows, cols = (r * height, (r + 1) * height), (c * width, (c + 1) * width)
                yield Group(0, scene, rows, cols, 0)

    @property
    def _cell_size(self) -> tuple[int, int]:
        """Rows and columns of a cell: what begins in it ends within one read."""
        height, width = (max(1, SPAN - size + 1) for size in self.config.shape)
        return height, width

    def _cell(self, row: int, col: int) -> tuple[int, int]:
        """The cell that a pixel lies in."""
        height, width = self._cell_size
        return row // height, col // width

    def _count(self, group: Group) -> int:
        if self.config.placement == "random":
            return len(self._placed[group.scene][self._cell(group.rows[0], group.cols[0])])
        if self.areas[group.scene] is not None:
            return sum(1 for _ in self.tiles_of(group))
        return (group.rows[1] - group.rows[0]) * (group.cols[1] - group.cols[0])

    def tiles_of(self, group: Group) -> Iterator[Tile]:
        """The tiles of a group that lie wholly inside the area of interest.

        Those of a grid are made when they are asked for: a raster of 10 Gpx has half a million.
        """
        if self.config.placement == "random":
            yield from self._placed[group.scene][self._cell(group.rows[0], group.cols[0])]
            return
        grid = self.grids[group.scene]
        before = self._before[group.scene]
        for row, col in itertools.product(range(*group.rows), range(*group.cols)):
            window = grid.tile(row, col).window
            if self._wanted(group.scene, window):
                yield Tile(before + row * grid.cols.count + col, window)

    def _wanted(self, scene: int, window: Window) -> bool:
        """Whether a window lies wholly inside the area of interest."""
        area = self.areas[scene]
        if area is None:
            return True
        shapely.prepare(area)
        return bool(area.covers(self.scenes[scene].x.frame.crop(window).polygon))

    @cached_property
    def placements(self) -> list[Placement]:
        """What was placed at random in each scene; nothing for a grid."""
        shapes = [frame.shape for frame in self.frames.values()]
        counts = _shared(self.config.count or 0, [math.prod(shape) for shape in shapes])
        return [
            place_at_random(
                shape,
                self.config.shape,
                count,
                seed=self.config.seed + scene,
                accept=functools.partial(self._wanted, scene),
            )
            if count
            else Placement((), 0, 0)
            for scene, (shape, count) in enumerate(zip(shapes, counts, strict=True))
        ]

    @cached_property
    def _placed(self) -> list[dict[tuple[int, int], list[Tile]]]:
        """Tiles placed at random, by the cell they begin in, for each scene."""
        numbers = itertools.count()
        found: list[dict[tuple[int, int], list[Tile]]] = []
        for placement in self.placements:
            cells: dict[tuple[int, int], list[Tile]] = {}
            for window in placement.windows:
                cell = self._cell(window.row_off, window.col_off)
                cells.setdefault(cell, []).append(Tile(next(numbers), window))
            found.append(cells)
        return found

    @property
    def tiles(self) -> int:
        """How many tiles there are to cut."""
        return sum(group.count for group in self.groups)

    @cached_property
    def sample(self) -> int:
        """Pixels that a chip gives to the percentiles."""
        return max(16, min(4096, SAMPLE // max(1, self.tiles * len(self.config.angles))))

    @property
    def recipe(self) -> dict[str, Any]:
        """What decides the bytes of a chip, as JSON gives it back."""
        return {
            "settings": json.loads(json.dumps(self.config.to_json())),
            "appends": self.appends,
            "areas": [area and hashlib.sha256(area.wkb).hexdigest() for area in self.areas],
            "scenes": [[s.name, _identity(s.x), _identity(s.y)] for s in self.scenes],
        }


def _shared(count: int, weights: Sequence[int]) -> list[int]:
    """Share out whole things by weight: the largest remainders get what is left."""
    total = sum(weights)
    exact = [count * weight / total for weight in weights]
    shares = [int(share) for share in exact]
    order = sorted(range(len(weights)), key=lambda i: shares[i] - exact[i])
    for i in order[: count - sum(shares)]:
        shares[i] += 1
    return shares


def hull_of(tiles: Sequence[Tile]) -> Window:
    """The window around tiles of one scene."""
    windows = [tile.window for tile in tiles]
    rows = min(w.row_off for w in windows), max(w.row_off + w.height for w in windows)
    cols = min(w.col_off for w in windows), max(w.col_off + w.width for w in windows)
    return span_window(rows, cols)


def _whole(length: int, size: int, step: int) -> int:
    """The part of an axis that whole strides reach, px."""
    return length if length <= size else (length - size) // step * step + size


def _identity(source: Source) -> dict[str, Any]:
    """What tells a source from another."""
    frame = source.frame
    return {
        "files": [stamp_of(path) for path in source.paths],
        "bands": source.bands and list(source.bands),
        "lattice": [*frame.shape, *frame.transform[:6], frame.crs.to_wkt(), source.method],
        "holds": hashlib.sha256(repr(asdict(source.info)).encode()).hexdigest(),
    }
