"""Laws of alignment: a pixel of a chip is where the input says it is, whatever the two rasters are.

Most rasters here hold, at each pixel, the place of its centre in the input, (column, row) in px. A
ramp survives every resampling, so what a chip holds beside where it lies is the error, in px.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import rasterio
from affine import Affine
from pyproj import Transformer
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.rpc import RPC
from rasterio.warp import transform_bounds
from rasterio.windows import from_bounds
from rasters import seen_from, utm, write, write_unplaced

from geo_p2p.chips import ChipFolder, export_chips
from geo_p2p.raster import Frame, RasterSource

SIZE = 96
ALLOWED = 0.1
"""Px: what README promises."""


def places(frame: Frame, of: Frame) -> np.ndarray:
    """Where the centres of the pixels of ``frame`` lie in ``of``: (2, rows, cols), px."""
    rows, cols = np.indices(frame.shape) + 0.5
    return frame.pixels_in(of, cols.ravel(), rows.ravel()).reshape(2, *frame.shape)


class Cut(NamedTuple):
    """A chip that was exported: where it is, both images, and where both are valid."""

    frame: Frame
    x: np.ndarray
    y: np.ndarray
    valid: np.ndarray


def cut(x: Path, y: Path, out: Path, size: int = SIZE, **options: Any) -> Iterator[Cut]:
    """Export two rasters and read the chips back."""
    settings = {"stride": size, "split": "none", "min_valid": 0.5}
    folder = export_chips(x, y, out, tile_size=size, **{**settings, **options})
    names = ChipFolder.open(folder).names
    assert names
    for name in names:
        sides = [RasterSource(folder / side / f"{name}.tif") for side in ("images", "images2")]
        assert sides[0].frame == sides[1].frame
        (a, a_valid), (b, b_valid) = (side.read() for side in sides)
        yield Cut(sides[0].frame, a, b, a_valid & b_valid)


def off(x: Frame, y: Frame, path: Path, **options: Any) -> float:
    """Export, and return the largest distance between what chips hold and where they are, px.

    Half a pixel within the border of the additional raster there is nothing to interpolate with,
    and the last value is held.
    """
    folder = path.parent
    x_path = write(folder / "x.tif", places(x, x).astype("float32"), x)
    errors = []
    for chip in cut(x_path, path, folder / "chips", **options):
        expected = places(chip.frame, x)
        assert np.abs(chip.x - expected).max() < 1e-3
        cols, rows = places(chip.frame, y)
        inside = (np.minimum(cols, y.width - cols) > 1) & (np.minimum(rows, y.height - rows) > 1)
        errors.append(np.hypot(*(chip.y - expected))[chip.valid & inside])
        assert chip.valid[inside].all()
    assert sum(map(len, errors)) > SIZE**2
    return float(np.concatenate(errors).max())


def ramp(frame: Frame, of: Frame, folder: Path, shift: float = 0.0) -> Path:
    """Write a raster on ``frame`` that tells where its pixels are in ``of``."""
    return write(folder / "y.tif", (places(frame, of) + shift).astype("float32"), frame)


# --- axes ----------------------------------------------------------------------------


def around(name: str) -> Frame:
    """Frames of the same ground, in all ways a transform can point."""
    here = utm(200, 220)
    left, top = here.transform.c, here.transform.f
    turned = utm(200, 220, turn=25.0)
    frames = {
        "north up": here,
        "south up": Frame(200, 220, Affine(1, 0, left, 0, 1, top - 200), here.crs),
        "east to the left": Frame(200, 220, Affine(-1, 0, left + 220, 0, -1, top), here.crs),
        "turned": turned,
        "columns run north": Frame(200, 220, Affine(0, 1, left, 1, 0, top - 200), here.crs),
    }
    for code in (4326, 4258, 3035, 3416):  # all of them count north before east
        frames[f"EPSG:{code}"] = seen_from(here, CRS.from_epsg(code), 1.0)
    degrees = frames["EPSG:4326"]
    a, e = degrees.transform.a, degrees.transform.e
    bottom = degrees.bounds[1]
    frames["degrees, south up"] = Frame(
        *degrees.shape, Affine(a, 0, degrees.bounds[0], 0, -e, bottom), degrees.crs
    )
    return frames[name]


WAYS = [
    "north up",
    "south up",
    "east to the left",
    "turned",
    "columns run north",
    "EPSG:4326",
    "EPSG:4258",
    "EPSG:3035",
    "EPSG:3416",
    "degrees, south up",
]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("side", ["input", "additional"])
def test_axes_may_run_any_way(tmp_path: Path, way: str, side: str) -> None:
    odd, plain = around(way), around("north up")
    x, y = (odd, plain) if side == "input" else (plain, odd)
    assert off(x, y, ramp(y, x, tmp_path)) < ALLOWED


@pytest.mark.parametrize("way", ["south up", "turned", "EPSG:4326"])
def test_half_a_pixel_would_be_seen(tmp_path: Path, way: str) -> None:
    x, y = around("north up"), around(way)
    assert off(x, y, ramp(y, x, tmp_path, shift=0.5)) > 0.5


@pytest.mark.parametrize("code", [4326, 3035, 2193])
def test_east_comes_before_north_whatever_the_authority_says(tmp_path: Path, code: int) -> None:
    """PROJ itself, told to keep x before y, is the oracle."""
    centre = {4326: (15.0, 48.0), 3035: (4.7e6, 2.8e6), 2193: (1.6e6, 5.4e6)}[code]
    crs, x_crs = CRS.from_epsg(code), 2193 if code == 2193 else 32633
    res = 1e-5 if code == 4326 else 1.0
    y = Frame(260, 260, Affine(res, 0, centre[0], 0, -res, centre[1]), crs)
    to_x = Transformer.from_crs(code, x_crs + (code == 2193) * (32760 - 2193), always_xy=True)
    rows, cols = np.indices(y.shape) + 0.5
    ground = np.array(to_x.transform(*(y.transform * (cols, rows))))
    left, top = np.floor(ground[0].min() + 60), np.floor(ground[1].max() - 60)
    x_crs = CRS.from_epsg(32760 if code == 2193 else 32633)
    x = Frame(128, 128, Affine(1, 0, left, 0, -1, top), x_crs)
    values = np.array([ground[0] - left, top - ground[1]])
    path = write(tmp_path / "y.tif", values.astype("float32"), y)
    assert off(x, y, path) < ALLOWED


# --- the edge of a UTM zone ----------------------------------------------------------


def at_the_edge_of_a_zone(size: int = 256) -> Frame:
    """One chip of 10 m pixels, where zone 33 ends at 18 degrees east."""
    unit = Frame(1, 1, Affine.identity(), CRS.from_epsg(32633))
    degrees = Frame(1, 1, Affine.identity(), CRS.from_epsg(4326))
    east, north = degrees.pixels_in(unit, np.array([17.97]), np.array([60.0]))[:, 0].round(-1)
    return Frame(size, size, Affine(10, 0, east, 0, -10, north), unit.crs)


@pytest.mark.parametrize("code", [4326, 3857, 32634, 3035])
def test_corners_hold_at_the_edge_of_a_utm_zone(tmp_path: Path, code: int) -> None:
    x = at_the_edge_of_a_zone()
    y = seen_from(x, CRS.from_epsg(code), 1.0, 0.1)
    assert off(x, y, ramp(y, x, tmp_path), size=256, min_valid=1.0) < ALLOWED


@pytest.mark.parametrize("code", [4326, 3857, 32634, 3035])
def test_a_box_around_the_chip_resized_would_not_hold(tmp_path: Path, code: int) -> None:
    """What other tools do: bounds in the other CRS, read as a window, stretched to the chip."""
    x = at_the_edge_of_a_zone()
    path = ramp(seen_from(x, CRS.from_epsg(code), 1.0, 0.1), x, tmp_path)
    with rasterio.open(path) as src:
        window = from_bounds(*transform_bounds(x.crs, src.crs, *x.bounds), src.transform)
        shape = (2, *x.shape)
        chip = src.read(window=window, out_shape=shape, resampling=Resampling.bilinear)
    wrong = np.hypot(*(chip - places(x, x)))
    assert wrong[[0, 0, -1, -1], [0, -1, 0, -1]].max() > 8


# --- datums --------------------------------------------------------------------------


def geocentric(lon: Any, lat: Any, axis: float, flat: float) -> np.ndarray:
    """Geocentric coordinates of points on an ellipsoid, metres."""
    lon, lat = np.radians(lon), np.radians(lat)
    squared = flat * (2 - flat)
    across = axis / np.sqrt(1 - squared * np.sin(lat) ** 2)
    x, y = across * np.cos(lat) * np.cos(lon), across * np.cos(lat) * np.sin(lon)
    return np.array([x, y, across * (1 - squared) * np.sin(lat)])


def on_wgs84(points: np.ndarray) -> tuple[Any, Any]:
    """Longitude and latitude on WGS 84 of geocentric points near its surface, degrees."""
    x, y, z = points
    axis, flat = 6_378_137.0, 1 / 298.257223563
    squared, across = flat * (2 - flat), np.hypot(x, y)
    lat = np.arctan2(z, across * (1 - squared))
    for _ in range(4):
        curve = axis / np.sqrt(1 - squared * np.sin(lat) ** 2)
        lat = np.arctan2(z + squared * curve * np.sin(lat), across)
    return np.degrees(np.arctan2(y, x)), np.degrees(lat)


def from_osgb36(lon: Any, lat: Any) -> tuple[Any, Any]:
    """EPSG:1314, position vector, 2 m."""
    points = geocentric(lon, lat, 6_377_563.396, 1 / 299.3249646)
    x, y, z = np.radians(np.array([0.15, 0.247, 0.842]) / 3600)
    turn = np.array([[1, -z, y], [z, 1, -x], [-y, x, 1]])
    moved = np.tensordot(turn, points, 1) * (1 - 20.489e-6)
    return on_wgs84((moved.T + [446.448, -125.157, 542.06]).T)


def from_nad27(lon: Any, lat: Any) -> tuple[Any, Any]:
    """EPSG:1173, for the 48 states, 10 m: what is left to PROJ without its grids."""
    points = geocentric(lon, lat, 6_378_206.4, 1 / 294.978698214)
    return on_wgs84((points.T + [-8.0, 160.0, 176.0]).T)


@pytest.mark.parametrize(
    ("code", "lon", "lat", "zone", "shifted"),
    [(4277, -2.5, 53.0, 32630, from_osgb36), (4267, -99.5, 40.0, 32614, from_nad27)],
)
def test_a_datum_shift_is_made(
    tmp_path: Path, code: int, lon: float, lat: float, zone: int, shifted: Callable
) -> None:
    """The formulae of the EPSG registry, written out here, are the oracle; a px is 10 m."""
    y = Frame(200, 200, Affine(1.4e-4, 0, lon, 0, -9e-5, lat), CRS.from_epsg(code))
    degrees = Frame(1, 1, Affine.identity(), CRS.from_epsg(4326))
    corner = np.array(shifted(*(y.transform * (30, 30))))[:, None]
    metres = Frame(1, 1, Affine.identity(), CRS.from_epsg(zone))
    left, top = degrees.pixels_in(metres, *corner)[:, 0].round()
    x = Frame(128, 128, Affine(10, 0, left, 0, -10, top), metres.crs)
    rows, cols = np.indices(y.shape) + 0.5
    lons, lats = y.transform * (cols, rows)
    # Where the pixels are by the formulae, and where they would be were there no shift.
    right, naive = (
        degrees.pixels_in(x, a.ravel(), b.ravel()).reshape(2, *y.shape)
        for a, b in (shifted(lons, lats), (lons, lats))
    )
    path = write(tmp_path / "y.tif", right.astype("float32"), y)
    assert off(x, y, path) < 0.3  # of 10 m: grids, where they are installed, know better
    assert np.hypot(*(naive - right)).min() > 3


# --- control points and RPCs ---------------------------------------------------------


def test_control_points_place_the_additional_raster(tmp_path: Path) -> None:
    x, y = utm(200, 220), utm(260, 240, turn=20)
    corners = [(0, 0), (0, 240), (260, 0), (260, 240), (130, 120)]
    points = [GroundControlPoint(r, c, *(y.transform * (c, r))) for r, c in corners]
    for code in (32633, 4326):
        crs = CRS.from_epsg(code)
        unit = Frame(1, 1, Affine.identity(), crs)
        there = [
            GroundControlPoint(
                p.row, p.col, *y.pixels_in(unit, *np.array([[p.col], [p.row]]))[:, 0]
            )
            for p in points
        ]
        values = places(y, x).astype("float32")
        folder = tmp_path / str(code)
        folder.mkdir()
        path = write_unplaced(folder / "y.tif", values, gcps=(there, crs))
        assert off(x, y, path) < 2 * ALLOWED  # interpolated twice


def test_rpcs_place_the_additional_raster(tmp_path: Path) -> None:
    rest, one = [0.0] * 17, [1.0, *[0.0] * 19]
    rpcs = RPC(
        height_off=300,
        height_scale=500,
        lat_off=48.0,
        lat_scale=1e-3,
        long_off=15.0,
        long_scale=1.5e-3,
        line_off=99.5,
        line_scale=100,
        samp_off=99.5,
        samp_scale=100,
        line_num_coeff=[0, 0, -1.0, *rest],
        line_den_coeff=one,
        samp_num_coeff=[0, 1.0, 0, *rest],
        samp_den_coeff=one,
        err_bias=None,
        err_rand=None,
    )
    # RPCs count from the centre of the first pixel: 99.5 is the middle of 200.
    seen = Affine(1.5e-5, 0, 15 - 1.5e-3, 0, -1e-5, 48 + 1e-3)
    y = Frame(200, 200, seen, CRS.from_epsg(4326))
    x = seen_from(y, CRS.from_epsg(32633), 1.0, -0.1)
    path = write_unplaced(tmp_path / "y.tif", places(y, x).astype("float32"), rpcs=rpcs)
    assert off(x, y, path) < 2 * ALLOWED  # interpolated twice


# --- two CRSs of one raster ----------------------------------------------------------


def waves(frame: Frame, of: Frame) -> np.ndarray:
    """A smooth image of the ground, (1, rows, cols), in (-1, 1); waves of 20 and 31 px."""
    cols, rows = places(frame, of)
    return (np.sin(cols * 2 * np.pi / 20) * np.cos(rows * 2 * np.pi / 31))[np.newaxis]


def test_the_crs_of_the_additional_raster_makes_no_difference(tmp_path: Path) -> None:
    """Bilinear interpolation errs by an eighth of the second derivative, so each side by 1.3 %."""
    x = utm(192, 192)
    path = write(tmp_path / "x.tif", places(x, x).astype("float32"), x)
    chips = {}
    for code in (32633, 3035, 4326):
        y = seen_from(x, CRS.from_epsg(code), 1.0, 0.1)
        image = write(tmp_path / f"y{code}.tif", waves(y, x).astype("float32"), y)
        chips[code] = np.array([c.y for c in cut(path, image, tmp_path / f"c{code}")])
        half = Frame(*y.shape, y.transform * Affine.translation(0.5, 0.5), y.crs)
        image = write(tmp_path / f"h{code}.tif", waves(y, x).astype("float32"), half)
        wrong = np.array([c.y for c in cut(path, image, tmp_path / f"w{code}")])
        assert np.abs(chips[code] - chips[32633]).max() < 0.035
        assert np.abs(wrong - chips[32633]).max() > 0.1  # half a pixel would be seen


def test_the_crs_of_a_class_map_moves_only_its_borders(tmp_path: Path) -> None:
    x = utm(192, 192)
    path = write(tmp_path / "x.tif", places(x, x).astype("float32"), x)
    colors = {0: (1, 1, 1), 1: (2, 2, 2)}
    true, chips = np.array([]), {}
    for code in (32634, 4326):
        y = seen_from(x, CRS.from_epsg(code), 0.5, 0.1)
        image = (waves(y, x) > 0.2).astype("uint8")
        image_path = write(tmp_path / f"y{code}.tif", image, y, colors=colors)
        cuts = list(cut(path, image_path, tmp_path / f"c{code}"))
        chips[code] = np.array([c.y for c in cuts])
        true = np.array([waves(c.frame, x) for c in cuts])
    assert set(np.unique(chips[4326])) == {0, 1}
    differ = chips[4326] != chips[32634]
    assert 0 < differ.mean() < 0.03
    # Within half a pixel of where the class changes: the steepest slope is 2 pi / 20.
    assert np.abs(true[differ] - 0.2).max() < 0.6 * 2 * np.pi / 20
