"""Measure seams: in a mosaic by itself, and of the model that made it.

Three numbers, to be read together, for each alone can be passed by a mosaic that is wrong:

``r``
    Steps across the lines between blocks over steps beside them, from the file alone. 1 without
    seams. Blending, dropout and blocks out of phase pass it.
``disagreement``
    By how much two neighbouring blocks differ about the same pixels. 0 if the model is exact.
``whole``
    By how much the tiled translation differs from that of a window translated at once.
"""

from geo_p2p.seams.check import check_seams
from geo_p2p.seams.lattice import Lattice
from geo_p2p.seams.lines import seams_of
from geo_p2p.seams.tiled import disagreement

__all__ = ["Lattice", "check_seams", "disagreement", "seams_of"]
