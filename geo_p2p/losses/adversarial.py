"""What a discriminator's verdicts cost it, and the generator that they are about."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from geo_p2p.errors import ModelError

__all__ = [
    "GAN_LOSSES",
    "DiscriminatorLoss",
    "Scores",
    "discriminator_loss",
    "feature_loss",
    "gan_loss",
    "generator_loss",
]

Scores = Tensor | Sequence[Tensor]
"""A discriminator's scores, before a sigmoid, high for real: of any shape; or so for each scale."""


def gan_loss(scores: Scores, real: bool, kind: str = "bce") -> Tensor:
    """How far the scores of a discriminator are from a verdict.

    Parameters
    ----------
    scores
        Of several scales: each counts alike, however many scores it has.
    real
        The verdict.
    kind
        A key of `GAN_LOSSES`: "bce", as in the paper, "lsgan" or "hinge".

    Returns
    -------
    Tensor
        A scalar, 0 or more. At chance, scores of 0, "bce" is log 2 and "hinge" 1; "lsgan" at 0.5
        is 0.25.

    Raises
    ------
    ModelError
        An unknown kind.

    References
    ----------
    "bce": https://arxiv.org/abs/1406.2661. "lsgan": https://arxiv.org/abs/1611.04076. "hinge":
    https://arxiv.org/abs/1705.02894.
    """
    _require(kind)
    return _over_scales(scores, lambda each: GAN_LOSSES[kind](each, real))


def generator_loss(scores: Scores, kind: str = "bce") -> Tensor:
    """How far the scores of what the generator made are from the verdict "real".

    Parameters
    ----------
    scores
        Of translated pairs.
    kind
        A key of `GAN_LOSSES`.

    Returns
    -------
    Tensor
        A scalar: the non-saturating loss, `gan_loss` for the verdict "real". Of "hinge" it is the
        mean score, negated, which has no lowest value: a pair already called real goes on.

    Raises
    ------
    ModelError
        An unknown kind.
    """
    if kind == "hinge":
        return _over_scales(scores, torch.neg)
    return gan_loss(scores, True, kind)


class DiscriminatorLoss(NamedTuple):
    """What the discriminator makes small, and its two parts (scalars, not halved)."""

    total: Tensor
    real: Tensor
    fake: Tensor


def discriminator_loss(
    scores_real: Scores, scores_fake: Scores, kind: str = "bce"
) -> DiscriminatorLoss:
    """Half the loss on real pairs and half the loss on translated ones.

    Parameters
    ----------
    scores_real, scores_fake
        Of the two.
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


def feature_loss(fake: Sequence[Sequence[Tensor]], real: Sequence[Sequence[Tensor]]) -> Tensor:
    """Mean absolute difference of what a discriminator sees in translated and in real pairs.

    Parameters
    ----------
    fake, real
        Of each scale the activations of each layer, the scores last; these do not count. The real
        ones are a goal: they get no gradient.

    Returns
    -------
    Tensor
        A scalar, 0 or more; layers and scales count alike. The weight of 10 of pix2pixHD, which
        adds up the layers of a discriminator of 3, is 40 here.

    References
    ----------
    T.-C. Wang et al., High-Resolution Image Synthesis and Semantic Manipulation with Conditional
    GANs, CVPR 2018, https://arxiv.org/abs/1711.11585, section 3.3.
    """
    scales = [
        torch.stack(
            [
                (one.float() - two.detach().float()).abs().mean()
                for one, two in zip(made[:-1], goal[:-1], strict=True)
            ]
        ).mean()
        for made, goal in zip(fake, real, strict=True)
    ]
    return torch.stack(scales).mean()


def _over_scales(scores: Scores, loss: Callable[[Tensor], Tensor]) -> Tensor:
    """Mean over the scales of the mean over the scores of each."""
    maps = [scores] if isinstance(scores, Tensor) else scores
    return torch.stack([loss(each.float()).mean() for each in maps]).mean()


def _require(kind: str) -> None:
    if kind not in GAN_LOSSES:
        raise ModelError(f"unknown GAN loss {kind!r}: choose one of {', '.join(GAN_LOSSES)}")


def _bce(scores: Tensor, real: bool) -> Tensor:
    # -log sigmoid(s) for real, -log(1 - sigmoid(s)) for fake, finite for every s
    return F.softplus(-scores if real else scores)


def _lsgan(scores: Tensor, real: bool) -> Tensor:
    return (scores - float(real)).square()


def _hinge(scores: Tensor, real: bool) -> Tensor:
    return F.relu(1 - scores if real else 1 + scores)


GAN_LOSSES: Mapping[str, Callable[[Tensor, bool], Tensor]] = {
    "bce": _bce,
    "lsgan": _lsgan,
    "hinge": _hinge,
}
"""Adversarial losses by name: scores and verdict to one loss a score."""
