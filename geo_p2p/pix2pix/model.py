"""`Pix2Pix`: train, look, save, translate."""

import contextlib
import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from geo_p2p.card import ModelCard, TrainConfig
from geo_p2p.data import Augmentation, DataBunch
from geo_p2p.device import choose_device, choose_precision
from geo_p2p.errors import ModelError
from geo_p2p.evaluate import scores_for
from geo_p2p.model_file import (
    Translator,
    find_model,
    load_card,
    load_discriminator,
    load_generator,
    model_folder,
    save_model,
)
from geo_p2p.networks import calibrate_batch_norm
from geo_p2p.pix2pix.adversary import Adversary
from geo_p2p.pix2pix.build import (
    build_learner,
    build_networks,
    discriminator_of,
    require_size,
    require_suitable,
    settings_of,
)
from geo_p2p.pix2pix.callbacks import Schedule, flat_then_linear
from geo_p2p.pix2pix.features import FeatureDistance, Features
from geo_p2p.pix2pix.telemetry import Progress, Telemetry
from geo_p2p.report import Figure, loss_curves, panel
from geo_p2p.translate import predict_raster, translate_chips
from geo_p2p.version import versions

__all__ = ["Pix2Pix"]

CALIBRATION = 64
"""Batches that batch norm's statistics are taken over when training ends."""


