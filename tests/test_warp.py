"""Laws of the warp: it lines up, and windows agree with the whole."""

from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from conftest import MakeRaster
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window
from rasters import (
    opened,
    ramps,
    scales,
    seen_from,
    shift_between,
    texture,
    tiles,
    utm,
    warped,
    write,
)
from scipy import ndimage

from geo_p2p.raster import Frame, RasterSource

EPSG = [3035, 3857, 32634]
RATIOS = [0.7, 1.0, 1.3, 2.0]


# --- it lines up ---------------------------------------------------------------------


@pytest.mark.parametrize("shift", [(0.5, 0.0), (0.5, -0.5), (0.1, 0.03), (0.0, 0.25)])
def test_the_measure_of_shifts_sees_them(shift: tuple[float, float]) -> None:
    image = texture(utm(160, 200), shortest=12)
    moved = ndimage.shift(image, shift, order=5, mode="nearest")
    assert shift_between(image, moved) == pytest.approx(shift, abs=0.03)


@pytest.mark.parametrize("epsg", EPSG)
@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("injected", [0.0, 0.5])
def test_there_and_back_again_is_in_place(
    tmp_path: Path, epsg: int, ratio: float, injected: float
) -> None:
    """With half a pixel injected on the way the same measure sees half a pixel."""
    here = utm(160, 200)
    there = seen_from(here, CRS.from_epsg(epsg), ratio, 0.05)
    image = texture(here, seed=epsg, shortest=10)
    path = write(tmp_path / "here.tif", image.astype("float32"), here)
    values, _ = RasterSource(path, like=there).read()
    half = Affine.translation(injected, injected) * here.transform
    moved = Frame(*there.shape, half * ~here.transform * there.transform, there.crs)
    path = write(tmp_path / "there.tif", np.nan_to_num(values), moved)
    back, valid = RasterSource(path, like=here).read()
    assert valid[8:-8, 8:-8].all()
    metres = there.res[0] / (ratio * here.res[0]) if injected else 1.0
    down, right = shift_between(image, back[0])
    assert (-down, right) == pytest.approx((injected / metres,) * 2, abs=0.1)


@pytest.mark.parametrize("epsg", [*EPSG, 4326])
@pytest.mark.parametrize("ratio", RATIOS)
def test_a_warped_value_is_the_one_at_the_centre_of_the_pixel(
    tmp_path: Path, epsg: int, ratio: float
) -> None:
    """Interpolation of a ramp is exact: what remains is the error of the position.

    Where the warp makes pixels larger, its triangle of weights is off by up to 0.1 px at single
    pixels, whichever way: the mean tells the position.
    """
    here = utm(120, 150)
    there = seen_from(here, CRS.from_epsg(epsg), ratio, -0.1)
    source = RasterSource(write(tmp_path / "ramps.tif", ramps(here), here), like=there)
    values, valid = source.read()
    rows, cols = np.indices(there.shape) + 0.5
    expected = there.pixels_in(here, cols.ravel(), rows.ravel()).reshape(values.shape)
    far = (expected > 4).all(0) & (expected[0] < 146) & (expected[1] < 116)
    assert valid[far].all()
    assert far.sum() > 1000
    off = (values - expected)[:, far]
    assert np.abs(off).max() < (0.01 if ratio <= 1 else 0.1)
    assert np.abs(off.mean(1)).max() < 0.002


def test_a_curved_lattice_is_followed(tmp_path: Path) -> None:
    """Degrees seen from above the pole, where GDAL's own tolerance shows."""
    degrees = Frame(120, 600, Affine(0.1, 0, -60, 0, -0.1, 86), CRS.from_epsg(4326))
    polar = Frame(300, 300, Affine(3e3, 0, -2e5, 0, -3e3, -6e5), CRS.from_epsg(3413))
    source = RasterSource(write(tmp_path / "ramps.tif", ramps(degrees), degrees), like=polar)
    values, valid = source.read()
    rows, cols = np.indices(polar.shape) + 0.5
    expected = polar.pixels_in(degrees, cols.ravel(), rows.ravel()).reshape(values.shape)
    far = (expected > 4).all(0) & (expected[0] < 596) & (expected[1] < 116)
    assert far.sum() > 30_000
    assert valid[far].all()
    off = np.abs(values - expected)[1, far]  # latitude, in which the scale is near 1 throughout
    assert np.quantile(off, 0.999) < 0.01


@pytest.mark.parametrize("turn", [30.0, 90.0, 200.0])
def test_a_rotated_raster_lies_where_its_transform_says(tmp_path: Path, turn: float) -> None:
    here, there = utm(80, 90, turn=turn), utm(80, 90, turn=turn + 30)
    path = write(tmp_path / "ramps.tif", ramps(here), here)
    values, valid = RasterSource(path, like=there).read()
    rows, cols = np.indices(there.shape) + 0.5
    expected = there.pixels_in(here, cols.ravel(), rows.ravel()).reshape(values.shape)
    far = (expected > 1).all(0) & (expected[0] < 89) & (expected[1] < 79)
    assert far.sum() > 500
    assert valid[far].all()
    assert np.abs(values - expected)[:, far].max() < 0.01


def test_a_lattice_of_whole_pixels_apart_keeps_the_values(tmp_path: Path) -> None:
    here = utm(60, 70)
    image = np.random.default_rng(0).integers(0, 256, (1, *here.shape), dtype="uint8")
    path = write(tmp_path / "image.tif", image, here)
    for window in tiles(here, 25):
        source = RasterSource(path, like=here.crop(window))
        assert source.method == "none"
        assert np.array_equal(source.read()[0], image[:, *window.toslices()])


