"""Laws of Masked: what the quality band rules out is invalid, and nothing else changes."""

import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.windows import Window
from rasters import seen_from, tiles, utm, warped, write, write_unplaced

from geo_p2p.chips.mosaicked import Mosaicked
from geo_p2p.chips.quality import BitField, Masked, parse_bits, parse_numbers
from geo_p2p.errors import AlignmentError, ChipError, GeoP2PError
from geo_p2p.raster import RasterSource

HERE = utm(60, 80, 10.0)
RNG = np.random.default_rng(0)
IMAGE = RNG.integers(1, 200, (2, *HERE.shape)).astype("uint16")

# Landsat Collection 2, QA_PIXEL: fill, dilated cloud, cirrus, cloud, shadow, snow, clear, water.
FILL, CLEAR, CLOUD, SHADOW, WATER = 1, 21824, 22280, 23888, 21952


def of(path: Path, quality: Path, **rule: Any) -> Masked:
    source = RasterSource(path)
    return Masked(source, RasterSource(quality, [1], source.frame, "nearest"), **rule)


@pytest.fixture(scope="module")
def landsat(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, np.ndarray]:
    """An image, its QA_PIXEL, and the codes in it."""
    folder = tmp_path_factory.mktemp("landsat")
    codes = RNG.choice([FILL, CLEAR, CLOUD, SHADOW, WATER], HERE.shape).astype("uint16")
    image = write(folder / "image.tif", IMAGE, HERE)
    return image, write(folder / "qa.tif", codes, HERE, nodata=FILL), codes


def test_a_landsat_pixel_counts_where_it_is_clear(landsat: tuple[Path, Path, np.ndarray]) -> None:
    image, quality, codes = landsat
    values, valid = of(image, quality, bits=parse_numbers("1-4")).read()
    assert np.array_equal(valid, (codes == CLEAR) | (codes == WATER))
    assert np.array_equal(values, IMAGE)
    _, no_shadow = of(image, quality, bits=(4,)).read()
    assert np.array_equal(no_shadow, (codes != SHADOW) & (codes != FILL))


def test_a_value_rules_out_what_equals_it(tmp_path: Path) -> None:
    classes = RNG.integers(0, 12, HERE.shape).astype("uint8")
    image = write(tmp_path / "image.tif", IMAGE, HERE, nodata=7)
    quality = write(tmp_path / "scl.tif", classes, HERE, nodata=0)
    _, valid = of(image, quality, values=(3, 8, 9, 10)).read()
    expected = ~np.isin(classes, (0, 3, 8, 9, 10)) & (IMAGE != 7).all(0)
    assert np.array_equal(valid, expected)
    _, either = of(image, quality, bits=(0,), values=(4,)).read()
    assert np.array_equal(
        either, ~np.isin(classes, (0, 1, 3, 4, 5, 7, 9, 11)) & (IMAGE != 7).all(0)
    )


TYPES = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")


class Held:
    """A source of random bits."""

    frame, name = HERE, "held"

    def __init__(self, dtype: str) -> None:
        size = np.dtype(dtype).itemsize
        self.info = type("Info", (), {"count": 1, "dtype": dtype})()
        self.raw = RNG.integers(0, 256, (1, *HERE.shape, size), "uint8").view(dtype)[..., 0]

    def read(self, window: Window | None = None) -> tuple[np.ndarray, np.ndarray]:
        return self.raw, np.ones(HERE.shape, bool)

    def bits(self) -> np.ndarray:
        """All bits, the lowest first, as (rows, cols, bits)."""
        parts = self.raw[0].view(f"u{self.raw.itemsize}")[..., None].view("uint8")
        return np.unpackbits(parts, axis=-1, bitorder="little")


@given(st.sampled_from(TYPES), st.data())
def test_each_bit_is_the_one_of_that_number(dtype: str, data: st.DataObject) -> None:
    """Signed types too: the last bit is the sign."""
    bit = data.draw(st.integers(0, 8 * np.dtype(dtype).itemsize - 1))
    held = Held(dtype)
    _, valid = Masked(held, held, (bit,)).read()  # type: ignore[arg-type]
    assert np.array_equal(valid, held.bits()[..., bit] == 0)


