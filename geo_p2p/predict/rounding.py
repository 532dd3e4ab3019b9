"""What a network's precision costs, in units of the output."""

import json
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geo_p2p.card import Scaling
from geo_p2p.predict.model import Engine

__all__ = ["Rounding"]

SIDE = 384
"""Side of what is translated twice, px: some tenths of a second on a CPU."""


@dataclass(frozen=True)
class Rounding:
    """How far a translation is from that in fp32, on a part of one tile.

    Parameters
    ----------
    largest, mean : absolute difference in units of the output; None if nothing is rounded. Of
        classes the share of pixels that are another class, in both.
    pixels : how many were compared.
    """

    largest: float | None = None
    mean: float | None = None
    pixels: int = 0

    @classmethod
    def of(cls, model: Engine, tile: NDArray[np.float32], scaling: Scaling) -> "Rounding":
        """Translate the middle of a tile (channels, rows, cols) in both precisions."""
        stride = model.card.stride
        sides = [min(n, max(1, SIDE // stride) * stride) for n in tile.shape[1:]]
        starts = [(n - side) // 2 for n, side in zip(tile.shape[1:], sides, strict=True)]
        rows, cols = (slice(a, a + n) for a, n in zip(starts, sides, strict=True))
        part = np.ascontiguousarray(tile[:, rows, cols])
        exact = model.exact(part)
        if exact is None:
            return cls()
        one, two = (_values(scaling, image) for image in (exact, model(part[None], 0)[0]))
        if scaling.classes:
            share = float((one != two).mean())
            return cls(share, share, one[0].size)
        off = np.abs(one.astype(np.float64) - two)
        return cls(float(off.max()), float(off.mean()), off[0].size)

    def __str__(self) -> str:
        """One line for people."""
        if self.largest is None:
            return "nothing is rounded"
        return (
            f"rounding within the network: off fp32 by {self.mean:.2g} on average, "
            f"{self.largest:.3g} at most (units of the output; of classes the share that changes), "
            f"on {self.pixels} px"
        )

    def tags(self) -> dict[str, str]:
        """Provenance, for the output's metadata."""
        return {} if self.largest is None else {"GEO_P2P_ROUNDING": json.dumps(asdict(self))}


def _values(scaling: Scaling, scaled: NDArray[np.float32]) -> NDArray[Any]:
    """Values of the output, without scales; what is not finite is none of our business here."""
    return scaling.inverse(np.nan_to_num(scaled[: scaling.channels]))
