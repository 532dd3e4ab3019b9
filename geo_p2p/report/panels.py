"""Grids of pictures."""

from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ..errors import GeoP2PError
from .pictures import Picture, as_rgba
from .style import DPI, FAINT, INK, LINE, PAPER
from .text import fitting, typeface, wrapped

_CELL = 512  # pixels to which a small picture is enlarged, or nearly
_GAP, _TITLE, _STEP = 16, 44, 24
_LARGE, _SMALL = 20, 16
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
        One for each column, cut short where the column is too narrow.
    caption
        Text below the grid, wrapped to its width.

    Returns
    -------
    Figure
        At 128 dots per inch.

    Raises
    ------
    GeoP2PError
        If there is no picture, one is none, or a row has not one picture for each title.
    """
    if not rows or not titles or any(len(row) != len(titles) for row in rows):
        counts = [len(row) for row in rows]
        raise GeoP2PError(f"{len(titles)} titles do not fit rows of {counts} pictures")
    rows = [[as_rgba(picture) for picture in row] for row in rows]
    sizes = [[_shown_size(picture) for picture in row] for row in rows]
    widths = [max(size[1] for size in column) for column in zip(*sizes, strict=True)]
    heights = [max(size[0] for size in row) for row in sizes]
    lines = wrapped(caption or "", typeface(_SMALL), sum(widths))
    width = sum(widths) + _GAP * (len(widths) + 1)
    bottom = _TITLE + sum(heights) + _GAP * len(heights)
    height = bottom + (_STEP * len(lines) + _GAP // 2 if lines else 0)

    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor=PAPER)
    for col, title in enumerate(titles):
        left = _GAP * (col + 1) + sum(widths[:col])
        name = fitting(title, typeface(_LARGE), widths[col])
        _write(figure, (left, _TITLE - 14), name, INK, _LARGE)
        for row, pictures in enumerate(rows):
            top = _TITLE + _GAP * row + sum(heights[:row])
            _hang(figure, pictures[col], (left, top), sizes[row][col])
    for number, line in enumerate(lines):
        _write(figure, (_GAP, bottom + _STEP // 2 + _STEP * number), line, FAINT, _SMALL)
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


def _write(figure: Figure, place: tuple[int, int], text: str, color: str, size: int) -> None:
    """Write a line `size` pixels high whose baseline starts at (left, top) pixels."""
    width, height = figure.get_size_inches() * DPI
    x, y = place[0] / width, 1 - place[1] / height
    # File names hold dollar signs; nobody means TeX.
    figure.text(x, y, text, color=color, fontsize=size / DPI * 72, parse_math=False)
