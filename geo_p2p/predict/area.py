"""The part of a raster that is wanted, drawn as polygons."""

from pathlib import Path

from rasterio.windows import Window

from geo_p2p.chips.vector import VectorSource
from geo_p2p.errors import AlignmentError
from geo_p2p.raster import Frame

__all__ = ["area_of"]


def area_of(path: str | Path | None, frame: Frame, window: Window) -> VectorSource | None:
    """Read the polygons of a vector file onto a raster: a pixel is inside if its centre is.

    Parameters
    ----------
    path : any file GDAL's vector drivers read, of any CRS; None for no polygons.
    frame : the raster's.
    window : the part of it that is to be translated, px.

    Raises
    ------
    ChipError
        If they cannot be read.
    AlignmentError
        If there is none on the window.
    """
    if path is None:
        return None
    area = VectorSource(str(path), like=frame)
    if not area.touches(window):
        raise AlignmentError(
            f"{path}: none of its polygons lies in the bounds; give other bounds, or none"
        )
    return area
