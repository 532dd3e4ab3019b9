"""How large the blocks of a plan are: what a useful pixel costs, and what memory there is.

A tile of side T costs cost(T) for each pixel it sees, those of the halo less where a network leaves
out what they alone would need, and keeps (T - 2 halo)**2 of them: small tiles are mostly halo,
large ones run out of the caches and of memory, and a few blocks too many at the edges of a raster
cost more than either. All of it is known before the first block, but for how cost(T) grows on a
machine. That is measured where the raster is large enough to earn it back.
"""

import logging
import math
import time
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from rasterio.windows import Window

from geo_p2p.predict.model import Engine, Model

__all__ = ["Sizing"]

log = logging.getLogger(__name__)

ROOM = 2**30
"""Bytes that may be taken for a tile: by the network, and by what is read and written beside it."""

PIXEL = 1536
"""Bytes that a network takes for each pixel of a tile, where it does not say."""

BAND = 40
"""Bytes that reading, scaling and writing take for each pixel of a tile and band or class."""

SLOPE = 16384
"""Side of a tile, px, at which a pixel would cost twice what it does in a small one. Of a U-Net of
64 channels, its memory kept, it costs the same within 3 % from 640 to 2176 px."""

BLOCK = 2**16
"""Pixels that the network could translate in the time that one more block and its file take."""

LARGEST = 4096
"""Side of a core, px, beyond which a halo is of no account."""

STEP = 32
"""Least difference between two sizes that are compared, px."""

ROUND = 256
"""Blocks of a multiple of this are preferred to others that cost hardly less."""

HARDLY = 1.03
"""What a size must win by over one that is round, or that the formula found."""

SHARE = 0.02
"""Share of the time of a run that may be spent on looking for a better size."""


@dataclass(frozen=True)
class Sizing:
    """Finds the side of the blocks for a model and a raster.

    Parameters
    ----------
    model : any callable with a card.
    raster : its rows and columns, px; None to choose as for one without end.
    window : the part of it that is to be translated, px.
    """

    model: Model
    raster: tuple[int, int] | None = None
    window: Window | None = None

    def by_formula(self) -> int:
        """Side of a core, px: the same wherever it is asked for, so that shards agree."""
        work = {size: self._pixels(size) * self._growth(size) for size in self._sizes()}
        least = min(work.values())
        rounds = [s for s, w in work.items() if w <= HARDLY * least and s % ROUND == 0]
        return max(rounds) if rounds else min(work, key=lambda size: (work[size], size))

    def by_time(self) -> int:
        """Side of a core, px: what is the fastest here, if the raster is large enough to tell."""
        size = self.by_formula()
        if not isinstance(self.model, Engine):
            return size
        most, compared = self.model.room() / 2 / self._bytes, [size]
        left = SHARE * self._pixels(size) - 2 * self._area(size)
        for rival in self._rivals(size):
            trial = 2 * self._area(rival)  # twice, the first time to warm up
            if trial <= left and self._area(rival) <= most:
                compared.append(rival)
                left -= trial
        if len(compared) == 1:
            return size
        with self.model.session():
            seconds = {s: self._seconds(self.model, s) * self._pixels(s) for s in compared}
        told = ", ".join(f"{s} px {t:.3g} s" for s, t in sorted(seconds.items()))
        log.info("block size measured on this machine, for the whole raster: %s", told)
        return min(seconds, key=lambda s: seconds[s] * (1 if s == size else HARDLY))

    @property
    def _stride(self) -> int:
        return self.model.card.stride

    @property
    def _margin(self) -> int:
        """The halo in whole strides, px; a model that is blended has none."""
        card = self.model.card
        return -(-card.halo // card.stride) * card.stride if card.tile_safe else 0

    def _area(self, size: int) -> int:
        """Pixels of the tile of a core."""
        return math.prod(self._tile(size))

    def _tile(self, size: int) -> list[int]:
        """Rows and columns of the tile of a core, px."""
        sides = [size, size]
        if self.raster is not None:
            sides = [min(size, -(-n // self._stride) * self._stride) for n in self.raster]
        return [side + 2 * self._margin for side in sides]

    def _work(self, tile: list[int]) -> float:
        """Pixels of a tile, those of its margin for as much as they cost."""
        share = self.model.margin_work if isinstance(self.model, Engine) else 1.0
        within = math.prod(side - 2 * self._margin for side in tile)
        return within + share * (math.prod(tile) - within)

    def _sizes(self) -> list[int]:
        """Cores that memory allows, and no larger than the raster; the least one in any case."""
        part = self.window
        most = LARGEST if part is None else min(LARGEST, max(part.height, part.width))
        step = self._stride * -(-STEP // self._stride)
        sizes = range(step, most + step, step)
        # Where a halo fills memory by itself, not all may be halo all the same.
        least = max(step, 4 * self._margin)
        return [s for s in sizes if s <= least or self._area(s) * self._bytes <= ROOM]

    @cached_property
    def _bytes(self) -> float:
        """Bytes of memory for each pixel of a tile."""
        card, model = self.model.card, self.model
        network = model.bytes_per_pixel() if isinstance(model, Engine) else PIXEL
        return network + BAND * (card.input.channels + card.target.channels)

    def _pixels(self, size: int) -> float:
        """Pixels that the network sees in all, or for each that is kept if there is no end."""
        block = self._work(self._tile(size)) + BLOCK
        if self.window is None:
            return block / size**2
        spans = self.window.toranges()
        blocks = math.prod(-(-stop // size) - start // size for start, stop in spans)
        return float(blocks * block)

    def _growth(self, size: int) -> float:
        """Return what a pixel costs, relative to one of a very small tile."""
        return 1 + math.sqrt(self._area(size)) / SLOPE

    def _rivals(self, size: int) -> list[int]:
        """Return other sizes that may do as well, the likeliest first."""
        step = math.lcm(self._stride, ROUND)
        wanted = [round(size * factor / step) * step for factor in (1.5, 0.5, 0.75, 2)]
        known = {*self._sizes()} - {size}
        return [s for s in dict.fromkeys(wanted) if s in known]

    def _seconds(self, model: Engine, size: int) -> float:
        """Seconds for a pixel within a square tile, the second time it is run."""
        side = size + 2 * self._margin
        tile = np.zeros((1, self.model.card.input.channels, side, side), np.float32)
        model.start(tile, 0, self._margin)()
        started = time.perf_counter()
        model.start(tile, 0, self._margin)()
        return (time.perf_counter() - started) / self._work([side, side])
