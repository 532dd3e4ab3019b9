"""What a learner is put together from: two networks, their optimisers, fastai's loop."""

import logging
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from fastai.callback.core import TrainEvalCallback
from fastai.learner import Learner
from fastai.optimizer import OptimWrapper
from fastai.torch_core import params
from torch import nn

from geo_p2p.card import ModelCard, Scaling, TrainConfig
from geo_p2p.data import DataBunch
from geo_p2p.errors import ModelError
from geo_p2p.losses import cross_entropy, l1_loss, l2_loss
from geo_p2p.networks import (
    EncoderUNet,
    Generator,
    MultiScale,
    PatchGAN,
    build_discriminator,
    build_generator,
    freeze,
    initialise,
    load_backbone,
)
from geo_p2p.pix2pix.adversary import Adversary
from geo_p2p.pix2pix.callbacks import Precision, flat_then_linear
from geo_p2p.pix2pix.optimiser import adam
from geo_p2p.pix2pix.scales import ScaleLearner

__all__ = [
    "build_learner",
    "build_networks",
    "decay_of",
    "discriminator_of",
    "require_size",
    "require_suitable",
    "settings_of",
]

PIXEL_LOSSES = {"l1": l1_loss, "l2": l2_loss}

GENERATOR_SETTINGS = {
    "unet": ("halvings", "ngf", "norm", "dropout", "detail"),
    "resnet": ("blocks", "ngf", "norm", "dropout"),
    "encoder": ("backbone", "ngf", "norm", "dropout"),
}
"""Which settings are arguments of which generator."""

log = logging.getLogger(__name__)


def build_networks(
    config: TrainConfig, scalings: tuple[Scaling, Scaling]
) -> tuple[Generator, nn.Module]:
    """Make generator and discriminator, with the weights that the seed of the settings draws.

    Raises
    ------
    ModelError
        If there is no such generator, or the weights of its backbone cannot be read.
    """
    x, y = scalings
    arguments = {name: getattr(config, name) for name in GENERATOR_SETTINGS[config.generator]}
    head = "logits" if y.classes else "tanh"
    if config.confidence and not y.classes:  # whose scores tell it already
        arguments["confidence"] = True
    with torch.random.fork_rng([]):  # torch's default weights cost random numbers of the user's
        generator = build_generator(
            config.generator, x.channels, y.channels, head=head, **arguments
        )
    seeded = torch.Generator().manual_seed(config.seed)
    for part in generator.children():
        if part is not generator.scale_head:
            initialise(part, seeded)
    if isinstance(generator, EncoderUNet) and config.backbone_weights is not None:
        load_backbone(generator.encoder, config.backbone_weights)
    discriminator = initialise(discriminator_of(config, scalings), seeded)
    if generator.scale_head is not None:  # last, so that all others draw what they would without
        initialise(generator.scale_head, seeded)
    return generator, discriminator


def discriminator_of(config: TrainConfig, scalings: tuple[Scaling, Scaling]) -> nn.Module:
    """Make the discriminator of some settings, with torch's default weights."""
    channels = sum(scaling.channels for scaling in scalings)
    norm = config.norm if config.d_norm == "same" else config.d_norm
    arguments: dict[str, Any] = {"layers": config.layers, "ndf": config.ndf, "norm": norm}
    name = "patchgan"
    if config.scales > 1 or config.feature_weight:  # one scale that tells of its layers
        name, arguments["scales"] = "multiscale", config.scales
    with torch.random.fork_rng([]):
        return build_discriminator(name, channels, **arguments)


