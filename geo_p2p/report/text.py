"""Lines of text that fit into a number of pixels."""

from pathlib import Path

import matplotlib
from PIL import ImageFont


def typeface(size: int) -> ImageFont.FreeTypeFont:
    """Return the typeface of matplotlib's figures, which knows most alphabets, `size` in pixels."""
    file = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    return ImageFont.truetype(str(file), size)


def fitting(text: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    """Return `text` in one line, cut short with an ellipsis if it is wider than `width` pixels."""
    kept = " ".join(text.split())
    while font.getlength(kept) > width and len(kept) > 1:
        kept = kept.removesuffix("…")[:-1].rstrip() + "…"
    return kept


def wrapped(text: str, font: ImageFont.FreeTypeFont, width: int) -> list[str]:
    """Return `text` in lines of at most `width` pixels, broken between words."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and font.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines
