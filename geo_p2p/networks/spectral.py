"""Convolutions of spectral norm 1."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .layers import full_precision

__all__ = ["SpectralConv2d"]

WARM_UP = 15
"""Steps of the power method a first estimate takes."""


class SpectralConv2d(nn.Conv2d):
    """A convolution whose weights, as a matrix (out, all the rest), have the spectral norm 1.

    Each forward pass in train mode takes one step of the power method towards the largest singular
    value, which the weights are divided by. Unlike `torch.nn.utils.parametrizations.spectral_norm`
    its first estimate follows a seed, and it is taken in float32 under autocast too.

    Attributes
    ----------
    left : Tensor
        Estimate of the first left singular vector, (out_channels,); part of the state.

    References
    ----------
    T. Miyato et al., Spectral Normalization for Generative Adversarial Networks, ICLR 2018,
    https://arxiv.org/abs/1802.05957.
    """

    left: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        size: int,
        stride: int = 1,
        padding: int = 0,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(in_channels, out_channels, size, stride, padding, bias=bias)
        self.register_buffer("left", self.weight.new_ones(self.out_channels))
        self.left /= self.out_channels**0.5

    @torch.no_grad()
    def warm_up(self, generator: torch.Generator | None = None) -> None:
        """Estimate the singular vector of new weights from a random start."""
        self.left.normal_(generator=generator)
        for _ in range(WARM_UP):
            self._step()

    def forward(self, x: Tensor) -> Tensor:
        """Convolve (batch, channels, rows, cols)."""
        with full_precision(x.device.type):
            if self.training:
                self._step()
            matrix = self.weight.flatten(1)
            left = self.left.clone()  # another pass may write on it before this one's backward
            with torch.no_grad():
                right = F.normalize(left @ matrix, dim=0)
            weight = self.weight / (left @ matrix @ right)
        out: Tensor = self._conv_forward(x, weight, self.bias)
        return out

    @torch.no_grad()
    def _step(self) -> None:
        matrix = self.weight.flatten(1)
        right = F.normalize(self.left @ matrix, dim=0)
        self.left.copy_(F.normalize(matrix @ right, dim=0))
