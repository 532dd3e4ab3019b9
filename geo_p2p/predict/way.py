"""How the blocks of a model are made: three steps, in three threads."""

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from geo_p2p.grid import Block

__all__ = ["Image", "Made", "Way"]

Image = tuple[NDArray[Any], NDArray[np.bool_]]
"""Values (bands, rows, cols) and which pixels are valid (rows, cols)."""


class Made(NamedTuple):
    """What is written of a block.

    ``values`` (bands, rows, cols) of the output and which of them are ``valid`` (rows, cols);
    ``certainty``, (bands, rows, cols), goes into a second file.
    """

    values: NDArray[Any]
    valid: NDArray[np.bool_]
    certainty: NDArray[Any] | None = None


class Way(Protocol):
    """How the blocks of a model are made.

    What it does not say is done in `translate`, while others wait; the first and the last step
    run beside it, for other blocks.
    """

    def needs(self, block: Block) -> Window:
        """Px of the raster that a block depends on."""

    def prepare(self, block: Block, image: Image) -> Any:
        """Make ready for `translate` what was read for a block; None if nothing in it is valid."""
        return image

    def translate(self, batch: list[Block], images: list[Any]) -> Iterator[Any]:
        """Translate blocks, all of a batch at once."""

    def finish(self, block: Block, made: Any) -> Made:
        """Make of a translation the values of the output, and which of them are valid."""
        return Made(*made)

    def tile(self, image: Any) -> NDArray[np.float32] | None:
        """Return a tile (channels, rows, cols) of what was prepared, to try the network on."""
        return None
