"""Two ways to bring a model over a raster, asked twice about the same pixels."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from geo_p2p.chips.chip import Source
from geo_p2p.grid import Block, BlockPlan, Tile, assemble, intersection, overlap_of, span_window
from geo_p2p.predict import Model
from geo_p2p.predict.model import Engine
from geo_p2p.predict.tiles import blending_tiles, seed_of, translate_tile

__all__ = ["Blended", "Exact", "Tiling"]

Values = NDArray[Any]
Seen = tuple[Values, Values, NDArray[np.bool_]]
"""Two translations of the same pixels, (channels, rows, cols) scaled, and which are valid."""


class Tiling(Protocol):
    """How a model is brought over a raster: in exact blocks, or in tiles that are blended."""

    lines: tuple[Sequence[int], Sequence[int]]
    """First rows, and first columns, of all blocks or tiles but the first."""
    margin: int
    """How far beyond a window its translation at once reads, px."""

    def twice(self, window: Window) -> Iterator[Seen]:
        """Translate pixels along the lines of a window by both neighbours."""

    def both(self, window: Window) -> Seen:
        """Translate a window in tiles, and at once."""


class Exact:
    """Blocks with a halo, as `geo_p2p.predict` runs a tile-safe model."""

    def __init__(self, model: Model, source: Source, size: int) -> None:
        card, (height, width) = model.card, source.frame.shape
        self._model = model
        self._source = source
        self._plan = BlockPlan(height, width, card.stride, card.halo, size)
        self._kept: dict[tuple[int, int], Values] = {}
        self.lines: tuple[Sequence[int], Sequence[int]] = (
            range(size, height, size),
            range(size, width, size),
        )
        self.margin = self._plan.margin

    def twice(self, window: Window) -> Iterator[Seen]:
        """Yield what a block keeps behind a line, and what the one before makes of it."""
        step = self._plan.stride
        grown = replace(self._plan, size=self._plan.size + step)
        owners = {(block.row, block.col): block for block in self._touching(window)}
        for (row, col), block in owners.items():
            behind = [owners.get(place) for place in ((row, col + 1), (row + 1, col))]
            if not any(behind):
                continue
            before = grown.at(block.core.row_off, block.core.col_off)
            guess = self._translate(before)
            for owner in filter(None, behind):
                strip = intersection(before.core, owner.core)
                assert strip is not None  # the core grew over the line
                yield (
                    self._keep(owner)[:, *overlap_of(owner.core, strip)],
                    guess[:, *overlap_of(before.core, strip)],
                    self._source.read(strip)[1],
                )

    def both(self, window: Window) -> Seen:
        """Lay the cores of blocks side by side, and translate one block as large as the window."""
        card = self._model.card
        tiled = np.empty((card.target.channels, window.height, window.width), np.float32)
        for block in self._touching(window):
            part = intersection(block.core, window)
            assert part is not None  # it touches
            kept = self._keep(block)[:, *overlap_of(block.core, part)]
            tiled[:, *overlap_of(window, part)] = kept
        side = -(-max(window.height, window.width) // card.stride) * card.stride
        whole = replace(self._plan, size=side).at(window.row_off, window.col_off)
        return tiled, self._translate(whole), self._source.read(window)[1]

    def _touching(self, window: Window) -> list[Block]:
        return [block for block in self._plan if intersection(block.core, window) is not None]

    def _keep(self, block: Block) -> Values:
        """Translate the core of a block of the plan, once."""
        place = block.row, block.col
        if place not in self._kept:
            self._kept[place] = self._translate(block)
        return self._kept[place]

    def _translate(self, block: Block) -> Values:
        """Translate the core of a block."""
        scaled = self._model.card.input.forward(*self._source.read(block.read))
        tile = block.extend(scaled)[None]
        if isinstance(self._model, Engine):  # as `geo_p2p.predict` has it
            return block.crop(self._model.start(tile, 0, self.margin)()[0])
        return block.crop(self._model(tile, 0)[0])


class Blended:
    """Half-overlapping tiles, as `geo_p2p.predict` runs a model that is not tile-safe."""

    def __init__(self, model: Model, source: Source) -> None:
        self._model = model
        self._source = source
        self._grid = blending_tiles(model.card, *source.frame.shape)
        self._tiles: dict[tuple[int, int], Values] = {}
        down, across = self._grid.rows, self._grid.cols
        self.lines: tuple[Sequence[int], Sequence[int]] = (
            [down.span(row)[0] for row in range(1, down.count)],
            [across.span(col)[0] for col in range(1, across.count)],
        )
        self.margin = model.card.size

    def twice(self, window: Window) -> Iterator[Seen]:
        """Yield what two tiles, side by side, make of the pixels they share."""
        tiles = {(tile.row, tile.col): tile for tile in self._grid.touching(window)}
        for (row, col), tile in tiles.items():
            for other in (tiles.get((row, col + 1)), tiles.get((row + 1, col))):
                if other is None:
                    continue
                shared = intersection(tile.window, other.window)
                assert shared is not None  # by half
                one, two = (
                    self._translate(t)[:, *overlap_of(t.window, shared)] for t in (tile, other)
                )
                yield one, two, self._source.read(shared)[1]

    def both(self, window: Window) -> Seen:
        """Blend tiles, and translate at once all that these see."""
        tiles = self._grid.touching(window)
        outputs = (self._translate(tile) for tile in tiles)
        blended = assemble(self._grid, outputs, "feather", window)
        rows, cols = (
            (min(start for start, _ in spans), max(stop for _, stop in spans))
            for spans in (
                [self._grid.rows.span(tile.row) for tile in tiles],
                [self._grid.cols.span(tile.col) for tile in tiles],
            )
        )
        read = span_window(rows, cols)
        whole = translate_tile(self._model, self._scaled(read), 0)
        return blended, whole[:, *overlap_of(read, window)], self._source.read(window)[1]

    def _translate(self, tile: Tile) -> Values:
        """Translate a tile, once."""
        place = tile.row, tile.col
        if place not in self._tiles:
            scaled, seed = self._scaled(tile.window), seed_of(self._grid, tile)
            self._tiles[place] = translate_tile(self._model, scaled, seed)
        return self._tiles[place]

    def _scaled(self, window: Window) -> Values:
        return self._model.card.input.forward(*self._source.read(window))
