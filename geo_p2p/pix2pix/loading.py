"""A saved model, opened to be used or trained on."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from torch import nn

from geo_p2p.card import ModelCard, TrainConfig
from geo_p2p.data import DataBunch
from geo_p2p.errors import ModelError
from geo_p2p.model_file import load_card, load_discriminator, load_generator
from geo_p2p.networks import Generator
from geo_p2p.pix2pix.build import discriminator_of, require_suitable, settings_of
from geo_p2p.pix2pix.checkpoints import take_up
from geo_p2p.pix2pix.state import put_weights
from geo_p2p.pix2pix.training import Training

__all__ = ["Opened"]


@dataclass(frozen=True)
class Opened:
    """Two networks from disk, with their card and settings."""

    path: Path
    card: ModelCard
    config: TrainConfig
    generator: Generator
    discriminator: nn.Module

    @classmethod
    def at(cls, path: Path, **machine: Any) -> Self:
        """Open a model's folder or .emd; device and compile of `TrainConfig` are of this machine.

        Raises
        ------
        ModelError
            If there is none, or it is damaged.
        """
        card = load_card(path)
        config = replace(settings_of(card), **machine)
        generator = load_generator(path, card)
        discriminator = discriminator_of(config, (card.input, card.target))
        load_discriminator(path, discriminator)
        return cls(path, card, config, generator, discriminator)

    def training(self, data: DataBunch) -> Training:
        """Get ready to train it on, from its state if that lies beside the weights.

        Raises
        ------
        ModelError
            If the data do not suit it, or the state is damaged.
        """
        require_suitable(self.card, data)
        data.adopt((self.card.input, self.card.target))
        before = int(self.card.provenance.get("epochs", 0))
        training = Training.of(data, self.config, self.generator, self.discriminator, before)
        take_up(training, self.path)
        training.confidence = self.card.confidence
        return training

    def lend_weights(self, training: Training) -> None:
        """Give a training of the same networks these weights, and fresh optimisers.

        Raises
        ------
        ModelError
            If its networks or data are of another kind.
        """
        require_suitable(self.card, training.data)
        ours, theirs = training.card(), self.card
        if (ours.network, ours.arguments) != (theirs.network, theirs.arguments):
            raise ModelError(
                f"{self.path}: a {theirs.network} of {dict(theirs.arguments)}, this one is a "
                f"{ours.network} of {dict(ours.arguments)}; take from_model to have the other"
            )
        training.adopt((theirs.input, theirs.target))
        put_weights(training, self.generator, self.discriminator)
