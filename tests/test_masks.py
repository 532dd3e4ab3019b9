"""Laws of masks: the same hole is the same hole, however it is written, warped or not."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from conftest import MakeRaster
from rasterio.crs import CRS
from rasterio.enums import MaskFlags
from rasterio.vrt import WarpedVRT
from rasters import declared, opened, scales, seen_from, utm, warped, write

from geo_p2p.errors import RasterError
from geo_p2p.raster import Frame, RasterSource

HERE = utm(90, 110)
THERE = {
    "nearest": seen_from(HERE, CRS.from_epsg(3035), 0.8, 0.1),
    "bilinear": seen_from(HERE, CRS.from_epsg(3035), 1.4, 0.1),
    "average": seen_from(HERE, CRS.from_epsg(3035), 2.7, 0.1),
}
BOTTOM = -9999

Kind = Callable[[Path, np.ndarray, np.ndarray], Path]


def whole_numbers() -> tuple[np.ndarray, np.ndarray]:
    """Values of 1 to 200 that every type holds, and a mask with ragged holes."""
    rng = np.random.default_rng(0)
    values = rng.integers(1, 201, (1, *HERE.shape))
    valid = rng.random(HERE.shape) > 0.05
    valid[30:60, 40:80] = False
    valid[:20, :25] = False
    return values, valid


def nodata(dtype: str, declared: float | None, below: float) -> Kind:
    """Write the hole as a value, declared as nodata or not."""

    def kind(path: Path, values: np.ndarray, valid: np.ndarray) -> Path:
        return write(path, np.where(valid, values, below).astype(dtype), HERE, nodata=declared)

    return kind


def mask(dtype: str, inside: bool, below: float) -> Kind:
    """Write the hole as a mask, in the file or beside it, over values that must not be seen."""

    def kind(path: Path, values: np.ndarray, valid: np.ndarray) -> Path:
        filled = np.where(valid, values, below).astype(dtype)
        return write(path, filled, HERE, mask=valid, mask_inside=inside)

    return kind


def alpha(count: int, dtype: str = "uint8") -> Kind:
    """Write the hole as an alpha band behind so many bands that are all the same."""

    def kind(path: Path, values: np.ndarray, valid: np.ndarray) -> Path:
        filled = np.where(valid, values, 255).astype(dtype).repeat(count, axis=0)
        return write(path, filled, HERE, alpha=valid)

    return kind


KINDS: dict[str, Kind] = {
    "nodata": nodata("int16", BOTTOM, BOTTOM),
    "8 bit nodata": nodata("uint8", 0, 0),
    "float nodata": nodata("float32", BOTTOM, BOTTOM),
    "64 bit nodata": nodata("int64", BOTTOM, BOTTOM),
    "NaN declared": nodata("float32", np.nan, np.nan),
    "NaN undeclared": nodata("float64", None, np.nan),
    "internal mask": mask("uint8", True, 255),
    "16 bit internal mask": mask("uint16", True, 65535),
    "external mask": mask("int16", False, BOTTOM),
    "float with internal mask": mask("float32", True, BOTTOM),
    "float with internal mask over NaN": mask("float32", True, np.nan),
    "alpha": alpha(3),
    "gray and alpha": alpha(1),
    "two bands and alpha": alpha(2),
    "16 bit alpha": alpha(4, "uint16"),
}


def close(got: np.ndarray, expected: np.ndarray) -> bool:
    """Whether values agree as far as their type can say."""
    return bool(np.abs(got - expected).max() <= (0.5001 if got.dtype.kind in "iu" else 1e-3))


@pytest.mark.parametrize("kind", KINDS)
def test_a_hole_reads_as_a_hole(tmp_path: Path, kind: str) -> None:
    values, valid = whole_numbers()
    source = RasterSource(KINDS[kind](tmp_path / "a.tif", values, valid))
    got, got_valid = source.read()
    assert np.array_equal(got_valid, valid)
    assert all(np.array_equal(band[valid], values[0][valid]) for band in got)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", THERE)
def test_a_hole_warps_as_a_hole(tmp_path: Path, kind: str, method: str) -> None:
    """Every way of writing the hole equals `rasterio.warp.reproject` on floats with nodata."""
    values, valid = whole_numbers()
    there = THERE[method]
    expected = warped(
        np.where(valid, values, BOTTOM).astype("float64"),
        HERE,
        there,
        method,
        src_nodata=BOTTOM,
        dst_nodata=BOTTOM,
        tolerance=1e-3,
        **scales(HERE, there),
    )
    path = KINDS[kind](tmp_path / "a.tif", values, valid)
    got, got_valid = RasterSource(path, like=there, resampling=method).read()
    assert 0.2 < got_valid.mean() < 0.9
    differ = got_valid != (expected[0] != BOTTOM)
    assert differ.mean() < 1e-3
    both = got_valid & ~differ
    assert all(close(band[both], expected[0][both]) for band in got)


@pytest.mark.parametrize("method", THERE)
def test_no_mask_means_valid_wherever_there_is_ground(tmp_path: Path, method: str) -> None:
    """Also where a value is 0: what the warp leaves empty is not 0 but invalid."""
    values, there = np.zeros((1, *HERE.shape), "uint8"), THERE[method]
    source = RasterSource(write(tmp_path / "a.tif", values, HERE), like=there, resampling=method)
    _, valid = source.read()
    rows, cols = np.indices(there.shape) + 0.5
    col, row = there.pixels_in(HERE, cols.ravel(), rows.ravel()).reshape(2, *there.shape)
    inside = (col > 0) & (col < HERE.width) & (row > 0) & (row < HERE.height)
    clear = np.hypot(*np.gradient(inside.astype(float))) == 0  # away from the edge
    assert np.array_equal(valid[clear], inside[clear])
    assert not valid.all()


@pytest.mark.parametrize("method", THERE)
@pytest.mark.parametrize("hole", [BOTTOM, np.nan])
def test_a_hole_in_one_band_does_not_leak(tmp_path: Path, method: str, hole: float) -> None:
    """Data around 50 with holes of -9999, in other places in each band."""
    rng = np.random.default_rng(0)
    values = rng.uniform(45, 55, (3, *HERE.shape)).astype("float32")
    holes = rng.random(values.shape) < 0.02
    path = write(tmp_path / "a.tif", np.where(holes, hole, values), HERE, nodata=hole)
    got, valid = RasterSource(path, like=THERE[method], resampling=method).read()
    assert valid.any()
    assert (got[:, valid] >= 45).all()
    assert (got[:, valid] <= 55).all()
    got, valid = RasterSource(path).read()
    assert np.array_equal(valid, ~holes.any(0))


def test_the_default_of_gdal_would_leak(tmp_path: Path) -> None:
    """The reason for UNIFIED_SRC_NODATA=NO."""
    rng = np.random.default_rng(0)
    values = rng.uniform(45, 55, (3, *HERE.shape)).astype("float32")
    values[0, 20:40, 20:40] = BOTTOM
    there = THERE["bilinear"]
    path = write(tmp_path / "a.tif", values, HERE, nodata=BOTTOM)
    place = {"crs": there.crs, "transform": there.transform, "height": there.height}
    resampling = rasterio.enums.Resampling.bilinear
    with (
        opened(path) as dataset,
        WarpedVRT(dataset, **place, width=there.width, resampling=resampling) as vrt,
    ):
        naive = vrt.read(masked=True)
    assert naive.min() < 0
    got, valid = RasterSource(path, like=there).read()
    assert got[:, valid].min() >= 45


def test_a_nodata_value_that_no_pixel_can_have_means_none(tmp_path: Path) -> None:
    values, _ = whole_numbers()
    path = declared(tmp_path, values.astype("uint8"), HERE, [("Byte", -9999)])
    for like in (None, *THERE.values()):
        source = RasterSource(path, like=like)
        assert source.info.nodata is None
        assert source.read()[1].any()
    assert RasterSource(path).read()[1].all()


@pytest.mark.parametrize(
    ("dtype", "kinds"),
    [
        ("int16", [("Int16", 7), ("Int16", 8)]),
        ("int64", [("Int64", -(2**63)), ("Int64", -(2**63))]),
    ],
    ids=["differ", "64 bits"],
)
def test_nodata_that_a_warp_would_lose_is_refused(
    tmp_path: Path, dtype: str, kinds: list[tuple[str, object]]
) -> None:
    """Read as it lies it is a hole all the same."""
    holes = np.array([kind[1] for kind in kinds]).reshape(2, 1, 1)
    values, valid = whole_numbers()
    values = np.where(valid, 100, holes).astype(dtype)
    path = declared(tmp_path, values, HERE, kinds)
    source = RasterSource(path)
    assert source.info.nodata is None
    assert np.array_equal(source.read()[1], valid)
    with pytest.raises(RasterError, match=r"a\.vrt.*nodata.*rio edit-info --nodata"):
        RasterSource(path, like=THERE["bilinear"])


def colour_image() -> np.ndarray:
    """Black at the left, pure red in the middle, white at the right."""
    image = np.zeros((3, *HERE.shape), "uint8")
    image[0, :, 30:] = 255
    image[1:, :, 70:] = 255
    return image


@pytest.mark.parametrize("like", [None, *THERE.values()], ids=["none", *THERE])
@pytest.mark.parametrize("near_infrared", [False, True])
def test_in_8_bit_colour_nodata_is_a_colour(
    tmp_path: Path, like: Frame | None, near_infrared: bool
) -> None:
    """Black is invalid, pure red is not, and single channels do as the image does."""
    image, colours = colour_image(), ("red", "green", "blue", "undefined")
    if near_infrared:
        image = np.concatenate([image, image[2:]])
    path = write(tmp_path / "a.tif", image, HERE, nodata=0, photometric="rgb")
    with opened(path) as dataset:
        assert tuple(c.name for c in dataset.colorinterp)[:3] == colours[:3]
    values, valid = RasterSource(path, like=like).read()
    where = like or HERE
    rows, cols = np.indices(where.shape) + 0.5
    cols, rows = where.pixels_in(HERE, cols.ravel(), rows.ravel()).reshape(2, *where.shape)
    within = (rows > 4) & (rows < HERE.height - 4) & (cols > 4) & (cols < HERE.width - 4)
    assert not valid[within & (cols < 26)].any()
    assert valid[within & (cols > 34)].all()
    red = within & (cols > 36) & (cols < 64)
    assert (values[0][red] == 255).all()
    assert (values[1][red] <= 1).all()
    blue = RasterSource(path, bands=(3,), like=like).read()[1]
    assert np.array_equal(blue, valid)
    # Zeros of single channels are blended with their neighbours like any other value.
    plain = write(tmp_path / "plain.tif", image, HERE, photometric="rgb")
    blended = RasterSource(plain, like=like).read()[0]
    far = within & (cols > 40)
    assert np.abs(values[:, far].astype(int) - blended[:, far]).max() <= 1


@pytest.mark.parametrize("like", [None, *THERE.values()], ids=["none", *THERE])
def test_a_mask_comes_before_a_nodata_value(tmp_path: Path, like: Frame | None) -> None:
    """As in GDAL's own reading: where a file has both, the mask says it."""
    values, valid = whole_numbers()
    with_mask = write(tmp_path / "a.tif", values.astype("int16"), HERE, mask=valid)
    both = write(tmp_path / "b.tif", values.astype("int16"), HERE, mask=valid, nodata=7)
    assert (values[0][valid] == 7).any()
    first, second = (RasterSource(path, like=like).read() for path in (with_mask, both))
    assert np.array_equal(first[1], second[1])
    assert np.array_equal(first[0][:, first[1]], second[0][:, second[1]])


def test_an_alpha_band_is_a_mask_and_not_a_band(make_raster: MakeRaster) -> None:
    values, valid = whole_numbers()
    source = RasterSource(make_raster(values.astype("uint8").repeat(3, axis=0), alpha=valid))
    assert source.count == len(source.info.names) == len(source.read()[0]) == 3
    assert "alpha" not in source.info.interp


def test_partly_transparent_is_valid(make_raster: MakeRaster) -> None:
    values, valid = whole_numbers()
    path = make_raster(values.astype("uint8"), alpha=valid)
    with opened(path, mode="r+") as dataset:
        dataset.write(np.where(valid, 3, 0).astype("uint8"), 2)
    assert np.array_equal(RasterSource(path).read()[1], valid)
    with opened(path) as dataset:
        assert MaskFlags.alpha in dataset.mask_flag_enums[0]


def test_infinity_is_invalid(make_raster: MakeRaster) -> None:
    values = np.ones((2, 8, 9), "float32")
    values[0, 1, 1], values[1, 2, 2] = np.inf, -np.inf
    valid = RasterSource(make_raster(values)).read()[1]
    assert sorted(zip(*np.nonzero(~valid), strict=True)) == [(1, 1), (2, 2)]
