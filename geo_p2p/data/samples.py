"""Chips as samples for a network: scaled, and varied."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from geo_p2p.card import Scaling
from geo_p2p.chips import Chip
from geo_p2p.losses import fill

__all__ = ["Augmentation", "ChipSet", "Sample"]

Sample = tuple[Tensor, Tensor, Tensor]
"""x, y and valid, (channels, rows, cols) each."""


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

    def __call__(self, sample: Sample, rng: np.random.Generator, classes: bool = False) -> Sample:
        """Move one sample; ``classes`` says that y is one-hot and must not be blended."""
        if self.jitter:
            sample = _jittered(sample, self.jitter, rng, classes)
        turns = int(rng.integers(4)) if self.kind == "dihedral" else 0
        flip = bool(rng.integers(2)) if self.kind != "none" else False
        moved = (torch.rot90(image, turns, (1, 2)) for image in sample)
        x, y, valid = (image.flip(2) if flip else image for image in moved)
        return x.contiguous(), y.contiguous(), valid.contiguous()


def _jittered(sample: Sample, jitter: int, rng: np.random.Generator, classes: bool) -> Sample:
    """Enlarge by ``jitter`` px and crop at one random place.

    A pixel that an invalid one has a part in is invalid: it is a blend with the fill.
    """
    rows, cols = sample[0].shape[1:]
    top, left = rng.integers(0, jitter + 1, 2).tolist()

    def moved(image: Tensor, mode: str = "bilinear") -> Tensor:
        size = rows + jitter, cols + jitter
        large = functional.interpolate(image[None].float(), size, mode=mode)
        return large[0, :, top : top + rows, left : left + cols]

    x, y, valid = sample
    kept = moved(valid) > 0.999
    # torch's "nearest" lies half a pixel off its "bilinear"; "nearest-exact" does not.
    y = moved(y, "nearest-exact" if classes else "bilinear")
    return fill(moved(x), kept), fill(y, kept), kept


class ChipSet(Sequence[Sample]):
    """Decoded chips as samples for a network.

    Parameters
    ----------
    chips : pairs, all of one size.
    scalings : of input and target.
    augmentation : how samples vary.
    seed : of the variation.
    """

    def __init__(
        self,
        chips: Sequence[Chip],
        scalings: tuple[Scaling, Scaling],
        augmentation: Augmentation | None = None,
        seed: int = 42,
    ) -> None:
        self.chips = chips
        self.scalings = scalings
        self.augmentation = augmentation or Augmentation()
        self._rng = np.random.default_rng(seed)

    def __len__(self) -> int:
        """Return the number of chips."""
        return len(self.chips)

    def __getitem__(self, index: Any) -> Any:
        """Sample ``index``: x and y scaled, float32, and valid, bool; (channels, rows, cols)."""
        chip = self.chips[index]
        x = self.scalings[0].forward(chip.x, chip.valid)
        y = self.scalings[1].forward(chip.y, chip.valid)
        sample = (torch.from_numpy(x), torch.from_numpy(y), torch.from_numpy(chip.valid)[None])
        return self.augmentation(sample, self._rng, bool(self.scalings[1].classes))
