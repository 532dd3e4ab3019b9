"""What can be done with a model that is there, whether it was trained now or loaded."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from geo_p2p.card import ModelCard, TrainConfig
from geo_p2p.chips.layout import DATASETS
from geo_p2p.data import DataBunch
from geo_p2p.errors import RasterError
from geo_p2p.model_file import Translator
from geo_p2p.networks import BACKBONES, GENERATORS, Generator, freeze
from geo_p2p.pix2pix.plan import available_metrics
from geo_p2p.report import Figure, loss_curves
from geo_p2p.translate import predict_array, predict_raster

__all__ = ["Usable"]


class Usable:
    """A generator with its card, and what it serves for.

    Attributes
    ----------
    generator, discriminator : plain modules.
    data : chips; None for a model that was loaded without.
    config : the settings it was trained with.
    device : where it is.
    history : one dict an epoch.
    lr_figure : the sweep that `lr_find` drew last; None before.
    """

    generator: Generator
    discriminator: nn.Module
    data: DataBunch | None
    config: TrainConfig
    device: torch.device
    history: list[dict[str, float | None]]
    lr_figure: Figure | None = None

    @property
    def card(self) -> ModelCard:
        """The model card, as it stands."""
        raise NotImplementedError

    @property
    def translator(self) -> Translator:
        """The generator as prediction runs it."""
        return Translator(self.generator, self.card, str(self.device), self.config.precision)

    def predict_raster(
        self, src: str | Path, dst: str | Path | None = None, **settings: Any
    ) -> Path:
        """Translate a raster of any size: see `geo_p2p.predict_raster`."""
        return predict_raster(src, dst, model=self.translator, **settings)

    def predict_array(self, image: Any, valid: Any = None, **settings: Any) -> Any:
        """Translate an array, or an xarray.DataArray: see `geo_p2p.predict_array`."""
        return predict_array(image, valid, model=self.translator, **settings)

    def predict(self, path: str | Path) -> Path:
        """Translate one image, under arcgis.learn's name for it.

        Where arcgis.learn divides by 255, resizes to a chip, shows and returns nothing, this is
        `predict_raster`: of any size, type and number of bands, and georeferenced.

        Parameters
        ----------
        path : the image.

        Returns
        -------
        ``<stem>_translated.tif`` in the data's working_dir, or else in the working directory; a
        file of that name is replaced, so that a notebook can be run again.

        Raises
        ------
        RasterError
            If the image cannot be read, or the translation not be written.
        ModelError
            If its bands are not what the model takes.
        """
        home = (self.data.origin.working_dir if self.data is not None else None) or Path()
        try:
            home.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RasterError(f"{home}: cannot be made ({error.strerror})") from error
        name = f"{Path(path).stem}_translated.tif"
        return self.predict_raster(path, home / name, overwrite=True)

    def plot_losses(self) -> Figure:
        """Draw the losses of training and validation by epoch."""
        return loss_curves(self.history)

    def unfreeze(self) -> None:
        """Let every layer be trained, those of a backbone with weights of its own too."""
        freeze(self.generator, False)
        freeze(self.discriminator, False)

    @property
    def available_metrics(self) -> list[str]:
        """What `fit` can monitor: all there is, or after an epoch what the history holds."""
        return available_metrics(self.history)

    @property
    def supported_backbones(self) -> list[str]:
        """Networks of torchvision and kinds of generator: ``Pix2Pix(data, backbone=...)``."""
        return [*sorted(GENERATORS), *BACKBONES]

    @property
    def supported_datasets(self) -> list[str]:
        """Kinds of pairs that `geo_p2p.prepare_data` opens: its dataset_type."""
        return list(DATASETS)
