"""Where the lines between the blocks of a mosaic run."""

import json
from dataclasses import dataclass

from geo_p2p.errors import RasterError
from geo_p2p.raster import RasterSource

__all__ = ["Lattice"]

PLAN = "GEO_P2P_PLAN"
"""Tag in which a mosaic of `geo_p2p.predict` carries its plan."""

NEAREST = 16
"""Least distance, px, of the lines beside: nearer ones may see the seam itself."""


@dataclass(frozen=True)
class Lattice:
    """Lines between blocks, and where to look beside them.

    Parameters
    ----------
    size : distance of the lines, px.
    row, col : a pixel at which a block begins; outside the raster too.
    stride : the generator's total stride, px; None if it is not known.

    Raises
    ------
    RasterError
        For a distance below 4 px, between which nothing lies beside.

    Examples
    --------
    >>> lattice = Lattice(size=128, col=-40, stride=32)
    >>> list(lattice.cols(300)), lattice.offset
    ([88, 216], 32)
    """

    size: int
    row: int = 0
    col: int = 0
    stride: int | None = None

    def __post_init__(self) -> None:
        """Refuse blocks without an inside."""
        if self.size < 4:
            raise RasterError(f"blocks of {self.size} px: give at least 4")

    @classmethod
    def of(cls, source: RasterSource) -> "Lattice":
        """Read the lattice of a mosaic from its tags.

        Where tiles were blended the lines are the ends of the tiles.

        Raises
        ------
        RasterError
            If it carries none.
        """
        if PLAN not in source.tags:
            raise RasterError(
                f"{source.name}: does not say where its blocks are, as mosaics of predict-raster "
                "do; give their size (--tile-size)"
            )
        try:
            plan = json.loads(source.tags[PLAN])
            size = plan["tile"] - plan["overlap"] if "tile" in plan else plan["size"]
            row = plan.get("top", 0) - plan.get("row", 0)
            col = plan.get("left", 0) - plan.get("col", 0)
            return cls(size, row, col, plan["stride"])
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise RasterError(
                f"{source.name}: its tag {PLAN} is damaged; give the size of the blocks "
                "(--tile-size)"
            ) from error

    def rows(self, height: int) -> range:
        """First row of every block but the first."""
        return range(self.row % self.size or self.size, height, self.size)

    def cols(self, width: int) -> range:
        """First column of every block but the first."""
        return range(self.col % self.size or self.size, width, self.size)

    @property
    def offset(self) -> int:
        """Distance from a line to those beside it, px: in its phase if there are any such.

        The first multiple of the stride from `NEAREST` on, if that is no farther than the middle
        of a block. Else, and where no stride is known, the largest power of two up to a quarter
        of a block: a multiple of any smaller stride that is a power of two.
        """
        if self.stride is not None:
            steps = self.stride * -(-NEAREST // self.stride)
            if steps <= self.size // 2:
                return steps
        return 1 << ((self.size // 4).bit_length() - 1)

    @property
    def same_phase(self) -> bool | None:
        """Whether lines and those beside them share a phase of the stride; None if not known."""
        return None if self.stride is None else self.offset % self.stride == 0
