"""Small GeoTIFFs by the hundred, byte for byte as GDAL writes them.

To make and close a GeoTIFF takes GDAL longer than to fill it. So it makes one of each kind; the
others are a copy of what stands before its pixels, with their own place, and their own tiles behind
it. What is to be compressed GDAL compresses, the tiles of many images as those of one. A tile is
made once for all images that are views of the same pixels there, as chips that overlap are.
"""

import functools
import itertools
import struct
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS

from .frame import Frame
from .written import written

__all__ = ["Image", "encode_tiffs"]

Image = tuple[NDArray[Any], NDArray[np.bool_], Frame]
"""Values (bands, rows, cols), valid (rows, cols), and where they are."""

Key = tuple[Any, ...]
"""What tells the pixels of a tile from those of another, as long as their images live."""

SIDE = 128
"""Side of the tiles inside a GeoTIFF, px, as ArcGIS Pro writes them; with LZW, no predictor."""

PROBE, WORTH = 4096, 0.7
"""Bytes that are tried, and how small they must become; LZW is not quite as good as what tries."""

LARGE = 1 << 26
"""Bytes of an image beyond which GDAL writes it alone: to make a file is little beside them."""

KINDS = 64
"""Kinds of which a template is kept."""

SCALE, TIE, MATRIX, OFFSETS, COUNTS = 33550, 33922, 34264, 324, 325
"""Tags by which a GeoTIFF says where its pixels are, on Earth and in the file."""

LAYOUTS = {3: "H", 4: "I", 12: "d"}
"""How `struct` names the types of such fields."""


def encode_tiffs(images: Sequence[Image]) -> Iterator[bytes]:
    """Return small rasters as GeoTIFFs, in their order.

    Parameters
    ----------
    images : where they overlap, views of one array are quicker than copies. The bytes of all are
        held at once.

    References
    ----------
    TIFF revision 6.0, sections 2 and 15; OGC GeoTIFF 1.1, https://docs.ogc.org/is/19-008r4
    """
    kinds = [_Kind.of(values, frame) for values, _, frame in images]
    tiles = [
        [] if _is_odd(values, valid) else kind.tiles(values)
        for (values, valid, _), kind in zip(images, kinds, strict=True)
    ]
    packed = _packed(dict(itertools.chain.from_iterable(tiles)))
    for (values, valid, frame), kind, own in zip(images, kinds, tiles, strict=True):
        if own:
            parts = [packed[key] for key, _ in own]
            yield b"".join([_template(kind).head(frame, [len(part) for part in parts]), *parts])
        else:
            mask = None if valid.all() else valid
            yield written("GTiff", values, frame, mask, **kind.stack.options)


class _Stack(NamedTuple):
    """What tiles share that can stand in one file."""

    dtype: np.dtype[Any]
    bands: int
    side: int
    compress: str

    @property
    def options(self) -> dict[str, Any]:
        """Creation options as ArcGIS Pro has them."""
        colour = self.dtype == np.uint8 and self.bands == 3
        return {
            "tiled": True,
            "blockxsize": self.side,
            "blockysize": self.side,
            "compress": self.compress,
            "interleave": "pixel",
            "photometric": "rgb" if colour else "minisblack",
        }


