"""What the discriminator is shown: pairs without their holes, varied alike."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from geo_p2p import processes
from geo_p2p.card import FILL
from geo_p2p.losses import fill

__all__ = ["Shown", "varied"]

SHIFT = 1 / 8
"""Longest way a pair is shifted along an axis, as a share of its side."""

CUTOUT = 1 / 2
"""Side of the square that is cut out, as a share of the pair's."""


class Shown(NamedTuple):
    """Pairs as they are shown: the condition, and the real and the translated image beside it.

    Parameters
    ----------
    condition, real, fake : (batch, bands, rows, cols); `FILL` where nothing is known.
    known : (batch, 1, rows, cols) bool; where an image says something.
    """

    condition: Tensor
    real: Tensor
    fake: Tensor
    known: Tensor


def varied(shown: Shown, kind: str) -> Shown:
    """Vary what the discriminator is shown, so that it learns a small set less by heart.

    Each pair varies in its own way, and all that belongs to it in the same: its condition, its
    real and its translated image and its mask. What a shift uncovers or a square cuts out is a
    hole like any other, and filled like one. Colours stay: the bands of a raster are measurements,
    and with a changed condition another translation would be right. Chance is torch's own, on the
    CPU, whatever the device.

    Parameters
    ----------
    shown : pairs.
    kind : "shift" (by up to an eighth of a side), "cutout" (a square of half the side), "both" or
        "none".

    References
    ----------
    S. Zhao et al., Differentiable Augmentation for Data-Efficient GAN Training, NeurIPS 2020,
    https://arxiv.org/abs/2006.10738.
    """
    if kind in ("shift", "both"):
        shown = _shifted(shown)
    if kind in ("cutout", "both"):
        shown = _cut(shown)
    return shown


def _shifted(shown: Shown) -> Shown:
    """Shift each pair along both axes."""
    count, _, rows, cols = shown.known.shape
    margins = int(rows * SHIFT), int(cols * SHIFT)
    corners = _drawn(count, 2 * margins[0], 2 * margins[1])

    def moved(images: Tensor, value: float) -> Tensor:
        large = F.pad(images, (margins[1], margins[1], margins[0], margins[0]), value=value)
        crops = zip(large, corners, strict=True)
        return torch.stack([i[:, top : top + rows, left : left + cols] for i, (top, left) in crops])

    condition, real, fake = (moved(images, FILL) for images in shown[:3])
    return Shown(condition, real, fake, moved(shown.known, False))


def _cut(shown: Shown) -> Shown:
    """Cut a square out of each pair, its centre anywhere."""
    count, _, rows, cols = shown.known.shape
    keep = torch.ones(count, 1, rows, cols, dtype=torch.bool)
    sides = round(rows * CUTOUT), round(cols * CUTOUT)
    for mask, centre in zip(keep, _drawn(count, rows, cols), strict=True):
        top, left = (at - side // 2 for at, side in zip(centre, sides, strict=True))
        mask[:, max(0, top) : top + sides[0], max(0, left) : left + sides[1]] = False
    keep = keep.to(shown.known.device)
    condition, real, fake = (fill(images, keep) for images in shown[:3])
    return Shown(condition, real, fake, shown.known & keep)


def _drawn(count: int, *most: int) -> Sequence[list[int]]:
    """Draw whole numbers from 0 to each of the most, for each pair of this process."""
    # All processes draw for the joint batch: together they train as one does.
    joint = range(count * processes.count())
    return processes.share([[int(torch.randint(m + 1, ())) for m in most] for _ in joint])
