"""A head beside a generator's output that tells how far off the output may be."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from .layers import full_precision

__all__ = ["ScaleHead"]

LOW, HIGH = -9.0, 1.0
"""Ends of the log scale, for targets in [-1, 1]: e**-9 is 8 values of 65536, e the whole range."""

FIRST = math.log(7 / 3)
"""What makes the first log scale -2, about the error of a network that has learned little."""


class ScaleHead(nn.Module):
    """Maps the features that make the output to the log scale of its error, band by band.

    It looks on and has no say: no gradient goes from it into the features, so that a generator
    learns the same weights to the bit with and without it. What tells of noise need not be in
    features that were learned for the output alone, so it looks at the image too, with filters of
    its own. It sees no farther than the output does: stride and halo stay.

    Parameters
    ----------
    width
        Channels of the features.
    in_channels
        Bands of the image.
    hidden
        Channels in between.
    layer
        From these to one channel a band, with the size of the output.
    """

    def __init__(self, width: int, in_channels: int, hidden: int, layer: nn.Module) -> None:
        super().__init__()
        self.features = nn.Conv2d(width, hidden, 1)
        # Features are of half the image's size where the layer enlarges them.
        halved = isinstance(layer, nn.ConvTranspose2d)
        self.image = nn.Conv2d(in_channels, hidden, *((4, 2, 1) if halved else (3, 1, 1)))
        self.layer = layer

    def forward(self, features: Tensor, image: Tensor) -> Tensor:
        """Map (batch, width, rows, cols) to (batch, bands, rows, cols), between `LOW` and `HIGH`.

        In full precision, as the output itself.
        """
        with full_precision(features.device.type):
            hidden = self.features(features.detach().float()) + self.image(image.float())
            raw = self.layer(functional.relu(hidden))
        # A sigmoid, not a clamp, which would let go of a pixel for good at either end.
        return LOW + (HIGH - LOW) * torch.sigmoid(raw + FIRST)