@given(st.sampled_from(TYPES), st.data())
def test_a_field_is_the_number_in_its_bits(dtype: str, data: st.DataObject) -> None:
    """As spelled out bit by bit; of a signed type too, and as wide as the type."""
    bits = 8 * np.dtype(dtype).itemsize
    first = data.draw(st.integers(0, bits - 1))
    last = data.draw(st.integers(first, min(bits, first + 16) - 1) | st.just(bits - 1))
    value = data.draw(st.integers(0, 2 ** (last - first + 1) - 1))
    sign = data.draw(st.sampled_from(["=", ">=", "<="]))
    held = Held(dtype)
    rule = f"{first}-{last}{sign}{value}"
    _, valid = Masked(held, held, (rule,)).read()  # type: ignore[arg-type]
    number = sum(
        held.bits()[..., bit].astype(object) << (bit - first) for bit in range(first, last + 1)
    )
    out = {"=": number == value, ">=": number >= value, "<=": number <= value}[sign]
    assert np.array_equal(valid, ~out.astype(bool))


def test_the_confidence_of_a_landsat_cloud_is_two_bits(
    landsat: tuple[Path, Path, np.ndarray],
) -> None:
    """Bits 8 and 9 of QA_PIXEL: 1, 2 and 3 for low, medium and high."""
    image, quality, codes = landsat
    for rule, clear in {
        "8-9=3": codes != CLOUD,
        "8-9>=2": codes != CLOUD,
        "8-9<=1": codes == CLOUD,
        "10-11=3": codes != SHADOW,
        "6=0": codes != CLOUD,  # "clear" is said of shadows too
    }.items():
        _, valid = of(image, quality, bits=parse_bits(rule)).read()
        assert np.array_equal(valid, clear & (codes != FILL)), rule
    _, valid = of(image, quality, bits=parse_bits("8-9=3,10-11=3,7")).read()
    assert np.array_equal(valid, codes == CLEAR)


def test_quality_of_another_lattice_comes_by_nearest_neighbour(tmp_path: Path) -> None:
    there = seen_from(HERE, CRS.from_epsg(3035), 2.0, 0.1)
    codes = RNG.choice([CLEAR, CLOUD, WATER], there.shape).astype("uint16")
    image = write(tmp_path / "image.tif", IMAGE, HERE)
    quality = write(tmp_path / "qa.tif", codes, there)
    _, valid = of(image, quality, bits=(3,)).read()
    expected = warped(codes[None], there, HERE, "nearest")[0] != CLOUD
    assert (valid != expected).mean() < 0.002
    assert 0.5 < valid.mean() < 0.8


def test_a_band_of_the_same_file_tells_its_quality(tmp_path: Path) -> None:
    codes = RNG.choice([CLEAR, CLOUD], HERE.shape).astype("uint16")
    path = write(tmp_path / "all.tif", np.concatenate([IMAGE, codes[None]]), HERE)
    source = RasterSource(path, [1, 2])
    masked = Masked(source, RasterSource(path, [3], source.frame, "nearest"), bits=(3,))
    values, valid = masked.read()
    assert np.array_equal(valid, codes == CLEAR)
    assert np.array_equal(values, IMAGE)
    assert (masked.info, masked.frame, masked.bands) == (source.info, source.frame, (1, 2))


def test_control_points_blend_no_quality(tmp_path: Path) -> None:
    """The first step of their warp is by nearest neighbour too: blends have other bits."""
    codes = RNG.choice([CLEAR, CLOUD], (1, 60, 80)).astype("uint16")
    points = [
        GroundControlPoint(r, c, 5e5 + 9.7 * c + 2 * r, 5.3e6 - 10.3 * r)
        for r, c in [(0, 0), (0, 80), (60, 0), (60, 80)]
    ]
    path = write_unplaced(tmp_path / "a.tif", codes, gcps=(points, CRS.from_epsg(32633)))
    values, valid = RasterSource(path, resampling="nearest").read()
    assert set(np.unique(values[0][valid])) == {CLEAR, CLOUD}


def test_a_cloud_of_one_raster_shows_the_next_one_of_a_mosaic(tmp_path: Path) -> None:
    codes = RNG.choice([CLEAR, CLOUD], HERE.shape).astype("uint16")
    cloudy = write(tmp_path / "cloudy.tif", IMAGE, HERE)
    below = write(tmp_path / "below.tif", IMAGE + 1000, HERE)
    quality = write(tmp_path / "qa.tif", codes, HERE)
    mosaic = Mosaicked([of(cloudy, quality, bits=(3,)), RasterSource(below)])
    values, valid = mosaic.read()
    assert valid.all()
    assert np.array_equal(values, np.where(codes == CLEAR, IMAGE, IMAGE + 1000))


