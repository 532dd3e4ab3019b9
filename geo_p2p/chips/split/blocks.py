"""Square blocks of territory: some are held out, or they are dealt out to folds."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from geo_p2p.chips.split.config import SplitConfig
from geo_p2p.chips.split.draw import Draw, Unit, draw
from geo_p2p.chips.split.ground import Ground
from geo_p2p.chips.split.result import Held, Split
from geo_p2p.errors import ChipError

__all__ = ["Blocks", "split_by_blocks", "split_by_folds"]

SIDE = 4
"""Least side of a block to begin with, in chips: large blocks separate better."""

SHARES = (1, 3 / 4, 1 / 2, 3 / 8, 1 / 4, 3 / 16, 1 / 8, 3 / 32, 1 / 16)
"""Sides to try, as shares of the largest."""

KEPT = 0.5
"""Least share of all chips to train on for which a buffer may be as wide as it should."""

EVEN = 0.5
"""Least chips in a fold, as a share of the mean fold, that is good enough."""


class Blocks:
    """The blocks of a ground that hold a chip whole.

    Parameters
    ----------
    ground : the chips.
    side, buffer : of and around a block, px.
    """

    def __init__(self, ground: Ground, side: int, buffer: int) -> None:
        self.ground, self.side, self.buffer = ground, side, buffer
        low, high = ground.boxes[:, :2] // side, (ground.boxes[:, 2:] - 1) // side
        whole = (low == high).all(1)
        cells = np.column_stack([ground.territory, low])[whole]
        self.cells = np.unique(cells, axis=0)

    def __len__(self) -> int:
        """Return the number of blocks."""
        return len(self.cells)

    @cached_property
    def _by_row(self) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
        """Chips in the order of territory and first row, and that order's key."""
        key = self.ground.territory * self._span + self.ground.boxes[:, 0]
        order = np.argsort(key, kind="stable")
        return order, key[order]

    @cached_property
    def _span(self) -> int:
        """More rows than any territory has, with what lies near it."""
        rows = self.ground.boxes[:, 0::2]
        reach = self.side + self.buffer + self.ground.longest
        return int(rows.max() - rows.min()) + 4 * reach

    def unit(self, index: int) -> Unit:
        """Chips in a block, and near it."""
        territory, *cell = self.cells[index]
        low = np.array(cell) * self.side
        order, keys = self._by_row
        top = territory * self._span + low[0]
        first = np.searchsorted(keys, top - self.buffer - self.ground.longest)
        last = np.searchsorted(keys, top + self.side + self.buffer)
        band = order[first:last]
        boxes = self.ground.boxes[band]
        near = (boxes[:, :2] < low + self.side + self.buffer) & (boxes[:, 2:] > low - self.buffer)
        inside = (boxes[:, :2] >= low) & (boxes[:, 2:] <= low + self.side)
        return Unit(np.sort(band[inside.all(1)]), np.sort(band[near.all(1)]))

    def held(self, chosen: Sequence[int], part: str) -> Iterator[Held]:
        """Describe some of the blocks."""
        for territory, row, col in self.cells[sorted(chosen)].tolist():
            window = Window(col * self.side, row * self.side, self.side, self.side)
            yield Held(part, window, self.ground.lattices[territory])


def split_by_blocks(ground: Ground, size: int, config: SplitConfig) -> Split | None:
    """Hold out blocks; None where there is no room for all parts.

    The largest blocks that give good shares are taken, with the wider of the buffers if that leaves
    half of the chips to train on; else what leaves most of them with good shares, else what comes
    nearest to the shares asked for.
    """
    usable: list[tuple[Draw, Blocks]] = []
    for buffer, side in _sizes(ground, size, config):
        blocks = Blocks(ground, side, buffer)
        order = np.random.default_rng(config.seed).permutation(len(blocks)).tolist()
        state = draw(len(ground), order, blocks.unit, config.asked)
        if all(state.held.values()):
            usable.append((state, blocks))
            if state.good() and state.trained >= KEPT * len(ground):
                return _described(state, blocks, config)
    good = [pair for pair in usable if pair[0].good()]
    if good:
        return _described(*max(good, key=lambda pair: pair[0].trained), config)
    if usable:
        return _described(*min(usable, key=lambda pair: pair[0].off()), config)
    return None


def _described(state: Draw, blocks: Blocks, config: SplitConfig) -> Split:
    held = [h for part, chosen in state.chosen.items() for h in blocks.held(chosen, part)]
    return Split(
        "blocks",
        tuple(state.parts.tolist()),
        config.val_pct,
        config.seed,
        blocks.side,
        blocks.buffer,
        test_pct=config.test_pct,
        held=tuple(held),
    )


