"""Paired chips: cut from two rasters, kept in a folder, split by territory."""

from geo_p2p.chips.chip import Chip
from geo_p2p.chips.export import export_chips
from geo_p2p.chips.layout import ReadConfig, open_pairs
from geo_p2p.chips.outlook import Outlook, foresee_chips
from geo_p2p.chips.pairs import Pairs
from geo_p2p.chips.reader import ChipFolder
from geo_p2p.chips.settings import ExportConfig
from geo_p2p.chips.split import Split, split_territory

__all__ = [
    "Chip",
    "ChipFolder",
    "ExportConfig",
    "Outlook",
    "Pairs",
    "ReadConfig",
    "Split",
    "export_chips",
    "foresee_chips",
    "open_pairs",
    "split_territory",
]
