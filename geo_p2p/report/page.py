"""A page to look at in a browser: tables and pictures, one file of HTML and no script."""

from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from .files import replacing
from .style import FAINT, INK, LINE, PAPER

_LOOK = f"""
body {{ font: 15px/1.5 system-ui, sans-serif; color: {INK}; background: {PAPER};
       max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }}
table {{ border-collapse: collapse; }}
td {{ border-top: 1px solid {LINE}; padding: .2rem 1.5rem .2rem 0; vertical-align: top; }}
td:first-child {{ color: {FAINT}; }}
img {{ max-width: 100%; }}
"""


def write_page(
    path: Path,
    title: str,
    tables: Mapping[str, Mapping[str, Any]],
    pictures: Mapping[str, str],
) -> Path:
    """Write a page; it appears whole or not at all.

    Parameters
    ----------
    path
        The .html file.
    title
        Its heading.
    tables
        Rows of name and value, by the heading of the table; a table without rows is left out.
    pictures
        Paths of pictures, relative to the page, by their headings.

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    GeoP2PError
        If it cannot be written.
    """
    parts = [f"<h1>{escape(title)}</h1>"]
    for heading, rows in tables.items():
        if rows:
            cells = (f"<td>{escape(n)}</td><td>{escape(_text(v))}</td>" for n, v in rows.items())
            body = "".join(f"<tr>{each}</tr>\n" for each in cells)
            parts.append(f"<h2>{escape(heading)}</h2>\n<table>\n{body}</table>")
    for heading, source in pictures.items():
        named = escape(heading)
        parts.append(f'<h2>{named}</h2>\n<img src="{escape(source)}" alt="{named}">')
    head = f'<meta charset="utf-8">\n<title>{escape(title)}</title>\n<style>{_LOOK}</style>'
    text = f'<!doctype html>\n<html lang="en">\n{head}\n' + "\n".join(parts) + "\n</html>\n"
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8")
    return path


def _text(value: Any) -> str:
    """Return a value as people read it."""
    match value:
        case None:
            return "-"
        case float():
            return f"{value:.4g}"
        case list() | tuple():
            return ", ".join(map(_text, value))
        case Mapping():
            return ", ".join(f"{name} {_text(each)}" for name, each in value.items())
    return str(value)
