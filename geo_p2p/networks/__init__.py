"""Generators and discriminators, by name, and how far each of them sees.

::

    net = initialise(build_generator("unet", 3, 1, halvings=5), torch.Generator().manual_seed(0))
    net.stride, net.halo, net.tile_safe  # 32, 64, True
    build_generator("unet", **net.arguments)  # the same architecture again
    required_halo(net, net.stride, in_channels=3)  # 63: measured, not believed
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from ..errors import ModelError
from .batch_norm import freeze
from .encoder import BACKBONES, EncoderUNet, load_backbone
from .layers import Generator, choose
from .multiscale import MultiScale, halved
from .patchgan import PatchGAN
from .probe import receptive_field, required_halo, total_stride
from .resnet import ResNet
from .statistics import fix_statistics, per_image_norms
from .unet import UNet
from .weights import calibrate_batch_norm, initialise

__all__ = [
    "BACKBONES",
    "DISCRIMINATORS",
    "GENERATORS",
    "EncoderUNet",
    "Generator",
    "MultiScale",
    "PatchGAN",
    "ResNet",
    "UNet",
    "build_discriminator",
    "build_generator",
    "calibrate_batch_norm",
    "fix_statistics",
    "freeze",
    "halved",
    "initialise",
    "load_backbone",
    "per_image_norms",
    "receptive_field",
    "required_halo",
    "total_stride",
]

GENERATORS: Mapping[str, Callable[..., Generator]] = {
    "encoder": EncoderUNet,
    "resnet": ResNet,
    "unet": UNet,
}
DISCRIMINATORS: Mapping[str, Callable[..., nn.Module]] = {
    "multiscale": MultiScale,
    "patchgan": PatchGAN,
}


def build_generator(name: str, in_channels: int, out_channels: int, **arguments: Any) -> Generator:
    """Make a generator from its name and arguments, as a model card keeps them.

    Parameters
    ----------
    name
        A key of `GENERATORS`.
    in_channels
        Bands of the input image.
    out_channels
        Bands of the target, or its classes.
    **arguments
        What else the class takes.

    Returns
    -------
    Generator
        With torch's default weights: `initialise` it, or load some.

    Raises
    ------
    ModelError
        No such generator, or no such argument; "encoder" where torchvision is not to be had.
    """
    make = choose("generator", name, GENERATORS)
    _check_arguments(name, make, arguments)
    return make(in_channels, out_channels, **arguments)


def build_discriminator(name: str, in_channels: int, **arguments: Any) -> nn.Module:
    """Make a discriminator from its name and arguments.

    Parameters
    ----------
    name
        A key of `DISCRIMINATORS`.
    in_channels
        Bands of condition and image together.
    **arguments
        What else the class takes.

    Returns
    -------
    nn.Module
        Called with (condition, image), "multiscale" with (condition, image, valid); with torch's
        default weights.

    Raises
    ------
    ModelError
        No such discriminator, or no such argument.
    """
    make = choose("discriminator", name, DISCRIMINATORS)
    _check_arguments(name, make, arguments)
    return make(in_channels, **arguments)


def _check_arguments(
    name: str, make: Callable[..., nn.Module], arguments: Mapping[str, Any]
) -> None:
    parameters = inspect.signature(make).parameters.values()
    known = [p.name for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY]
    unknown = sorted(set(arguments) - set(known))
    if unknown:
        raise ModelError(
            f"{name} has no argument {', '.join(map(repr, unknown))}: "
            f"choose from {', '.join(known)}"
        )
