"""Split the territory first, then let each chip fall into the part that holds it whole.

``split_territory`` is the door; every method behind it draws whole units of ground (blocks,
scenes) or takes the parts as given (polygons), and the outcome is counted before it is handed out:
but for chips split at random by force, no pixel is in two parts.
"""

from geo_p2p.chips.split.areas import split_areas
from geo_p2p.chips.split.config import METHODS, PARTS, SplitConfig
from geo_p2p.chips.split.polygons import part_named, parts_in_polygons
from geo_p2p.chips.split.result import HOW, Held, Split
from geo_p2p.chips.split.territory import split_territory
from geo_p2p.chips.split.variogram import autocorrelation_range

__all__ = [
    "HOW",
    "METHODS",
    "PARTS",
    "Held",
    "Split",
    "SplitConfig",
    "autocorrelation_range",
    "part_named",
    "parts_in_polygons",
    "split_areas",
    "split_territory",
]
