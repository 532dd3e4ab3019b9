"""Whole-pixel windows: how spans, windows and array slices turn into one another."""

from rasterio.windows import Window

__all__ = ["Span", "intersection", "overlap_of", "span_window"]

Span = tuple[int, int]


def span_window(rows: Span, cols: Span) -> Window:
    """Window of the half-open spans ``rows`` and ``cols``, in pixels."""
    return Window(cols[0], rows[0], cols[1] - cols[0], rows[1] - rows[0])


def overlap_of(outer: Window, inner: Window) -> tuple[slice, slice]:
    """Slices (rows, columns) of an array over ``outer`` that lie over ``inner``."""
    row, col = inner.row_off - outer.row_off, inner.col_off - outer.col_off
    return slice(row, row + inner.height), slice(col, col + inner.width)


def intersection(a: Window, b: Window) -> Window | None:
    """Pixels two windows share, or None."""
    rows = max(a.row_off, b.row_off), min(a.row_off + a.height, b.row_off + b.height)
    cols = max(a.col_off, b.col_off), min(a.col_off + a.width, b.col_off + b.width)
    return span_window(rows, cols) if rows[0] < rows[1] and cols[0] < cols[1] else None
