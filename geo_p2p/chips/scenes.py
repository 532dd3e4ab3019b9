"""Pair many rasters by the ground they show."""

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from geo_p2p.chips.chip import Scene, Source
from geo_p2p.chips.mosaicked import Mosaicked
from geo_p2p.chips.quality import Masked
from geo_p2p.chips.shapes import Layer
from geo_p2p.chips.vector import VectorSource
from geo_p2p.errors import AlignmentError, ChipError
from geo_p2p.raster import (
    Frame,
    PixelSource,
    RasterSource,
    find_rasters,
    shares_ground,
    union_frame,
)

__all__ = ["MODES", "Drawn", "Quality", "Rasters", "Spec", "pixel_scenes", "scenes"]

log = logging.getLogger(__name__)

MODES = ("mosaic", "items")
"""All inputs as one scene (ArcGIS: PROCESS_AS_MOSAICKED_IMAGE), or one scene an input
(PROCESS_ITEMS_SEPARATELY)."""

Spec = str | Path | Iterable[str | Path]


@dataclass(frozen=True)
class Quality:
    """Which pixels of a raster its quality rules out: see `Masked`.

    Parameters
    ----------
    raster : what `find_rasters` takes. As many as there are rasters go with them one by one, in
        order; otherwise those count that show the same ground. None for a band of the raster's
        own file.
    band : number of the quality band, from 1.
    bits, values : which of its bits, conditions on several bits, or values rule a pixel out.
    """

    raster: str | Path | None = None
    band: int = 1
    bits: tuple[int | str, ...] = ()
    values: tuple[int, ...] = ()

    @cached_property
    def rasters(self) -> "Rasters | None":
        """The quality rasters; None where the quality is a band of the raster's own file."""
        if self.raster is None:
            return None
        return Rasters(self.raster, (self.band,), "nearest")


@dataclass(frozen=True)
class Rasters:
    """One raster or many, on one side of the pairs.

    Parameters
    ----------
    spec : a folder, a pattern, a STAC file or a single raster (see `find_rasters`): each file is
        a raster of its own. A list of paths: files of one lattice, stacked as bands of ONE raster.
    bands : to take from each, from 1; None for all.
    resampling : of the warp onto another lattice: see `RasterSource`.
    asset : of a STAC file, by name; several names, with commas between, stack as bands.
    quality : what rules pixels out.
    """

    spec: Spec
    bands: tuple[int, ...] | None = None
    resampling: str = "auto"
    asset: str | None = None
    quality: Quality | None = None

    def __post_init__(self) -> None:
        """Keep a list of paths as what can be read twice."""
        if not isinstance(self.spec, str | Path):
            object.__setattr__(self, "spec", tuple(self.spec))

    @cached_property
    def items(self) -> list[tuple[str, ...]]:
        """The files of each raster."""
        if isinstance(self.spec, str | Path):
            return find_rasters(self.spec, self.asset)
        return [tuple(map(str, self.spec))]

    @cached_property
    def frames(self) -> list[Frame]:
        """Where each raster is, on its own lattice."""
        return [RasterSource(paths, self.bands).frame for paths in self.items]

    @property
    def name(self) -> str:
        """The first path and how many more there are, for messages."""
        more = len(self.items) - 1
        first = ", ".join(self.items[0])
        return f"{first} and {more} more" if more else first

    def on(self, frame: Frame) -> Source | None:
        """Everything that shares ground with a frame, as one source on it; None for nothing.

        Raises
        ------
        AlignmentError
            If it cannot be warped there, or the rasters make no mosaic.
        """
        there = [index for index in range(len(self.items)) if self._shows(index, frame)]
        sources = [self.source(index, frame) for index in there]
        return Mosaicked(sources) if len(sources) > 1 else sources[0] if sources else None

    def _shows(self, index: int, frame: Frame) -> bool:
        try:
            return shares_ground(self.frames[index], frame)
        except AlignmentError as error:
            raise AlignmentError(f"{self.items[index][0]}: {error}") from error

    def source(self, index: int, like: Frame | None = None) -> Source:
        """One of the rasters, masked by its quality, on a lattice: its own if None."""
        source = RasterSource(self.items[index], self.bands, like, self.resampling)
        if self.quality is None:
            return source
        rule, frame = self.quality, source.frame
        paths = self._quality_of(index)
        if paths is not None:
            quality: Source | None = RasterSource(paths, (rule.band,), frame, "nearest")
        else:
            quality = rule.rasters.on(frame) if rule.rasters else None
        if quality is None:
            raise AlignmentError(
                f"{rule.raster}: no quality raster shares ground with {source.name} ({frame})"
            )
        return Masked(source, quality, rule.bits, rule.values)

    def image(self, index: int, like: Frame | None = None) -> Source:
        """One of the rasters in pixel space, masked by its quality."""
        source = PixelSource(self.items[index], self.bands, like)
        if self.quality is None:
            return source
        rule = self.quality
        paths = self._quality_of(index)
        if paths is None:
            raise AlignmentError(
                f"{rule.raster}: in pixel space there must be one quality raster for each image "
                f"of {self.name}"
            )
        quality = PixelSource(paths, (rule.band,), source.frame)
        return Masked(source, quality, rule.bits, rule.values)

    def _quality_of(self, index: int) -> tuple[str, ...] | None:
        """The files of one raster's quality; None where the ground decides."""
        rasters = self.quality.rasters if self.quality else None
        if rasters is None:
            return self.items[index]
        return rasters.items[index] if len(rasters.items) == len(self.items) else None


