"""Files that appear whole or not at all."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from matplotlib.figure import Figure

from ..errors import GeoP2PError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a name beside `path` to write to; it becomes `path` if the block ends well.

    Parameters
    ----------
    path
        File to write. One that exists is replaced in one step; its folder must exist.

    Yields
    ------
    Path
        Where to write. Removed if the block raises, and `path` is then as it was.

    Raises
    ------
    GeoP2PError
        If the system refuses to write.
    """
    part = path.with_name(f".{path.name}.{uuid4().hex[:8]}.part")
    try:
        yield part
        part.replace(path)
    except OSError as error:
        raise GeoP2PError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        with suppress(OSError):  # it is gone when all went well
            part.unlink()


def save_figure(figure: Figure, path: str | Path) -> Path:
    """Write a figure; the file appears whole or not at all.

    Parameters
    ----------
    figure
        What `panel` or `loss_curves` returned, or any other.
    path
        File to write: the suffix says how (``.png``, ``.pdf``, ``.svg``), PNG without one.

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    GeoP2PError
        If the file cannot be written, or not in this format.
    """
    path = Path(path)
    kind = path.suffix.lower().removeprefix(".") or "png"
    if kind not in figure.canvas.get_supported_filetypes():
        raise GeoP2PError(f"cannot write {path}: a figure is no {path.suffix}, use .png")
    with replacing(path) as part:
        figure.savefig(part, format=kind, dpi="figure")
    return path
