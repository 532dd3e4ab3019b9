"""Translate and score with a model that lies on disk; fastai is not needed for it."""

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
from geo_p2p.translate.scoring import calibrate, evaluate_model, translate_chips

__all__ = [
    "Failure",
    "calibrate",
    "evaluate_model",
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
    "translate_chips",
    "translate_each",
]