@dataclass(frozen=True)
class _Kind:
    """What images share that differ in nothing but their pixels and their place."""

    dtype: np.dtype[Any]
    shape: tuple[int, int, int]
    compress: str
    upright: bool
    wkt: str
    crs: CRS = field(compare=False)

    @classmethod
    def of(cls, values: NDArray[Any], frame: Frame) -> Self:
        """Return the kind of an image."""
        t = frame.transform
        upright = not t.b and not t.d and t.e < 0
        compress = "lzw" if _shrinks(values) else "none"
        bands, height, width = values.shape
        dtype, shape = values.dtype.newbyteorder("="), (bands, height, width)
        return cls(dtype, shape, compress, upright, frame.crs.wkt, frame.crs)

    @property
    def stack(self) -> "_Stack":
        """Its tiles: they are multiples of 16 px."""
        side = min(SIDE, -(-max(self.shape[1:]) // 16) * 16)
        return _Stack(self.dtype, self.shape[0], side, self.compress)

    def tiles(self, values: NDArray[Any]) -> list[tuple[Key, NDArray[Any]]]:
        """Cut an image of this kind into its tiles, row by row, each with what tells it."""
        stack, side = self.stack, self.stack.side
        starts = itertools.product(*(range(0, length, side) for length in self.shape[1:]))
        tiles = [values[:, row : row + side, col : col + side] for row, col in starts]
        return [((stack, t.ctypes.data, t.strides, t.shape, t.dtype.str), t) for t in tiles]


def _shrinks(values: NDArray[Any]) -> bool:
    """Whether compression pays, judged by a few rows of the middle."""
    rows = max(1, PROBE // (values[:, :1].nbytes or 1))
    top = max(0, (values.shape[1] - rows) // 2)
    sample = values[:, top : top + rows].tobytes()
    return len(zlib.compress(sample, 1)) < WORTH * len(sample)


def _is_odd(values: NDArray[Any], valid: NDArray[np.bool_]) -> bool:
    """Whether GDAL must write an image itself: it has a mask, or is large."""
    return values.nbytes > LARGE or not valid.all()


def _packed(tiles: Mapping[Key, NDArray[Any]]) -> dict[Key, bytes]:
    """Return tiles as they stand in a file."""
    stacks: defaultdict[_Stack, list[Key]] = defaultdict(list)
    for key in tiles:
        stacks[key[0]].append(key)
    found: dict[Key, bytes] = {}
    for stack, keys in stacks.items():
        pack = _interleaved if stack.compress == "none" else _compressed
        found.update(zip(keys, pack(stack, [tiles[key] for key in keys]), strict=True))
    return found


def _interleaved(stack: _Stack, tiles: Sequence[NDArray[Any]]) -> Iterator[bytes]:
    """Tiles pixel by pixel, filled up with zeros."""
    for tile in tiles:
        bands, height, width = tile.shape
        whole = np.zeros((stack.side, stack.side, bands), stack.dtype)
        for band in range(bands):  # at once, numpy would go through it pixel by pixel
            whole[:height, :width, band] = tile[band]
        yield whole.tobytes()


def _compressed(stack: _Stack, tiles: Sequence[NDArray[Any]]) -> Iterator[bytes]:
    """Tiles as GDAL compresses those of an image that is one column of them."""
    column = np.zeros((stack.bands, len(tiles) * stack.side, stack.side), stack.dtype)
    for number, tile in enumerate(tiles):
        _, height, width = tile.shape
        top = number * stack.side
        column[:, top : top + height, :width] = tile
    data = written("GTiff", column, Frame.of_pixels(*column.shape[1:]), **stack.options)
    fields = _fields(data)
    for start, size in zip(fields[OFFSETS].read(data), fields[COUNTS].read(data), strict=True):
        yield data[start : start + size]


class _Field(NamedTuple):
    """Where a field of a file is, and how its numbers are packed."""

    at: int
    layout: struct.Struct

    def read(self, data: bytes) -> tuple[Any, ...]:
        """Return its numbers."""
        return self.layout.unpack_from(data, self.at)

    def write(self, data: bytearray, numbers: Iterable[float]) -> None:
        """Put other numbers in their place."""
        self.layout.pack_into(data, self.at, *numbers)


def _fields(data: bytes) -> dict[int, _Field]:
    """Find the fields of a TIFF's first image that hold its place and its tiles, by their tags."""
    order = "<" if data[:2] == b"II" else ">"
    (start,) = struct.unpack_from(f"{order}I", data, 4)
    (count,) = struct.unpack_from(f"{order}H", data, start)
    found = {}
    for at in range(start + 2, start + 2 + 12 * count, 12):
        tag, kind, length = struct.unpack_from(f"{order}HHI", data, at)
        if tag in (SCALE, TIE, MATRIX, OFFSETS, COUNTS):
            layout = struct.Struct(f"{order}{length}{LAYOUTS[kind]}")
            # Up to four bytes stand in the entry itself; of more, it says where they are.
            inside = layout.size <= 4
            place = at + 8 if inside else struct.unpack_from(f"{order}I", data, at + 8)[0]
            found[tag] = _Field(place, layout)
    return found


@dataclass(frozen=True)
class _Template:
    """What stands before the pixels in a GeoTIFF of some kind."""

    data: bytes
    fields: Mapping[int, _Field]

    def head(self, frame: Frame, sizes: Sequence[int]) -> bytes:
        """Return it for a place, and for tiles of these sizes in bytes, which follow in order."""
        data, t = bytearray(self.data), frame.transform
        if MATRIX in self.fields:
            self._place(data, MATRIX, {0: t.a, 1: t.b, 3: t.c, 4: t.d, 5: t.e, 7: t.f})
        else:
            self._place(data, SCALE, {0: t.a, 1: -t.e})
            self._place(data, TIE, {3: t.c, 4: t.f})
        self.fields[OFFSETS].write(data, itertools.accumulate(sizes[:-1], initial=len(data)))
        self.fields[COUNTS].write(data, sizes)
        return bytes(data)

    def _place(self, data: bytearray, tag: int, numbers: Mapping[int, float]) -> None:
        """Set some numbers of a field; the others, of heights, are as GDAL has them."""
        old = self.fields[tag].read(self.data)
        self.fields[tag].write(data, [numbers.get(i, value) for i, value in enumerate(old)])


@functools.lru_cache(KINDS)
def _template(kind: _Kind) -> _Template:
    """Let GDAL write a file of a kind, and keep what stands before its pixels."""
    across, along = (0, -1) if kind.upright else (1, 1)
    _, height, width = kind.shape
    frame = Frame(height, width, Affine(1, across, 1, across, along, 1), kind.crs)
    data = written("GTiff", np.zeros(kind.shape, kind.dtype), frame, **kind.stack.options)
    fields = _fields(data)
    return _Template(data[: min(fields[OFFSETS].read(data))], fields)
