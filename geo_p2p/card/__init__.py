"""Plain data that go from training to prediction: scaling, model card, training settings.

Nothing here knows of rasters, files or networks; everything goes to JSON and comes back equal.
"""

from geo_p2p.card.confidence import (
    Confidence,
    confidence_path,
    fit_confidence,
    scales_of,
    scores_of,
)
from geo_p2p.card.config import PRECISIONS, RECIPES, TrainConfig
from geo_p2p.card.fit import fit_scaling, new_color
from geo_p2p.card.model import ModelCard
from geo_p2p.card.scaling import FILL, Category, Scaling, range_of
from geo_p2p.card.seen import InputRange, range_seen

__all__ = [
    "FILL",
    "PRECISIONS",
    "RECIPES",
    "Category",
    "Confidence",
    "InputRange",
    "ModelCard",
    "Scaling",
    "TrainConfig",
    "confidence_path",
    "fit_confidence",
    "fit_scaling",
    "new_color",
    "range_of",
    "range_seen",
    "scales_of",
    "scores_of",
]
