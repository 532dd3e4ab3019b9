"""Every error raised on purpose.

::

    GeoP2PError                 anything geo_p2p refuses to do
    ├── GridError               a tiling that cannot exist (also a ValueError)
    ├── RasterError             a raster that cannot be opened, read or written
    │   └── AlignmentError      two rasters that do not share ground or lattice
    ├── ChipError               a chip folder that is missing, empty or inconsistent
    └── ModelError              weights or a model card that cannot be used

The tree follows what a caller can do about it, not the module it comes from. A message says
what is wrong, where, and what to do, in one line: the command line prints it as it stands.
"""

__all__ = [
    "AlignmentError",
    "ChipError",
    "GeoP2PError",
    "GridError",
    "ModelError",
    "RasterError",
]


class GeoP2PError(Exception):
    """Anything geo_p2p refuses to do; the root of the tree."""


class GridError(GeoP2PError, ValueError):
    """A tiling that cannot exist: an overlap as large as the tile, a size below one pixel."""


class RasterError(GeoP2PError):
    """A raster that cannot be opened, read or written."""


class AlignmentError(RasterError):
    """Two rasters that share no ground, or lie on different lattices."""


class ChipError(GeoP2PError):
    """A chip folder that is missing, empty or inconsistent."""


class ModelError(GeoP2PError):
    """Weights or a model card that cannot be used."""
