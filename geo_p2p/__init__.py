"""Train a pix2pix on two rasters of one place, then translate rasters of any size.

::

    from geo_p2p import Pix2Pix, export_chips, predict_raster, prepare_data

The names below are the public ones. Each is loaded from its module when it is first asked
for, so that ``import geo_p2p`` loads neither torch nor fastai.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from geo_p2p.card import ModelCard, Scaling, TrainConfig
    from geo_p2p.chips import export_chips
    from geo_p2p.data import DataBunch, prepare_data
    from geo_p2p.errors import (
        AlignmentError,
        ChipError,
        GeoP2PError,
        GridError,
        ModelError,
        RasterError,
    )
    from geo_p2p.grid import TileGrid
    from geo_p2p.pix2pix import Pix2Pix, estimate_batch_size
    from geo_p2p.raster import Frame, RasterSink, RasterSource
    from geo_p2p.translate import plan_raster, predict_array, predict_raster

__version__ = "0.1.0"

__all__ = [
    "AlignmentError",
    "ChipError",
    "DataBunch",
    "Frame",
    "GeoP2PError",
    "GridError",
    "ModelCard",
    "ModelError",
    "Pix2Pix",
    "RasterError",
    "RasterSink",
    "RasterSource",
    "Scaling",
    "TileGrid",
    "TrainConfig",
    "estimate_batch_size",
    "export_chips",
    "plan_raster",
    "predict_array",
    "predict_raster",
    "prepare_data",
]

_HOMES = {
    "AlignmentError": "geo_p2p.errors",
    "ChipError": "geo_p2p.errors",
    "DataBunch": "geo_p2p.data",
    "Frame": "geo_p2p.raster",
    "GeoP2PError": "geo_p2p.errors",
    "GridError": "geo_p2p.errors",
    "ModelCard": "geo_p2p.card",
    "ModelError": "geo_p2p.errors",
    "Pix2Pix": "geo_p2p.pix2pix",
    "RasterError": "geo_p2p.errors",
    "RasterSink": "geo_p2p.raster",
    "RasterSource": "geo_p2p.raster",
    "Scaling": "geo_p2p.card",
    "TileGrid": "geo_p2p.grid",
    "TrainConfig": "geo_p2p.card",
    "estimate_batch_size": "geo_p2p.pix2pix",
    "export_chips": "geo_p2p.chips",
    "plan_raster": "geo_p2p.translate",
    "predict_array": "geo_p2p.translate",
    "predict_raster": "geo_p2p.translate",
    "prepare_data": "geo_p2p.data",
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
