"""Paired chips: cut from two rasters, kept in a folder, split by territory."""

from .chip import Chip
from .export import ExportConfig, export_chips
from .folder import ChipFolder
from .split import Split, split_territory

__all__ = ["Chip", "ChipFolder", "ExportConfig", "Split", "export_chips", "split_territory"]
