"""Where the first block of a raster begins, so that those of another of the same ground agree."""

from geo_p2p.errors import AlignmentError
from geo_p2p.raster import Frame

__all__ = ["first_block"]

NEAR = 0.01
"""Distance of a pixel edge from a multiple of the pixel size, px, that is rounding alone."""


def first_block(frame: Frame, size: int) -> tuple[int, int]:
    """Return where the first block of a lattice in the CRS begins: row and column, 0 or less.

    The lines of the lattice are multiples of ``size`` pixels from the origin of the CRS, whatever
    part of the ground a raster shows.

    Parameters
    ----------
    frame : of the raster, north up or south up.
    size : side of a block's core, px.

    Raises
    ------
    AlignmentError
        If the raster is turned, or its pixel edges are no multiples of the pixel size.
    """
    place = frame.transform
    if place.b or place.d:
        raise AlignmentError(
            "anchor 'crs': the raster is turned against the axes of its CRS; use anchor 'raster'"
        )
    places = place.f / place.e, place.c / place.a
    off = max(abs(edge - round(edge)) for edge in places)
    if off > NEAR:
        raise AlignmentError(
            f"anchor 'crs': the raster's corner lies {off:.2g} px off the multiples of its pixel "
            "size; warp it onto them first (gdalwarp -tap), or use anchor 'raster'"
        )
    row, col = (-(round(edge) % size) for edge in places)
    return row, col
