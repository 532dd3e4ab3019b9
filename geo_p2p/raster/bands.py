"""What a raster's bands hold: type, nodata, names, units, colours."""

import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import rasterio.shutil
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.io import MemoryFile

from .files import GDAL_ERRORS

__all__ = [
    "Bands",
    "Color",
    "alpha_band",
    "colour_bands",
    "common_nodata",
    "fits",
    "mask_bands",
    "read_bands",
    "stacked",
]

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
    def palette(self) -> dict[int, Color]:
        """The colours that a GeoTIFF can hold: none for types other than uint8 and uint16."""
        return dict(self.colors) if self.dtype in ("uint8", "uint16") else {}

    @property
    def full_range(self) -> tuple[float, float]:
        """Smallest and largest number the type holds (floats: -inf, inf)."""
        kind = np.dtype(self.dtype)
        if kind.kind == "f":
            return -np.inf, np.inf
        info = np.iinfo(kind)
        return float(info.min), float(info.max)


def fits(value: float, dtype: str) -> bool:
    """Whether a pixel of a type can have this value: some files declare a nodata that none can.

    Integers of 64 bits beyond 2**53 do not count: rasterio hands nodata on as a double, and GDAL
    then writes -2**63 as -9.
    """
    if np.dtype(dtype).kind == "f":
        return bool(not np.isfinite(value) or abs(value) <= np.finfo(dtype).max)
    info = np.iinfo(dtype)
    low, high = max(info.min, -(2**53)), min(info.max, 2**53)
    return bool(low <= value <= high and value == int(value))


def stacked(parts: Sequence[Bands], order: Sequence[int]) -> Bands:
    """Describe the bands of several files as those of one.

    Parameters
    ----------
    parts : one description a file.
    order : positions of the bands, from 0, counted through all parts; a band may come twice.
    """

    def ordered(values: Sequence[Any]) -> tuple[Any, ...]:
        return tuple(values[position] for position in order)

    if len(parts) == len(order) == 1:
        return parts[0]
    dtype = np.result_type(*(part.dtype for part in parts)).name
    scaled = any(part.scales or part.offsets for part in parts)
    scales = [scale for part in parts for scale in part.scales or (1.0,) * part.count]
    offsets = [offset for part in parts for offset in part.offsets or (0.0,) * part.count]
    return Bands(
        count=len(order),
        dtype=dtype,
        nodata=common_nodata([part.nodata for part in parts], dtype),
        names=ordered([name for part in parts for name in part.names]),
        units=ordered([unit for part in parts for unit in part.units]),
        interp=ordered([interp for part in parts for interp in part.interp]),
        scales=ordered(scales) if scaled else (),
        offsets=ordered(offsets) if scaled else (),
    )


def common_nodata(nodata: Sequence[float | None], dtype: str) -> float | None:
    """Return the nodata value that all share and the type can hold, or None."""
    # NaN differs from itself; its name does not.
    first = nodata[0] if len({str(value) for value in nodata}) == 1 else None
    return None if first is None or not fits(first, dtype) else first


def read_bands(dataset: Any, indexes: tuple[int, ...]) -> Bands:
    """Describe bands ``indexes`` (from 1) of an opened rasterio dataset."""

    def pick(values: Any) -> tuple[Any, ...]:
        return tuple(values[i - 1] for i in indexes)

    colors: dict[int, Color] = {}
    classes: dict[int, str] = {}
    if len(indexes) == 1 and dataset.colorinterp[indexes[0] - 1] is ColorInterp.palette:
        # A file may say "palette" and have none: rasterio raises.
        with suppress(ValueError):
            colors = dict(dataset.colormap(indexes[0]))
    if len(indexes) == 1 and np.dtype(dataset.dtypes[indexes[0] - 1]).kind in "iu":
        classes = _category_names(dataset, indexes[0])
    dtype = np.result_type(*pick(dataset.dtypes)).name
    scales, offsets = pick(dataset.scales), pick(dataset.offsets)
    plain = all(s == 1 for s in scales) and all(o == 0 for o in offsets)
    return Bands(
        count=len(indexes),
        dtype=dtype,
        nodata=common_nodata(pick(dataset.nodatavals), dtype),
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
    try:
        with MemoryFile(ext=".vrt") as memory:
            rasterio.shutil.copy(dataset, memory.name, driver="VRT")
            xml = memory.read()
    except GDAL_ERRORS:  # what no VRT can stand for has no names either
        return {}
    band = ElementTree.fromstring(xml).find(f"VRTRasterBand[@band='{index}']")
    names = band.findall("CategoryNames/Category") if band is not None else []
    return {value: name.text for value, name in enumerate(names) if name.text}


def alpha_band(dataset: Any) -> int | None:
    """Find the alpha band; its number, from 1."""
    for index, interp in zip(dataset.indexes, dataset.colorinterp, strict=True):
        if interp is ColorInterp.alpha:
            return int(index)
    return None


def colour_bands(dataset: Any) -> tuple[int, ...]:
    """All bands but alpha of an 8-bit colour image, near infrared included; () for others."""
    alpha = alpha_band(dataset)
    indexes = tuple(i for i in dataset.indexes if i != alpha)
    colours = {ColorInterp.red, ColorInterp.green, ColorInterp.blue}
    eight_bit = all(dataset.dtypes[i - 1] == "uint8" for i in indexes)
    return indexes if eight_bit and colours <= set(dataset.colorinterp) else ()


def mask_bands(dataset: Any, indexes: tuple[int, ...]) -> tuple[int, ...]:
    """Bands whose GDAL masks say something that the alpha band does not; one where all share it."""
    flags = {i: set(dataset.mask_flag_enums[i - 1]) for i in indexes}
    own = tuple(i for i in indexes if not flags[i] & {MaskFlags.all_valid, MaskFlags.alpha})
    shared = own and all(MaskFlags.per_dataset in flags[i] for i in own)
    return own[:1] if shared else own
