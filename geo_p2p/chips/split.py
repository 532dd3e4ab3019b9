"""Split the territory first, then let each chip fall into the part that holds it whole."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from geo_p2p.errors import ChipError

__all__ = ["METHODS", "Split", "refuse_impossible", "split_territory"]

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
    method : one of `METHODS`; "none" also where blocks found no room for both parts.
    parts : "train", "val" or "" (in the buffer: neither) for each chip, in their order.
    val_pct : share asked for, percent.
    seed : of the choice.
    side, buffer : of the blocks and around them, px; 0 where there are none.
    blocks : windows of the validation blocks, px of the raster; they may reach over its edge.
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
            return (
                f"{text} by {len(self.blocks)} blocks of {self.side} px, {self.buffer} px apart "
                f"from training, {self.count('')} chips left out in between"
            )
        if self.method == "random":
            return f"{text} at random: where chips overlap, scores will flatter"
        if self.val_pct:
            return f"{text}: too little ground to set some apart for validation"
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
    territory. A chip validates if it lies wholly in one of them, trains if it keeps ``buffer`` px
    away from all of them, and is left out otherwise: so no pixel, and no near neighbour of a
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
        For an unknown method, an impossible share or a negative buffer.

    References
    ----------
    Roberts et al. 2017, "Cross-validation strategies for data with temporal, spatial,
    hierarchical, or phylogenetic structure", https://doi.org/10.1111/ecog.02881
    """
    refuse_impossible(method, val_pct, buffer)
    if method == "none" or val_pct == 0:
        return Split("none", ("train",) * len(windows), 0.0, seed)
    if method == "random":
        return _at_random(len(windows), val_pct, seed)
    buffer = size // 2 if buffer is None else buffer
    usable = []
    for chips in SIDES:
        split = _by_blocks(windows, size * chips, val_pct, buffer, seed)
        if SHARE[0] <= split.share <= SHARE[1]:
            return split
        if split.count("val"):
            usable.append(split)
    if usable:
        return min(usable, key=lambda split: abs(split.share - val_pct / 100))
    return Split("none", ("train",) * len(windows), val_pct, seed)


def refuse_impossible(method: str, val_pct: float, buffer: int | None) -> None:
    """Refuse settings no split can have.

    Raises
    ------
    ChipError
        Naming the setting and what it may be.
    """
    if method not in METHODS:
        raise ChipError(f"split {method!r}: choose one of {', '.join(METHODS)}")
    if not 0 <= val_pct < 100:
        raise ChipError(f"a validation share of {val_pct} %: give 0 up to, not including, 100")
    if buffer is not None and buffer < 0:
        raise ChipError(f"a buffer of {buffer} px: give 0 or more")


def _at_random(count: int, val_pct: float, seed: int) -> Split:
    """Hold out chips wherever they are, at least one, but never all."""
    order = np.random.default_rng(seed).permutation(count)
    held = set(order[: min(math.ceil(count * val_pct / 100), count - 1)].tolist())
    parts = tuple("val" if i in held else "train" for i in range(count))
    return Split("random", parts, val_pct, seed)


def _by_blocks(
    windows: Sequence[Window], side: int, val_pct: float, buffer: int, seed: int
) -> Split:
    """Add validation blocks in the order of the draw until the share is reached.

    A block that would overshoot is passed over; the first of these serves if no other does.
    """
    low = np.array([(w.row_off, w.col_off) for w in windows], np.int64).reshape(-1, 2)
    high = low + [(w.height, w.width) for w in windows] if windows else low
    blocks = np.unique(low // side, axis=0) * side
    val = near = np.zeros(len(windows), bool)
    chosen: list[NDArray[np.int64]] = []
    too_large = None
    for block in np.random.default_rng(seed).permutation(blocks):
        inside = _all(low >= block) & _all(high <= block + side)
        more_val = val | inside
        more_near = near | _all(low < block + side + buffer) & _all(high > block - buffer)
        trained = len(windows) - int(more_near.sum())
        # A block that holds no chip whole would only cost training ground.
        if not inside.any() or not trained:
            continue
        share = more_val.sum() / (more_val.sum() + trained)
        if share > max(SHARE[1], 2 * val_pct / 100):
            too_large = too_large or ([block], inside, more_near)
            continue
        val, near = more_val, more_near
        chosen.append(block)
        if share >= val_pct / 100:
            break
    if too_large and not chosen:
        chosen, val, near = too_large
    parts = tuple(np.where(val, "val", np.where(near, "", "train")).tolist())
    held = tuple(Window(c, r, side, side) for r, c in sorted(block.tolist() for block in chosen))
    return Split("blocks", parts, val_pct, seed, side, buffer, held)


def _all(conditions: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Whether a condition holds along both axes, for each chip."""
    return conditions[:, 0] & conditions[:, 1]