class Pix2Pix:
    """Image-to-image translation by a conditional adversarial network.

    Parameters
    ----------
    data : chips, from `prepare_data`.
    recipe : "seamless" (tiles that agree exactly) or "paper" (as published).
    **settings : fields of `TrainConfig` to change.

    Attributes
    ----------
    generator, discriminator : plain modules.
    history : one dict an epoch.

    Raises
    ------
    ModelError
        For unknown settings, or chips whose size the generator cannot take.

    References
    ----------
    Isola et al. 2017, "Image-to-image translation with conditional adversarial networks",
    https://arxiv.org/abs/1611.07004
    """

    def __init__(self, data: DataBunch, recipe: str = "seamless", **settings: Any) -> None:
        config = TrainConfig.of(recipe, **settings)
        self.generator, self.discriminator = build_networks(config, data.scalings)
        self._begin(data, config)

    def _begin(self, data: DataBunch, config: TrainConfig, epochs: int = 0) -> None:
        """Get ready to train the two networks, which have seen some epochs before."""
        require_size(data, self.generator, self.discriminator)
        self.data: DataBunch | None = data
        self.config = config
        self.history: list[dict[str, float]] = []
        self.metrics: dict[str, Any] = {}
        self.device = choose_device(config.device)
        data.configure(config.batch_size, Augmentation(config.augment, config.jitter))
        data.to(self.device)
        self._card: ModelCard | None = None
        self._epochs_before = epochs
        target = data.scalings[1]
        self._adversary = Adversary(self.discriminator, config, bool(target.classes))
        dtype = choose_precision(config.precision, self.device, target.dtype)
        self.learn = build_learner(data, self.generator, self._adversary, dtype)

    @property
    def epochs(self) -> int:
        """Epochs trained so far, before the model was saved and loaded included."""
        return self._epochs_before + len(self.history)

    def fit(
        self, epochs: int = 10, lr: float | None = None, *, progress: bool | Progress = True
    ) -> None:
        """Train; called again, go on.

        Parameters
        ----------
        epochs : passes over the training chips.
        lr : step size; the recipe's if None.
        progress : whether to show it, on stderr; or what to call with (epochs done, in all).

        Raises
        ------
        ModelError
            Without data, or if the loss is no longer a number.
        """
        data = self._require_data()
        told = replace(self.config, epochs=epochs, lr=self.config.lr if lr is None else lr)
        schedule = Schedule(told.lr, flat_then_linear(told.flat))
        telemetry = Telemetry(self.history, self._adversary, progress)
        with self._seeded(), contextlib.ExitStack() as stack:
            # fastai tells its callbacks of its own interruptions only.
            stack.callback(telemetry.close)
            stack.callback(self.learn.precision.close)
            self.learn.fit(epochs, cbs=[schedule, telemetry])
            if telemetry.failure is not None:
                raise telemetry.failure
            # Running averages lag behind weights that still move.
            batches = (x for x, *_ in itertools.islice(_endless(data.train_dl), CALIBRATION))
            calibrate_batch_norm(self.generator, batches)
        self.generator.eval()
        self.metrics = {}

    @contextlib.contextmanager
    def _seeded(self) -> Iterator[None]:
        """Draw dropout from the run's own seed, and leave the user's random numbers alone."""
        forked = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(forked):
            torch.manual_seed(self.config.seed + self.epochs)
            yield

    @property
    def card(self) -> ModelCard:
        """The model card, as it stands."""
        if self.data is None:
            assert self._card is not None  # `from_model` gives one of the two
            return self._card
        x, y = self.data.scalings
        origin = self.data.origin
        return ModelCard(
            input=x,
            target=y,
            size=self.data.chip_size,
            network=self.config.generator,
            arguments=self.generator.arguments,
            stride=self.generator.stride,
            halo=self.generator.halo,
            tile_safe=self.generator.tile_safe and not self.config.test_dropout,
            bands=origin.bands,
            test_dropout=self.config.test_dropout,
            pixel_size=origin.pixel_size,
            crs=origin.crs,
            metrics=self.metrics,
            provenance={
                "config": self.config.to_json(),
                "epochs": self.epochs,
                "chips": [len(chips) for chips in self.data.chips],
                "split": dict(origin.split),
                "versions": versions(),
            },
        )

    @property
    def translator(self) -> Translator:
        """The generator as prediction runs it."""
        return Translator(self.generator, self.card, str(self.device), self.config.precision)

    def compute_metrics(self, *, features: Features | None = None) -> dict[str, Any]:
        """Score the translations of the validation chips, in data units.

        Parameters
        ----------
        features : a network of one's own, for the Fréchet distance: see `FeatureDistance`.

        Returns
        -------
        dict : see `geo_p2p.metrics`; with "split" and "chips", and with features "fid".

        Raises
        ------
        ModelError
            If there are no validation chips.
        GeoP2PError
            With features, if there is but one, or a feature is not finite.
        """
        chips = self._require_data().chips[1]
        if not chips:
            raise ModelError("no validation chips to measure on: export with a validation share")
        target = self.card.target
        scores = scores_for(target)
        distance = None if features is None else FeatureDistance(features, target)
        for chip, image in zip(chips, translate_chips(self.translator, chips), strict=True):
            scores.update(image, chip.y, chip.valid)
            if distance is not None:
                distance.update(image, chip.y, chip.valid)
        told = {} if distance is None else distance.result()
        self.metrics = {**scores.result(), **told, "split": "val", "chips": len(chips)}
        return self.metrics

    def show_results(self, rows: int = 2) -> Figure:
        """Draw validation chips (training chips if there are none): input, target, translation."""
        data = self._require_data()
        chips = (data.chips[1] or data.chips[0])[:rows]
        pairs = zip(chips, translate_chips(self.translator, chips), strict=True)
        titles = ["Input", "Target", "Translated"]
        return panel([data.pictures(chip, image) for chip, image in pairs], titles)

    def plot_losses(self) -> Figure:
        """Draw the losses of training and validation by epoch."""
        return loss_curves(self.history)

    def save(self, name_or_path: str | Path) -> Path:
        """Save the model.

        Parameters
        ----------
        name_or_path : a name makes ``models/<name>`` in the data's working_dir, or else in the
            working directory; a path is taken as it is.

        Returns
        -------
        The folder: a card (.emd) and weights (.safetensors), all that prediction needs.

        Raises
        ------
        ModelError
            If it cannot be written, or the place is taken by something else.
        """
        folder = model_folder(name_or_path, self.data.origin.working_dir if self.data else None)
        if self.data is not None and self.data.chips[1] and not self.metrics:
            self.compute_metrics()
        return save_model(folder, self.generator, self.card, self.discriminator)

    @classmethod
    def from_model(cls, path: str | Path, data: DataBunch | None = None) -> Self:
        """Load a saved model; with data, training can go on.

        Parameters
        ----------
        path : the model's folder, .emd, or name under ``./models``.
        data : chips of the same bands and classes; without, the model can only translate.

        Raises
        ------
        ModelError
            If there is no such model, or the data do not suit it.
        """
        found = find_model(path)
        card = load_card(found)
        config = settings_of(card)
        model = cls.__new__(cls)
        model.generator = load_generator(found, card)
        model.discriminator = discriminator_of(config, (card.input, card.target))
        load_discriminator(found, model.discriminator)
        epochs = int(card.provenance.get("epochs", 0))
        if data is None:
            model.data, model._card, model.config = None, card, config
            model.history, model.metrics = [], dict(card.metrics)
            model.device, model._epochs_before = choose_device(config.device), epochs
            return model
        require_suitable(card, data)
        data.adopt((card.input, card.target))
        model._begin(data, config, epochs)
        return model

    def predict_raster(
        self, src: str | Path, dst: str | Path | None = None, **settings: Any
    ) -> Path:
        """Translate a raster of any size: see `geo_p2p.predict_raster`."""
        return predict_raster(src, dst, model=self.translator, **settings)

    def _require_data(self) -> DataBunch:
        if self.data is None:
            raise ModelError("the model was loaded without data: give from_model(path, data)")
        return self.data


def _endless(loader: Any) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Batches of a loader, again and again."""
    while True:
        yield from loader
