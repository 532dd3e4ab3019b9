"""Plain data that go from training to prediction: scaling, model card, training settings.

Nothing here knows of rasters, files or networks; everything goes to JSON and comes back equal.
"""

from geo_p2p.card.config import RECIPES, TrainConfig
from geo_p2p.card.fit import fit_scaling, new_color
from geo_p2p.card.model import ModelCard
from geo_p2p.card.scaling import FILL, Category, Scaling, range_of

__all__ = [
    "FILL",
    "RECIPES",
    "Category",
    "ModelCard",
    "Scaling",
    "TrainConfig",
    "fit_scaling",
    "new_color",
    "range_of",
]
