"""What a raster's bands hold: type, nodata, names, units, colours."""

import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import rasterio.shutil
from rasterio.enums import ColorInterp
from rasterio.io import MemoryFile

__all__ = ["Bands", "Color", "read_bands"]

Color = tuple[int, int, int, int]


@dataclass(frozen=True)
class Bands:
    """Everything about a raster but where it is and its values.

    Parameters
    ----------
    count : number of bands, alpha not counted.
    dtype : numpy name of the type all bands share.
    nodata : value that means "nothing here", or None; NaN for floats that use it.
    names, units : description and unit of each band, "" where there is none; empty for all "".
    colors : palette of a class raster, {value: (r, g, b, a)}, 0-255; empty if it has none.
    classes : names of class values, {value: name}; empty if the file has none.
    interp : GDAL colour interpretation of each band ("red", "gray", ...); empty if unknown.
    scales, offsets : unit = value * scale + offset, per band; empty for 1 and 0.
    """

    count: int
    dtype: str
    nodata: float | None = None
    names: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    colors: Mapping[int, Color] = field(default_factory=dict)
    classes: Mapping[int, str] = field(default_factory=dict)
    interp: tuple[str, ...] = ()
    scales: tuple[float, ...] = ()
    offsets: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        """Copy the mappings, and read None as no palette."""
        object.__setattr__(self, "colors", dict(self.colors or {}))
        object.__setattr__(self, "classes", dict(self.classes or {}))

    @property
    def categorical(self) -> bool:
        """Whether values are class numbers: the raster has a palette or class names."""
        return self.count == 1 and bool(self.colors or self.classes or self.interp == ("palette",))

    @property
    def full_range(self) -> tuple[float, float]:
        """Smallest and largest number the type holds (floats: -inf, inf)."""
        kind = np.dtype(self.dtype)
        if kind.kind == "f":
            return -np.inf, np.inf
        info = np.iinfo(kind)
        return float(info.min), float(info.max)


def read_bands(dataset: Any, indexes: tuple[int, ...]) -> Bands:
    """Describe bands ``indexes`` (from 1) of an opened rasterio dataset."""

    def pick(values: Any) -> tuple[Any, ...]:
        return tuple(values[i - 1] for i in indexes)

    colors: dict[int, Color] = {}
    classes: dict[int, str] = {}
    if len(indexes) == 1 and dataset.colorinterp[indexes[0] - 1] is ColorInterp.palette:
        colors = dict(dataset.colormap(indexes[0]))
    if len(indexes) == 1 and np.dtype(dataset.dtypes[indexes[0] - 1]).kind in "iu":
        classes = _category_names(dataset, indexes[0])
    scales, offsets = pick(dataset.scales), pick(dataset.offsets)
    plain = all(s == 1 for s in scales) and all(o == 0 for o in offsets)
    return Bands(
        count=len(indexes),
        dtype=np.result_type(*pick(dataset.dtypes)).name,
        nodata=dataset.nodatavals[indexes[0] - 1],
        names=tuple(name or "" for name in pick(dataset.descriptions)),
        units=tuple(unit or "" for unit in pick(dataset.units)),
        colors=colors,
        classes=classes,
        interp=tuple(i.name for i in pick(dataset.colorinterp)),
        scales=() if plain else scales,
        offsets=() if plain else offsets,
    )


def _category_names(dataset: Any, index: int) -> dict[int, str]:
    """Class names GDAL keeps for a band; rasterio has no call for them, a VRT's XML shows them."""
    with MemoryFile(ext=".vrt") as memory:
        rasterio.shutil.copy(dataset, memory.name, driver="VRT")
        xml = memory.read()
    band = ElementTree.fromstring(xml).find(f"VRTRasterBand[@band='{index}']")
    names = band.findall("CategoryNames/Category") if band is not None else []
    return {value: name.text for value, name in enumerate(names) if name.text}


