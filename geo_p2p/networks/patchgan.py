"""The discriminator that judges patches."""

from itertools import pairwise

import torch
from torch import Tensor, nn

from ..errors import ModelError
from .layers import NORMS, at_least, choose
from .spectral import SpectralConv2d

__all__ = ["SPECTRAL", "PatchGAN"]

SPECTRAL = "spectral"
"""A discriminator's norm that is one of its weights."""


class PatchGAN(nn.Module):
    """Tell real pairs from translated ones, one verdict a patch.

    With n layers there are n convolutions of stride 2 and two more of stride 1, all 4x4, and the
    channels double up to ``8 * ndf``. A verdict sees a patch of 16, 34, 70, 142, 286 px for
    n = 1 ... 5. With n = 0 all three convolutions are 1x1: each pixel is judged by itself.

    Parameters
    ----------
    in_channels
        Bands of condition and image together.
    layers
        Convolutions of stride 2, 0 or more; the paper has 3.
    ndf
        Channels after the first convolution.
    norm
        A name in `NORMS`, on all but the first and the last convolution; or "spectral", of the
        weights of all of them, and then of nothing else.

    Attributes
    ----------
    arguments : dict
        What the class was called with, ready for JSON; `build_discriminator` takes it back.
    smallest : int
        Shortest side it can judge, px.

    Raises
    ------
    ModelError
        An unknown norm; layers below 0, ndf below 1.

    References
    ----------
    P. Isola et al., Image-to-Image Translation with Conditional Adversarial Networks, CVPR 2017,
    https://arxiv.org/abs/1611.07004, appendix 6.1.2. The text gives every convolution stride 2;
    the last two have stride 1 in the authors' code, and only so is the patch 70 px.
    """

    def __init__(
        self, in_channels: int, *, layers: int = 3, ndf: int = 64, norm: str = "batch"
    ) -> None:
        super().__init__()
        at_least(0, layers=layers)
        at_least(1, ndf=ndf)
        between = choose("norm", norm, {**NORMS, SPECTRAL: NORMS["none"]})
        conv = SpectralConv2d if norm == SPECTRAL else nn.Conv2d
        self.arguments = {"in_channels": in_channels, "layers": layers, "ndf": ndf, "norm": norm}
        self.smallest: int = 3 * 2**layers if layers else 1  # px; leaves one verdict
        size, pad = (4, 1) if layers else (1, 0)
        # strides: 2 for each layer, then 1 before the last; PixelGAN has two of stride 1
        strides = [2] * layers + [1] if layers else [1, 1]
        widths = [ndf * min(2**i, 8) for i in range(len(strides))]

        body: list[nn.Module] = [
            conv(in_channels, widths[0], size, strides[0], pad),
            nn.LeakyReLU(0.2, inplace=True),
        ]
        for (before, width), stride in zip(pairwise(widths), strides[1:], strict=True):
            body += [
                conv(before, width, size, stride, pad, bias=norm in ("none", SPECTRAL)),
                between(width),
                nn.LeakyReLU(0.2, inplace=True),
            ]
        self.body = nn.Sequential(*body)
        self.last = conv(widths[-1], 1, size, 1, pad)

    def forward(self, condition: Tensor, image: Tensor) -> Tensor:
        """Judge an image beside the condition it belongs to.

        The two are put together here, and nowhere else, so that their order is always the same.

        Parameters
        ----------
        condition
            (batch, bands of the input, rows, cols): what the generator was given.
        image
            (batch, bands of the target, rows, cols): a real target, or what the generator made.

        Returns
        -------
        Tensor
            (batch, 1, rows', cols') scores before a sigmoid, high for real; 30 x 30 of them for
            256 x 256 px and 3 layers.

        Raises
        ------
        ModelError
            Other bands than the network was made for, images of two sizes, or too small for one
            verdict.
        """
        return self.activations(condition, image)[-1]

    def activations(self, condition: Tensor, image: Tensor) -> list[Tensor]:
        """Judge, and tell what the verdict was reached by.

        Returns
        -------
        list of Tensor
            What each layer makes of the pair, (batch, channels, rows', cols'); the scores last.
        """
        bands = condition.shape[1] + image.shape[1]
        if bands != self.arguments["in_channels"] or condition.shape[2:] != image.shape[2:]:
            raise ModelError(
                f"the discriminator takes {self.arguments['in_channels']} bands of one size, got "
                f"{tuple(condition.shape)} and {tuple(image.shape)}: give it condition and image"
            )
        if min(image.shape[2:]) < self.smallest:
            raise ModelError(
                f"the discriminator takes sides of {self.smallest} px or more, got "
                f"{tuple(image.shape[2:])}: use larger chips, or fewer layers"
            )
        x = torch.cat((condition, image), dim=1)  # (B, in, H, W)
        found = []
        for layer in self.body:
            x = layer(x)
            if isinstance(layer, nn.LeakyReLU):
                found.append(x)  # (B, ndf * min(2**i, 8), H / 2**(i+1), W / 2**(i+1)) after layer i
        return [*found, self.last(x)]  # (B, 8 ndf, H/8 - 1, W/8 - 1), (B, 1, H/8 - 2, W/8 - 2)
