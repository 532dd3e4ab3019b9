"""Paired chips: cut from two rasters, kept in a folder, split by territory."""

from geo_p2p.chips.chip import Chip
from geo_p2p.chips.export import export_chips
from geo_p2p.chips.folder import ChipFolder
from geo_p2p.chips.settings import ExportConfig
from geo_p2p.chips.split import Split, split_territory

__all__ = ["Chip", "ChipFolder", "ExportConfig", "Split", "export_chips", "split_territory"]
