"""The only home of a prediction's defaults: command line and library read them from here."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from geo_p2p.errors import ModelError

__all__ = ["DROPOUTS", "STATISTICS", "PredictConfig"]

STATISTICS = ("raster", "tile")
"""What norms over an image take their statistics of."""

DROPOUTS = ("off", "seeded")
"""What becomes of dropout that a model keeps on."""


@dataclass(frozen=True)
class PredictConfig:
    """Settings of a prediction and their defaults.

    Parameters
    ----------
    block_size : side of a block's core, px; None for 1024, or the next the model's stride allows.
    batch_size : blocks a call of the model.
    bounds : left, bottom, right, top in CRS units of the raster; None for all of it.
    dtype : type of the output; None for the target's own.
    options : creation options of the Cloud Optimized GeoTIFF.
    keep_parts : whether to leave the block files beside the mosaic.
    statistics : of a model whose norms take statistics over each image: "raster", of a sample of
        the raster for all of it; or "tile", of each tile by itself, as in training.
    dropout : of a model that keeps it on, as the paper does: "off"; or "seeded", drawn for each
        tile by its place.
    exact : whether to refuse a model whose tiles would have to be blended.
    """

    block_size: int | None = None
    batch_size: int = 1
    bounds: tuple[float, float, float, float] | None = None
    dtype: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    keep_parts: bool = False
    statistics: str = "raster"
    dropout: str = "off"
    exact: bool = False

    def __post_init__(self) -> None:
        """Refuse sizes that cannot be."""
        if self.batch_size < 1:
            raise ModelError(f"a batch of {self.batch_size} blocks: give at least 1")
        if self.statistics not in STATISTICS:
            raise ModelError(
                f"statistics {self.statistics!r}: choose one of {', '.join(STATISTICS)}"
            )
        if self.dropout not in DROPOUTS:
            raise ModelError(f"dropout {self.dropout!r}: choose one of {', '.join(DROPOUTS)}")
