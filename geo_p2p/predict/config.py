"""The only home of a prediction's defaults: command line and library read them from here."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from geo_p2p.errors import ModelError

__all__ = ["ANCHORS", "DROPOUTS", "ON_ERROR", "STATISTICS", "PredictConfig"]

ANCHORS = ("raster", "crs")
"""Where the first block may begin."""

ON_ERROR = ("stop", "nodata")
"""What to do where the raster cannot be read."""

STATISTICS = ("raster", "tile")
"""What norms over an image take their statistics of."""

DROPOUTS = ("off", "seeded")
"""What becomes of dropout that a model keeps on."""


@dataclass(frozen=True)
class PredictConfig:
    """Settings of a prediction and their defaults.

    Parameters
    ----------
    block_size : side of a block's core, px; None for what is fastest by the model's halo, the
        raster and the memory there is.
    anchor : where blocks begin: "raster", in its corner; or "crs", on multiples of the block in
        CRS units, so that rasters of overlapping ground are translated to the same bytes where
        both reach a halo and a stride further.
    batch_size : blocks a call of the model; a network takes them one by one all the same.
    workers : threads that read, and as many that write; None for what keeps the network busy.
    dst_crs, res : CRS, and pixel size in its units, to warp the raster onto before it is
        translated; "model" for the pixel size of the training; None for the raster's own.
    resampling : how, as for `geo_p2p.raster.RasterSource`.
    bounds : left, bottom, right, top in CRS units of the output; None for all of it.
    mask : vector file, of any CRS, outside whose polygons the output is nodata; None for all.
    tta : whether to take the mean over the eight ways to turn and flip a tile.
    dtype : type of the output; None for the target's own.
    options : creation options of the Cloud Optimized GeoTIFF.
    confidence : share of the truth, 0-1, that a second file's intervals (of classes: sets) shall
        hold; None for no such file.
    keep_parts : whether to leave the block files beside the mosaic.
    resume : True to go on with what an earlier run has left or fail, False to begin anew; None to
        go on if its plan is the same, and to fail if it is another.
    shard : make only every n-th block, and no mosaic: "i/n", "auto/n" or "auto", which asks the
        launcher (see `geo_p2p.predict.shards.Shard`); None for all of them.
    scheduler : address of a Dask scheduler to run the blocks on; its workers must see the same
        files and folders.
    on_error : "stop" where the raster cannot be read, or "nodata" to give up those pixels.
    statistics : of a model whose norms take statistics over each image: "raster", of a sample of
        the raster for all of it; or "tile", of each tile by itself, as in training.
    dropout : of a model that keeps it on, as the paper does: "off"; or "seeded", drawn for each
        tile by its place.
    exact : whether to refuse a model whose tiles would have to be blended.
    """

    block_size: int | None = None
    anchor: str = "raster"
    batch_size: int = 1
    workers: int | None = None
    dst_crs: str | None = None
    res: float | tuple[float, float] | str | None = None
    resampling: str = "auto"
    bounds: tuple[float, float, float, float] | None = None
    mask: str | Path | None = None
    tta: bool = False
    dtype: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    confidence: float | None = None
    keep_parts: bool = False
    resume: bool | None = None
    shard: str | None = None
    scheduler: str | None = None
    on_error: str = "stop"
    statistics: str = "raster"
    dropout: str = "off"
    exact: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        if self.anchor not in ANCHORS:
            raise ModelError(f"anchor {self.anchor!r}: choose one of {', '.join(ANCHORS)}")
        if self.batch_size < 1:
            raise ModelError(f"a batch of {self.batch_size} blocks: give at least 1")
        if self.workers is not None and self.workers < 1:
            raise ModelError(f"{self.workers} workers: give at least 1")
        if self.on_error not in ON_ERROR:
            raise ModelError(f"on_error {self.on_error!r}: choose one of {', '.join(ON_ERROR)}")
        if self.statistics not in STATISTICS:
            raise ModelError(
                f"statistics {self.statistics!r}: choose one of {', '.join(STATISTICS)}"
            )
        if self.dropout not in DROPOUTS:
            raise ModelError(f"dropout {self.dropout!r}: choose one of {', '.join(DROPOUTS)}")
