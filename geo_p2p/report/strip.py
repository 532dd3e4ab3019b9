"""Pictures side by side in one file, pixel for pixel."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw

from ..errors import GeoP2PError
from .files import replacing
from .pictures import Picture, as_rgba
from .style import FAINT, INK, LINE, PAPER
from .text import fitting, typeface, wrapped

GUTTER = 8


def triptych(
    path: str | Path,
    images: Sequence[Picture],
    titles: Sequence[str],
    *,
    caption: str | None = None,
) -> Path:
    """Write pictures side by side, as `input | truth | translated`, to one PNG.

    Every pixel of a picture is a pixel of the file, with its transparency; nothing is resampled.
    A strip above each picture holds its title, cut short where the picture is too narrow.

    Parameters
    ----------
    path
        PNG to write, whatever its suffix; it appears whole or not at all.
    images
        Shape (rows, cols, 4) each, or (rows, cols, 3), or (rows, cols) in grey; uint8. Sizes may
        differ; their tops are aligned.
    titles
        One for each picture.
    caption
        A line or more below, wrapped to the width of the file.

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    GeoP2PError
        If there are no pictures, the titles are not as many, one is no picture, or the file
        cannot be written.
    """
    if not images or len(images) != len(titles):
        raise GeoP2PError(f"{len(images)} pictures with {len(titles)} titles cannot be laid out")
    sheet = _sheet([as_rgba(image) for image in images], titles, caption)
    path = Path(path)
    with replacing(path) as part:
        sheet.save(part, format="PNG")
    return path


def _sheet(images: Sequence[Picture], titles: Sequence[str], caption: str | None) -> Image.Image:
    widths = [image.shape[1] for image in images]
    total = sum(widths) + GUTTER * (len(widths) + 1)
    points = min(max(min(widths) // 24, 13), 28)
    title_font, caption_font = typeface(points), typeface(max(points * 4 // 5, 11))
    lines = wrapped(caption or "", caption_font, total - 2 * GUTTER)
    top, step = 2 * points, caption_font.size * 3 // 2
    bottom = top + max(image.shape[0] for image in images) + GUTTER
    height = bottom + (int(step * len(lines)) + GUTTER if lines else 0)

    sheet = Image.new("RGBA", (total, height), PAPER)
    draw = ImageDraw.Draw(sheet)
    left = GUTTER
    for image, title in zip(images, titles, strict=True):
        rows, cols = image.shape[:2]
        name = fitting(title, title_font, cols)
        draw.text((left, top - points * 2 // 3), name, INK, title_font, anchor="ls")
        # The outline lies in the gutter: white maps end somewhere, and no pixel is covered.
        draw.rectangle((left - 1, top - 1, left + cols, top + rows), outline=LINE)
        sheet.paste(Image.fromarray(image), (left, top))
        left += cols + GUTTER
    for number, line in enumerate(lines, start=1):
        draw.text((GUTTER, bottom + step * number), line, FAINT, caption_font, anchor="ls")
    return sheet