def test_it_is_pickled_and_read_by_threads(landsat: tuple[Path, Path, np.ndarray]) -> None:
    image, quality, _ = landsat
    masked = of(image, quality, bits=(3,))
    copy = pickle.loads(pickle.dumps(masked))
    assert copy == masked
    assert copy.paths == (str(image), str(quality))
    windows = list(tiles(HERE, 17)) * 3
    whole, known = masked.read()
    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(copy.read, windows))
    for window, (values, valid) in zip(windows, got, strict=True):
        assert np.array_equal(values, whole[:, *window.toslices()])
        assert np.array_equal(valid, known[window.toslices()])


def test_a_turned_chip_is_masked_by_its_turned_quality(
    landsat: tuple[Path, Path, np.ndarray],
) -> None:
    image, quality, _ = landsat
    turned = HERE.crop(Window(20, 15, 30, 30)).rotated(30)
    masked = of(image, quality, bits=(3, 4))
    valid = masked.warped(turned).read()[1]
    known = RasterSource(quality, like=turned, resampling="nearest").read()[0][0]
    assert np.array_equal(valid, (known == CLEAR) | (known == WATER))


@pytest.mark.parametrize(
    ("kind", "words", "rule", "values"),
    [
        (ChipError, "which bits or values", {}, np.ones((1, 60, 80), "uint8")),
        (ChipError, "no bit 8; uint8 has 0 to 7", {"bits": (3, 8)}, np.ones((1, 60, 80), "uint8")),
        (ChipError, "no bit 8", {"bits": ("7-8=3",)}, np.ones((1, 60, 80), "uint8")),
        (ChipError, "whole numbers", {"bits": (3,)}, np.ones((1, 60, 80), "float32")),
        (ChipError, "has 2; choose one", {"bits": (3,)}, np.ones((2, 60, 80), "uint8")),
        (AlignmentError, "pixel on pixel", {"bits": (3,)}, np.ones((1, 60, 79), "uint8")),
    ],
)
def test_a_quality_that_cannot_tell_is_refused(
    tmp_path: Path, kind: type[GeoP2PError], words: str, rule: dict[str, Any], values: np.ndarray
) -> None:
    source = RasterSource(write(tmp_path / "image.tif", IMAGE, HERE))
    quality = RasterSource(write(tmp_path / "qa.tif", values, HERE))
    with pytest.raises(kind, match=words) as error:
        Masked(source, quality, **rule)
    assert "qa.tif" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("3", (3,)), ("1,3,4", (1, 3, 4)), (" 1 - 4 , 8", (1, 2, 3, 4, 8)), ("2,2,1", (2, 1))],
)
def test_numbers_are_read(text: str, numbers: tuple[int, ...]) -> None:
    assert parse_numbers(text) == numbers


@pytest.mark.parametrize("text", ["", ",", "x", "1,", "1.5", "-1", "4-", "4-1", "3,4-1"])
def test_what_is_no_list_of_numbers_is_refused(text: str) -> None:
    with pytest.raises(ChipError, match="such as 1,3,4 or 8-11"):
        parse_numbers(text)


@pytest.mark.parametrize(
    ("text", "rules"),
    [
        ("1,3,4", (1, 3, 4)),
        ("1-3,8-9=3", (1, 2, 3, "8-9=3")),
        (" 8 - 9 >= 2 , 10-11<=1,6=0", ("8-9>=2", "10-11<=1", "6=0")),
    ],
)
def test_bits_are_read(text: str, rules: tuple[int | str, ...]) -> None:
    assert parse_bits(text) == rules
    assert parse_bits(",".join(map(str, rules))) == rules
    assert [BitField.of(str(BitField.of(rule))) for rule in rules] == [*map(BitField.of, rules)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("8-9=4", "quality bits '8-9=4': these bits hold at most 3"),
        ("3=2", "at most 1"),
        ("9-8=1", "give such as 8-9=3"),
        ("8-9==3", "give such as 8-9=3"),
        ("8-9=", "give such as 8-9=3"),
        ("=3", "give such as 8-9=3"),
        ("8-9=-1", "give such as 8-9=3"),
        ("8-9>2", "give whole numbers"),
        ("", "give whole numbers"),
    ],
)
def test_what_is_no_list_of_bits_is_refused(text: str, words: str) -> None:
    with pytest.raises(ChipError, match=words) as error:
        parse_bits(text)
    assert "\n" not in str(error.value)
