"""Files that appear under their name only when they are whole."""

import itertools
import logging
import os
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import rasterio

# rasterio lets GDAL's own exceptions through where it has no name for them, and exports no base.
from rasterio._err import CPLE_BaseError
from rasterio.enums import MaskFlags
from rasterio.errors import NotGeoreferencedWarning, RasterioError

from ..errors import RasterError

__all__ = [
    "GDAL_ERRORS",
    "Reports",
    "discard",
    "one_line",
    "open_quietly",
    "partial_path",
    "publish",
    "quietly",
    "refuse_to_clobber",
    "require_whole",
    "stamp_of",
    "translated",
]

GDAL_ERRORS = (RasterioError, CPLE_BaseError, OSError, SystemError)
"""What rasterio raises when GDAL or the system fails; the last where GDAL gives no reason."""

SIDE_CARS = (".aux.xml", ".msk", ".ovr")
"""What GDAL reads beside a raster as if it were part of it."""

LEFTOVERS = (*SIDE_CARS, ".ovr.tmp", ".msk.ovr.tmp", ".vrt")
"""What may lie beside an unfinished file."""


# Changing the warning filters is not thread-safe, and neither are some drivers' open calls.
_opening = threading.Lock()


@contextmanager
def quietly() -> Iterator[None]:
    """Open rasters in here: one without a place on Earth is no reason to warn."""
    with _opening, warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        yield


def open_quietly(path: str, mode: str = "r", **creation: Any) -> Any:
    """Open a raster; one without a place on Earth is no reason to warn."""
    with quietly():
        return rasterio.open(path, mode, **creation)


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn GDAL's and the system's errors while writing ``path`` into `RasterError`."""
    try:
        yield
    except GDAL_ERRORS as error:
        raise RasterError(
            f"{path}: cannot be written ({one_line(error)}); check the folder and the space left"
        ) from error


def one_line(error: BaseException) -> str:
    """Return GDAL's own words, on one line."""
    return " ".join(str(error.__cause__ or error).split()) or type(error).__name__


class Reports(logging.Filter):
    """What GDAL reports in this thread inside a ``with`` block, raised by rasterio or not.

    GDAL reports a full disk at closing, and options it does not know, where nobody raises them;
    rasterio writes them into its log. Who else listens to that log hears no more than before.
    """

    # The first has what GDAL says at opening and closing, the second at reading and writing.
    _loggers = (logging.getLogger("rasterio._env"), logging.getLogger("rasterio._err"))
    _lock = threading.Lock()
    _listeners = 0
    _levels: Mapping[str, tuple[int, int]] = {}  # by logger: its own, and the one in force

    def __init__(self) -> None:
        super().__init__()
        self.errors: list[str] = []
        self.warnings: list[str] = []
        self._thread = threading.get_ident()

    def filter(self, record: logging.LogRecord) -> bool:
        """Note a record; let it pass if it had passed without us."""
        if record.thread != self._thread:
            return True
        text = record.getMessage()
        if record.levelno >= logging.WARNING:
            self.warnings.append(text)
        elif "signalled an error" in text:
            self.errors.append(text.partition("msg=")[2].strip("'\""))
        return record.levelno >= Reports._levels[record.name][1]

    def __enter__(self) -> "Reports":
        """Listen."""
        with self._lock:
            if not Reports._listeners:
                Reports._levels = {
                    each.name: (each.level, each.getEffectiveLevel()) for each in self._loggers
                }
                for each in self._loggers:
                    each.setLevel(min(each.getEffectiveLevel(), logging.INFO))
            Reports._listeners += 1
            for each in self._loggers:
                each.addFilter(self)
        return self

    def __exit__(self, *error: object) -> None:
        """Listen no more."""
        with self._lock:
            Reports._listeners -= 1
            for each in self._loggers:
                each.removeFilter(self)
                if not Reports._listeners:
                    each.setLevel(Reports._levels[each.name][0])


def refuse_to_clobber(path: Path, overwrite: bool) -> None:
    """Refuse a place that is taken, or whose folder does not exist.

    Raises
    ------
    RasterError
        Naming the path and what to do.
    """
    if path.is_dir():
        raise RasterError(f"{path}: is a folder; name a file")
    if path.exists() and not overwrite:
        raise RasterError(f"{path}: exists already; choose another name or say overwrite")
    if not path.absolute().parent.is_dir():
        raise RasterError(f"{path}: its folder does not exist; make it first")


def partial_path(path: Path) -> Path:
    """Where a file is written until it is whole: beside its place, one name a process."""
    return path.with_name(f".{path.name}.{os.getpid()}.part")


def stamp_of(path: str) -> list[Any]:
    """What tells a file from another of its name: place, size and time; a URI only its text."""
    file = Path(path)
    if not file.exists():
        return [path]
    stat = file.stat()
    return [str(file.absolute()), stat.st_size, stat.st_mtime_ns]


def publish(partial: Path, path: Path) -> None:
    """Move a finished GeoTIFF to its place, with the side-cars GDAL may have written.

    Raises
    ------
    OSError
        If a part of it never reached the disk.
    """
    require_whole(partial)
    for suffix in SIDE_CARS:
        side = Path(f"{partial}{suffix}")
        if side.exists():
            side.replace(f"{path}{suffix}")
        else:
            # A side-car of the file that stood here before would describe the new one wrongly.
            Path(f"{path}{suffix}").unlink(missing_ok=True)
    partial.replace(path)


def discard(partial: Path) -> None:
    """Remove an unfinished file and what GDAL may have put beside it."""
    for suffix in ("", *LEFTOVERS):
        Path(f"{partial}{suffix}").unlink(missing_ok=True)


def require_whole(path: Path) -> None:
    """Refuse a GeoTIFF of which a part never reached the disk.

    GDAL buffers the end of a file, and is silent when a full disk swallows it at closing.

    Raises
    ------
    OSError
        If a block ends behind the end of the file.
    """
    size = path.stat().st_size
    names = [str(path)]
    with open_quietly(names[0]) as dataset:
        if MaskFlags.per_dataset in dataset.mask_flag_enums[0]:
            names.append(f"GTIFF_DIR:2:{path}")
    for name in names:
        with open_quietly(name) as dataset:
            if any(end > size for end in _block_ends(dataset)):
                raise OSError("its end did not reach the disk")


def _block_ends(dataset: Any) -> Iterator[int]:
    """Where the blocks of an opened GeoTIFF end, bytes; those left out have none."""
    height, width = dataset.block_shapes[0]
    grid = itertools.product(range(-(-dataset.height // height)), range(-(-dataset.width // width)))
    for row, col in grid:
        place = f"{col}_{row}"
        offset = dataset.get_tag_item(f"BLOCK_OFFSET_{place}", "TIFF", bidx=1)
        length = dataset.get_tag_item(f"BLOCK_SIZE_{place}", "TIFF", bidx=1)
        if offset and length:
            yield int(offset) + int(length)
