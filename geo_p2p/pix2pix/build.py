"""What a learner is put together from: two networks, their optimisers, fastai's loop."""

from functools import partial

import torch
from fastai.callback.core import TrainEvalCallback
from fastai.learner import Learner
from fastai.optimizer import OptimWrapper
from torch import nn

from geo_p2p.card import ModelCard, Scaling, TrainConfig
from geo_p2p.data import DataBunch
from geo_p2p.errors import ModelError
from geo_p2p.losses import cross_entropy, l1_loss, l2_loss
from geo_p2p.networks import (
    Generator,
    PatchGAN,
    build_discriminator,
    build_generator,
    initialise,
)
from geo_p2p.pix2pix.adversary import Adversary
from geo_p2p.pix2pix.callbacks import Precision

__all__ = [
    "build_learner",
    "build_networks",
    "discriminator_of",
    "require_size",
    "require_suitable",
    "settings_of",
]

PIXEL_LOSSES = {"l1": l1_loss, "l2": l2_loss}

GENERATOR_SETTINGS = {
    "unet": ("halvings", "ngf", "norm", "dropout"),
    "resnet": ("ngf", "norm", "dropout"),
}
"""Which settings are arguments of which generator."""


def build_networks(
    config: TrainConfig, scalings: tuple[Scaling, Scaling]
) -> tuple[Generator, nn.Module]:
    """Make generator and discriminator, with the weights that the seed of the settings draws."""
    x, y = scalings
    arguments = {
        name: getattr(config, name) for name in GENERATOR_SETTINGS.get(config.generator, ())
    }
    head = "logits" if y.classes else "tanh"
    with torch.random.fork_rng([]):  # torch's default weights cost random numbers of the user's
        generator = build_generator(
            config.generator, x.channels, y.channels, head=head, **arguments
        )
    seeded = torch.Generator().manual_seed(config.seed)
    initialise(generator, seeded)
    return generator, initialise(discriminator_of(config, scalings), seeded)


def discriminator_of(config: TrainConfig, scalings: tuple[Scaling, Scaling]) -> nn.Module:
    """Make the discriminator of some settings, with torch's default weights."""
    channels = sum(scaling.channels for scaling in scalings)
    with torch.random.fork_rng([]):
        return build_discriminator(
            "patchgan", channels, layers=config.layers, ndf=config.ndf, norm=config.norm
        )


def build_learner(
    data: DataBunch, generator: Generator, adversary: Adversary, dtype: torch.dtype
) -> Learner:
    """Set up fastai's loop with nothing in it but what is ours.

    Its default callbacks would print to stdout, and its Adam has weight decay and another epsilon.
    """
    config = adversary.config
    adam = partial(OptimWrapper, opt=torch.optim.Adam, betas=(config.beta1, config.beta2))
    return Learner(
        data,
        generator,
        loss_func=cross_entropy if adversary.logits else PIXEL_LOSSES[config.pixel_loss],
        opt_func=adam,
        lr=config.lr,
        cbs=[TrainEvalCallback(), Precision(dtype), adversary],
        default_cbs=False,
    )


def settings_of(card: ModelCard) -> TrainConfig:
    """Return the settings a model was trained with, to go on wherever it is now.

    Raises
    ------
    ModelError
        If its card does not tell.
    """
    try:
        return TrainConfig(**{**card.provenance["config"], "device": "auto"})
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
    smallest = discriminator.smallest if isinstance(discriminator, PatchGAN) else 1
    square = all(chip.valid.shape == (side, side) for part in data.chips for chip in part)
    if side % stride or side < smallest or not square:
        raise ModelError(
            f"chips of {side} px do not suit a generator of stride {stride} and a discriminator of "
            f"{smallest} px: export square chips whose side is a multiple of {stride}, at least "
            f"{-(-smallest // stride) * stride}"
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
