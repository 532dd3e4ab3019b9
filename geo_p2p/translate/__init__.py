"""Translate with a model that lies on disk; fastai is not needed for it.

To score one, see `geo_p2p.translate.scoring`: what it loads takes a third of a second.
"""

from geo_p2p.translate.arrays import predict_array
from geo_p2p.translate.many import Failure, outputs_of, plan_each, translate_each
from geo_p2p.translate.one import (
    loaded,
    open_mosaic,
    open_source,
    output_of,
    plan_raster,
    predict_raster,
    translate,
)

__all__ = [
    "Failure",
    "loaded",
    "open_mosaic",
    "open_source",
    "output_of",
    "outputs_of",
    "plan_each",
    "plan_raster",
    "predict_array",
    "predict_raster",
    "translate",
    "translate_each",
]
