"""A training: two networks, their optimisers, the loop, and what has been seen so far."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import torch
from fastai.learner import Learner
from torch import nn

from geo_p2p import processes
from geo_p2p.card import Confidence, ModelCard, Scaling, TrainConfig
from geo_p2p.data import Augmentation, DataBunch
from geo_p2p.device import choose_device, choose_precision
from geo_p2p.model_file import Translator
from geo_p2p.networks import Generator
from geo_p2p.pix2pix.adversary import Adversary
from geo_p2p.pix2pix.average import Average
from geo_p2p.pix2pix.build import build_learner, require_size
from geo_p2p.pix2pix.compiled import compile_networks
from geo_p2p.pix2pix.plan import FitConfig
from geo_p2p.pix2pix.together import Together
from geo_p2p.version import versions

__all__ = ["Training"]


@dataclass
class Training:
    """All that changes while a model is trained.

    Parameters
    ----------
    data, config : chips and settings.
    learn : fastai's loop; its model is the generator that is trained.
    adversary : holds the discriminator and its optimiser.
    average : running mean of the generator, if there is one.
    before : epochs that were trained before the history begins.
    history : one dict an epoch.
    plan : of the last fit.
    folder : of the run: checkpoints, history, pictures; None until one is known.
    source : folder of the checkpoints it was taken up from, if that is another run's.
    confidence : how far off the weights as they are may be, if that was measured.
    """

    data: DataBunch
    config: TrainConfig
    learn: Learner
    adversary: Adversary
    average: Average | None = None
    before: int = 0
    history: list[dict[str, float | None]] = field(default_factory=list)
    plan: FitConfig | None = None
    folder: Path | None = None
    source: Path | None = None
    confidence: Confidence | None = None

    @classmethod
    def of(
        cls,
        data: DataBunch,
        config: TrainConfig,
        generator: Generator,
        discriminator: nn.Module,
        before: int = 0,
    ) -> Self:
        """Get ready to train two networks, which have seen some epochs before.

        Raises
        ------
        ModelError
            For chips whose size the networks cannot take, a device that is not there, or one for
            which nothing can be compiled here.
        """
        require_size(data, generator, discriminator)
        device = choose_device(processes.join(config.device))
        data.configure(config.batch_size, Augmentation(config.augment, config.jitter))
        data.to(device)
        # Optimisers keep their moments where their weights are when they are restored.
        generator.to(device)
        discriminator.to(device)
        target = data.scalings[1]
        adversary = Adversary(discriminator, config, bool(target.classes))
        dtype = choose_precision(config.precision, device, target.dtype)
        learn = build_learner(data, generator, adversary, dtype)
        learn.create_opt()
        average = Average(generator, config.ema) if config.ema else None
        if average is not None:
            learn.add_cb(average)
        if processes.count() > 1:
            learn.add_cb(Together())
        if config.compile:
            compile_networks(device, generator, discriminator)
        return cls(data, config, learn, adversary, average, before)

    def adopt(self, scalings: tuple[Scaling, Scaling]) -> None:
        """Scale as another model does, whose weights are taken over."""
        config, device = self.config, self.device
        self.data.adopt(scalings)
        self.data.configure(config.batch_size, Augmentation(config.augment, config.jitter))
        self.data.to(device)

    @property
    def generator(self) -> Generator:
        """What is validated, saved and used: the running mean, if there is one."""
        if self.average is not None:
            return self.average.network
        network: Generator = self.learn.model
        return network

    @property
    def device(self) -> torch.device:
        """Where it happens."""
        return torch.device(self.data.device)

    @property
    def epochs(self) -> int:
        """Epochs trained so far."""
        return self.before + len(self.history)

    @property
    def rows(self) -> list[dict[str, float | None]]:
        """The epochs of the last fit, of the history."""
        return [] if self.plan is None else self.history[self.plan.first - self.before :]

    @property
    def translator(self) -> Translator:
        """The generator as prediction runs it."""
        return Translator(self.generator, self.card(), str(self.device), self.config.precision)

    def card(self, metrics: Mapping[str, Any] | None = None) -> ModelCard:
        """Make the model card as it stands, with scores of the weights as they are."""
        x, y = self.data.scalings
        origin, generator = self.data.origin, self.generator
        return ModelCard(
            input=x,
            target=y,
            size=self.data.chip_size,
            network=self.config.generator,
            arguments=generator.arguments,
            stride=generator.stride,
            halo=generator.halo,
            tile_safe=generator.tile_safe and not self.config.test_dropout,
            bands=origin.bands,
            test_dropout=self.config.test_dropout,
            pixel_size=origin.pixel_size,
            crs=origin.crs,
            metrics=metrics or {},
            confidence=self.confidence,
            seen=self.data.seen,
            provenance={
                "config": self.config.to_json(),
                "epochs": self.epochs,
                "chips": [len(chips) for chips in self.data.chips],
                "split": dict(origin.split),
                "versions": versions(),
            },
        )
