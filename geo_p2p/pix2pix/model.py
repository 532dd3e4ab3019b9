"""`Pix2Pix`: train, look, save, translate."""

import logging
from pathlib import Path
from typing import Any, Self

from geo_p2p import processes
from geo_p2p.card import Confidence, ModelCard, TrainConfig
from geo_p2p.data import DataBunch
from geo_p2p.device import choose_device
from geo_p2p.errors import ModelError
from geo_p2p.evaluate import scores_for
from geo_p2p.model_file import find_model, model_folder, opened, save_model, write_package
from geo_p2p.pix2pix.arcgis import construction, saving
from geo_p2p.pix2pix.build import build_networks
from geo_p2p.pix2pix.checkpoints import newest_checkpoint
from geo_p2p.pix2pix.features import FeatureDistance, Features
from geo_p2p.pix2pix.loading import Opened
from geo_p2p.pix2pix.portrait import draw_portrait
from geo_p2p.pix2pix.state import write_state
from geo_p2p.pix2pix.trainable import Trainable
from geo_p2p.pix2pix.training import Training
from geo_p2p.report import Figure, panel
from geo_p2p.translate.scoring import calibrate, translate_chips

__all__ = ["Pix2Pix"]

log = logging.getLogger(__name__)


class Pix2Pix(Trainable):
    """Image-to-image translation by a conditional adversarial network.

    Parameters
    ----------
    data : chips, from `prepare_data`.
    recipe : "seamless" (tiles that agree exactly) or "paper" (as published).
    **settings : fields of `TrainConfig` to change; also pretrained_path, a model to `load`, and
        backbone and perceptual_loss of arcgis.learn: see `geo_p2p.pix2pix.arcgis`.

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

    _card: ModelCard | None = None  # of a model without data

    def __init__(self, data: DataBunch, recipe: str = "seamless", **settings: Any) -> None:
        pretrained = settings.pop("pretrained_path", None)
        config = TrainConfig.of(recipe, **construction(settings))
        self._begin(Training.of(data, config, *build_networks(config, data.scalings)))
        if pretrained is not None:
            self.load(pretrained)

    @property
    def card(self) -> ModelCard:
        """The model card, as it stands."""
        if self._training is not None:
            return self._training.card(self.metrics)
        assert self._card is not None  # `from_model` gives one of the two
        return self._card

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

    def calibrate(self) -> Confidence:
        """Measure on the validation chips how far off translations are; `save` does so too.

        Half of their ground tells by how much the scales that the model gives of its errors must
        be widened, the other half what share of the truth is then held.

        Returns
        -------
        What the card then has, for ``predict_raster(..., confidence=0.9)``.

        Raises
        ------
        ModelError
            If the model tells nothing of its errors (train it with ``confidence=True``), or there
            are no validation chips on both halves.
        """
        training = self._require_training()
        training.confidence = calibrate(self.translator, training.data.chips[1])
        return training.confidence

    def show_results(self, rows: int = 2) -> Figure:
        """Draw validation chips (training chips if there are none): input, target, translation."""
        data = self._require_data()
        chips = (data.chips[1] or data.chips[0])[:rows]
        pairs = zip(chips, translate_chips(self.translator, chips), strict=True)
        titles = ["Input", "Target", "Translated"]
        return panel([data.pictures(chip, image) for chip, image in pairs], titles)

    def save(
        self,
        name_or_path: str | Path,
        *,
        compute_metrics: bool = True,
        save_optimizer: bool = False,
        **arcgis: Any,
    ) -> Path:
        """Save the model.

        Parameters
        ----------
        name_or_path : a name makes ``models/<name>`` in the data's working_dir, or else in the
            working directory; a path is taken as it is.
        compute_metrics : whether to score it on the validation chips, if that is not done yet.
        save_optimizer : whether to write what training needs to go on as if never interrupted.
        **arcgis : framework, publish, gis and save_inference_file of arcgis.learn: see
            `geo_p2p.pix2pix.arcgis`.

        Returns
        -------
        The folder: a card (.emd) and weights (.safetensors), all that prediction needs; all of it
        once more as one file (.dlpk); ``model_metrics.html``, pictures and history to look at.

        Raises
        ------
        ModelError
            If it cannot be written, or the place is taken by something else.
        """
        saving(arcgis)
        training = self._training
        folder = model_folder(name_or_path, self.data.origin.working_dir if self.data else None)
        if processes.rank():  # the first of several writes
            return folder
        if self.data is not None and self.data.chips[1] and compute_metrics and not self.metrics:
            self.compute_metrics()
        if training is not None and self.config.confidence and training.confidence is None:
            self._calibrate_at_last()
        card = self.card

        def add(place: Path) -> None:
            if training is not None:
                draw_portrait(place, folder.name, training, card, self.show_results())
                if save_optimizer:
                    write_state(training, place)
            write_package(place, place / f"{folder.name}.dlpk")

        return save_model(folder, self.generator, card, self.discriminator, add)

    def _calibrate_at_last(self) -> None:
        """Calibrate, unless it cannot be: what was trained for hours is saved all the same."""
        try:
            self.calibrate()
        except ModelError as error:
            log.warning("saved without confidence: %s", error)

    def load(self, name_or_path: str | Path) -> None:
        """Take over the weights of a saved model of the same networks; settings stay.

        Parameters
        ----------
        name_or_path : name under ``models`` in the data's working_dir or the working directory, a
            model's folder, .emd or .dlpk.

        Raises
        ------
        ModelError
            If there is no such model, or its networks or bands are others.
        """
        training = self._require_training()
        home = model_folder(name_or_path, training.data.origin.working_dir)
        with opened(home if home.exists() else find_model(name_or_path)) as found:
            Opened.at(found).lend_weights(training)
        self._forget()

    @classmethod
    def from_model(
        cls,
        path: str | Path,
        data: DataBunch | None = None,
        *,
        device: str = "auto",
        compile: bool = False,
    ) -> Self:
        """Load a saved model; with data, training can go on.

        Parameters
        ----------
        path : the model's folder, .emd, .dlpk, or name under ``./models``; a checkpoint; or the
            folder of a run, for its newest checkpoint.
        data : chips of the same bands and classes; without, the model can only translate.
        device, compile : see `TrainConfig`; those of the training may not suit this machine.

        Raises
        ------
        ModelError
            If there is no such model, or the data do not suit it.
        """
        found = find_model(path)
        model = cls.__new__(cls)
        with opened(newest_checkpoint(found) or found) as place:
            saved = Opened.at(place, device=device, compile=compile)
            if data is not None:
                model._begin(saved.training(data))
                return model
        model.data, model._card = None, saved.card
        model.config, model.generator = saved.config, saved.generator
        model.discriminator = saved.discriminator
        model.history, model.metrics = [], dict(saved.card.metrics)
        model.device = choose_device(saved.config.device)
        return model
