"""Find rasters: in a folder, by a pattern, or by the items of a local STAC file."""

import glob
import json
import logging
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from ..errors import RasterError
from .layer import open_dataset

__all__ = ["find_rasters"]

log = logging.getLogger(__name__)

SUFFIXES = frozenset(
    (".tif", ".tiff", ".vrt", ".img", ".jp2", ".j2k", ".jpg", ".jpeg", ".png", ".webp", ".asc")
    + (".ntf", ".nitf", ".hgt", ".dem", ".dt0", ".dt1", ".dt2", ".ers", ".bil", ".bip", ".bsq")
    + (".sid", ".ecw", ".mrf", ".rst", ".sdat", ".grd", ".bag", ".nc", ".hdf", ".h5", ".bmp")
)
"""Ends of the names of rasters, lower case; what lies beside one (``.tif.ovr``) ends otherwise."""

JSON = (".json", ".geojson")
"""Ends of the names of STAC files, lower case."""

SCHEME = re.compile(r"^([a-z][a-z0-9+.-]+):", re.IGNORECASE)
"""The scheme of a URL, of two letters or more: one letter is a drive."""

NETWORK = ("/vsicurl", "/vsis3", "/vsigs", "/vsiaz", "/vsiadls", "/vsioss", "/vsiswift", "/vsihdfs")
"""How GDAL's names for files on other machines begin."""


def find_rasters(spec: str | Path, asset: str | None = None) -> list[tuple[str, ...]]:
    """Find the rasters that a name stands for.

    Parameters
    ----------
    spec : a folder, of which the rasters count, sorted, without what GDAL puts beside them; a
        pattern such as ``scenes/*.tif`` (``**`` goes into folders); a STAC Item or ItemCollection
        in a local JSON file, with the asset behind a ``#`` if need be: ``items.json#visual``; or
        any raster GDAL can open.
    asset : name of the asset to take of each STAC item, or several names, ``red,green,blue``,
        whose files stack as bands of one raster; if None, the one with the role "data".

    Returns
    -------
    The files of each raster, at least one of one; several files stack.

    Raises
    ------
    RasterError
        If there is none; if an item has no such asset, several with the role "data" and none is
        named, or one on another machine; if an asset is named of what is no STAC file, or twice.

    Notes
    -----
    A VRT is left out where its sources are found as well: the ground would count twice.

    References
    ----------
    https://github.com/radiantearth/stac-spec/blob/v1.1.0/commons/assets.md
    """
    text, behind = _parted(os.fspath(spec))
    if behind is not None and asset is not None:
        raise RasterError(
            f"{text}: asset {behind!r} is named behind its #, and {asset!r} beside it; leave out "
            "one of the two"
        )
    wanted = asset if behind is None else behind
    path = Path(text)
    if path.suffix.lower() in JSON and path.is_file():
        return _assets(path, wanted)
    if wanted is not None:
        raise RasterError(
            f"{text}: no STAC file, so it has no asset {wanted!r}; choose bands by number"
        )
    return [(name,) for name in _files(text)]


def _parted(text: str) -> tuple[str, str | None]:
    """Part the name of a STAC file from that of the asset behind it."""
    path, hash_, asset = text.rpartition("#")
    if hash_ and Path(path).suffix.lower() in JSON and not Path(text).exists():
        return path, asset
    return text, None


def _files(text: str) -> list[str]:
    """The rasters of a folder or of a pattern, or the raster itself."""
    path = Path(text)
    if path.is_dir():
        found = _chosen(path.iterdir())
        if not found:
            raise RasterError(f"{text}: the folder holds no raster; name another, or a pattern")
        return found
    # In an address a question mark is no pattern.
    if path.exists() or not glob.has_magic(text) or "://" in text or text.startswith("/vsi"):
        return [text]
    matches = _matches(path)
    # What a pattern spells out is meant, whatever its name ends with.
    found = _chosen(matches) or sorted(str(match) for match in matches if match.is_file())
    if not found:
        raise RasterError(f"{text}: no raster has a name like this")
    return found


def _matches(pattern: Path) -> list[Path]:
    """What fits a pattern; its leading folders that exist are taken by their names."""
    start = Path(pattern.anchor)
    parts = list(pattern.relative_to(start).parts)
    while len(parts) > 1 and (start / parts[0]).is_dir():
        start /= parts.pop(0)
    return list(start.glob("/".join(parts)))


def _chosen(paths: Iterable[Path]) -> list[str]:
    """The rasters among some paths, sorted; hidden files are none."""
    rasters = sorted(
        path
        for path in paths
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()
    )
    known = {path.resolve() for path in rasters}
    kept = []
    for path in rasters:
        if path.suffix.lower() == ".vrt" and (sources := _sources(path)) and sources <= known:
            log.warning("%s: left out, its sources are taken one by one", path)
            continue
        kept.append(str(path))
    return kept


def _sources(path: Path) -> set[Path]:
    """The files that a VRT is made of."""
    with open_dataset(str(path)) as dataset:
        return {Path(name).resolve() for name in dataset.files} - {path.resolve()}


def _assets(path: Path, names: str | None) -> list[tuple[str, ...]]:
    """The files of the assets of each item of a STAC file."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        items = document["features"] if document["type"] == "FeatureCollection" else [document]
        if any(item["type"] != "Feature" for item in items):
            raise ValueError("a Catalog or Collection")
        assets = [
            (str(item["id"]), {key: dict(value) for key, value in item["assets"].items()})
            for item in items
        ]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise RasterError(f"{path}: not a STAC Item or ItemCollection ({error})") from error
    if not assets:
        raise RasterError(f"{path}: the STAC ItemCollection holds no item")
    return [
        tuple(_located(path, item, of_item[key]) for key in _keys(path, item, of_item, names))
        for item, of_item in assets
    ]


def _keys(path: Path, item: str, assets: Mapping[str, Any], names: str | None) -> list[str]:
    """Which assets of an item are meant: those named, or the only one with the role "data"."""
    if names is None:
        data = [key for key, value in assets.items() if "data" in (value.get("roles") or ())]
        if len(data) == 1:
            return data
        fault = f"{len(data)} assets with the role 'data'"
    else:
        wanted = [name.strip() for name in names.split(",")]
        missing = [name for name in wanted if name not in assets]
        if not missing:
            return wanted
        fault = f"no asset {missing[0]!r}"
    raise RasterError(
        f"{path}: item {item} has {fault}; choose an asset by its name, or several to stack "
        f"({path.name}#red,green,blue), of {', '.join(assets)}"
    )


def _located(path: Path, item: str, asset: Any) -> str:
    """The file of an asset; a relative one starts from the JSON file."""
    href = str(asset.get("href", ""))
    scheme = SCHEME.match(href)
    if href.startswith("file://"):
        return unquote(urlsplit(href).path)
    if not href or scheme or href.startswith(NETWORK):
        raise RasterError(
            f"{path}: item {item} is at {href or 'no address'}, which is not a file here; "
            "download it and name the copy"
        )
    return str(path.parent / href)