def _sizes(ground: Ground, size: int, config: SplitConfig) -> Iterator[tuple[int, int]]:
    """Buffers and sides of blocks to try, px: from the largest side down to one chip.

    With short strides a block of one chip holds one chip, and its buffer hundreds: sides in between
    the halves give validation more for the ground they take.
    """
    chip = max(size, ground.longest)
    least = max(SIDE * chip, config.autocorrelation, 2 * config.halo + chip)
    chips = math.ceil(least / chip)
    for buffer in _buffers(size, config):
        for share in SHARES:
            if chip * chips * share >= chip:
                yield buffer, math.ceil(chip * chips * share)


def _buffers(size: int, config: SplitConfig) -> list[int]:
    """Buffers to try, px.

    Half a chip is the least: the ground just beyond a training chip is known too well. The halo
    and the autocorrelation range may ask for more, but not for more than a chip: around a block
    of four chips a buffer of one takes more ground from training than the block itself, and a
    range beyond the chips it was measured on is a guess. Where that eats the training set, half a
    chip must do.
    """
    if config.buffer is not None:
        return [config.buffer]
    half = size // 2
    wanted = max(half, min(size, max(config.halo, math.ceil(config.autocorrelation))))
    return list(dict.fromkeys([wanted, half]))


@dataclass(frozen=True)
class _Folds:
    """Blocks dealt out: their numbers and the parts of all chips, by fold."""

    blocks: Blocks
    hands: list[list[int]]
    tables: list[NDArray[np.str_]]

    @property
    def evenness(self) -> float:
        """Chips in the smallest fold, as a share of the mean; 0 if one leaves none to train on."""
        sizes = [int((table == "val").sum()) for table in self.tables]
        return min(sizes) * len(sizes) / max(1, sum(sizes)) if self.trained else 0.0

    @property
    def trained(self) -> int:
        """Chips to train on in the fold that has fewest of them."""
        return min(int((table == "train").sum()) for table in self.tables)


def split_by_folds(ground: Ground, size: int, config: SplitConfig) -> Split:
    """Deal blocks out to folds, one of which validates.

    Raises
    ------
    ChipError
        Where there are too few blocks for the folds.
    """
    best = _best_folds(ground, size, config)
    if not best.evenness:
        raise ChipError(
            f"too little ground for {config.folds} folds of chips of {size} px, {len(ground)} in "
            "all; take fewer folds or smaller chips"
        )
    return Split(
        "kfold",
        tuple(best.tables[config.fold].tolist()),
        100 / config.folds,
        config.seed,
        best.blocks.side,
        best.blocks.buffer,
        held=tuple(best.blocks.held(best.hands[config.fold], "val")),
        folds=tuple(tuple(table.tolist()) for table in best.tables),
        fold=config.fold,
    )


def _best_folds(ground: Ground, size: int, config: SplitConfig) -> _Folds:
    """Folds of the largest blocks that make even ones, as `split_by_blocks` chooses its blocks.

    With the wider of the buffers if that leaves half of the chips to train on; else what leaves
    most of them with even folds, else what makes the evenest.
    """
    tried: list[_Folds] = []
    for buffer, side in _sizes(ground, size, config):
        folds = _dealt_out(Blocks(ground, side, buffer), config)
        if folds.evenness >= EVEN and folds.trained >= KEPT * len(ground):
            return folds
        tried.append(folds)
    even = [folds for folds in tried if folds.evenness >= EVEN]
    if even:
        return max(even, key=lambda folds: folds.trained)
    return max(tried, key=lambda folds: folds.evenness)


def _dealt_out(blocks: Blocks, config: SplitConfig) -> _Folds:
    """Deal blocks out as drawn, each to the fold that has fewest chips so far."""
    units = [blocks.unit(index) for index in range(len(blocks))]
    hands: list[list[int]] = [[] for _ in range(config.folds)]
    sizes = [0] * config.folds
    for index in np.random.default_rng(config.seed).permutation(len(units)).tolist():
        fewest = sizes.index(min(sizes))
        hands[fewest].append(index)
        sizes[fewest] += len(units[index].inside)
    tables = [_fold(len(blocks.ground), [units[i] for i in hand]) for hand in hands]
    return _Folds(blocks, hands, tables)


def _fold(count: int, units: Sequence[Unit]) -> NDArray[np.str_]:
    """Parts of so many chips where these blocks, of one fold, validate."""
    parts = np.full(count, "train", dtype="<U5")
    for unit in units:
        parts[unit.near] = ""
    for unit in units:
        parts[unit.inside] = "val"
    return parts
