"""All three seam measures of a mosaic, with the model that made it at hand."""

from pathlib import Path
from typing import Any

from geo_p2p.chips.chip import Source
from geo_p2p.predict import Model, PredictConfig
from geo_p2p.predict.plan import brought_together
from geo_p2p.raster import RasterSource
from geo_p2p.seams.lattice import Lattice
from geo_p2p.seams.lines import Lines, seams_of
from geo_p2p.seams.tiled import disagreement

__all__ = ["check_seams"]


def check_seams(
    mosaic: str | Path,
    model: Model,
    source: Source,
    config: PredictConfig | None = None,
) -> dict[str, Any]:
    """Measure the seams of a translation that has just been made.

    Parameters
    ----------
    mosaic : the translation; it carries the plan of its blocks.
    model : the model, as it was given to `geo_p2p.predict.predict`.
    source : the raster that was translated.
    config : the settings of the translation; the defaults if None.

    Returns
    -------
    dict
        What `seams_of` and `disagreement` return; of a mosaic of one block "lines" alone, which
        is 0.

    Raises
    ------
    GeoP2PError
        See `seams_of` and `disagreement`.
    """
    made = RasterSource(mosaic)
    lattice = Lattice.of(made)
    if not Lines(*made.frame.shape, lattice).count:
        return {"lines": 0}
    model, source = brought_together(model, source, config or PredictConfig())
    return {**seams_of(made), **disagreement(model, source, block_size=lattice.size)}
