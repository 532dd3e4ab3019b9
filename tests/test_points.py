"""Laws of rasters that nothing but control points or RPCs place: they lead to the ground."""

from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.rpc import RPC
from rasterio.vrt import WarpedVRT
from rasters import opened, ramps, seen_from, utm, write_unplaced

from geo_p2p.raster import Frame, RasterSource


@pytest.fixture
def by_points(tmp_path: Path) -> tuple[Path, Frame]:
    """A raster that nothing but control points places, and the frame they follow."""
    here = utm(90, 110, turn=20)
    corners = [(0, 0), (0, 110), (90, 0), (90, 110), (45, 55)]
    points = [GroundControlPoint(r, c, *(here.transform * (c, r))) for r, c in corners]
    return write_unplaced(tmp_path / "points.tif", ramps(here), gcps=(points, here.crs)), here


def test_control_points_lead_to_the_ground(by_points: tuple[Path, Frame]) -> None:
    path, here = by_points
    source = RasterSource(path)
    assert source.warped_to_map
    assert source.frame.crs == here.crs
    assert not RasterSource(path, like=source.frame).read()[1].all()  # the corners are empty
    for frame in (source.frame, seen_from(here, CRS.from_epsg(3035), 0.8)):
        values, valid = RasterSource(path, like=frame).read()
        rows, cols = np.indices(frame.shape) + 0.5
        expected = frame.pixels_in(here, cols.ravel(), rows.ravel()).reshape(values.shape)
        far = (expected > 3).all(0) & (expected[0] < 107) & (expected[1] < 87)
        assert far.sum() > 5000
        assert valid[far].all()
        assert np.abs(values - expected)[:, far].max() < 0.2  # two interpolations in a row
        assert np.abs((values - expected)[:, far].mean(1)).max() < 0.02


def test_a_lattice_of_its_own_would_lose_control_points(by_points: tuple[Path, Frame]) -> None:
    """The reason for two steps: in one, GDAL takes the pixels for the ground and finds none."""
    path, here = by_points
    there = utm(90, 110)
    with (
        opened(path) as dataset,
        WarpedVRT(
            dataset,
            src_crs=here.crs,
            crs=there.crs,
            transform=there.transform,
            height=there.height,
            width=there.width,
        ) as vrt,
    ):
        assert not vrt.read().any()
    assert RasterSource(path, like=there).read()[0].any()


def test_classes_placed_by_control_points_stay_classes(
    tmp_path: Path, by_points: tuple[Path, Frame]
) -> None:
    kinds = np.random.default_rng(0).choice(np.array([10, 200], "uint8"), (1, 90, 110))
    colors = {10: (1, 2, 3), 200: (4, 5, 6)}
    with opened(by_points[0]) as src:
        path = write_unplaced(tmp_path / "classes.tif", kinds, gcps=src.gcps, colors=colors)
    values, valid = RasterSource(path).read()
    assert set(np.unique(values[:, valid])) == {10, 200}


@pytest.fixture
def by_rpcs(tmp_path: Path) -> Path:
    """A raster that nothing but RPCs places; `seen_by_rpcs` tells where."""
    rest, one = [0.0] * 15, [1.0, *[0.0] * 19]
    rpcs = RPC(
        height_off=500,
        height_scale=500,
        lat_off=48.0,
        lat_scale=0.05,
        long_off=15.0,
        long_scale=0.07,
        line_off=49.5,
        line_scale=50,
        samp_off=59.5,
        samp_scale=60,
        # Of 1, longitude, latitude, height, longitude * latitude, ...
        line_num_coeff=[0, 0, -1.0, 0.1, 0.02, *rest],
        line_den_coeff=one,
        samp_num_coeff=[0, 1.0, 0, 0.2, 0.03, *rest],
        samp_den_coeff=one,
        err_bias=None,
        err_rand=None,
    )
    return write_unplaced(tmp_path / "rpcs.tif", ramps(utm(100, 120)), rpcs=rpcs)


def seen_by_rpcs(frame: Frame) -> np.ndarray:
    """Where the RPCs above see the pixels of a frame, at the height in the middle of the scene.

    RPCs count from the centre of the first pixel (STDI-0002 vol. 1, app. E).
    """
    degrees = Frame(1, 1, Affine.identity(), CRS.from_epsg(4326))
    rows, cols = np.indices(frame.shape) + 0.5
    lon, lat = frame.pixels_in(degrees, cols.ravel(), rows.ravel())
    east, north = (lon - 15) / 0.07, (lat - 48) / 0.05
    col = 59.5 + 60 * (east + 0.03 * east * north)
    row = 49.5 + 50 * (-north + 0.02 * east * north)
    return np.stack([col, row]).reshape(2, *frame.shape) + 0.5


def test_rpcs_lead_to_the_ground(by_rpcs: Path) -> None:
    source = RasterSource(by_rpcs)
    assert source.warped_to_map
    assert source.frame.crs == CRS.from_epsg(4326)
    for frame in (source.frame, seen_from(source.frame, CRS.from_epsg(32633), 0.9, -0.1)):
        values, valid = RasterSource(by_rpcs, like=frame).read()
        expected = seen_by_rpcs(frame)
        far = (expected > 3).all(0) & (expected[0] < 117) & (expected[1] < 97)
        assert far.sum() > 5000
        assert valid[far].all()
        assert np.abs(values - expected)[:, far].max() < 0.2
        assert np.abs((values - expected)[:, far].mean(1)).max() < 0.02


def test_a_lattice_of_its_own_would_lose_rpcs(by_rpcs: Path) -> None:
    """In one step GDAL takes the degrees for pixels: all of the ground is one pixel."""
    there = seen_from(RasterSource(by_rpcs).frame, CRS.from_epsg(32633), 1)
    with (
        opened(by_rpcs) as dataset,
        WarpedVRT(
            dataset,
            src_crs="EPSG:4326",
            crs=there.crs,
            transform=there.transform,
            height=there.height,
            width=there.width,
        ) as vrt,
    ):
        assert np.ptp(vrt.read(), axis=(1, 2)).max() <= 1
    values, valid = RasterSource(by_rpcs, like=there).read()
    assert np.ptp(values[:, valid], axis=1).min() > 80
