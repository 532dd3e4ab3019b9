"""What is to be done: a model, a raster, and the blocks that cover it."""

import hashlib
import json
import math
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from geo_p2p.card import ModelCard, Scaling
from geo_p2p.errors import ModelError, RasterError
from geo_p2p.grid import Block, BlockPlan, TileGrid, intersection, overlap_of
from geo_p2p.predict.config import PredictConfig
from geo_p2p.raster import Bands, RasterSource
from geo_p2p.raster.bands import fits
from geo_p2p.raster.files import stamp_of
from geo_p2p.raster.mosaic import GDAL_TYPES

__all__ = ["Job", "Model", "blending_tiles", "require_bands", "require_finite"]

BLOCK = 1024
"""Side of a block's core, px, where nothing else is asked for."""


class Model(Protocol):
    """Anything that translates tiles and says what it is."""

    @property
    def card(self) -> ModelCard:
        """How the model wants to be used."""

    @property
    def fingerprint(self) -> str:
        """What tells its results from those of another: a hash of weights and precision."""

    def __call__(self, tiles: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
        """Translate (batch, channels, rows, cols); ``seed`` fixes what is random in it."""


@dataclass(frozen=True)
class Job:
    """A model, a raster and the plan to bring them together."""

    model: Model
    source: RasterSource
    config: PredictConfig
    plan: BlockPlan
    window: Window
    scaling: Scaling

    @classmethod
    def of(cls, model: Model, source: RasterSource, config: PredictConfig) -> "Job":
        """Plan the blocks of a raster for a model, or refuse what cannot be brought together."""
        card = model.card
        require_bands(card, source)
        frame = source.frame
        window = frame.window if config.bounds is None else frame.window_of(config.bounds)
        halo = card.halo if card.tile_safe else 0
        size = _block_size(card.stride, config.block_size)
        plan = BlockPlan(frame.height, frame.width, card.stride, halo, size)
        return cls(model, source, config, plan, window, _output_scaling(card.target, config.dtype))

    @cached_property
    def blocks(self) -> list[Block]:
        """Blocks of the plan that hold pixels of the window."""
        return [block for block in self.plan if intersection(block.core, self.window) is not None]

    def core(self, block: Block) -> Window:
        """The part of a block's core that is wanted, px of the raster."""
        part = intersection(block.core, self.window)
        assert part is not None  # by the choice of `blocks`
        return part

    def place(self, block: Block) -> Window:
        """The same, px of the output."""
        part = self.core(block)
        rows, cols = overlap_of(self.window, part)
        return Window(cols.start, rows.start, part.width, part.height)

    def values(self, scaled: NDArray[np.float32], valid: NDArray[np.bool_]) -> NDArray[Any]:
        """Values of the output: of a translation, (channels, rows, cols) scaled.

        Raises
        ------
        ModelError
            If it is not finite at a valid pixel.
        """
        require_finite(scaled, valid)
        return self.scaling.inverse(np.where(np.isfinite(scaled), scaled, 0))

    def nothing(self, valid: NDArray[np.bool_]) -> NDArray[Any]:
        """Values of the output where no pixel is valid."""
        return np.zeros((self.scaling.count, *valid.shape), self.scaling.dtype)

    @cached_property
    def bands(self) -> Bands:
        """What the output's bands hold: the target's."""
        target = self.scaling
        return Bands(
            count=target.count,
            dtype=target.dtype,
            nodata=target.nodata,
            names=target.names,
            units=target.units,
            colors={c.value: c.color for c in target.classes},
            classes={c.value: c.name for c in target.classes},
            interp=("palette",) if target.classes else target.interp,
            scales=target.scales,
            offsets=target.offsets,
        )

    @property
    def recipe(self) -> dict[str, Any]:
        """What decides the bytes of a block, as JSON gives it back."""
        source = self.source
        output = hashlib.sha256(json.dumps(self.scaling.to_json()).encode()).hexdigest()
        return {
            "plan": asdict(self.plan),
            "window": list(self.window.flatten()),
            "source": [stamp_of(path) for path in source.paths],
            "bands": source.bands and list(source.bands),
            "lattice": [*source.frame.transform[:6], source.frame.crs.to_wkt(), source.method],
            "model": self.model.fingerprint,
            "output": output,
        }

    def tags(self) -> dict[str, str]:
        """Provenance, for the output's metadata."""
        card, plan = self.model.card, asdict(self.plan)
        # Where the output begins, px of the raster: without it nobody finds the blocks again.
        plan |= {"row": self.window.row_off, "col": self.window.col_off}
        if not card.tile_safe:
            tiles = blending_tiles(card, self.plan.height, self.plan.width)
            plan |= {"tile": tiles.size, "overlap": tiles.overlap}
        return {
            "GEO_P2P_MODEL": self.model.fingerprint,
            "GEO_P2P_SOURCE": self.source.name,
            "GEO_P2P_TILES": "exact" if card.tile_safe else "blended",
            "GEO_P2P_PLAN": json.dumps(plan),
        }


def blending_tiles(card: ModelCard, height: int, width: int) -> TileGrid:
    """Tiles of the size a model was trained on, half overlapping, for blending."""
    return TileGrid(height, width, card.size, card.size // 2)


def require_bands(card: ModelCard, source: RasterSource) -> None:
    """Refuse a raster with more or fewer bands than the model takes."""
    if source.count != card.input.count:
        raise ModelError(
            f"{source.name}: {source.count} bands, but the model takes {card.input.count}; "
            "choose them by number (--bidx)"
        )


def require_finite(scaled: NDArray[Any], valid: NDArray[np.bool_]) -> None:
    """Refuse a translation with NaN or infinity at a valid pixel."""
    if not np.isfinite(scaled[:, valid]).all():
        raise ModelError("the model gave values that are not finite; its weights are unusable")


def _block_size(stride: int, asked: int | None) -> int:
    """Side of a core: what was asked for, or the default made a multiple of the stride."""
    return asked or math.lcm(stride, 512) * max(1, BLOCK // math.lcm(stride, 512))


def _output_scaling(target: Scaling, dtype: str | None) -> Scaling:
    """The target's scaling, into another type if one is asked for.

    Raises
    ------
    RasterError
        If there is no such type, or it does not hold the target's values.
    """
    if dtype is None or dtype == target.dtype:
        return target
    try:
        kind = np.dtype(dtype)
    except TypeError as error:
        raise RasterError(f"output type {dtype!r}: not a type of numbers") from error
    if kind.name not in GDAL_TYPES:
        raise RasterError(f"output type {dtype!r}: choose one of {', '.join(GDAL_TYPES)}")
    ends = [*target.low, *target.high, *target.values.tolist()]
    least, most = Bands(1, kind.name).full_range
    if not least <= min(ends) <= max(ends) <= most:
        raise RasterError(
            f"output type {dtype!r}: does not hold the target's values, "
            f"{min(ends):g} to {max(ends):g}"
        )
    keeps = target.nodata is not None and fits(target.nodata, kind.name)
    return replace(target, dtype=kind.name, nodata=target.nodata if keeps else None)
