"""What an export is to do: tiles, in groups that are read at once and cut independently.

Neighbouring chips overlap, and the additional raster is warped for each read: a group is the
square of tiles that fits into one read, so that a pixel is read and warped about once. Groups
depend on nothing but the plan, whoever runs them and in whatever order.
"""

import hashlib
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import shapely
from rasterio.windows import Window

from geo_p2p.chips.chip import Scene, Source
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
    rows, cols : the part of the scene's grid, as half-open ranges.
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
    """

    scenes: tuple[Scene, ...]
    areas: tuple[shapely.Geometry | None, ...]
    config: ExportConfig
    folder: Path
    registration: Mapping[str, Any] = field(default_factory=dict)

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
    def groups(self) -> Sequence[Group]:
        """Groups of the tiles inside the area of interest."""
        sides = zip(self.config.shape, self.config.steps, strict=True)
        down, across = (max(1, (SPAN - size) // step + 1) for size, step in sides)
        squares = (
            Group(0, scene, (r, min(r + down, rows)), (c, min(c + across, cols)), 0)
            for scene, (rows, cols) in enumerate((g.rows.count, g.cols.count) for g in self.grids)
            for r, c in itertools.product(range(0, rows, down), range(0, cols, across))
        )
        counted = (replace(square, count=self._count(square)) for square in squares)
        filled = (group for group in counted if group.count)
        return [replace(group, number=number) for number, group in enumerate(filled)]

    def _count(self, group: Group) -> int:
        if self.areas[group.scene] is not None:
            return sum(1 for _ in self.tiles_of(group))
        return (group.rows[1] - group.rows[0]) * (group.cols[1] - group.cols[0])

    def tiles_of(self, group: Group) -> Iterator[Tile]:
        """The tiles of a group that lie wholly inside the area of interest.

        Made when they are asked for: a raster of 10 Gpx has half a million of them.
        """
        grid, area = self.grids[group.scene], self.areas[group.scene]
        frame = self.scenes[group.scene].x.frame
        before = sum(len(other) for other in self.grids[: group.scene])
        if area is not None:
            shapely.prepare(area)
        for row, col in itertools.product(range(*group.rows), range(*group.cols)):
            window = grid.tile(row, col).window
            if area is None or area.covers(frame.crop(window).polygon):
                yield Tile(before + row * grid.cols.count + col, window)

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
            "areas": [area and hashlib.sha256(area.wkb).hexdigest() for area in self.areas],
            "scenes": [[s.name, _identity(s.x), _identity(s.y)] for s in self.scenes],
        }


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
