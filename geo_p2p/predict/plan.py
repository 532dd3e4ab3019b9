"""What is to be done: a model, a raster, and the blocks that cover it."""

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from geo_p2p.card import ModelCard, Scaling
from geo_p2p.chips.chip import Source
from geo_p2p.chips.vector import VectorSource
from geo_p2p.errors import ModelError, RasterError
from geo_p2p.grid import Block, BlockPlan, intersection, overlap_of
from geo_p2p.predict.anchor import first_block
from geo_p2p.predict.area import area_of
from geo_p2p.predict.certainty import Certainty
from geo_p2p.predict.config import PredictConfig
from geo_p2p.predict.dihedral import averaged
from geo_p2p.predict.disagreement import TAG, disagreement_of
from geo_p2p.predict.lattice import on_lattice
from geo_p2p.predict.model import Model
from geo_p2p.predict.provenance import provenance
from geo_p2p.predict.settle import settle, settlement_of, settlement_tags
from geo_p2p.predict.sizing import Sizing
from geo_p2p.predict.strips import by_strips
from geo_p2p.predict.tiles import blending_tiles, require_finite
from geo_p2p.raster import Bands, Frame
from geo_p2p.raster.bands import fits
from geo_p2p.raster.files import stamp_of
from geo_p2p.raster.mosaic import GDAL_TYPES

__all__ = ["STRANGE", "Job", "Model", "brought_together", "require_bands"]

STRANGE = 0.05
"""Share of a block's valid pixels, 0-1, that may lie beyond what the training input was like (see
`geo_p2p.card.InputRange`) before the block is told of."""


