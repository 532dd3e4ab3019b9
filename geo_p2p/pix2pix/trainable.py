"""The half of `Pix2Pix` that trains."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from fastai.callback.core import Callback
from fastai.learner import Learner

from geo_p2p.data import DataBunch
from geo_p2p.errors import ModelError
from geo_p2p.networks import freeze
from geo_p2p.pix2pix.arcgis import fitting
from geo_p2p.pix2pix.checkpoints import run_folder
from geo_p2p.pix2pix.fit import fit
from geo_p2p.pix2pix.lr_find import chosen, sweep
from geo_p2p.pix2pix.plan import FitConfig, plan_of
from geo_p2p.pix2pix.progress import Progress
from geo_p2p.pix2pix.training import Training
from geo_p2p.pix2pix.usable import Usable
from geo_p2p.report import lr_curve

__all__ = ["Trainable"]


class Trainable(Usable):
    """A model with a training, if it has data.

    Attributes
    ----------
    learn : fastai's loop, for whoever knows it.
    metrics : the last scores, of the weights as they are.
    """

    learn: Learner
    metrics: dict[str, Any]
    _training: Training | None = None

    def _begin(self, training: Training) -> None:
        self._training = training
        self.data = training.data
        self.config = training.config
        self.generator = training.generator
        self.discriminator = training.adversary.discriminator
        self.learn = training.learn
        self.history = training.history
        self.device = training.device
        self.metrics = {}

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

    @property
    def plan(self) -> FitConfig | None:
        """What the last fit was asked for, also one in another process; None before any."""
        return None if self._training is None else self._training.plan

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
        plan = plan_of(epochs, lr, training.epochs, fitting(settings))
        if folder is not None:
            training.folder = run_folder(folder, training.epochs)
        self._forget()
        fit(training, plan, progress, callbacks)

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
        self._forget()
        plan = replace(training.plan, epochs=epochs or training.plan.epochs)
        fit(training, plan, progress)

    def unfreeze(self) -> None:
        """Let every layer be trained, those of a backbone with weights of its own too."""
        super().unfreeze()
        if self._training is None:
            return
        training = self._training
        if training.average is not None:  # the mean is used, and not trained
            freeze(training.learn.model, False)
            training.average.network.requires_grad_(False)
        self.config = training.config = replace(training.config, freeze=False)

    def lr_find(
        self,
        allow_plot: bool = True,
        *,
        start_lr: float = 1e-6,
        end_lr: float = 1.0,
        num_it: int = 150,
        mixed_precision: bool = False,
    ) -> float:
        """Look for a step size by training with ever larger ones; nothing of it remains.

        Both networks' step size is raised together; what is watched is the generator's whole loss,
        smoothed. Of an adversary that tells little about a long training: take the number for an
        upper bound, and the recipe's for a start.

        Parameters
        ----------
        allow_plot : whether to draw the sweep, as `lr_figure`.
        start_lr, end_lr, num_it : of the sweep: from, to, in so many steps.
        mixed_precision : the constructor's here; only False can be had.

        Returns
        -------
        A step size in the midst of the longest stretch of falling losses.

        Raises
        ------
        ModelError
            Without data, or if the loss falls nowhere.
        """
        fitting({"mixed_precision": mixed_precision})
        swept = sweep(self._require_training(), start_lr, end_lr, num_it)
        rate = chosen(swept.rates, swept.losses)
        if allow_plot:
            self.lr_figure = lr_curve(swept.rates, swept.losses, rate)
        return rate

    def _forget(self) -> None:
        """Forget what was measured: the weights will be others."""
        self.metrics = {}
        self._require_training().confidence = None

    def _require_data(self) -> DataBunch:
        return self._require_training().data

    def _require_training(self) -> Training:
        if self._training is None:
            raise ModelError("the model was loaded without data: give from_model(path, data)")
        return self._training
