"""Read what blocks need from a raster that may be damaged."""

import logging
import threading
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from geo_p2p.chips.chip import Source
from geo_p2p.errors import RasterError
from geo_p2p.grid import intersection, overlap_of, span_window
from geo_p2p.raster import RasterSource

__all__ = ["Reader", "is_blank", "strip_bytes"]

log = logging.getLogger(__name__)

CELL = 64
"""Side of the squares that are given up together where a raster cannot be read, px."""

Place = tuple[int, int]


@dataclass(frozen=True)
class Reader:
    """Reads windows; where the raster cannot be read, it stops or gives pixels up as nodata.

    Pixels are given up by squares that lie on the raster's own lattice: those of which any part
    cannot be read. Whole squares are read for that, so that which they are depends neither on the
    window nor on who reads it; a block beside a damaged one loses no more than what is damaged.

    Parameters
    ----------
    source : the raster.
    lenient : whether to give up pixels rather than to stop.
    """

    source: Source
    lenient: bool = False
    _lost: dict[Place, bool] = field(default_factory=dict)
    _lock: Any = field(default_factory=threading.Lock)

    def read(self, window: Window) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Read a window: values, and which are valid, as `RasterSource.read` does.

        Raises
        ------
        RasterError
            If it cannot be read, unless lenient.
        """
        if not self.lenient:
            return self.source.read(window)
        whole = self._grown(window)
        try:
            values, valid = self.source.read(whole)
        except RasterError as error:
            with self._lock:
                if not self._lost:
                    log.warning("%s; pixels that cannot be read become nodata", error)
            return self._read_by_cells(window)
        rows, cols = overlap_of(whole, window)
        return values[:, rows, cols], valid[rows, cols]

    def lost(self, window: Window) -> int:
        """Count the pixels of a window, which has been read, that were given up."""
        with self._lock:
            if not self._lost:
                return 0
            lost = [place for place in _cells(window) if self._lost.get(place)]
        parts = (intersection(self._cell(place), window) for place in lost)
        return sum(part.width * part.height for part in parts if part is not None)

    def _read_by_cells(self, window: Window) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Read what can be read."""
        info = self.source.info
        values = np.zeros((info.count, window.height, window.width), info.dtype)
        valid = np.zeros((window.height, window.width), bool)
        for place in _cells(window):
            cell = self._cell(place)
            shared = intersection(cell, window)
            if shared is None or self._lost.get(place):
                continue
            try:
                part, good = self.source.read(cell)
            except RasterError:
                with self._lock:
                    self._lost[place] = True
                continue
            there, here = overlap_of(cell, shared), overlap_of(window, shared)
            values[:, *here], valid[here] = part[:, *there], good[there]
        return values, valid

    def _grown(self, window: Window) -> Window:
        """Grow a window to whole squares, as far as they lie in the raster."""
        cells = [self._cell(place) for place in _cells(window)]
        first, last = cells[0], cells[-1]
        rows = first.row_off, last.row_off + last.height
        cols = first.col_off, last.col_off + last.width
        return span_window(rows, cols)

    def _cell(self, place: Place) -> Window:
        """Return a square, as far as it lies in the raster."""
        row, col = place[0] * CELL, place[1] * CELL
        height, width = self.source.frame.shape
        return Window(col, row, min(CELL, width - col), min(CELL, height - row))


def _cells(window: Window) -> list[Place]:
    """Places of the squares that a window touches."""
    rows = range(window.row_off // CELL, -(-(window.row_off + window.height) // CELL))
    cols = range(window.col_off // CELL, -(-(window.col_off + window.width) // CELL))
    return [(row, col) for row in rows for col in cols]


def is_blank(source: Source, window: Window) -> bool:
    """Whether a raster says, without being read, that it holds nothing in a window."""
    return isinstance(source, RasterSource) and source.is_blank(window)


def strip_bytes(source: Source, rows: int) -> int:
    """Bytes of a raster in strips that some rows of tiles need again; 0 where it lies in tiles."""
    return source.strip_bytes(rows) if isinstance(source, RasterSource) else 0
