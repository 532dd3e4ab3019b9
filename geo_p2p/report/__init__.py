"""What a run shows: pictures of rasters, panels of them, curves. Arrays in, PNG files out.

Pictures are arrays of shape (rows, cols, 4), uint8, straight alpha. Figures are made with
matplotlib's `Figure` alone: pyplot keeps every figure alive and picks a window system, and a
library has no business with either.
"""

from matplotlib.figure import Figure

from .curves import loss_curves, lr_curve
from .files import save_figure
from .page import write_page
from .panels import panel
from .pictures import as_picture, robust_limits
from .strip import triptych

__all__ = [
    "Figure",
    "as_picture",
    "loss_curves",
    "lr_curve",
    "panel",
    "robust_limits",
    "save_figure",
    "triptych",
    "write_page",
]
