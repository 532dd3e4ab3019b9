"""How far a translation is from its target, pixel by pixel and in the structure of its pixels."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from geo_p2p.card import FILL
from geo_p2p.processes import count, mean

__all__ = [
    "cross_entropy",
    "fill",
    "gradient_loss",
    "l1_loss",
    "l2_loss",
    "laplace_loss",
    "ssim_loss",
]

_SIDE, _SIGMA = 11, 1.5
_K1, _K2, _RANGE = 0.01, 0.03, 2.0
"""SSIM's window (px) and constants, those of `geo_p2p.metrics`, and the range of [-1, 1]."""

_BELL = [math.exp(-0.5 * ((k - _SIDE // 2) / _SIGMA) ** 2) for k in range(_SIDE)]
_WEIGHTS = [height / sum(_BELL) for height in _BELL]


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


def laplace_loss(log_scale: Tensor, pred: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Mean negative log-likelihood of the error, as a Laplace distribution of a given scale.

    Of one scale for all pixels the least is where that is the L1 loss: it is the likelihood that
    goes with it. Its gradient is for the scale alone. Were the translation to have a share, it
    would be let off where the scale is wide, and sharpened where the error is small already.

    Parameters
    ----------
    log_scale
        (batch, bands, rows, cols), natural logarithm of the scale.
    pred, target
        (batch, bands, rows, cols) in [-1, 1].
    valid
        (batch, 1, rows, cols) bool.

    Returns
    -------
    Tensor
        A scalar in nats, of any sign; 0, with a gradient of 0, when nothing is valid.

    References
    ----------
    A. Kendall & Y. Gal, What Uncertainties Do We Need in Bayesian Deep Learning for Computer
    Vision?, NeurIPS 2017, https://arxiv.org/abs/1703.04977, section 3.
    """
    error = _difference(pred.detach(), target, valid).abs()
    s = fill(log_scale.float(), valid)
    return _mean(fill(error * torch.exp(-s) + s + math.log(2), valid), valid)


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


def gradient_loss(pred: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Mean absolute difference of the steps between neighbours, along rows and columns.

    A step counts where both its pixels are valid. It asks for edges where the target has them,
    and for none where it is flat, as maps are.

    Parameters
    ----------
    pred, target
        (batch, bands, rows, cols) in [-1, 1].
    valid
        (batch, 1, rows, cols) bool.

    Returns
    -------
    Tensor
        A scalar in [0, 4]; 0, with a gradient of 0, when no step counts.

    References
    ----------
    X. Chen et al., SMAPGAN: Generative Adversarial Network-Based Semisupervised Styled Map Tile
    Generation Method, IEEE TGRS 2020, https://doi.org/10.1109/TGRS.2020.3021819.
    """
    difference = _difference(pred, target, valid)
    total, number = difference.new_zeros(()), difference.new_zeros(())
    for axis in (2, 3):
        length = valid.shape[axis] - 1
        near, far = valid.narrow(axis, 0, length), valid.narrow(axis, 1, length)
        counts = near & far
        step = difference.diff(dim=axis)
        total = total + fill(step, counts).abs().sum()
        number = number + counts.sum() * step.shape[1]
    return _share(total, number)


def ssim_loss(pred: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """One minus the structural similarity, over the windows that are wholly valid.

    Parameters
    ----------
    pred, target
        (batch, bands, rows, cols) in [-1, 1].
    valid
        (batch, 1, rows, cols) bool.

    Returns
    -------
    Tensor
        A scalar in [0, 2]; 0, with a gradient of 0, when no window of 11 x 11 px is valid.

    References
    ----------
    Z. Wang et al., Image quality assessment: from error visibility to structural similarity,
    IEEE TIP 13(4), 2004.
    """
    pred, target = fill(pred.float(), valid), fill(target.float(), valid)
    if min(valid.shape[2:]) < _SIDE:
        return 0.0 * pred.sum()
    whole = F.max_pool2d((~valid).float(), _SIDE, stride=1) == 0
    p, t = _smooth(pred), _smooth(target)
    variances = _smooth(pred * pred) - p * p + _smooth(target * target) - t * t
    covariance = _smooth(pred * target) - p * t
    c1, c2 = (_K1 * _RANGE) ** 2, (_K2 * _RANGE) ** 2
    luminance = (2 * p * t + c1) / (p * p + t * t + c1)
    ssim = luminance * (2 * covariance + c2) / (variances + c2)
    return _mean(fill(1 - ssim, whole), whole)


def _smooth(image: Tensor) -> Tensor:
    """Gaussian means over 11 x 11 pixels, where all of them are in the image."""
    # Slices, not a convolution: CUDA's would round to ten bits, and variances be lost.
    for axis in (2, 3):
        length = image.shape[axis] - _SIDE + 1
        parts = (w * image.narrow(axis, k, length) for k, w in enumerate(_WEIGHTS))
        image = torch.stack(list(parts)).sum(0)
    return image


def _difference(pred: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Subtract in float32, 0 where not valid, so that a NaN there reaches nothing."""
    return fill(pred.float() - target.float(), valid)


def _mean(values: Tensor, counts: Tensor) -> Tensor:
    """Mean of (batch, bands, rows, cols) that are 0 where (batch, 1, rows, cols) is False."""
    return _share(values.sum(), counts.sum() * values.shape[1])


def _share(total: Tensor, number: Tensor) -> Tensor:
    """Divide a sum by how many it is of."""
    # Of several processes each has its share of the sum, and what it counts for: their mean is that
    # of all valid pixels, however the holes fall.
    return total / mean(number * 1.0).clamp(min=1 / count())