@dataclass(frozen=True)
class Job:
    """A model, a raster and the plan to bring them together."""

    model: Model
    source: Source
    config: PredictConfig
    plan: BlockPlan
    window: Window
    scaling: Scaling
    certainty: Certainty | None = None

    @classmethod
    def of(cls, model: Model, source: Source, config: PredictConfig) -> "Job":
        """Plan the blocks of a raster for a model, or refuse what cannot be brought together."""
        model, source = brought_together(model, source, config)
        frame = source.frame
        window = frame.window if config.bounds is None else frame.window_of(config.bounds)
        scaling = _output_scaling(model.card.target, config.dtype)

        size = config.block_size or _size(Sizing(model, frame.shape, window), config)
        if config.anchor == "crs" and settlement_of(model).get("statistics") == "raster":
            raise ModelError(
                "anchor 'crs': norms of this model take the statistics of the raster, and those of "
                "another one differ; use anchor 'raster'"
            )
        plan = _plan(model.card, frame, config, size)
        # What was measured of a model does not hold for what it has been settled as since.
        as_trained = model.card.tile_safe and not settlement_of(model)
        sure = Certainty.of(replace(model.card, tile_safe=as_trained), config)
        return cls(model, source, config, plan, window, scaling, sure)

    def __str__(self) -> str:
        """What is to be done, in a line for people."""
        plan, (tall, wide) = self.plan, self.plan.tile_shape
        seen = len(self.blocks) * tall * wide / (self.window.height * self.window.width)
        count = "1 block" if len(self.blocks) == 1 else f"{len(self.blocks)} blocks"
        return (
            f"{count} of {plan.size} px, read with {plan.margin} px around: the network sees "
            f"{seen:.2f} pixels for each of the output"
        )

    @cached_property
    def blocks(self) -> list[Block]:
        """Blocks of the plan that hold pixels of the window, and of the mask."""
        inside = [block for block in self.plan if intersection(block.core, self.window) is not None]
        mask = self.mask
        return [b for b in inside if mask is None or mask.touches(self.core(b))]

    @cached_property
    def mask(self) -> VectorSource | None:
        """Polygons outside which the output is nodata."""
        return area_of(self.config.mask, self.source.frame, self.window)

    def kept(self, block: Block, valid: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Which pixels of a block's core become values: (rows, cols), of those that are valid.

        What the model sees is not masked: inside the polygons the values are those of a run
        without them.
        """
        if self.mask is None:
            return valid
        inside: NDArray[np.bool_] = self.mask.read(self.core(block))[0][0] > 0
        return valid & inside

    def core(self, block: Block) -> Window:
        """The part of a block's core that is wanted, px of the raster."""
        part = intersection(block.core, self.window)
        assert part is not None  # by the choice of `blocks`
        return part

    def pixels(self, block: Block) -> int:
        """Pixels of the output that a block makes."""
        core = self.core(block)
        return int(core.height * core.width)

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
        return by_strips(self._values, scaled[: self.scaling.channels], valid)

    def certain(self, scaled: NDArray[np.float32], valid: NDArray[np.bool_]) -> NDArray[Any] | None:
        """How far off these values may be, if that is asked for: (bands, rows, cols)."""
        sure = self.certainty
        return None if sure is None else by_strips(sure.values, scaled, valid)

    def outside(self, values: NDArray[Any], valid: NDArray[np.bool_]) -> float:
        """Share of a block's valid pixels, 0-1, that are not like what was trained on.

        0 where that is no more than `STRANGE`, or the card does not tell what was.
        """
        seen = self.model.card.seen
        share = 0.0 if seen is None else seen.outside(values, valid)
        return share if share > STRANGE else 0.0

    def _values(self, scaled: NDArray[np.float32], valid: NDArray[np.bool_]) -> NDArray[Any]:
        """Values of the output, at once."""
        finite = np.isfinite(scaled)
        if not finite.all():
            require_finite(scaled, valid)
            scaled = np.where(finite, scaled, 0)
        return self.scaling.inverse(scaled)

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
        sure = {} if self.certainty is None else {"confidence": self.certainty.recipe}
        return {
            **sure,
            "plan": asdict(self.plan),
            "window": list(self.window.flatten()),
            "mask": self.mask and stamp_of(self.mask.path),
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
            **provenance(card),
            **settlement_tags(self.model),
            **({TAG: json.dumps(self.disagreement)} if self.disagreement else {}),
            **self._unusual,
        }

    @cached_property
    def disagreement(self) -> dict[str, float] | None:
        """By how much tiles disagree before they are blended; None if they are exact."""
        return disagreement_of(self.model, self.source)

    @property
    def _unusual(self) -> dict[str, str]:
        """Provenance of what is done only when it is asked for."""
        told = {
            "GEO_P2P_RESAMPLING": "" if self.source.method == "none" else self.source.method,
            "GEO_P2P_MASK": str(self.config.mask or ""),
            "GEO_P2P_TTA": "mean of 8 views" if self.config.tta else "",
        }
        return {key: value for key, value in told.items() if value}


def brought_together(model: Model, source: Source, config: PredictConfig) -> tuple[Model, Source]:
    """Return a raster on the lattice asked for, and a model as it is to be run on it."""
    source = on_lattice(source, model.card, config)
    require_bands(model.card, source)
    model = settle(model, source, config)
    return averaged(model) if config.tta else model, source


def require_bands(card: ModelCard, source: Source) -> None:
    """Refuse a raster with more or fewer bands than the model takes."""
    count = source.info.count
    if count != card.input.count:
        raise ModelError(
            f"{source.name}: {count} bands, but the model takes {card.input.count}; "
            "choose them by number (--bidx)"
        )


def _size(sizing: Sizing, config: PredictConfig) -> int:
    """Side of a core, px, where none is asked for."""
    if config.anchor == "crs":  # then not even the raster may count
        return Sizing(sizing.model).by_formula()
    # Shards must come to one plan, and what is fast differs from machine to machine.
    return sizing.by_time() if config.shard is None else sizing.by_formula()


def _plan(card: ModelCard, frame: Frame, config: PredictConfig, size: int) -> BlockPlan:
    """Lay blocks of a size over a raster."""
    halo = card.halo if card.tile_safe else 0
    if config.anchor == "raster":
        return BlockPlan(frame.height, frame.width, card.stride, halo, size)
    if not card.tile_safe:
        raise ModelError(
            "anchor 'crs': tiles of this model are blended from the raster's corner on; "
            "use anchor 'raster'"
        )
    top, left = first_block(frame, size)
    return BlockPlan(frame.height, frame.width, card.stride, halo, size, top, left, full_tiles=True)


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
