"""The settings of an export and their defaults: the command line reads them from here."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from geo_p2p.chips.filters import ChipFilter
from geo_p2p.chips.scenes import MODES, Drawn, Quality, Rasters, Spec
from geo_p2p.chips.shapes import holds_shapes
from geo_p2p.chips.split import SplitConfig
from geo_p2p.errors import ChipError, GridError
from geo_p2p.raster import FORMATS

__all__ = ["EDGES", "PLACEMENTS", "SYSTEMS", "ExportConfig"]

EDGES = ("cover", "lattice")
"""What happens where the last stride leaves the raster: its chip is shifted back, or left out."""

PLACEMENTS = ("grid", "random")
"""Where chips are cut: on a grid of strides, or at random."""

SYSTEMS = ("MAP_SPACE", "PIXEL_SPACE")
"""Esri's names: pairs by their place on Earth, or pixel on pixel, whatever place they have."""

CHOICES: Mapping[str, tuple[str, ...]] = {
    "edges": EDGES,
    "placement": PLACEMENTS,
    "image_format": tuple(FORMATS),
    "processing_mode": MODES,
    "reference_system": SYSTEMS,
}
"""What the settings that are names may be."""

LIMITS: Mapping[str, tuple[float, float]] = {
    "rotation_angle": (0, 360),
    "min_valid": (0, 1),
    "start_index": (0, math.inf),
}
"""Smallest and largest number a setting may be."""


