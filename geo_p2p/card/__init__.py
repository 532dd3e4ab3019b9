"""Plain data that go from training to prediction: scaling, model card, training settings.

Nothing here knows of rasters, files or networks; everything goes to JSON and comes back equal.
"""

from .config import RECIPES, TrainConfig
from .model import ModelCard
from .scaling import FILL, Category, Scaling

__all__ = ["FILL", "RECIPES", "Category", "ModelCard", "Scaling", "TrainConfig"]
