"""Chips as bytes: what is copied and put together is what GDAL would have written."""

from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import assume, given
from hypothesis import strategies as st
from rasterio.crs import CRS
from rasterio.io import MemoryFile
from rasterio.windows import Window

from geo_p2p.raster import FORMATS, PIXELS, Frame, encode, encode_many, tiff
from geo_p2p.raster.written import written

UTM = CRS.from_epsg(32633)
HERE = Affine(0.5, 0, 500_000, 0, -0.5, 5_300_000)
TYPES = (
    "uint8",
    "int8",
    "uint16",
    "int16",
    "uint32",
    "int32",
    "float32",
    "float64",
    ">u2",
    "int64",
)
SYSTEMS = {
    "utm": UTM,
    "degrees": CRS.from_epsg(4326),
    "with heights": CRS.from_epsg(5555),
    "in feet, of no authority": CRS.from_string("+proj=laea +lat_0=10 +ellps=bessel +units=us-ft"),
    "pixels": PIXELS,
}
PLACES = {
    "upright": HERE,
    "at the origin": Affine(2, 0, 0, 0, -2, 0),
    "turned": HERE * Affine.rotation(30),
    "a quarter turn": Affine(0, 1, 7, 1, 0, 9),
    "south up": Affine(2, 0, 5, 0, 2, 7),
    "mirrored": Affine(-2, 0, 7, 0, -3, 9),
    "sheared": Affine(1, 0, 3, 1e-9, -1, 4),
    "unit pixels": Affine(1, 0, 0, 0, -1, -3),
    "no place": Affine.identity(),
    "no place, upright": Affine(1, 0, 0, 0, -1, 0),
}


