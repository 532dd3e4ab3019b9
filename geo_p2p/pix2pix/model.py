"""`Pix2Pix`: train, look, save, translate."""

import contextlib
import itertools
import logging
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Self

import torch
from fastai.callback.core import TrainEvalCallback
from fastai.learner import Learner
from fastai.optimizer import OptimWrapper
from torch import Tensor

from geo_p2p.card import ModelCard, TrainConfig
from geo_p2p.data import Augmentation, DataBunch
from geo_p2p.device import choose_device, choose_precision
from geo_p2p.errors import ModelError
from geo_p2p.evaluate import scores_for
from geo_p2p.losses import cross_entropy, l1_loss, l2_loss
from geo_p2p.model_file import (
    Translator,
    find_model,
    load_card,
    load_discriminator,
    load_generator,
    model_folder,
    save_model,
)
from geo_p2p.networks import build_discriminator, build_generator, calibrate_batch_norm, initialise
from geo_p2p.pix2pix.callbacks import Adversary, Precision, Schedule, Telemetry, flat_then_linear
from geo_p2p.report import Figure, loss_curves, panel
from geo_p2p.translate import predict_raster, translate_chips
from geo_p2p.version import versions

__all__ = ["Pix2Pix"]

log = logging.getLogger(__name__)

PIXEL_LOSSES = {"l1": l1_loss, "l2": l2_loss}

GENERATOR_SETTINGS = {
    "unet": ("halvings", "ngf", "norm", "dropout"),
    "resnet": ("ngf", "norm", "dropout"),
}
"""Which settings are arguments of which generator."""

Progress = Callable[[int, int], None]

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
        x, y = data.scalings
        arguments = {name: getattr(config, name) for name in GENERATOR_SETTINGS[config.generator]}
        self.generator = build_generator(
            config.generator,
            x.channels,
            y.channels,
            head="logits" if y.classes else "tanh",
            **arguments,
        )
        self.discriminator = build_discriminator(
            "patchgan",
            x.channels + y.channels,
            layers=config.layers,
            ndf=config.ndf,
            norm=config.norm,
        )
        seeded = torch.Generator().manual_seed(config.seed)
        initialise(self.generator, seeded)
        initialise(self.discriminator, seeded)
        self._begin(data, config)

    def _begin(self, data: DataBunch, config: TrainConfig) -> None:
        """Get ready to train the two networks."""
        stride = self.generator.stride
        if data.chip_size % stride or any(
            c.valid.shape != 2 * (data.chip_size,) for c in data.chips[0]
        ):
            raise ModelError(
                f"chips of {data.chip_size} px do not suit a generator of stride {stride}: "
                f"export square chips whose side is a multiple of {stride}"
            )
        self.data: DataBunch | None = data
        self.config = config
        self.history: list[dict[str, float]] = []
        self.metrics: dict[str, Any] = {}
        self.device = choose_device(config.device)
        data.configure(config.batch_size, Augmentation(config.augment, config.jitter))
        data.to(self.device)
        self._card: ModelCard | None = None
        logits = bool(data.scalings[1].classes)
        self._adversary = Adversary(self.discriminator, config, logits)
        loss = cross_entropy if logits else PIXEL_LOSSES[config.pixel_loss]
        dtype = choose_precision(config.precision, self.device, data.scalings[1].dtype)
        # torch's Adam: fastai's has weight decay, and another epsilon, by default.
        adam = partial(OptimWrapper, opt=torch.optim.Adam, betas=(config.beta1, config.beta2))
        self.learner = Learner(
            data,
            self.generator,
            loss_func=loss,
            opt_func=adam,
            lr=config.lr,
            cbs=[TrainEvalCallback(), Precision(dtype), self._adversary],
            default_cbs=False,
        )

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
        if epochs < 1:
            raise ModelError(f"{epochs} epochs: give at least 1")
        schedule = Schedule(lr or self.config.lr, flat_then_linear(self.config.flat))
        telemetry = Telemetry(self.history, self._adversary, progress is True)
        if callable(progress):
            telemetry.tell = progress
        with self._seeded(), contextlib.ExitStack() as stack:
            # fastai tells its callbacks of its own interruptions only.
            stack.callback(telemetry.close)
            stack.callback(self.learner.precision.close)
            self.learner.fit(epochs, cbs=[schedule, telemetry])
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
            torch.manual_seed(self.config.seed + len(self.history))
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
                "epochs": len(self.history),
                "chips": [len(chips) for chips in self.data.chips],
                "split": dict(origin.split),
                "versions": versions(),
            },
        )

    @property
    def translator(self) -> Translator:
        """The generator as prediction runs it."""
        return Translator(self.generator, self.card, str(self.device), self.config.precision)

    def compute_metrics(self) -> dict[str, Any]:
        """Score the translations of the validation chips, in data units.

        Returns
        -------
        dict : see `geo_p2p.metrics`; with "split" and "chips".

        Raises
        ------
        ModelError
            If there are no validation chips.
        """
        chips = self._require_data().chips[1]
        if not chips:
            raise ModelError("no validation chips to measure on: export with a validation share")
        scores = scores_for(self.card.target)
        for chip, image in zip(chips, translate_chips(self.translator, chips), strict=True):
            scores.update(image, chip.y, chip.valid)
        self.metrics = {**scores.result(), "split": "val", "chips": len(chips)}
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
        name_or_path : a name makes ``./models/<name>``; a path is taken as it is.

        Returns
        -------
        The folder: a card (.emd) and weights (.safetensors), all that prediction needs.

        Raises
        ------
        ModelError
            If it cannot be written, or the place is taken by something else.
        """
        folder = model_folder(name_or_path)
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
        model = cls.__new__(cls)
        model.generator = load_generator(found, card)
        config = TrainConfig(**card.provenance["config"])
        model.discriminator = build_discriminator(
            "patchgan",
            card.input.channels + card.target.channels,
            layers=config.layers,
            ndf=config.ndf,
            norm=config.norm,
        )
        load_discriminator(found, model.discriminator)
        if data is None:
            model.data, model._card, model.config = None, card, config
            model.history, model.metrics = [], dict(card.metrics)
            model.device = choose_device(config.device)
            return model
        _require_suitable(card, data)
        data.adopt((card.input, card.target))
        model._begin(data, config)
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


def _require_suitable(card: ModelCard, data: DataBunch) -> None:
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
