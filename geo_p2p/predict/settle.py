"""Make the tiles of a model agree, as far as the model lets itself be made; else say why not."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from geo_p2p.chips.chip import Source
from geo_p2p.errors import ModelError
from geo_p2p.predict.config import PredictConfig
from geo_p2p.predict.dihedral import Dihedral
from geo_p2p.predict.model import Model
from geo_p2p.predict.sample import sample_of

__all__ = ["Settling", "obstacle_of", "settings_of", "settle", "settlement_of", "settlement_tags"]

TAGS = {"statistics": "GEO_P2P_STATISTICS", "dropout": "GEO_P2P_DROPOUT"}
"""Settings, and where an output tells them."""


@runtime_checkable
class Settling(Model, Protocol):
    """A model whose statistics and dropout can be fixed. A plain function does without."""

    settlement: Mapping[str, str]
    """What it was settled by: settings, by name; empty of a model as it was trained."""

    @property
    def obstacle(self) -> str:
        """Why two tiles do not agree about the pixels they share."""

    def settled(
        self, sample: Callable[[], NDArray[np.float32]] | None, dropout: bool
    ) -> "Settling":
        """Return the model with the statistics of a sample, and with or without its dropout.

        The sample is read only if there are norms to need it; None leaves each tile its own.
        """


def settle(model: Model, source: Source, config: PredictConfig) -> Model:
    """Fix what makes the tiles of a model disagree, as far as the settings ask for it.

    Norms that take statistics of each tile get those of a sample of the raster, and dropout is
    switched off. If that leaves nothing that reaches farther than the halo, tiles are exact, and
    the card of what is returned says so. A model that is settled, or exact by itself, is returned
    as it is.

    Raises
    ------
    ModelError
        If exact tiles are asked for and are not to be had, or a norm cannot be fixed.
    RasterError
        If the raster cannot be read, or has no valid pixel to take statistics of.
    """
    if not (model.card.tile_safe or settlement_of(model)) and isinstance(model, Settling):
        sample = partial(sample_of, model.card, source) if config.statistics == "raster" else None
        model = model.settled(sample, config.dropout == "seeded")
    if config.exact and not model.card.tile_safe:
        raise ModelError(
            f"exact tiles are not to be had of this model: {obstacle_of(model)}; take statistics "
            "'raster' and dropout 'off', or blended tiles, or train with recipe 'seamless'"
        )
    return model


def settlement_of(model: Model) -> Mapping[str, str]:
    """What a model was settled by, if it was."""
    own = _own(model)
    return own.settlement if isinstance(own, Settling) else {}


def settlement_tags(model: Model) -> dict[str, str]:
    """Metadata items of the output that tell it."""
    return {TAGS[name]: value for name, value in settlement_of(model).items()}


def settings_of(tags: Mapping[str, str]) -> PredictConfig:
    """Return the settings by which the model of an output was settled, from its metadata."""
    default = PredictConfig()
    return PredictConfig(
        statistics=tags.get(TAGS["statistics"], default.statistics),
        dropout=tags.get(TAGS["dropout"], default.dropout),
    )


def obstacle_of(model: Model) -> str:
    """Why the tiles of a model do not agree, for people."""
    own = _own(model)
    if isinstance(own, Settling):
        return own.obstacle
    return "its card says that a tile's result hangs on the whole tile"


def _own(model: Model) -> Model:
    """The model of which eight views are averaged, or itself."""
    own: Model = model.model if isinstance(model, Dihedral) else model
    return own