def values_of(kind: str, dtype: str, shape: tuple[int, int, int]) -> np.ndarray:
    """Return noise, which is not compressed, or stripes, which are."""
    if kind == "noise":
        bits = np.dtype(dtype).itemsize * 8 - 1
        noise = np.random.default_rng(7).integers(0, 2 ** min(bits, 40), shape)
        return noise.astype(dtype)
    stripes = (np.arange(shape[2]) // 16).astype(dtype)
    return np.broadcast_to(stripes, shape)


def as_gdal(values: np.ndarray, valid: np.ndarray, frame: Frame) -> bytes:
    """Return the file as GDAL writes it, one image by itself."""
    options = tiff._Kind.of(values, frame).stack.options
    return written("GTiff", values, frame, None if valid.all() else valid, **options)


@pytest.mark.parametrize("kind", ["noise", "stripes"])
@pytest.mark.parametrize("dtype", TYPES)
def test_the_bytes_are_gdal_s_whatever_the_pixels(dtype: str, kind: str) -> None:
    for shape in ((1, 256, 256), (3, 128, 130), (4, 16, 17), (2, 1, 1), (5, 100, 300)):
        values, valid = values_of(kind, dtype, shape), np.ones(shape[1:], bool)
        frame = Frame(*shape[1:], HERE, UTM)
        assert encode("TIFF", values, valid, frame)[".tif"] == as_gdal(values, valid, frame)


@pytest.mark.parametrize("crs", SYSTEMS.values(), ids=SYSTEMS)
@pytest.mark.parametrize("transform", PLACES.values(), ids=PLACES)
def test_the_bytes_are_gdal_s_wherever_the_pixels_are(transform: Affine, crs: CRS) -> None:
    for kind in ("noise", "stripes"):
        values, valid = values_of(kind, "uint8", (1, 40, 130)), np.ones((40, 130), bool)
        for window in (Window(0, 0, 130, 40), Window(17, 900, 130, 40)):
            frame = Frame(1000, 1000, transform, crs).crop(window)
            assert encode("TIFF", values, valid, frame)[".tif"] == as_gdal(values, valid, frame)


@given(
    numbers=st.tuples(*[st.floats(-1e7, 1e7, allow_subnormal=False)] * 6),
    upright=st.booleans(),
)
def test_the_bytes_are_gdal_s_for_any_transform(numbers: tuple[float, ...], upright: bool) -> None:
    a, b, c, d, e, f = numbers
    transform = Affine(abs(a) + 1, 0, c, 0, -abs(e) - 1, f) if upright else Affine(*numbers)
    assume(not transform.is_degenerate)  # which `Frame`s of files are not either
    frame = Frame(16, 16, transform, UTM)
    values = values_of("noise", "uint8", (1, 16, 16))
    data = encode("TIFF", values, np.ones((16, 16), bool), frame)[".tif"]
    assert data == as_gdal(values, np.ones((16, 16), bool), frame)


@given(
    places=st.lists(st.tuples(st.integers(0, 200), st.integers(0, 100)), min_size=1, max_size=12),
    shape=st.tuples(st.integers(1, 150), st.integers(1, 150)),
    step=st.sampled_from([1, 16, 128]),
    bands=st.integers(1, 4),
)
def test_images_that_overlap_are_what_they_are_alone(
    places: list[tuple[int, int]], shape: tuple[int, int], step: int, bands: int
) -> None:
    """One half of the whole is compressed, the other is not; one pixel of it is invalid."""
    whole = np.random.default_rng(1).integers(0, 256, (bands, 360, 260), dtype="uint8")
    whole[:, :, 130:] //= 64
    seen = np.ones((360, 260), bool)
    seen[180, 130] = False
    lattice = Frame(360, 260, HERE, UTM)
    images = []
    for row, col in places:
        window = Window(col // step * step, row // step * step, shape[1], shape[0])
        at = window.toslices()
        images.append((whole[:, *at], seen[at], lattice.crop(window)))
    together = list(encode_many("TIFF", images))
    assert together == [encode("TIFF", v.copy(), m, frame) for v, m, frame in images]
    for (values, valid, frame), files in zip(images, together, strict=True):
        with MemoryFile(files[".tif"]) as memory, memory.open() as chip:
            assert np.array_equal(chip.read(), values)
            assert np.array_equal(chip.read_masks(1) > 0, valid)
            assert chip.transform.almost_equals(frame.transform, 1e-9)
            assert (chip.crs, chip.nodata, chip.overviews(1)) == (UTM, None, [])
            assert chip.block_shapes[0][0] <= 128


def test_images_of_any_kind_may_be_encoded_together() -> None:
    images = []
    for dtype in TYPES:
        for kind, shape in (
            ("noise", (1, 20, 30)),
            ("stripes", (3, 140, 30)),
            ("noise", (3, 8, 8)),
        ):
            frame = Frame(*shape[1:], HERE * Affine.rotation(len(images)), UTM)
            valid = np.ones(shape[1:], bool)
            valid[0, 0] = len(images) % 5 > 0
            images.append((values_of(kind, dtype, shape), valid, frame))
    for image, files in zip(images, encode_many("TIFF", images), strict=True):
        assert files == encode("TIFF", *image)
        assert files[".tif"] == as_gdal(*image)
    assert list(encode_many("TIFF", [])) == []


def test_views_that_begin_at_one_pixel_are_told_apart() -> None:
    values, valid = values_of("noise", "uint8", (1, 32, 32)), np.ones((32, 32), bool)
    frame = Frame(32, 32, HERE, UTM)
    views = (values, np.broadcast_to(values[:, :1], values.shape), values.transpose(0, 2, 1))
    images = [(view, valid, frame) for view in views]
    together = [files[".tif"] for files in encode_many("TIFF", images)]
    assert together == [as_gdal(*image) for image in images]
    assert len(set(together)) == 3


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_of_many_what_it_gives_of_one(name: str) -> None:
    values = values_of("noise", "uint8", (3, 64, 64))
    frame = Frame(64, 64, HERE, UTM)
    corner, hole = np.ones((64, 64), bool), np.zeros((64, 64), bool)
    hole[3:] = True
    images = [(values, corner, frame), (values[:, ::-1], hole, frame.crop(Window(0, 0, 64, 64)))]
    assert list(encode_many(name, images)) == [encode(name, *image) for image in images]


def test_a_large_image_is_gdal_s_own(monkeypatch: pytest.MonkeyPatch) -> None:
    values, frame = values_of("noise", "uint8", (1, 64, 64)), Frame(64, 64, HERE, UTM)
    small = encode("TIFF", values, np.ones((64, 64), bool), frame)
    calls: list[Any] = []

    def spy(*image: Any, **options: Any) -> bytes:
        calls.append(image[1].shape)
        return written(*image, **options)

    monkeypatch.setattr(tiff, "written", spy)
    assert encode("TIFF", values, np.ones((64, 64), bool), frame) == small
    assert not calls  # the template is there already
    monkeypatch.setattr(tiff, "LARGE", 100)
    assert encode("TIFF", values, np.ones((64, 64), bool), frame) == small
    assert calls == [values.shape]


def test_a_tile_that_images_share_is_compressed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, lattice = values_of("stripes", "uint8", (1, 512, 512)).copy(), Frame(512, 512, HERE, UTM)
    rows: list[int] = []

    def spy(driver: str, values: np.ndarray, *rest: Any, **options: Any) -> bytes:
        rows.append(values.shape[1])
        return written(driver, values, *rest, **options)

    images = []
    for row in (0, 128, 256):
        for col in (0, 128, 256):
            window = Window(col, row, 256, 256)
            at = window.toslices()
            images.append((whole[:, *at], np.ones((256, 256), bool), lattice.crop(window)))
    list(encode_many("TIFF", images[:1]))
    monkeypatch.setattr(tiff, "written", spy)
    list(encode_many("TIFF", images))
    assert rows == [16 * 128]  # all tiles of the whole, in one column


def test_what_other_programs_read_is_there() -> None:
    """Tags as ArcGIS Pro writes them; 8-bit RGB is marked as colour."""
    for shape, colours in (((3, 64, 64), "red green blue"), ((1, 64, 64), "gray")):
        frame = Frame(64, 64, HERE, UTM)
        image = values_of("stripes", "uint8", shape), np.ones((64, 64), bool), frame
        first, second = (files[".tif"] for files in encode_many("TIFF", [image, image]))
        assert first == second
        with MemoryFile(second) as memory, memory.open() as chip:
            assert [each.name for each in chip.colorinterp] == colours.split()
            assert chip.profile["compress"] == rasterio.enums.Compression.lzw.value.lower()
            assert chip.profile["interleave"] == ("pixel" if shape[0] > 1 else "band")
            assert chip.tags()["AREA_OR_POINT"] == "Area"
