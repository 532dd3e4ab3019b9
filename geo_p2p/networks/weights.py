"""Give a network its first weights, and its batch norms their statistics."""

from collections.abc import Iterable
from itertools import chain
from typing import TypeGuard, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase

from ..errors import ModelError
from .batch_norm import BatchNorm
from .spectral import SpectralConv2d

__all__ = ["calibrate_batch_norm", "initialise"]

Net = TypeVar("Net", bound=nn.Module)

_CONVOLUTIONS = (nn.Conv2d, nn.ConvTranspose2d)
_NORMS = (_BatchNorm, nn.InstanceNorm2d, nn.LayerNorm)


@torch.no_grad()
def initialise(module: Net, seed_generator: torch.Generator | None = None) -> Net:
    """Draw first weights as the paper does, in place.

    Convolutions are drawn from N(0, 0.02), scales of norms from N(1, 0.02), and biases are 0.

    Parameters
    ----------
    module
        A generator or discriminator.
    seed_generator
        Where the numbers come from, on the device of the module; None for torch's own. To have
        the same weights on every device, initialise on the CPU and move the module then.

    Returns
    -------
    nn.Module
        The module given.

    References
    ----------
    https://arxiv.org/abs/1611.07004, appendix 6.2.
    """
    for layer in module.modules():
        if not isinstance(layer, _CONVOLUTIONS + _NORMS):
            continue
        mean = 0.0 if isinstance(layer, _CONVOLUTIONS) else 1.0
        if layer.weight is not None:
            nn.init.normal_(layer.weight, mean, 0.02, generator=seed_generator)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
        if isinstance(layer, SpectralConv2d):
            layer.warm_up(seed_generator)
    return module


@torch.no_grad()
def calibrate_batch_norm(net: nn.Module, batches: Iterable[Tensor]) -> None:
    """Estimate the running statistics of norms anew, in place.

    The statistics a norm keeps while training lag behind weights that still move, and with one
    image a batch those of a batch norm describe no image at all. Here they become plain averages
    over the batches, for batch norms and for instance norms that keep any. Only these norms see
    train mode: dropout stays off. A net without any is left alone, and so is what is frozen.

    Parameters
    ----------
    net
        Any network that takes one tensor. Its modes and the momentum of its norms are restored.
    batches
        (batch, channels, rows, cols) each, as in training: of 4 images or more, 50 to 200 of them.

    Raises
    ------
    ModelError
        There are no batches.
    """
    norms = [layer for layer in net.modules() if _keeps_statistics(layer)]
    if not norms:
        return
    batches = iter(batches)
    first = next(batches, None)
    if first is None:  # seen before anything is reset
        raise ModelError("batch norm cannot be calibrated on no images: give at least one batch")
    modes = [(layer, layer.training) for layer in net.modules()]
    momenta = [norm.momentum for norm in norms]
    net.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.train()
    try:
        for number, batch in enumerate(chain([first], batches), start=1):
            for norm in norms:
                norm.momentum = 1 / number  # a plain average; None would stop an instance norm
            net(batch)
    finally:
        for layer, mode in modes:
            layer.training = mode
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum


def _keeps_statistics(layer: nn.Module) -> TypeGuard[_NormBase]:
    """Whether a layer is a norm whose running statistics are its own to change."""
    if isinstance(layer, BatchNorm) and layer.frozen:
        return False
    return isinstance(layer, _BatchNorm | nn.InstanceNorm2d) and layer.track_running_stats