def build_learner(
    data: DataBunch, generator: Generator, adversary: Adversary, dtype: torch.dtype
) -> Learner:
    """Set up fastai's loop with nothing in it but what is ours.

    Its default callbacks would print to stdout, and its Adam has weight decay and another epsilon.
    The optimiser holds frozen weights too, which it lets alone as long as they have no gradient:
    to train them as well, only that has to change.
    """
    config = adversary.config
    if isinstance(generator, EncoderUNet) and config.backbone_weights is not None:
        freeze(generator.encoder, config.freeze)
    betas = config.beta1, config.beta2
    cbs = [TrainEvalCallback(), Precision(dtype), adversary]
    if generator.scale_head is not None:
        cbs.append(ScaleLearner())
    return Learner(
        data,
        generator,
        loss_func=cross_entropy if adversary.logits else PIXEL_LOSSES[config.pixel_loss],
        opt_func=partial(OptimWrapper, opt=adam, betas=betas),
        splitter=params,
        lr=config.lr,
        cbs=cbs,
        default_cbs=False,
    )


def decay_of(config: TrainConfig) -> Callable[[float], float]:
    """Return the share of the step size by the position in a fit, 0-1: flat, then falling.

    By the epoch it is as published: of 200 epochs with ``flat=0.5`` the 101st has 100/101 of the
    step size, the last 1/101.

    References
    ----------
    https://github.com/junyanz/pytorch-CycleGAN-and-pix2pix, "linear" of ``get_scheduler``.
    """
    if config.decay == "step":
        return flat_then_linear(config.flat)
    level = math.ceil(config.flat * config.epochs - 1e-6)

    def factor(position: float) -> float:
        epoch = int(position * config.epochs + 1e-6)  # a position is a quotient, and rounded
        return 1 - max(0, epoch + 1 - level) / (config.epochs - level + 1)

    return factor


def settings_of(card: ModelCard) -> TrainConfig:
    """Return the settings a model was trained with, to go on wherever it is now.

    Raises
    ------
    ModelError
        If its card does not tell.
    """
    try:
        here = {"device": "auto", "compile": False}  # what hangs on the machine
        return TrainConfig(**{**card.provenance["config"], **here})
    except (KeyError, TypeError) as error:
        raise ModelError(
            "the model's card does not tell its training settings, so it can translate but not "
            "be trained"
        ) from error


def require_size(data: DataBunch, generator: Generator, discriminator: nn.Module) -> None:
    """Refuse chips whose size the networks cannot take.

    Raises
    ------
    ModelError
        Saying which size would do.
    """
    side, stride = data.chip_size, generator.stride
    judges = (PatchGAN, MultiScale)
    smallest = discriminator.smallest if isinstance(discriminator, judges) else 1
    square = all(chip.valid.shape == (side, side) for part in data.chips for chip in part)
    if side % stride or side < smallest or not square:
        raise ModelError(
            f"chips of {side} px do not suit a generator of stride {stride} and a discriminator of "
            f"{smallest} px: export square chips whose side is a multiple of {stride}, at least "
            f"{-(-smallest // stride) * stride}"
        )
    if side < 2 * stride:
        _require_trained_taps(side, generator)


def _require_trained_taps(side: int, generator: Generator) -> None:
    """Refuse, or tell of, chips that leave weights of the innermost layers as they were drawn.

    On a chip of one stride the innermost convolution sees one window, most of it border, and the
    taps there multiply nothing but zeros. Larger tiles would use them.
    """
    if generator.tile_safe:
        raise ModelError(
            f"chips of {side} px are as small as the generator's stride: its innermost weights "
            f"would stay random, and larger tiles use them; export chips of {2 * side} px or more, "
            "or halve fewer times"
        )
    log.warning(
        "chips of %d px are as small as the generator's stride, as published: its innermost "
        "weights are trained for images of this size alone",
        side,
    )


def require_suitable(card: ModelCard, data: DataBunch) -> None:
    """Refuse data of other bands or classes than a model's.

    Raises
    ------
    ModelError
        Saying which.
    """
    for what, ours, theirs in zip(
        ("input", "target"), (card.input, card.target), data.scalings, strict=True
    ):
        if ours.count != theirs.count or bool(ours.classes) != bool(theirs.classes):
            raise ModelError(
                f"the chips' {what} has {theirs.count} bands and {len(theirs.classes)} classes, "
                f"the model's {ours.count} and {len(ours.classes)}: export chips of the same kind"
            )
