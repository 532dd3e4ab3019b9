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

SCHEME = re.compile(r"^([a-z][a-z0-9+.-]+):", re.IGNORECASE)
"""The scheme of a URL, of two letters or more: one letter is a drive."""

NETWORK = ("/vsicurl", "/vsis3", "/vsigs", "/vsiaz", "/vsiadls", "/vsioss", "/vsiswift", "/vsihdfs")
"""How GDAL's names for files on other machines begin."""


def find_rasters(spec: str | Path, asset: str | None = None) -> list[str]:
    """Find the rasters that a name stands for.

    Parameters
    ----------
    spec : a folder, of which the rasters count, sorted, without what GDAL puts beside them; a
        pattern such as ``scenes/*.tif`` (``**`` goes into folders); a STAC Item or ItemCollection
        in a local JSON file; or any raster GDAL can open.
    asset : name of the asset to take of each STAC item; if None, the one with the role "data".

    Returns
    -------
    Their paths, at least one.

    Raises
    ------
    RasterError
        If there is none, or an item has no such asset, several, or one on another machine.

    Notes
    -----
    A VRT is left out where its sources are found as well: the ground would count twice.

    References
    ----------
    https://github.com/radiantearth/stac-spec/blob/v1.1.0/commons/assets.md
    """
    text = os.fspath(spec)
    path = Path(text)
    if path.is_dir():
        found = _chosen(path.iterdir())
        if not found:
            raise RasterError(f"{text}: the folder holds no raster; name another, or a pattern")
        return found
    if path.suffix.lower() in (".json", ".geojson") and path.exists():
        return _assets(path, asset)
    if path.exists() or not glob.has_magic(text):
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


def _assets(path: Path, name: str | None) -> list[str]:
    """The asset of each item of a STAC file."""
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
    return [_located(path, item, _picked(path, item, of_item, name)) for item, of_item in assets]


def _picked(path: Path, item: str, assets: Mapping[str, Any], name: str | None) -> Any:
    """The asset of this name, or the only one with the role "data"."""
    data = [key for key, value in assets.items() if "data" in (value.get("roles") or ())]
    wanted = data if name is None else [key for key in assets if key == name]
    if len(wanted) == 1:
        return assets[wanted[0]]
    what = f"no asset {name!r}" if name else f"{len(data)} assets with the role 'data'"
    raise RasterError(
        f"{path}: item {item} has {what}; choose an asset by its name: {', '.join(assets)}"
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
