"""What the networks share: the normalisations, the last layer, and what a generator promises."""

import inspect
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ..errors import ModelError
from .batch_norm import BatchNorm

__all__ = [
    "HEADS",
    "NORMS",
    "PER_SAMPLE",
    "ChannelNorm",
    "Generator",
    "LastLayer",
    "arguments_of",
    "at_least",
    "choose",
    "full_precision",
]

Choice = TypeVar("Choice")


class ChannelNorm(nn.LayerNorm):
    """Layer normalisation over the channels of each pixel.

    Every pixel is normalised by itself, so a tile gives what the whole image gives; the usual
    layer norm of a convolutional network takes its statistics over space too, and does not.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (batch, channels, rows, cols) along its channels."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def _identity(channels: int) -> nn.Module:
    return nn.Identity()


NORMS: Mapping[str, Callable[[int], nn.Module]] = {
    "batch": BatchNorm,
    "instance": partial(nn.InstanceNorm2d, affine=True),
    "layer": ChannelNorm,
    "none": _identity,
    "tracked-instance": partial(nn.InstanceNorm2d, affine=True, track_running_stats=True),
}
"""Normalisation by name: called with the number of channels.

"tracked-instance" trains as "instance" does, and in eval mode uses the running means of what it
saw: tiles agree, but what is translated is not what was trained.
"""

PER_SAMPLE = frozenset({"instance"})
"""The normalisations that take statistics over the image they are given, in eval mode too."""

HEADS: Mapping[str, Callable[[], nn.Module]] = {"tanh": nn.Tanh, "logits": nn.Identity}
"""What follows the last layer: "tanh" for values in [-1, 1], "logits" for classes."""


def choose(what: str, name: str, choices: Mapping[str, Choice]) -> Choice:
    """Look a name up in a table of choices.

    Raises
    ------
    ModelError
        The table has no such name; the message lists those it has.
    """
    if name not in choices:
        raise ModelError(f"unknown {what} {name!r}: choose one of {', '.join(sorted(choices))}")
    return choices[name]


def arguments_of(make: Callable[..., nn.Module], names: Mapping[str, Any]) -> dict[str, Any]:
    """Pick out what a network was called with, for its card.

    Parameters
    ----------
    make
        Its class.
    names
        The local variables of its constructor, before any argument is given another value.
    """
    return {name: names[name] for name in inspect.signature(make).parameters}


def at_least(lowest: int, **values: int) -> None:
    """Refuse a count below the lowest that makes a network.

    Raises
    ------
    ModelError
        It names the argument.
    """
    for name, value in values.items():
        if value < lowest:
            raise ModelError(f"{name} is {lowest} or more, got {name}={value}")


def full_precision(device: str) -> AbstractContextManager[Any]:
    """Leave autocast, on a kind of device."""
    # The meta device, on which networks are counted, has none to leave.
    autocast = torch.amp.is_autocast_available(device)
    return torch.autocast(device, enabled=False) if autocast else nullcontext()


def cut(x: Tensor, margin: int) -> Tensor:
    """Leave out a margin of (..., rows, cols), px at every side."""
    if not margin:
        return x
    rows, cols = x.shape[-2:]
    return x[..., margin : rows - margin, margin : cols - margin]


class LastLayer(nn.Module):
    """The layer that makes the output, computed in the precision of its own weights.

    Under autocast the rest of a network runs in bfloat16, whose 8 significant bits are coarser
    than a 16-bit raster; the last layer leaves autocast so that the output is not rounded.

    Parameters
    ----------
    layer
        A convolution or transposed convolution to the output's channels.
    head
        A name in `HEADS`.
    """

    def __init__(self, layer: nn.Conv2d | nn.ConvTranspose2d, head: str) -> None:
        super().__init__()
        self.layer = layer
        self.activation = choose("head", head, HEADS)()

    def forward(self, x: Tensor) -> Tensor:
        """Map features (batch, channels, rows, cols) to the output."""
        with full_precision(x.device.type):
            out: Tensor = self.activation(self.layer(x.to(self.layer.weight.dtype)))
        return out


class Generator(nn.Module):
    """What every generator promises to those who train it, store it and tile with it.

    Attributes
    ----------
    stride : int
        Pixels. Sides of the input are multiples of it, and so are the origins of tiles.
    halo : int
        Pixels, a multiple of the stride. A tile read with this much around its core, in eval
        mode, gives in its core what the whole image gives there.
    tile_safe : bool
        Whether that holds: no statistics are taken over the image given.
    arguments : dict
        What the class was called with, ready for JSON; `build_generator` takes it back.
    last : LastLayer
        Makes the output from the last features.
    scale_head : nn.Module or None
        Makes, beside it, the log scale of its error: as many channels more.
    tells_scales : bool
        Whether that head, if there is one, is run.
    margin_work : float
        Work of `core` for a pixel of the margin, over that for one within, 0 to 1.
    """

    last: LastLayer
    tells_scales = True
    margin_work = 1.0

    def __init__(self, *, stride: int, halo: int, norm: str, arguments: dict[str, Any]) -> None:
        super().__init__()
        self.stride = stride
        self.halo = halo
        self.tile_safe = norm not in PER_SAMPLE
        # Without it, the arguments are those of networks that could not have it.
        self.arguments = {n: v for n, v in arguments.items() if v or n != "confidence"}
        self.scale_head: nn.Module | None = None

    def add_scale_head(self, head: nn.Module) -> None:
        """Tell the error's scale beside the output.

        Raises
        ------
        ModelError
            Of a network for classes, whose scores tell it already.
        """
        if self.arguments["head"] == "logits":
            raise ModelError("confidence of classes is in their scores: it needs no head")
        self.scale_head = head

    def core(self, image: Tensor, margin: int) -> Tensor:
        """Translate an image but for a margin, which is looked at and not wanted.

        Parameters
        ----------
        image
            (batch, in_channels, rows, cols) in [-1, 1].
        margin
            Pixels at every side, a multiple of the stride.

        Returns
        -------
        Tensor
            What the whole image gives, without the margin, equal to rounding.
        """
        # The scale head looks at the image, too.
        whole = self.scale_head is not None and self.tells_scales
        if whole or margin % self.stride:
            return cut(self(image), margin)
        return self.translate(image, margin)

    def translate(self, image: Tensor, margin: int) -> Tensor:
        """Translate an image but for a margin of whole strides, with what can be spared left out.

        A network that cannot be spared anything translates the whole image.
        """
        return cut(self(image), margin)

    def finish(self, features: Tensor, image: Tensor) -> Tensor:
        """Make the output of the last features, and the log scale of its error if there is one."""
        out: Tensor = self.last(features)
        if self.scale_head is None or not self.tells_scales:
            return out
        return torch.cat((out, self.scale_head(features, image)), dim=1)

    def check(self, x: Tensor, smallest: int) -> None:
        """Refuse an input this network cannot map to an output of the same size.

        Parameters
        ----------
        x
            (batch, in_channels, rows, cols).
        smallest
            The shortest side the network can do with, pixels.

        Raises
        ------
        ModelError
            Wrong number of channels, sides that are no multiples of the stride, or too short.
        """
        channels = self.arguments["in_channels"]
        if x.ndim != 4 or x.shape[1] != channels:
            raise ModelError(
                f"the generator takes (batch, {channels}, rows, cols), got {tuple(x.shape)}: "
                f"give it the {channels} bands it was made for"
            )
        rows, cols = x.shape[2:]
        fit = [max(smallest, -(-side // self.stride) * self.stride) for side in (rows, cols)]
        if fit != [rows, cols]:
            raise ModelError(
                f"the generator takes sides that are multiples of {self.stride} px and at least "
                f"{smallest} px, got {rows} x {cols} (rows x cols): pad to {fit[0]} x {fit[1]}, "
                f"or cut chips whose size is a multiple of {self.stride}"
            )