@dataclass(frozen=True)
class ExportConfig:
    """Settings of an export and their defaults.

    Parameters
    ----------
    tile_size : side of a chip, px of the input raster; or its width and height (Esri's x and y).
    stride : px from one chip to the next, or across and down; half a chip if None.
    edges : one of `EDGES`: "cover" shifts the last chips back so that every pixel is in one,
        "lattice" keeps to whole strides and leaves the rest.
    placement : one of `PLACEMENTS`: on a grid of strides, or at random.
    count : how many places to draw at random, over all scenes.
    rotation_angle : degrees; chips are written for 0, a, 2 a, ... up to a full turn; 0 for none.
    bidx, additional_bidx : bands to take from either raster, from 1; None for all.
    asset, additional_asset : of STAC files, by name, or several that stack as bands,
        "red,green,blue"; None for the one with the role "data", or behind a "#" of the path.
    processing_mode : one of `geo_p2p.chips.scenes.MODES`, where there are several inputs.
    reference_system : one of `SYSTEMS`: by place on Earth, or pixel on pixel.
    class_field, burn, all_touched, buffer_radius, layer : where the additional raster is drawn
        from a vector file, see `geo_p2p.chips.VectorSource`.
    quality, quality_band, quality_bits, quality_values : which input pixels a quality raster rules
        out, see `geo_p2p.chips.scenes.Quality`; without a raster the band is one of the input's.
    mask : vector file; only chips wholly inside its polygons are cut.
    min_valid : least share of pixels, 0-1, that must be valid in both rasters.
    resampling : how the additional raster is warped onto the input's lattice.
    image_format : key of `geo_p2p.raster.FORMATS`.
    start_index : number of the first chip.
    min_content, background, min_std_x, min_std_y : see `geo_p2p.chips.ChipFilter`.
    split : how to part the chips: one of `geo_p2p.chips.split.METHODS`.
    val_pct, test_pct, buffer, halo, folds, fold : see `geo_p2p.chips.SplitConfig`.
    split_polygons, split_field : vector file with the polygons of "polygons", and their attribute
        that says train, val or test.
    max_per_stratum : most training chips of each stratum, so that the frequent does not drown the
        rare; None for all. Strata are the most frequent class, or quarters of the target's mean.
        What is validated and tested on stays as frequent as it is.
    seed : of all chance.

    Raises
    ------
    ChipError, GridError
        For a setting no export can have.
    """

    tile_size: int | tuple[int, int] = 256
    stride: int | tuple[int, int] | None = None
    edges: str = "cover"
    placement: str = "grid"
    count: int | None = None
    rotation_angle: float = 0.0
    bidx: tuple[int, ...] | None = None
    additional_bidx: tuple[int, ...] | None = None
    asset: str | None = None
    additional_asset: str | None = None
    processing_mode: str = "mosaic"
    reference_system: str = "MAP_SPACE"
    class_field: str | None = None
    burn: int = 1
    all_touched: bool = False
    buffer_radius: float = 0.0
    layer: int | str | None = None
    quality: str | Path | None = None
    quality_band: int = 1
    quality_bits: tuple[int | str, ...] = ()
    quality_values: tuple[int, ...] = ()
    mask: str | Path | None = None
    min_valid: float = 0.9
    resampling: str = "auto"
    image_format: str = "TIFF"
    start_index: int = 0
    min_content: float | Mapping[int, float] = ChipFilter.min_content
    background: tuple[float, ...] = ChipFilter.background
    min_std_x: float = ChipFilter.min_std_x
    min_std_y: float = ChipFilter.min_std_y
    split: str = SplitConfig.method
    val_pct: float = SplitConfig.val_pct
    test_pct: float = SplitConfig.test_pct
    buffer: int | None = SplitConfig.buffer
    halo: int = SplitConfig.halo
    folds: int = SplitConfig.folds
    fold: int = SplitConfig.fold
    split_polygons: str | Path | None = None
    split_field: str = "split"
    max_per_stratum: int | None = None
    seed: int = 42

    def __post_init__(self) -> None:
        """Fill in the stride and refuse what cannot be."""
        if self.stride is None:
            half = tuple(max(1, side // 2) for side in reversed(self.shape))
            object.__setattr__(self, "stride", half[0] if half[0] == half[1] else half)
        self._refuse_sizes()
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                told = f"{name} {getattr(self, name)!r}".replace("_", " ")
                raise ChipError(f"{told}: choose one of {', '.join(choices)}")
        for name, (least, most) in LIMITS.items():
            if not least <= getattr(self, name) <= most:
                told = f"{name} {getattr(self, name)}".replace("_", " ")
                extent = f"at least {least}" if most == math.inf else f"{least} to {most}"
                raise ChipError(f"{told}: give {extent}")
        if self.max_per_stratum is not None and self.max_per_stratum < 1:
            raise ChipError(f"at most {self.max_per_stratum} chips of a stratum: give 1 or more")
        self.content, self.parting(0.0)  # built to be checked
        self._refuse_splits()

    def _refuse_sizes(self) -> None:
        for size, step in zip(self.shape, self.steps, strict=True):
            if size < 1:
                raise GridError(f"tile size {size} px: give at least 1")
            if not 0 < step <= size:
                raise GridError(f"stride {step} px: give 1 to the tile size, {size}")

    def _refuse_splits(self) -> None:
        if self.reference_system == "PIXEL_SPACE" and (self.rotation_angle or self.mask):
            raise ChipError(
                "pixel space has no place and no warp: leave out mask and rotation angle, or say "
                "MAP_SPACE"
            )
        if (self.split == "polygons") != (self.split_polygons is not None):
            raise ChipError(
                "split 'polygons' and a file of split polygons go together; give both or neither"
            )
        if (self.placement == "random") != (self.count is not None) or self.count == 0:
            raise ChipError(
                "random placement and a count of 1 or more go together; give both or neither"
            )
        strewn = self.placement == "random"
        if self.split == "random" and (strewn or self.steps != self.shape):
            where = "at random" if strewn else f"every {min(self.steps)} px"
            raise ChipError(
                f"split 'random': chips of {self.side} px {where} overlap, so "
                "that training would see what it is validated on; split by blocks, take a stride "
                "of a whole chip, or say 'random-overlapping'"
            )

    def inputs(self, spec: Spec) -> Rasters:
        """The input rasters, with what rules their pixels out."""
        asked = self.quality is not None or self.quality_bits or self.quality_values
        rule = (self.quality, self.quality_band, self.quality_bits, self.quality_values)
        return Rasters(spec, self.bidx, asset=self.asset, quality=Quality(*rule) if asked else None)

    def additional(self, spec: Spec) -> Rasters | Drawn:
        """The additional rasters, or the shapes they are drawn from."""
        if isinstance(spec, str | Path) and holds_shapes(spec):
            drawn = (self.class_field, self.burn, self.all_touched, self.buffer_radius, self.layer)
            return Drawn(str(spec), *drawn)
        return Rasters(spec, self.additional_bidx, self.resampling, self.additional_asset)

    @property
    def content(self) -> ChipFilter:
        """What a chip must hold."""
        return ChipFilter(self.min_content, self.background, self.min_std_x, self.min_std_y)

    def parting(self, autocorrelation: float) -> SplitConfig:
        """Settings of the split, with the px within which values of the target are alike."""
        return SplitConfig(
            method=self.split,
            val_pct=self.val_pct,
            test_pct=self.test_pct,
            buffer=self.buffer,
            seed=self.seed,
            halo=self.halo,
            autocorrelation=autocorrelation,
            folds=self.folds,
            fold=self.fold,
        )

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of a chip, px."""
        return _rows_cols(self.tile_size)

    @property
    def steps(self) -> tuple[int, int]:
        """Px from one chip to the next, down and across."""
        return self.shape if self.stride is None else _rows_cols(self.stride)

    @property
    def side(self) -> int:
        """The longer side of a chip, px: what blocks of territory are measured by."""
        return max(self.shape)

    @property
    def angles(self) -> tuple[float, ...]:
        """Angles that every tile is cut at, degrees counter-clockwise; the first is 0."""
        if not self.rotation_angle:
            return (0.0,)
        turns = range(int((360 - 1e-9) // self.rotation_angle) + 1)
        return tuple(turn * self.rotation_angle for turn in turns)

    def to_json(self) -> dict[str, Any]:
        """Plain data for JSON."""
        plain = asdict(self)
        for name in ("mask", "split_polygons", "quality"):
            plain[name] = None if plain[name] is None else str(plain[name])
        return plain


def _rows_cols(value: int | tuple[int, int]) -> tuple[int, int]:
    """Turn a side, or (x, y), into (rows, cols)."""
    return (value, value) if isinstance(value, int) else (value[1], value[0])