@dataclass(frozen=True)
class Drawn:
    """Shapes of a vector file as the additional raster: the arguments of `VectorSource`."""

    path: str
    field: str | None = None
    burn: int = 1
    all_touched: bool = False
    buffer: float = 0.0
    layer: Layer = None

    @property
    def name(self) -> str:
        """The path, for messages."""
        return self.path

    def on(self, frame: Frame) -> Source | None:
        """The shapes on a frame; None where there are none."""
        options = (self.field, self.burn, self.all_touched, self.buffer, self.layer)
        try:
            return VectorSource(self.path, frame, *options)
        except AlignmentError:
            return None


def scenes(inputs: Rasters, additional: Rasters | Drawn, mode: str = "mosaic") -> list[Scene]:
    """Pair every input raster with what the additional ones show of its ground.

    Parameters
    ----------
    inputs : the input rasters.
    additional : what they are paired with.
    mode : one of `MODES`. "mosaic": all inputs on the lattice of the first, as one scene. "items":
        a scene for each input, on its own lattice; one without a partner is left out, and the log
        says so.

    Returns
    -------
    Scenes named after the files of their inputs, or "mosaic"; each name is unique.

    Raises
    ------
    AlignmentError
        If none of the inputs shares ground with anything additional.
    ChipError
        For another mode.
    """
    if mode not in MODES:
        raise ChipError(f"processing mode {mode!r}: choose one of {', '.join(MODES)}")
    if mode == "mosaic" and len(inputs.items) > 1:
        frame = union_frame(inputs.frames)
        y = additional.on(frame)
        sources = [inputs.source(index, frame) for index in range(len(inputs.items))]
        found = [] if y is None else [Scene("mosaic", Mosaicked(sources), y)]
    else:
        found = _one_by_one(inputs, additional)
    if not found:
        raise AlignmentError(
            f"{additional.name} shares no ground with {inputs.name}: check that both show the "
            "same place"
        )
    return found


def _one_by_one(inputs: Rasters, additional: Rasters | Drawn) -> list[Scene]:
    """Make a scene of each input that has a partner."""
    found = []
    names = _names([paths[0] for paths in inputs.items])
    for index, (name, frame) in enumerate(zip(names, inputs.frames, strict=True)):
        y = additional.on(frame)
        if y is not None:
            found.append(Scene(name, inputs.source(index), y))
        elif len(names) > 1:
            log.warning("%s: left out, it shares no ground with %s", name, additional.name)
    return found


def pixel_scenes(inputs: Rasters, additional: Rasters) -> list[Scene]:
    """Pair images pixel on pixel, whatever place they have (ArcGIS: PIXEL_SPACE).

    One image goes with one; of several, those of the same name, without its ending.

    Returns
    -------
    Scenes named after the files of their inputs; each name is unique.

    Raises
    ------
    AlignmentError
        If the two of a pair differ in size, or no two have the same name.
    """
    xs, ys = (_names([paths[0] for paths in side.items]) for side in (inputs, additional))
    if len(xs) == len(ys) == 1:
        ys = xs
    for name in sorted({*xs} ^ {*ys}):
        other = inputs if name in ys else additional
        log.warning("%s: left out, %s has no image of that name", name, other.name)
    found = []
    for name in (name for name in xs if name in ys):
        x = inputs.image(xs.index(name))
        found.append(Scene(name, x, additional.image(ys.index(name), x.frame)))
    if not found:
        raise AlignmentError(f"{inputs.name} and {additional.name}: no two images share a name")
    return found


def _names(paths: Sequence[str]) -> list[str]:
    """A name for each path: its stem, or where several share it, its folder's name as well."""
    stems = [Path(path).stem for path in paths]
    count = Counter(stems)
    names = [
        stem if count[stem] == 1 else f"{Path(path).parent.name}_{stem}"
        for path, stem in zip(paths, stems, strict=True)
    ]
    again = Counter(names)
    return [name if again[name] == 1 else f"{name}_{i}" for i, name in enumerate(names, start=1)]