@pytest.mark.parametrize("turn", [0.0, 30.0])
@pytest.mark.parametrize("corner", [(-9, -7), (40, -30), (-20, 50), (55, 65)])
def test_a_larger_lattice_of_the_same_pixels_is_filled_where_the_raster_is(
    tmp_path: Path, turn: float, corner: tuple[int, int]
) -> None:
    here = utm(60, 70, turn=turn)
    image = np.random.default_rng(0).integers(1, 256, (2, *here.shape), dtype="uint8")
    hole = np.random.default_rng(1).random(here.shape) < 0.2
    image[:, hole] = 0
    path = write(tmp_path / "image.tif", image, here, nodata=0)
    around = here.crop(Window(corner[1], corner[0], 90, 80))
    source = RasterSource(path, like=around)
    expected = warped(image, here, around, "nearest", src_nodata=0, dst_nodata=0)
    values, valid = source.read()
    assert source.method == "none"
    assert np.array_equal(values, expected)
    assert np.array_equal(valid, expected[0] > 0)
    for window in tiles(around, 33):
        values, valid = source.read(window)
        assert np.array_equal(values, expected[:, *window.toslices()])
        assert np.array_equal(valid, expected[0][window.toslices()] > 0)


# --- one scale for all windows -------------------------------------------------------


@pytest.fixture
def noise(make_raster: MakeRaster) -> tuple[Path, np.ndarray, Frame]:
    values = np.random.default_rng(0).integers(0, 256, (1, 300, 340), dtype="uint8")
    here = utm(300, 340)
    return make_raster(values, crs=here.crs, transform=here.transform), values, here


@pytest.mark.parametrize("method", ["nearest", "bilinear", "cubic", "average"])
@pytest.mark.parametrize("ratio", [0.7, 1.6, 3.1])
def test_windows_agree_with_the_whole(
    noise: tuple[Path, np.ndarray, Frame], method: str, ratio: float
) -> None:
    path, _, here = noise
    there = seen_from(here, CRS.from_epsg(3035), ratio)
    whole, valid = RasterSource(path, like=there, resampling=method).read()
    pieces, pieces_valid = np.zeros_like(whole), np.zeros_like(valid)
    for window in tiles(there, 61):
        at = window.toslices()
        # A handle of its own: GDAL keeps the blocks that an earlier read has warped.
        source = RasterSource(path, like=there, resampling=method)
        pieces[:, *at], pieces_valid[at] = source.read(window)
    assert np.array_equal(valid, pieces_valid)
    off = np.abs(whole.astype(int) - pieces)
    # Positions are interpolated to a thousandth of a pixel between points that a window chooses.
    steep = 2 if method in ("nearest", "average") else 1
    assert (off > 0).mean() < 0.005
    assert off.max() <= 1 or steep == 2


@pytest.mark.parametrize("ratio", [1.6, 1.9])
def test_a_warp_equals_that_of_the_whole_given_its_scales(
    noise: tuple[Path, np.ndarray, Frame], ratio: float
) -> None:
    """And without its scales more than a fifth of the pixels differ: the scales matter."""
    path, values, here = noise
    there = seen_from(here, CRS.from_epsg(3035), ratio, -0.05)
    got, _ = RasterSource(path, like=there).read()
    right = warped(values, here, there, "bilinear", **scales(here, there))
    off = np.abs(got.astype(int) - right)
    assert off.max() <= 1
    assert (off > 0).mean() < 0.04
    free = {"crs": there.crs, "transform": there.transform}
    free |= {"height": there.height, "width": there.width}
    with (
        opened(path) as dataset,
        WarpedVRT(dataset, **free, resampling=Resampling.bilinear) as vrt,
    ):
        pieces = np.concatenate([vrt.read(window=w).ravel() for w in tiles(there, 50)])
    ours = np.concatenate([got[:, *w.toslices()].ravel() for w in tiles(there, 50)])
    assert (pieces != ours).mean() > 0.2


def test_scales_follow_the_axes_of_the_source(tmp_path: Path) -> None:
    """A quarter turn swaps the axes: pixels of 4 x 1 m turned fit a lattice of 1 x 4 m."""
    flat = Frame(60, 60, utm(1, 1).transform * Affine.scale(4, 1), CRS.from_epsg(32633))
    tall = Frame(200, 50, utm(1, 1).transform * Affine.scale(4, 1), CRS.from_epsg(32633))
    turned = Frame(60, 60, utm(1, 1).transform * Affine.rotation(90) * Affine.scale(1, 4), flat.crs)
    assert flat.scale_to(flat) == pytest.approx((1, 1))
    assert flat.scale_to(turned) == pytest.approx((1, 1))
    assert utm(9, 9).scale_to(tall) == pytest.approx((4, 1))
    assert utm(9, 9, turn=90).scale_to(tall) == pytest.approx((1, 4))


@pytest.mark.parametrize(
    ("ratio", "dtype", "options", "method"),
    [
        (1.5, "uint8", {}, "bilinear"),
        (0.5, "float32", {}, "bilinear"),
        (2.5, "float32", {}, "average"),
        (2.5, "uint8", {"colors": {1: (255, 0, 0, 255)}}, "nearest"),
    ],
)
def test_auto_decides_by_what_the_raster_holds_and_how_fine_it_is(
    tmp_path: Path, ratio: float, dtype: str, options: dict, method: str
) -> None:
    here = utm(40, 40)
    path = write(tmp_path / "a.tif", np.ones((1, 40, 40), dtype), here, **options)
    there = seen_from(here, CRS.from_epsg(3035), ratio)
    twice = utm(20, 20, res=2.0)
    assert RasterSource(path, like=there).method == method
    assert RasterSource(path, like=twice).method != "average"
    assert RasterSource(path, like=there, resampling="cubic").method == "cubic"
    assert RasterSource(path, like=here).method == RasterSource(path).method == "none"
