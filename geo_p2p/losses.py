"""What the two networks are asked to make small: pure functions that know about holes.

Pixels that are not valid (nodata, outside the footprint, under a mask) say nothing. The pixel
losses leave them out of their mean. The discriminator cannot leave pixels out, so that condition,
target and translation get the same constant there: were the holes to differ, it would tell real
from translated by them and win against a perfect generator.

Means are taken in float32 whatever the precision of the images.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from geo_p2p.card import FILL
from geo_p2p.errors import ModelError
from geo_p2p.processes import count, mean

__all__ = [
    "GAN_LOSSES",
    "DiscriminatorLoss",
    "cross_entropy",
    "discriminator_loss",
    "fill",
    "gan_loss",
    "l1_loss",
    "l2_loss",
]


def fill(image: Tensor, valid: Tensor) -> Tensor:
    """Put the constant `geo_p2p.card.FILL` where pixels are not valid.

    Parameters
    ----------
    image
        (batch, bands, rows, cols). Invalid pixels may hold anything, NaN included.
    valid
        (batch, 1, rows, cols) bool.

    Returns
    -------
    Tensor
        Like the image. Its gradient with respect to the image is 0 at invalid pixels.
    """
    # A product would turn NaN into NaN, here and in the gradient.
    return torch.where(valid, image, FILL)


def l1_loss(pred: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Mean absolute difference over valid pixels and bands.

    Parameters
    ----------
    pred, target
        (batch, bands, rows, cols) in [-1, 1].
    valid
        (batch, 1, rows, cols) bool.

    Returns
    -------
    Tensor
        A scalar in [0, 2]; 0, with a gradient of 0, when nothing is valid.
    """
    return _mean(_difference(pred, target, valid).abs(), valid)


def l2_loss(pred: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Mean squared difference over valid pixels and bands.

    Parameters
    ----------
    pred, target
        (batch, bands, rows, cols) in [-1, 1].
    valid
        (batch, 1, rows, cols) bool.

    Returns
    -------
    Tensor
        A scalar in [0, 4]; 0, with a gradient of 0, when nothing is valid.
    """
    return _mean(_difference(pred, target, valid).square(), valid)


def cross_entropy(logits: Tensor, onehot: Tensor, valid: Tensor) -> Tensor:
    """Mean cross-entropy over valid pixels of a known class.

    Parameters
    ----------
    logits
        (batch, classes, rows, cols), any real numbers.
    onehot
        (batch, classes, rows, cols) in {0, 1}; all 0 where the class is not known.
    valid
        (batch, 1, rows, cols) bool.

    Returns
    -------
    Tensor
        A scalar in nats, 0 or more; 0, with a gradient of 0, when no pixel counts.
    """
    onehot = fill(onehot, valid)
    known = onehot.sum(dim=1, keepdim=True) > 0  # (B, 1, H, W)
    log_p = F.log_softmax(fill(logits.float(), known), dim=1)
    return _mean(-(onehot * log_p).sum(dim=1, keepdim=True), known)


def gan_loss(scores: Tensor, real: bool, kind: str = "bce") -> Tensor:
    """How far the scores of a discriminator are from a verdict.

    For the generator, ask for the verdict "real" on what it made (the non-saturating loss).

    Parameters
    ----------
    scores
        Of any shape, before a sigmoid, high for real.
    real
        The verdict.
    kind
        A key of `GAN_LOSSES`: "bce", as in the paper, or "lsgan".

    Returns
    -------
    Tensor
        A scalar, 0 or more. At chance, scores of 0, "bce" is log 2; "lsgan" at 0.5 is 0.25.

    Raises
    ------
    ModelError
        An unknown kind.

    References
    ----------
    "bce": https://arxiv.org/abs/1406.2661. "lsgan": https://arxiv.org/abs/1611.04076.
    """
    if kind not in GAN_LOSSES:
        raise ModelError(f"unknown GAN loss {kind!r}: choose one of {', '.join(GAN_LOSSES)}")
    return GAN_LOSSES[kind](scores.float(), real).mean()


class DiscriminatorLoss(NamedTuple):
    """What the discriminator makes small, and its two parts (scalars, not halved)."""

    total: Tensor
    real: Tensor
    fake: Tensor


def discriminator_loss(
    scores_real: Tensor, scores_fake: Tensor, kind: str = "bce"
) -> DiscriminatorLoss:
    """Half the loss on real pairs and half the loss on translated ones.

    Parameters
    ----------
    scores_real, scores_fake
        Of any shape, before a sigmoid, high for real.
    kind
        A key of `GAN_LOSSES`.

    Returns
    -------
    DiscriminatorLoss
        total = (real + fake) / 2, real, fake.

    Raises
    ------
    ModelError
        An unknown kind.
    """
    real = gan_loss(scores_real, True, kind)
    fake = gan_loss(scores_fake, False, kind)
    return DiscriminatorLoss(0.5 * (real + fake), real, fake)


def _bce(scores: Tensor, real: bool) -> Tensor:
    # -log sigmoid(s) for real, -log(1 - sigmoid(s)) for fake, finite for every s
    return F.softplus(-scores if real else scores)


def _lsgan(scores: Tensor, real: bool) -> Tensor:
    return (scores - float(real)).square()


GAN_LOSSES: Mapping[str, Callable[[Tensor, bool], Tensor]] = {"bce": _bce, "lsgan": _lsgan}
"""Adversarial losses by name: scores and verdict to one loss a score."""


def _difference(pred: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Subtract in float32, 0 where not valid, so that a NaN there reaches nothing."""
    return fill(pred.float() - target.float(), valid)


def _mean(values: Tensor, counts: Tensor) -> Tensor:
    """Mean of (batch, bands, rows, cols) that are 0 where (batch, 1, rows, cols) is False."""
    # Of several processes each has its share of the sum, and what it counts for: their mean is that
    # of all valid pixels, however the holes fall.
    number = mean(counts.sum() * values.shape[1] * 1.0)
    return values.sum() / number.clamp(min=1 / count())
