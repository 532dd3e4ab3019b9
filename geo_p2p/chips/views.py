"""Other views of a set of pairs: cut or resized, or the other way round."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from affine import Affine
from rasterio.windows import Window

from geo_p2p.chips.chip import Chip
from geo_p2p.chips.images import named
from geo_p2p.chips.pairs import Bidx, Pairs
from geo_p2p.chips.split import PARTS
from geo_p2p.errors import ChipError
from geo_p2p.grid import TileGrid
from geo_p2p.raster import Bands, Frame, resample

__all__ = ["Patches", "Swapped"]


@dataclass(frozen=True)
class Patches:
    """Pairs cut into square patches, at full resolution or resized first.

    Patches of one pair are views of the one array it was decoded into.

    Parameters
    ----------
    pairs : what is cut.
    size : side of a patch, px; None for the whole pair.
    stride : px from one patch to the next; the last ones end on the edge.
    resize : side in px that every pair is resized to first, square; None to leave it.

    Raises
    ------
    ChipError
        Naming pairs that are smaller than a patch; or for a stride that leaves gaps.
    """

    pairs: Pairs
    size: int | None
    stride: int | None = None
    resize: int | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be cut."""
        if self.size is None:
            return
        if self.stride is not None and not 0 < self.stride <= self.size:
            raise ChipError(f"stride {self.stride} px: give 1 to the chip size, {self.size}")
        small = [name for name in self.pairs.names if min(self._shape(name)) < self.size]
        if small:
            height, width = self._shape(small[0])
            raise ChipError(
                f"{self.path}: {named(small)}: {width} x {height} px is smaller than a chip of "
                f"{self.size} px; give a smaller chip_size, or resize_to"
            )

    @property
    def path(self) -> Path:
        """Where the set lies."""
        return self.pairs.path

    @property
    def bidx(self) -> Bidx:
        """Those of the set."""
        return self.pairs.bidx

    @property
    def names(self) -> tuple[str, ...]:
        """Name of the pair, row and column of the patch in it, px."""
        return tuple(self._places)

    @cached_property
    def _places(self) -> dict[str, tuple[str, Window | None]]:
        return dict(place for name in self.pairs.names for place in self._cut(name))

    def _shape(self, name: str) -> tuple[int, int]:
        return (self.resize, self.resize) if self.resize else self.pairs.shape(name)

    def _cut(self, name: str) -> Iterator[tuple[str, tuple[str, Window | None]]]:
        """Names of the patches of a pair, with the pair and the window."""
        if self.size is None:
            yield name, (name, None)
            return
        step = self.size if self.stride is None else self.stride
        for tile in TileGrid(*self._shape(name), self.size, self.size - step):
            window = tile.window
            yield f"{name}_{window.row_off}_{window.col_off}", (name, window)

    @property
    def split(self) -> Mapping[str, Any] | None:
        """The set's own, with the patches of its pairs."""
        split = self.pairs.split
        if split is None or self.size is None:
            return split
        parts = {part: split[part] for part in PARTS if part in split}
        return {
            **split,
            **{p: [n for name in names for n, _ in self._cut(name)] for p, names in parts.items()},
        }

    def bands(self) -> tuple[Bands, Bands]:
        """What the bands of the set hold."""
        return self.pairs.bands()

    def shape(self, name: str) -> tuple[int, int]:
        """Rows and columns of a patch, px."""
        whole, window = self._places[name]
        return self._shape(whole) if window is None else (window.height, window.width)

    def picture(self, name: str) -> str:
        """The picture that a patch was cut from."""
        return self.pairs.picture(self._places[name][0])

    def read(self, name: str) -> Chip:
        """Read a patch; the pair it was cut from is kept until another is asked for."""
        whole, window = self._places[name]
        if whole not in self._last:
            pair = self._resized(self.pairs.read(whole))
            self._last.clear()
            self._last[whole] = pair
        pair = self._last[whole]
        if window is None:
            return pair
        rows, cols = window.toslices()
        x, y, valid = pair.x[:, rows, cols], pair.y[:, rows, cols], pair.valid[rows, cols]
        return Chip(x, y, valid, pair.frame.crop(window), name)

    @cached_property
    def _last(self) -> dict[str, Chip]:
        return {}

    def _resized(self, pair: Chip) -> Chip:
        """Resize a pair; class numbers are never blended."""
        if not self.resize:
            return pair
        shape = (self.resize, self.resize)
        methods = ["nearest" if bands.categorical else "auto" for bands in self.bands()]
        x, x_valid = resample(pair.x, pair.valid, shape, methods[0])
        y, y_valid = resample(pair.y, pair.valid, shape, methods[1])
        height, width = pair.frame.shape
        scale = Affine.scale(width / self.resize, height / self.resize)
        frame = Frame(*shape, pair.frame.transform * scale, pair.frame.crs)
        return Chip(x, y, x_valid & y_valid, frame, pair.name)


@dataclass(frozen=True)
class Swapped:
    """Pairs the other way round: what was the target is the input."""

    pairs: Pairs

    @property
    def path(self) -> Path:
        """Where the set lies."""
        return self.pairs.path

    @property
    def names(self) -> tuple[str, ...]:
        """Of the pairs."""
        return self.pairs.names

    @property
    def split(self) -> Mapping[str, Any] | None:
        """The set's own."""
        return self.pairs.split

    @property
    def bidx(self) -> Bidx:
        """Those of the set, the other way round."""
        x, y = self.pairs.bidx
        return y, x

    def bands(self) -> tuple[Bands, Bands]:
        """What the bands of the set hold, the other way round."""
        x, y = self.pairs.bands()
        return y, x

    def shape(self, name: str) -> tuple[int, int]:
        """Rows and columns of a pair, px."""
        return self.pairs.shape(name)

    def picture(self, name: str) -> str:
        """The picture that a pair was cut from."""
        return self.pairs.picture(name)

    def read(self, name: str) -> Chip:
        """Read a pair, the other way round."""
        chip = self.pairs.read(name)
        return replace(chip, x=chip.y, y=chip.x)
