"""Make the tiles of a model agree, as far as the model lets itself be made; else say why not."""

import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from geo_p2p.chips.chip import Source
from geo_p2p.errors import ModelError
from geo_p2p.grid import Tile, TileGrid, intersection, overlap_of
from geo_p2p.predict.config import PredictConfig
from geo_p2p.predict.differences import Differences
from geo_p2p.predict.model import Model
from geo_p2p.predict.sample import places, sample_of
from geo_p2p.predict.tiles import blending_tiles, require_bands, seed_of, translate_tile

__all__ = ["disagreement_of", "Settled", "Settling", "settings_of", "settle"]

log = logging.getLogger(__name__)

PAIRS = 8
"""Pairs of neighbouring tiles that are compared, at most."""

STATISTICS, DROPOUT, DISAGREEMENT = "GEO_P2P_STATISTICS", "GEO_P2P_DROPOUT", "GEO_P2P_DISAGREEMENT"
"""Metadata items of an output."""


@runtime_checkable
class Settling(Model, Protocol):
    """A model whose statistics and dropout can be fixed. A plain function does without."""

    @property
    def obstacle(self) -> str:
        """Why two tiles do not agree about the pixels they share."""

    def settled(self, sample: NDArray[np.float32] | None, dropout: bool) -> "Settling":
        """Return the model with the statistics of a sample, and with or without its dropout."""


@dataclass(frozen=True)
class Settled:
    """A model as it is run on one raster.

    ``model`` says on its card whether its tiles are exact now; ``choices`` are metadata that tell
    how it came to that, none of a model that always was.
    """

    model: Model
    source: Source
    choices: Mapping[str, str]

    @cached_property
    def disagreement(self) -> dict[str, float] | None:
        """What neighbouring tiles differ by before they are blended, by `Differences.result`.

        None where tiles are exact, and where there are no two with valid pixels in common.
        """
        if self.model.card.tile_safe:
            return None
        found = Differences(self.model.card.target)
        grid = blending_tiles(self.model.card, *self.source.frame.shape)
        for tile, other in _pairs(grid):
            shared = intersection(tile.window, other.window)
            assert shared is not None  # neighbours overlap by half
            valid = self.source.read(shared)[1]
            if valid.any():
                one, two = (self._seen(each, grid, shared) for each in (tile, other))
                found.add(one, two, valid)
        return found.result() if found.pixels else None

    def _seen(self, tile: Tile, grid: TileGrid, part: Window) -> NDArray[Any]:
        """Translate a tile, and cut out a part of it."""
        scaled = self.model.card.input.forward(*self.source.read(tile.window))
        output = translate_tile(self.model, scaled, seed_of(grid, tile))
        return output[:, *overlap_of(tile.window, part)]

    @property
    def tags(self) -> dict[str, str]:
        """Provenance, for the output's metadata."""
        found = self.disagreement
        return {**self.choices, **({DISAGREEMENT: json.dumps(found)} if found else {})}

    def tell(self) -> None:
        """Tell a user what there is to know."""
        if self.model.card.tile_safe:
            if STATISTICS in self.choices:
                log.info("norms use the statistics of all the raster, so that tiles are exact")
            return
        differ = ""
        if self.disagreement:
            differ = "where two meet they differ by {mean:.3g} on average, {max:.3g} at most; "
            differ = differ.format_map(self.disagreement)
        log.warning(
            "tiles cannot agree exactly: they are blended (%s%s)", differ, _obstacle(self.model)
        )


def settle(model: Model, source: Source, config: PredictConfig) -> Settled:
    """Fix what makes the tiles of a model disagree, as far as the settings ask for it.

    Norms that take statistics of each tile get those of a sample of the raster, and dropout is
    switched off. If that leaves nothing that reaches farther than the halo, tiles are exact.

    Raises
    ------
    ModelError
        If exact tiles are asked for and are not to be had, a norm cannot be fixed, or the raster's
        bands are not what the model takes.
    RasterError
        If the raster cannot be read, or has no valid pixel to take statistics of.
    """
    if model.card.tile_safe:
        return Settled(model, source, {})
    require_bands(model.card, source)
    settled, choices = model, {}
    if isinstance(model, Settling):
        raster = config.statistics == "raster"
        sample = sample_of(model.card, source) if raster else None
        settled = model.settled(sample, config.dropout == "seeded")
        choices = {STATISTICS: config.statistics, DROPOUT: config.dropout}
    if config.exact and not settled.card.tile_safe:
        raise ModelError(
            f"exact tiles are not to be had of this model: {_obstacle(settled)}; take statistics "
            "'raster' and dropout 'off', or blended tiles, or train with recipe 'seamless'"
        )
    return Settled(settled, source, choices)


def settings_of(tags: Mapping[str, str]) -> PredictConfig:
    """Return the settings by which the model of an output was settled, from its metadata."""
    default = PredictConfig()
    return PredictConfig(
        statistics=tags.get(STATISTICS, default.statistics),
        dropout=tags.get(DROPOUT, default.dropout),
    )


def disagreement_of(tags: Mapping[str, str]) -> float | None:
    """Return what blended tiles differ by on average, from an output's metadata; None if exact."""
    return float(json.loads(tags[DISAGREEMENT])["mean"]) if DISAGREEMENT in tags else None


def _obstacle(model: Model) -> str:
    if isinstance(model, Settling):
        return model.obstacle
    return "its card says that a tile's result hangs on the whole tile"


def _pairs(grid: TileGrid) -> Iterator[tuple[Tile, Tile]]:
    """Tiles and their neighbours, to the right or below in turn, at places spread over a grid."""
    down, across = grid.rows.count, grid.cols.count
    seen: set[tuple[int, int, bool]] = set()
    for number, window in enumerate(places(down, across, 1)):
        if len(seen) == PAIRS:
            return
        right = across > 1 and (number % 2 == 0 or down == 1)
        row, col = window.row_off, window.col_off
        other = (row, col + 1) if right else (row + 1, col)
        if other[0] < down and other[1] < across and (row, col, right) not in seen:
            seen.add((row, col, right))
            yield grid.tile(row, col), grid.tile(*other)
