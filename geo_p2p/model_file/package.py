"""A model as one file: a .dlpk is a zip of its folder."""

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from zipfile import BadZipFile, ZipFile, ZipInfo

from geo_p2p.errors import ModelError

__all__ = ["PACKAGE", "opened", "write_package"]

PACKAGE = ".dlpk"

WANTED = (".emd", ".safetensors", ".json")
"""Ends of the files that a model is read from; nothing else is taken out of a package."""

SWELL = 50
"""How many times its packed size a file may have: cards pack well, but not that well."""


def write_package(folder: Path, path: Path) -> None:
    """Pack a model's folder; the same files give the same bytes.

    Parameters
    ----------
    folder : of the model.
    path : the .dlpk; it may lie in the folder.
    """
    files = [file for file in sorted(folder.rglob("*")) if file.is_file() and file != path]
    with ZipFile(path, "w") as package:  # stored: weights do not pack
        for file in files:
            entry = ZipInfo(file.relative_to(folder).as_posix())
            entry.file_size = file.stat().st_size  # tells whether it needs the large format
            with package.open(entry, "w") as to, file.open("rb") as source:
                while piece := source.read(1 << 20):
                    to.write(piece)


@contextmanager
def opened(path: str | Path) -> Iterator[Path]:
    """Give the folder of a model: of a package a temporary one, of anything else the path itself.

    Raises
    ------
    ModelError
        If the package is damaged, or holds what could land outside its folder.
    """
    if Path(path).suffix.lower() != PACKAGE or not Path(path).is_file():
        yield Path(path)
        return
    with TemporaryDirectory(prefix="geo-p2p.") as place:
        folder = Path(place)
        try:
            with ZipFile(path) as package:
                _unpack(package, folder)
        except (BadZipFile, OSError, NotImplementedError, RuntimeError) as error:
            raise ModelError(f"{path}: a package that cannot be read ({error})") from error
        except ModelError as error:
            raise ModelError(f"{path}: {error}") from error
        yield folder


def _unpack(package: ZipFile, folder: Path) -> None:
    """Check all names first, then take out what a model is read from."""
    entries = package.infolist()
    for entry in entries:
        name = entry.filename
        parts = PurePosixPath(name).parts
        link = stat.S_ISLNK(entry.external_attr >> 16)
        if name.startswith("/") or ".." in parts or "\\" in name or ":" in name or link:
            raise ModelError(f"not opened: {name!r} in it could land outside its folder")
        if entry.file_size > SWELL * entry.compress_size + 4096:
            raise ModelError(f"not opened: {name!r} in it would swell to {entry.file_size} bytes")
    for entry in entries:
        if "/" not in entry.filename and entry.filename.endswith(WANTED):
            package.extract(entry, folder)
