"""Where a raster holds anything at all, as its file tells without being read."""

import itertools
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray
from rasterio.enums import MaskFlags
from rasterio.windows import Window

__all__ = ["Cover"]

SOURCES = {
    *("SimpleSource", "ComplexSource", "AveragedSource", "KernelFilteredSource"),
    "NoDataFromMaskSource",
}
"""Elements of a VRT's band that lay a part of a raster into it."""


@dataclass(frozen=True)
class Cover:
    """What is known of an opened raster without reading it.

    Parameters
    ----------
    dataset : opened by rasterio.
    indexes : bands that are read, from 1.
    """

    dataset: Any
    indexes: tuple[int, ...]

    def is_blank(self, window: Window) -> bool:
        """Whether it is sure that no pixel of a window is valid; False says nothing.

        Parameters
        ----------
        window : px of the dataset, inside it.
        """
        if not self._holes_are_invalid:
            return False
        if self.dataset.driver == "VRT":
            return self._laid is not None and not self._touches(self._laid, window)
        return self.dataset.driver == "GTiff" and not self._has_tiles(window)

    def strip_bytes(self, rows: int) -> int:
        """Bytes of so many rows, if the file lies in strips as wide as it is; 0 in tiles."""
        dataset = self.dataset
        if dataset.block_shapes[0][1] < dataset.width:
            return 0
        pixel = sum(np.dtype(dataset.dtypes[index - 1]).itemsize for index in self.indexes)
        return rows * int(dataset.width) * int(pixel)

    @cached_property
    def _holes_are_invalid(self) -> bool:
        """Whether what was never written reads as nodata, and no mask says otherwise."""
        bands = [index - 1 for index in self.indexes]
        flags = [self.dataset.mask_flag_enums[band] for band in bands]
        return all(flag == [MaskFlags.nodata] for flag in flags) and all(
            self.dataset.nodatavals[band] is not None for band in bands
        )

    @cached_property
    def _laid(self) -> NDArray[np.float64] | None:
        """Left, top, right and bottom, px, of what a VRT lays out; None if it cannot be told."""
        path = Path(self.dataset.name)
        if not path.is_file():
            return None
        root = ElementTree.parse(path).getroot()
        # A warped or otherwise derived VRT makes its pixels from what lies elsewhere.
        bands = {int(band.get("band", 0)): band for band in root.findall("VRTRasterBand")}
        wanted = [bands.get(index) for index in self.indexes]
        if "subClass" in root.attrib or any(b is None or "subClass" in b.attrib for b in wanted):
            return None
        boxes = [_box(source) for band in wanted if band is not None for source in _sources(band)]
        if any(box is None for box in boxes):
            return None
        return np.array([box for box in boxes if box], np.float64).reshape(-1, 4)

    def _touches(self, boxes: NDArray[np.float64], window: Window) -> bool:
        """Whether one of the boxes shares ground with a window."""
        (top, bottom), (left, right) = window.toranges()
        inside = (boxes[:, 0] < right) & (boxes[:, 2] > left)
        return bool((inside & (boxes[:, 1] < bottom) & (boxes[:, 3] > top)).any())

    def _has_tiles(self, window: Window) -> bool:
        """Whether a GeoTIFF has one of the tiles under a window."""
        for index in self.indexes:
            height, width = self.dataset.block_shapes[index - 1]
            (top, bottom), (left, right) = window.toranges()
            rows = range(top // height, -(-bottom // height))
            cols = range(left // width, -(-right // width))
            for row, col in itertools.product(rows, cols):
                tag = f"BLOCK_OFFSET_{col}_{row}"
                if self.dataset.get_tag_item(tag, "TIFF", bidx=index) is not None:
                    return True
        return False


def _sources(band: ElementTree.Element) -> list[ElementTree.Element]:
    """Return the elements of a VRT's band that may lay something into it."""
    return [element for element in band if element.tag.endswith("Source")]


def _box(source: ElementTree.Element) -> tuple[float, ...] | None:
    """Where a source lies: left, top, right, bottom; None if that is not told."""
    place = source.find("DstRect")
    if place is None or source.tag not in SOURCES:
        return None
    left, top, width, height = (
        float(place.get(n, "nan")) for n in ("xOff", "yOff", "xSize", "ySize")
    )
    # Resampling may reach a pixel further.
    return left - 1, top - 1, left + width + 1, top + height + 1
