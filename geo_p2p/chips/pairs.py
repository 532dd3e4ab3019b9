"""A set of pairs: what `prepare_data` trains on, whatever lies on disk."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from geo_p2p.chips.chip import Chip
from geo_p2p.raster import Bands

__all__ = ["Bidx", "Pairs"]

Bidx = tuple[tuple[int, ...], tuple[int, ...]]
"""Band numbers of the input and the additional raster, from 1; empty for all, or where unknown."""


class Pairs(Protocol):
    """A set of pairs to read; `geo_p2p.chips.ChipFolder` is one, `open_pairs` finds the others."""

    @property
    def path(self) -> Path:
        """Where it lies, for messages."""

    @property
    def names(self) -> tuple[str, ...]:
        """Of the pairs, each once."""

    @property
    def split(self) -> Mapping[str, Any] | None:
        """The split that comes with the set; None if none does.

        Names under "train" and "val" (and "test", which nothing trains on), and how they were
        parted: "method", "val_pct", "seed", "side", "buffer".
        """

    @property
    def bidx(self) -> Bidx:
        """Which bands of the two rasters the pairs hold."""

    def bands(self) -> tuple[Bands, Bands]:
        """What the bands of input and target hold."""

    def shape(self, name: str) -> tuple[int, int]:
        """Rows and columns of a pair, px, without decoding it."""

    def picture(self, name: str) -> str:
        """The picture a pair was cut from: two of one picture may share pixels."""

    def read(self, name: str) -> Chip:
        """Read a pair.

        Raises
        ------
        ChipError
            Naming it, if it cannot be read or its two images do not fit.
        """
