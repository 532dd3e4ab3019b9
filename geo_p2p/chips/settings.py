"""The settings of an export and their defaults: the command line reads them from here."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from geo_p2p.chips.split import refuse_impossible
from geo_p2p.errors import ChipError, GridError
from geo_p2p.raster import FORMATS

__all__ = ["EDGES", "ExportConfig"]

EDGES = ("cover", "lattice")
"""What happens where the last stride leaves the raster: its chip is shifted back, or left out."""

CHOICES: Mapping[str, tuple[str, ...]] = {"edges": EDGES, "image_format": tuple(FORMATS)}
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
    tile_size : side of a chip, px of the input raster.
    stride : px from one chip to the next; half a chip if None.
    edges : one of `EDGES`: "cover" shifts the last chips back so that every pixel is in one,
        "lattice" keeps to whole strides and leaves the rest.
    rotation_angle : degrees; chips are written for 0, a, 2 a, ... up to a full turn; 0 for none.
    bidx, additional_bidx : bands to take from either raster, from 1; None for all.
    mask : vector file; only chips wholly inside its polygons are cut.
    min_valid : least share of pixels, 0-1, that must be valid in both rasters.
    resampling : how the additional raster is warped onto the input's lattice.
    image_format : key of `geo_p2p.raster.FORMATS`.
    start_index : number of the first chip.
    split : how to part training from validation: "blocks", "random" or "none".
    val_pct : share of chips to validate on, percent.
    buffer : px between training chips and validation blocks; half a chip if None.
    seed : of the split.

    Raises
    ------
    ChipError, GridError
        For a setting no export can have.
    """

    tile_size: int = 256
    stride: int | None = None
    edges: str = "cover"
    rotation_angle: float = 0.0
    bidx: tuple[int, ...] | None = None
    additional_bidx: tuple[int, ...] | None = None
    mask: str | Path | None = None
    min_valid: float = 0.9
    resampling: str = "auto"
    image_format: str = "TIFF"
    start_index: int = 0
    split: str = "blocks"
    val_pct: float = 10.0
    buffer: int | None = None
    seed: int = 42

    def __post_init__(self) -> None:
        """Fill in the stride and refuse what cannot be."""
        if self.tile_size < 1:
            raise GridError(f"tile size {self.tile_size} px: give at least 1")
        if self.stride is None:
            object.__setattr__(self, "stride", max(1, self.tile_size // 2))
        if not 0 < self.step <= self.tile_size:
            raise GridError(f"stride {self.step} px: give 1 to the tile size, {self.tile_size}")
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                told = f"{name} {getattr(self, name)!r}".replace("_", " ")
                raise ChipError(f"{told}: choose one of {', '.join(choices)}")
        for name, (least, most) in LIMITS.items():
            if not least <= getattr(self, name) <= most:
                told = f"{name} {getattr(self, name)}".replace("_", " ")
                extent = f"at least {least}" if most == math.inf else f"{least} to {most}"
                raise ChipError(f"{told}: give {extent}")
        refuse_impossible(self.split, self.val_pct, self.buffer)

    @property
    def step(self) -> int:
        """Px from one chip to the next."""
        return self.tile_size if self.stride is None else self.stride

    @property
    def angles(self) -> tuple[float, ...]:
        """Angles that every tile is cut at, degrees counter-clockwise; the first is 0."""
        if not self.rotation_angle:
            return (0.0,)
        turns = range(int((360 - 1e-9) // self.rotation_angle) + 1)
        return tuple(turn * self.rotation_angle for turn in turns)

    def to_json(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {**asdict(self), "mask": None if self.mask is None else str(self.mask)}
