"""Split the territory first, then let each chip fall into the part that holds it whole."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from geo_p2p.errors import ChipError

__all__ = ["METHODS", "Split", "split_territory"]

METHODS = ("blocks", "random", "none")
"""How to split: by blocks of territory, at random (overlapping chips leak), or not at all."""

SIDES = (4, 2, 1)
"""Sides of a block to try, in chips: large blocks separate better, small ones fit small rasters."""

SHARE = (0.05, 0.20)
"""Share of validation chips that is good enough."""


@dataclass(frozen=True)
class Split:
    """Which chips train and which validate.

    Parameters
    ----------
    method : one of `METHODS`.
    parts : "train", "val" or "" (in the buffer: neither) for each chip, in their order.
    val_pct : share asked for, percent.
    seed : of the choice.
    side, buffer : of the blocks and around them, px; 0 where there are none.
    blocks : windows of the validation blocks, px of the raster.
    """

    method: str
    parts: tuple[str, ...]
    val_pct: float
    seed: int
    side: int = 0
    buffer: int = 0
    blocks: tuple[Window, ...] = ()

    def count(self, part: str) -> int:
        """Chips in a part."""
        return self.parts.count(part)

    @property
    def share(self) -> float:
        """Validation chips among those kept, 0-1."""
        kept = self.count("train") + self.count("val")
        return self.count("val") / kept if kept else 0.0

    def __str__(self) -> str:
        """Say what was chosen, for people."""
        text = f"{self.count('train')} train, {self.count('val')} val ({self.share:.0%})"
        if self.method == "blocks":
            text += (
                f" by {len(self.blocks)} blocks of {self.side} px, {self.buffer} px apart from "
                f"training, {self.count('')} chips left out in between"
            )
        return text


def split_territory(
    windows: Sequence[Window],
    size: int,
    *,
    method: str = "blocks",
    val_pct: float = 10.0,
    buffer: int | None = None,
    seed: int = 42,
) -> Split:
    """Split chips into training and validation.

    With "blocks", the raster is cut into square blocks; some, drawn by the seed, are validation
    territory. A chip validates if it lies wholly on validation territory, trains if it keeps
    ``buffer`` px away from it, and is left out otherwise: so no pixel, and no near neighbour of a
    pixel, is on both sides. Blocks of 4, 2 and 1 chip are tried until training is not empty and
    validation holds 5 to 20 %; failing that, the nearest to what was asked for is taken.

    Parameters
    ----------
    windows : of the chips, px of one raster.
    size : side of a chip, px.
    method : one of `METHODS`.
    val_pct : share of chips to validate on, percent.
    buffer : px between training chips and validation blocks; half a chip if None.
    seed : of the draw.

    Raises
    ------
    ChipError
        For an unknown method or an impossible share.

    References
    ----------
    Roberts et al. 2017, "Cross-validation strategies for data with temporal, spatial,
    hierarchical, or phylogenetic structure", https://doi.org/10.1111/ecog.02881
    """
    if method not in METHODS:
        raise ChipError(f"split {method!r}: choose one of {', '.join(METHODS)}")
    if not 0 <= val_pct < 100:
        raise ChipError(f"a validation share of {val_pct} %: give 0 up to, not including, 100")
    if method == "none" or val_pct == 0:
        return Split("none", ("train",) * len(windows), 0.0, seed)
    if method == "random":
        return _at_random(len(windows), val_pct, seed)
    buffer = size // 2 if buffer is None else buffer
    tried = [_by_blocks(windows, size * n, val_pct, buffer, seed) for n in SIDES]
    usable = [s for s in tried if s.count("train") and s.count("val")]
    for split in usable:
        if SHARE[0] <= split.share <= SHARE[1]:
            return split
    if usable:
        return min(usable, key=lambda s: abs(s.share - val_pct / 100))
    return Split("none", ("train",) * len(windows), val_pct, seed)


def _at_random(count: int, val_pct: float, seed: int) -> Split:
    order = np.random.default_rng(seed).permutation(count)
    held = set(order[: math.ceil(count * val_pct / 100)].tolist()) if count > 1 else set()
    parts = tuple("val" if i in held else "train" for i in range(count))
    return Split("random", parts, val_pct, seed)


def _by_blocks(
    windows: Sequence[Window], side: int, val_pct: float, buffer: int, seed: int
) -> Split:
    """Add validation blocks in the order of the draw until the share is reached."""
    boxes = np.array(
        [(w.row_off, w.col_off, w.row_off + w.height, w.col_off + w.width) for w in windows]
    )
    blocks = sorted({(r, c) for r, c in zip(*(boxes[:, :2] // side).T.tolist(), strict=True)})
    order = np.random.default_rng(seed).permutation(len(blocks))
    best = fallback = Split("blocks", ("train",) * len(windows), val_pct, seed, side, buffer)
    chosen: list[tuple[int, int]] = []
    for index in order:
        corners = sorted([*chosen, blocks[index]])
        parts = _parts(boxes, np.array(corners) * side, side, buffer)
        held = tuple(Window(c * side, r * side, side, side) for r, c in corners)
        split = Split("blocks", parts, val_pct, seed, side, buffer, held)
        # A block that holds no chip whole would only cost training ground.
        if split.count("val") <= best.count("val") or not split.count("train"):
            continue
        if split.share > max(SHARE[1], 2 * val_pct / 100):
            fallback = fallback if fallback.count("val") else split
            continue
        chosen, best = corners, split
        if best.share >= val_pct / 100:
            break
    return best if best.count("val") else fallback


def _parts(
    boxes: NDArray[np.int64], corners: NDArray[np.int64], side: int, buffer: int
) -> tuple[str, ...]:
    """Part of each chip, given the upper-left corners of the validation blocks."""
    low, high = boxes[:, None, :2], boxes[:, None, 2:]
    start, stop = corners[None], corners[None] + side
    inside = ((low >= start) & (high <= stop)).all(2).any(1)
    near = ((low < stop + buffer) & (high > start - buffer)).all(2).any(1)
    return tuple(np.where(inside, "val", np.where(near, "", "train")).tolist())
