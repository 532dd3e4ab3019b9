"""Grids of pictures."""

import textwrap
from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ..errors import GeoP2PError
from .pictures import Picture
from .style import DPI, FAINT, INK, LINE, PAPER

_CELL = 512  # pixels to which a small picture is enlarged, or nearly
_GAP, _TITLE, _STEP = 16, 44, 24
_HOLE = "#f3f4f6"


def panel(
    rows: Sequence[Sequence[Picture]], titles: Sequence[str], *, caption: str | None = None
) -> Figure:
    """Return a grid of pictures under column titles.

    Small pictures are enlarged by a whole factor, so that each of their pixels is a square of one
    size; transparent pixels show a hatched ground.

    Parameters
    ----------
    rows
        Rows of pictures, one for each title: (rows, cols, 4) uint8, see `as_picture`.
    titles
        One for each column.
    caption
        Text below the grid, wrapped to its width.

    Returns
    -------
    Figure
        At 128 dots per inch.

    Raises
    ------
    GeoP2PError
        If there is no picture, or a row has more or fewer pictures than there are titles.
    """
    if not rows or not titles or any(len(row) != len(titles) for row in rows):
        counts = [len(row) for row in rows]
        raise GeoP2PError(f"{len(titles)} titles do not fit rows of {counts} pictures")
    sizes = [[_shown_size(picture) for picture in row] for row in rows]
    widths = [max(size[1] for size in column) for column in zip(*sizes, strict=True)]
    heights = [max(size[0] for size in row) for row in sizes]
    lines = _wrapped(caption or "", sum(widths))
    width = sum(widths) + _GAP * (len(widths) + 1)
    height = _TITLE + sum(heights) + _GAP * len(heights) + _STEP * len(lines)
    height += _GAP // 2 if lines else 0

    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor=PAPER)
    for col, title in enumerate(titles):
        left = _GAP * (col + 1) + sum(widths[:col])
        _write(figure, left, _TITLE - 14, title, color=INK, fontsize=11)
        for row, pictures in enumerate(rows):
            top = _TITLE + _GAP * row + sum(heights[:row])
            _hang(figure, pictures[col], (left, top), sizes[row][col])
    for number, line in enumerate(reversed(lines)):
        baseline = height - _GAP - _STEP * number
        _write(figure, _GAP, baseline, line, color=FAINT, fontsize=9)
    return figure


def _shown_size(picture: Picture) -> tuple[int, int]:
    """Return the height and width in pixels at which a picture is shown."""
    rows, cols = picture.shape[:2]
    longest = max(rows, cols)
    if longest > 2 * _CELL:
        return max(rows * 2 * _CELL // longest, 1), max(cols * 2 * _CELL // longest, 1)
    factor = max(_CELL // longest, 1)
    return rows * factor, cols * factor


def _hang(figure: Figure, picture: Picture, place: tuple[int, int], size: tuple[int, int]) -> None:
    """Put a picture at (left, top) pixels, over a hatched ground with a thin frame."""
    (left, top), (rows, cols) = place, size
    width, height = figure.get_size_inches() * DPI
    x, y, w, h = left / width, 1 - (top + rows) / height, cols / width, rows / height
    dx, dy = 1 / width, 1 / height  # the frame lies outside the picture and covers none of it
    frame = Rectangle((x - dx, y - dy), w + 2 * dx, h + 2 * dy, facecolor=LINE, linewidth=0)
    ground = Rectangle((x, y), w, h, facecolor=_HOLE, edgecolor=LINE, hatch="/////", linewidth=0)
    for patch in (frame, ground):
        patch.set(transform=figure.transFigure, zorder=-1)
        figure.add_artist(patch)
    axes = figure.add_axes((x, y, w, h))
    axes.set_axis_off()
    shrunk = rows < picture.shape[0]
    axes.imshow(picture, aspect="auto", interpolation="auto" if shrunk else "nearest")


def _write(
    figure: Figure, left: int, baseline: int, text: str, *, color: str, fontsize: int
) -> None:
    """Write a line of text that starts at (left, baseline) pixels from the top left corner."""
    width, height = figure.get_size_inches() * DPI
    figure.text(left / width, 1 - baseline / height, text, color=color, fontsize=fontsize)


def _wrapped(text: str, width: int) -> list[str]:
    """Return `text` in lines that fit into `width` pixels at 9 points."""
    letter = 9 / 72 * DPI * 0.56  # the mean letter of the typeface
    return textwrap.wrap(text, max(int(width / letter), 8))
