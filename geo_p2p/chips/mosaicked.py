"""Several rasters as one."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from rasterio.windows import Window

from geo_p2p.chips.chip import Source
from geo_p2p.errors import AlignmentError
from geo_p2p.grid import intersection, overlap_of, span_window
from geo_p2p.raster import Bands, Frame, reach, shares_ground, window_inside

__all__ = ["Mosaicked", "footprint_of"]

SAME = ("count", "dtype", "colors", "classes", "units", "scales", "offsets")
"""What the bands of all rasters must agree in: a class, or a value, means the same in each."""


def footprint_of(source: Source) -> Frame:
    """Ground that a source's files cover; its whole frame if it does not tell."""
    footprint: Frame = getattr(source, "footprint", source.frame)
    return footprint


@dataclass(frozen=True)
class Mosaicked:
    """Several rasters on one lattice as one: the first that is valid at a pixel counts.

    What ArcGIS calls PROCESS_AS_MOSAICKED_IMAGE. Only files whose footprint touches a window are
    opened for it. A `Source`: picklable, and read by several threads.

    Parameters
    ----------
    sources : at least one, each on the same lattice (``RasterSource(..., like=frame)``), with
        bands of the same number, type, unit and classes.

    Raises
    ------
    AlignmentError
        If two of them lie on different lattices, or hold different things.
    """

    sources: tuple[Source, ...]
    boxes: tuple[tuple[float, float, float, float], ...] = field(repr=False)
    info: Bands = field(repr=False)
    method: str

    def __init__(self, sources: Sequence[Source]) -> None:
        """Take the sources, and look at each once."""
        first, *others = sources
        for other in others:
            first.frame.require_same(other.frame, first.name, other.name)
            _require_alike(first, other)
        shared = len({str(source.info.nodata) for source in sources}) == 1
        # A value that means "nothing here" in one raster alone may be a value in another.
        info = first.info if shared else replace(first.info, nodata=None)
        boxes = (reach(footprint_of(source), source.frame) for source in sources)
        methods = dict.fromkeys(source.method for source in sources)
        object.__setattr__(self, "sources", tuple(sources))
        object.__setattr__(self, "boxes", tuple(boxes))
        object.__setattr__(self, "info", info)
        object.__setattr__(self, "method", ", ".join(methods))
        object.__setattr__(self, "frame", first.frame)

    def __getstate__(self) -> dict[str, Any]:
        """Pickle what was found out, so that another process opens no file for it."""
        names = ("sources", "boxes", "info", "method", "frame")
        return {name: self.__dict__[name] for name in names}

    @cached_property
    def frame(self) -> Frame:
        """Where the pixels are."""
        return self.sources[0].frame

    @property
    def name(self) -> str:
        """The first path and how many more there are, for messages."""
        more = len(self.sources) - 1
        return f"{self.sources[0].name} and {more} more" if more else self.sources[0].name

    @property
    def paths(self) -> tuple[str, ...]:
        """The files of all sources."""
        return tuple(path for source in self.sources for path in source.paths)

    @property
    def bands(self) -> tuple[int, ...] | None:
        """Band numbers read of each source, from 1; None for all."""
        return self.sources[0].bands

    def warped(self, frame: Frame) -> "Mosaicked":
        """Return those of the rasters on another lattice that show its ground.

        Raises
        ------
        AlignmentError
            If none of them does.
        """
        near = np.sort(self._tree.query(shapely.box(*reach(frame, self.frame)))).tolist()
        there = [i for i in near if shares_ground(footprint_of(self.sources[i]), frame)]
        if not there:
            raise AlignmentError(f"{self.name} shares no ground with {frame}")
        return Mosaicked([self.sources[index].warped(frame) for index in there])

    def read(self, window: Window | None = None) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Read a window.

        Parameters
        ----------
        window : px of the frame, inside it; the whole if None.

        Returns
        -------
        values : (bands, rows, cols) in the rasters' type and unit; where none is valid, their
            nodata value if they share one, else 0.
        valid : (rows, cols), True where any of them is.

        Raises
        ------
        RasterError
            If the window leaves the frame, or a file cannot be read there.
        """
        window = window_inside(self.name, self.frame, window)
        shape = window.height, window.width
        values = np.full((self.info.count, *shape), self.info.nodata or 0, self.info.dtype)
        valid = np.zeros(shape, bool)
        (top, bottom), (left, right) = window.toranges()
        for index in np.sort(self._tree.query(shapely.box(left, top, right, bottom))):
            part = intersection(window, self._windows[index])
            if part is None:
                continue
            there = overlap_of(window, part)
            found, known = self.sources[index].read(part)
            new = known & ~valid[there]
            np.copyto(values[:, *there], found, where=new)
            valid[there] |= new
            if valid.all():
                break
        return values, valid

    @cached_property
    def _windows(self) -> list[Window]:
        """The whole pixels of each box."""
        low = np.floor(np.array(self.boxes)[:, :2]).astype(int).tolist()
        high = np.ceil(np.array(self.boxes)[:, 2:]).astype(int).tolist()
        return [
            span_window((top, bottom), (left, right))
            for (left, top), (right, bottom) in zip(low, high, strict=True)
        ]

    @cached_property
    def _tree(self) -> shapely.STRtree:
        """Where which source can hold pixels, px of the frame."""
        return shapely.STRtree([shapely.box(*box) for box in self.boxes])


def _require_alike(first: Source, other: Source) -> None:
    """Refuse two rasters that cannot be one, naming what differs."""
    for name in SAME:
        ours, theirs = getattr(first.info, name), getattr(other.info, name)
        if ours != theirs:
            short = f" ({ours} and {theirs})" if name in ("count", "dtype") else ""
            what = {"count": "number of bands", "dtype": "type"}.get(name, name)
            raise AlignmentError(
                f"{first.name} and {other.name} differ in their {what}{short}, so they make no "
                "mosaic; process the items separately, or choose bands of one kind"
            )
