"""Chips as samples for a network: scaled, and varied."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from geo_p2p import processes
from geo_p2p.card import Scaling
from geo_p2p.chips import Chip
from geo_p2p.losses import fill

__all__ = ["Augmentation", "Batch", "ChipSet", "Sample"]

Sample = tuple[Tensor, Tensor, Tensor]
"""x, y and valid, (channels, rows, cols) each."""

Batch = tuple[Tensor, Tensor, Tensor]
"""x, y and valid, (batch, channels, rows, cols) each."""


class Move(NamedTuple):
    """Where the crop of a sample begins (row, column), and how it is turned and flipped then."""

    corner: tuple[int, int]
    turns: int
    flip: bool


@dataclass(frozen=True)
class Augmentation:
    """How training chips vary; the same draw moves x, y and the mask alike.

    Parameters
    ----------
    kind : "dihedral" (8 flips and turns), "mirror" (left-right) or "none".
    jitter : px a chip is enlarged by before a random crop of its own size; 0 for none.
    """

    kind: str = "none"
    jitter: int = 0

    def __call__(self, batch: Batch, rng: np.random.Generator, classes: bool = False) -> Batch:
        """Move the samples of a batch, each its own way, on the device they are on.

        Parameters
        ----------
        batch : of square chips.
        rng : what is drawn from, sample by sample, whatever the device.
        classes : whether y is one-hot and must not be blended.
        """
        return self.moved(batch, self.drawn(len(batch[0]), rng), classes)

    def drawn(self, count: int, rng: np.random.Generator) -> list[Move]:
        """Draw the moves of so many samples."""
        return [self._drawn(rng) for _ in range(count)]

    def moved(self, batch: Batch, moves: Sequence[Move], classes: bool) -> Batch:
        """Make the moves of the samples of a batch."""
        if self.jitter:
            batch = _jittered(batch, self.jitter, [move.corner for move in moves], classes)
        x, y, valid = (_turned(images, moves) for images in batch)
        return x, y, valid

    def _drawn(self, rng: np.random.Generator) -> Move:
        corner = (0, 0)
        if self.jitter:
            top, left = rng.integers(0, self.jitter + 1, 2).tolist()
            corner = top, left
        turns = int(rng.integers(4)) if self.kind == "dihedral" else 0
        flip = bool(rng.integers(2)) if self.kind != "none" else False
        return Move(corner, turns, flip)


def _jittered(
    batch: Batch, jitter: int, corners: Sequence[tuple[int, int]], classes: bool
) -> Batch:
    """Enlarge by ``jitter`` px and crop each sample at its corner.

    A pixel that an invalid one has a part in is invalid: it is a blend with the fill.
    """
    rows, cols = batch[0].shape[2:]

    def moved(images: Tensor, mode: str = "bilinear") -> Tensor:
        large = functional.interpolate(images.float(), (rows + jitter, cols + jitter), mode=mode)
        crops = zip(large, corners, strict=True)
        return torch.stack([i[:, top : top + rows, left : left + cols] for i, (top, left) in crops])

    x, y, valid = batch
    kept = moved(valid) > 0.999
    # torch's "nearest" lies half a pixel off its "bilinear"; "nearest-exact" does not.
    y = moved(y, "nearest-exact" if classes else "bilinear")
    return fill(moved(x), kept), fill(y, kept), kept


def _turned(images: Tensor, moves: Sequence[Move]) -> Tensor:
    """Turn and flip (batch, channels, rows, cols): at most 8 steps, however large the batch."""
    turned = torch.empty_like(images)
    for turns, flip in {(move.turns, move.flip) for move in moves}:
        alike = [i for i, move in enumerate(moves) if (move.turns, move.flip) == (turns, flip)]
        some = torch.rot90(images[alike], turns, (2, 3))
        turned[alike] = some.flip(3) if flip else some
    return turned


class ChipSet(Sequence[Sample]):
    """Decoded chips as samples for a network.

    Parameters
    ----------
    chips : pairs, all of one size.
    scalings : of input and target.
    augmentation : how the samples of a batch vary.
    seed : of the variation.
    shared : whether each of the processes that train together takes its share of a batch.

    Attributes
    ----------
    rng : where the variation is drawn from, anew each epoch: a checkpoint needs no state of it.
    """

    def __init__(
        self,
        chips: Sequence[Chip],
        scalings: tuple[Scaling, Scaling],
        augmentation: Augmentation | None = None,
        seed: int = 42,
        shared: bool = False,
    ) -> None:
        self.shared = shared
        self.chips = chips
        self.scalings = scalings
        self.augmentation = augmentation or Augmentation()
        self.seed = seed
        self.begin_epoch(0)

    def begin_epoch(self, number: int) -> None:
        """Vary samples by the number of the epoch alone, whatever was drawn before."""
        self.rng = np.random.default_rng([self.seed, number])

    def __len__(self) -> int:
        """Return the number of chips."""
        return len(self.chips)

    def __getitem__(self, index: Any) -> Any:
        """Sample ``index`` as it is: x and y scaled, float32, and valid, bool."""
        chip = self.chips[index]
        x = self.scalings[0].forward(chip.x, chip.valid)
        y = self.scalings[1].forward(chip.y, chip.valid)
        return torch.from_numpy(x), torch.from_numpy(y), torch.from_numpy(chip.valid)[None]

    def batch(self, indices: Sequence[int]) -> Batch:
        """Return samples together, (batch, channels, rows, cols), as they are; or their share."""
        samples = [self[i] for i in (processes.share(indices) if self.shared else indices)]
        x, y, valid = (torch.stack(images) for images in zip(*samples, strict=True))
        return x, y, valid

    def varied(self, batch: Batch) -> Batch:
        """Vary a batch where it is: on the device, if it was moved there.

        Every process draws for all samples, so that they are what one process would make.
        """
        count = len(batch[0]) * (processes.count() if self.shared else 1)
        moves = self.augmentation.drawn(count, self.rng)
        mine = processes.share(moves) if self.shared else moves
        return self.augmentation.moved(batch, mine, bool(self.scalings[1].classes))
