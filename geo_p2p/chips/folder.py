"""Tell a chip folder from others, and what in it is nobody else's."""

from pathlib import Path

from geo_p2p.chips.cut import SIDES
from geo_p2p.chips.own import OURS

__all__ = ["foreign_files", "is_chip_folder"]


def is_chip_folder(folder: Path) -> bool:
    """Whether a folder holds exported chips, ours or ArcGIS Pro's."""
    return all((folder / side).is_dir() for side in SIDES)


def foreign_files(folder: Path) -> list[str]:
    """Names in a chip folder that no export writes; a trained model, say."""
    ours = {*SIDES, *OURS, "map.txt", "stats.txt"}
    names = sorted(item.name for item in folder.iterdir())
    return [name for name in names if name not in ours and not name.startswith(("esri_", "."))]
