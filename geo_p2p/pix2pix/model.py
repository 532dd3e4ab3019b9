"""`Pix2Pix`: train, look, save, translate."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from fastai.callback.core import Callback

from geo_p2p.card import ModelCard, TrainConfig
from geo_p2p.data import DataBunch
from geo_p2p.device import choose_device
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
from geo_p2p.pix2pix.build import (
    build_networks,
    discriminator_of,
    require_suitable,
    settings_of,
)
from geo_p2p.pix2pix.features import FeatureDistance, Features
from geo_p2p.pix2pix.checkpoints import newest_checkpoint, run_folder, take_up
from geo_p2p.pix2pix.fit import fit
from geo_p2p.pix2pix.plan import FitConfig, plan_of
from geo_p2p.pix2pix.progress import Progress
from geo_p2p.pix2pix.training import Training
from geo_p2p.report import Figure, loss_curves, panel
from geo_p2p.translate import predict_raster, translate_chips

__all__ = ["Pix2Pix"]


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
        self._begin(Training.of(data, config, *build_networks(config, data.scalings)))

    def _begin(self, training: Training) -> None:
        self._training: Training | None = training
        self._card: ModelCard | None = None
        self.data: DataBunch | None = training.data
        self.config = training.config
        self.generator = training.generator
        self.discriminator = training.adversary.discriminator
        self.learn = training.learn
        self.history = training.history
        self.device = training.device
        self.metrics: dict[str, Any] = {}

    @property
    def epochs(self) -> int:
        """Epochs trained so far, before the model was saved and loaded included."""
        if self._training is None:
            return int(self.card.provenance.get("epochs", 0))
        return self._training.epochs

    @property
    def folder(self) -> Path | None:
        """Where the run's checkpoints, history and pictures lie; None where there are none."""
        return None if self._training is None else self._training.folder

    def fit(
        self,
        epochs: int = FitConfig.epochs,
        lr: float | None = None,
        *,
        folder: str | Path | None = None,
        progress: bool | Progress = True,
        callbacks: Sequence[Callback] = (),
        **settings: Any,
    ) -> None:
        """Train; called again, go on.

        The weights at the end are those of the best epoch (``checkpoint=False``: of the last).

        Parameters
        ----------
        epochs : passes over the training chips.
        lr : largest step size; the recipe's if None.
        folder : of the run: checkpoints, history.csv and pictures. If None that of the last fit,
            or else a new one, named by the time, under ``models`` in the data's working_dir or in
            the working directory; none with ``checkpoint=False``.
        progress : whether to show it, on stderr; or what to call with (epochs done, in all).
        callbacks : more callbacks for fastai's loop.
        **settings : one_cycle, early_stopping, checkpoint, tensorboard, monitor and wandb of
            `geo_p2p.pix2pix.plan.FitConfig`.

        Raises
        ------
        ModelError
            Without data, or if a loss is no longer a number: the weights are then those of the
            last epoch before.
        """
        training = self._require_training()
        plan = plan_of(epochs, lr, training.epochs, settings)
        if folder is not None:
            training.folder = run_folder(folder, training.epochs)
        self._run(training, plan, progress, callbacks)

    def resume(self, epochs: int | None = None, *, progress: bool | Progress = True) -> None:
        """Go on with the fit that made a checkpoint, as if it had not been interrupted.

        Parameters
        ----------
        epochs : of that fit in all; as many as it was asked for if None. With more, the step size
            goes on where the schedule of so many epochs is at this point.
        progress : see `fit`.

        Raises
        ------
        ModelError
            If the model is not from a checkpoint.
        """
        training = self._require_training()
        if training.plan is None:
            raise ModelError("there is no fit to go on with: load a checkpoint, or call fit")
        self._run(training, replace(training.plan, epochs=epochs or training.plan.epochs), progress)

    def _run(
        self,
        training: Training,
        plan: FitConfig,
        progress: bool | Progress,
        callbacks: Sequence[Callback] = (),
    ) -> None:
        self.metrics = {}
        fit(training, plan, progress, callbacks)

    @property
    def card(self) -> ModelCard:
        """The model card, as it stands."""
        if self._training is not None:
            return self._training.card(self.metrics)
        assert self._card is not None  # `from_model` gives one of the two
        return self._card

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
        path : the model's folder, .emd, or name under ``./models``; a checkpoint; or the folder of
            a run, for its newest checkpoint.
        data : chips of the same bands and classes; without, the model can only translate.

        Raises
        ------
        ModelError
            If there is no such model, or the data do not suit it.
        """
        found = find_model(path)
        found = newest_checkpoint(found) or found
        card = load_card(found)
        config = settings_of(card)
        generator = load_generator(found, card)
        discriminator = discriminator_of(config, (card.input, card.target))
        load_discriminator(found, discriminator)
        model = cls.__new__(cls)
        if data is not None:
            require_suitable(card, data)
            data.adopt((card.input, card.target))
            before = int(card.provenance.get("epochs", 0))
            training = Training.of(data, config, generator, discriminator, before)
            take_up(training, found)
            model._begin(training)
            return model
        model._training, model.data, model._card, model.config = None, None, card, config
        model.generator, model.discriminator = generator, discriminator
        model.history, model.metrics = [], dict(card.metrics)
        model.device = choose_device(config.device)
        return model

    def predict_raster(
        self, src: str | Path, dst: str | Path | None = None, **settings: Any
    ) -> Path:
        """Translate a raster of any size: see `geo_p2p.predict_raster`."""
        return predict_raster(src, dst, model=self.translator, **settings)

    def _require_data(self) -> DataBunch:
        return self._require_training().data

    def _require_training(self) -> Training:
        if self._training is None:
            raise ModelError("the model was loaded without data: give from_model(path, data)")
        return self._training
