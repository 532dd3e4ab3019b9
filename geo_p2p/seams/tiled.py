"""By how much neighbouring blocks disagree, and the tiled translation differs from the whole."""

import math
from collections.abc import Sequence
from itertools import product
from typing import Any

from rasterio.windows import Window

from geo_p2p.chips.chip import Source
from geo_p2p.errors import GeoP2PError, RasterError
from geo_p2p.grid import span_window
from geo_p2p.grid.windows import Span
from geo_p2p.predict import Model
from geo_p2p.predict.differences import Differences
from geo_p2p.predict.plan import require_bands
from geo_p2p.seams.tilings import Blended, Exact, Tiling

__all__ = ["MEMORY", "disagreement"]

MEMORY = 2 * 2**30
"""Bytes that the translation of a window at once may take."""

PIXEL = 1536
"""Bytes that a network holds at most for each pixel it sees, and half as much to be sure: 1000 of a
ResNet of 64 channels in fp32, 400 of a U-Net."""


def disagreement(
    model: Model,
    source: Source,
    *,
    block_size: int,
    memory: int | None = None,
) -> dict[str, Any]:
    """Compare neighbouring blocks of a translation with each other, and with the whole.

    Parameters
    ----------
    model : any callable with a card.
    source : the raster to translate; its bands in the order the model was trained on.
    block_size : side of a block's core, px; of no account to a model that is not tile-safe.
    memory : bytes; the largest window whose translation at once fits is compared, over a crossing
        of lines between blocks, and of nine of these the one with the most valid pixels. None for
        `MEMORY`, or what the least window takes, whose halo may be wide.

    Returns
    -------
    dict
        ``disagreement``
            Of a model that is tile-safe, the first stride of pixels behind each line: as the block
            keeps them that owns them, and as the block before would, had it read one stride
            further. Of one that is not, the pixels two tiles share, before any blending.
        ``whole``
            Of the tiled translation to that of the window at once.
        ``window``
            Row, column, height and width of the window, px.

        The first two hold "mean", "p99" and "max" of the absolute difference in output units (of
        classes: 1 where they differ), "scaled_mean" and "scaled_max" of what the network gives
        (on [-1, 1]; of classes their scores), and "pixels".

    Raises
    ------
    ModelError
        If the raster's bands are not what the model takes, or what it gives is not finite.
    GridError
        If the block size is no multiple of the stride.
    GeoP2PError
        If no window fits.
    RasterError
        If there is no line between blocks, or no valid pixel.

    Notes
    -----
    A block is exact in its core only: compared in its halo, an exact model would seem to disagree.
    So the block before is grown by a stride and keeps its halo, and its origin, thus its phase.
    """
    card = model.card
    require_bands(card, source)
    tiling: Tiling
    tiling = Exact(model, source, block_size) if card.tile_safe else Blended(model, source)
    if memory is None:
        memory = max(MEMORY, _least(tiling.margin, card.stride))
    window = _window(source, tiling, _side(memory, tiling.margin, card.stride), card.stride)
    parts, whole = Differences(card.target), Differences(card.target)
    for seen in tiling.twice(window):
        parts.add(*seen)
    whole.add(*tiling.both(window))
    if not parts.pixels:
        raise RasterError(f"{source.name}: no valid pixel along the lines between blocks")
    place = [window.row_off, window.col_off, window.height, window.width]
    return {"disagreement": parts.result(), "whole": whole.result(), "window": place}


def _side(memory: int, margin: int, stride: int) -> int:
    """Side of the largest window whose translation at once fits, px: two strides or more."""
    side = (math.isqrt(max(0, memory) // PIXEL) - 2 * margin) // stride * stride
    if side < 2 * stride:
        raise GeoP2PError(
            f"{memory} bytes hold no window across two blocks with {margin} px around it; give at "
            f"least {_least(margin, stride)}"
        )
    return side


def _least(margin: int, stride: int) -> int:
    """Bytes that the translation of the smallest window at once may take: two strides."""
    return (2 * stride + 2 * margin) ** 2 * PIXEL


def _window(source: Source, tiling: Tiling, side: int, stride: int) -> Window:
    """Choose a window over a crossing of lines: of nine, the one with the most valid pixels."""
    height, width = source.frame.shape
    down, across = tiling.lines
    if not (down or across):
        raise RasterError(
            f"{source.name}: {width} x {height} px are no more than one block, so there are none "
            "to disagree"
        )
    best, most = source.frame.window, 0.0
    for row, col in product(_few(down, height), _few(across, width)):
        rows, cols = _around(row, side, height, stride), _around(col, side, width, stride)
        window = span_window(rows, cols)
        share = float(source.read(window)[1].mean())
        if share > most:
            best, most = window, share
        if most == 1:
            break
    if not most:
        raise RasterError(f"{source.name}: no valid pixel where blocks meet, in nine places")
    return best


def _few(lines: Sequence[int], length: int) -> list[int]:
    """Return up to three lines, the middle one first; the middle of the axis if there are none."""
    picks = dict.fromkeys(len(lines) * quarter // 4 for quarter in (2, 1, 3))
    return [lines[pick] for pick in picks] if lines else [length // 2]


def _around(line: int, side: int, length: int, stride: int) -> Span:
    """Span of ``side`` px around a line, inside the axis, that begins at a multiple of stride."""
    start = -(-max(0, min(line - side // 2, length - side)) // stride) * stride
    return start, min(start + side, length)
