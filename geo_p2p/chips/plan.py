"""What an export is to do: tiles, in groups that are read at once and cut independently.

Neighbouring chips overlap, and the additional raster is warped for each read: a group is the
square of tiles that fits into one read, so that a pixel is read and warped about once. Groups
depend on nothing but the plan, whoever runs them and in whatever order.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import shapely
from rasterio.windows import Window

from geo_p2p.chips.chip import Source
from geo_p2p.chips.settings import ExportConfig
from geo_p2p.grid import TileGrid, span_window
from geo_p2p.raster.files import stamp_of

__all__ = ["Group", "Job", "Tile"]

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
    """Tiles that are read at once."""

    number: int
    tiles: tuple[Tile, ...]

    @property
    def window(self) -> Window:
        """What to read, px of the input raster."""
        windows = [tile.window for tile in self.tiles]
        rows = min(w.row_off for w in windows), max(w.row_off + w.height for w in windows)
        cols = min(w.col_off for w in windows), max(w.col_off + w.width for w in windows)
        return span_window(rows, cols)


@dataclass(frozen=True)
class Job:
    """Two sources and the settings to cut them by; picklable, so that any process can.

    Parameters
    ----------
    x, y : input and additional raster, the second on the lattice of the first.
    config : settings.
    area : area of interest in the CRS of the input raster; None for all of it.
    folder : where chips and what is known of them are put until all are cut.
    """

    x: Source
    y: Source
    config: ExportConfig
    area: shapely.Geometry | None
    folder: Path

    @cached_property
    def grid(self) -> TileGrid:
        """The tiles of the input raster."""
        config = self.config
        height, width = self.x.frame.shape
        if config.edges == "lattice":  # what whole strides do not reach is no part of it
            height, width = (_whole(n, config.tile_size, config.step) for n in (height, width))
        return TileGrid(height, width, config.tile_size, config.tile_size - config.step)

    @cached_property
    def groups(self) -> Sequence[Group]:
        """Groups of the tiles inside the area of interest."""
        side = max(1, (SPAN - self.config.tile_size) // self.config.step + 1)
        rows, cols = self.grid.rows.count, self.grid.cols.count
        squares = (
            tuple(self._inside(range(r, min(r + side, rows)), range(c, min(c + side, cols))))
            for r in range(0, rows, side)
            for c in range(0, cols, side)
        )
        return [Group(number, tiles) for number, tiles in enumerate(filter(None, squares))]

    def _inside(self, rows: range, cols: range) -> Iterator[Tile]:
        """Tiles of a part of the grid that lie wholly inside the area of interest."""
        if self.area is not None:
            shapely.prepare(self.area)
        for row in rows:
            for col in cols:
                window = self.grid.tile(row, col).window
                polygon = self.x.frame.crop(window).polygon
                if self.area is None or self.area.covers(polygon):
                    yield Tile(row * self.grid.cols.count + col, window)

    @property
    def tiles(self) -> int:
        """How many tiles there are to cut."""
        return sum(len(group.tiles) for group in self.groups)

    @cached_property
    def sample(self) -> int:
        """Pixels that a chip gives to the percentiles."""
        return max(16, min(4096, SAMPLE // max(1, self.tiles * len(self.config.angles))))

    @property
    def recipe(self) -> dict[str, Any]:
        """What decides the bytes of a chip, as JSON gives it back."""
        area = None if self.area is None else hashlib.sha256(self.area.wkb).hexdigest()
        return {
            "settings": json.loads(json.dumps(self.config.to_json())),
            "area": area,
            "input": _identity(self.x),
            "additional": _identity(self.y),
        }


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
