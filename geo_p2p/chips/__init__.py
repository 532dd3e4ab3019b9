"""Paired chips: cut from two rasters, kept in a folder, split by territory.

Each name is loaded from its module when it is first asked for, so that processes that only cut
chips start at once.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
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

_HOMES = {
    "Chip": "geo_p2p.chips.chip",
    "ChipFolder": "geo_p2p.chips.reader",
    "ExportConfig": "geo_p2p.chips.settings",
    "Outlook": "geo_p2p.chips.outlook",
    "Pairs": "geo_p2p.chips.pairs",
    "ReadConfig": "geo_p2p.chips.layout",
    "Split": "geo_p2p.chips.split",
    "export_chips": "geo_p2p.chips.export",
    "foresee_chips": "geo_p2p.chips.outlook",
    "open_pairs": "geo_p2p.chips.layout",
    "split_territory": "geo_p2p.chips.split",
}

# Hidden from type checkers, for which a module with __getattr__ has every name.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(_HOMES[name]), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
