"""Laws of Frame: where pixels are, in any orientation and any CRS."""

import math
import pickle

import numpy as np
import pytest
from affine import Affine
from hypothesis import assume, given
from hypothesis import strategies as st
from rasterio.crs import CRS
from rasterio.warp import transform as warp_points
from rasterio.windows import Window
from rasters import EAST, NORTH, seen_from, utm

from geo_p2p.errors import AlignmentError, RasterError
from geo_p2p.raster import Frame
from geo_p2p.raster.frame import frame_of

UTM = CRS.from_epsg(32633)

sizes = st.integers(1, 500)
places = st.floats(-1e6, 1e6).map(lambda v: round(v, 3))
pixels = st.floats(0.01, 1000).map(lambda v: round(v, 4))


@st.composite
def transforms(draw: st.DrawFn, turned: bool = True) -> Affine:
    """North up or south up, square or not, turned by any angle."""
    turn = draw(st.floats(0, 360)) if turned else 0
    flip = draw(st.sampled_from([-1, 1]))
    scale = Affine.scale(draw(pixels), flip * draw(pixels))
    return Affine.translation(draw(places), draw(places)) * Affine.rotation(turn) * scale


@st.composite
def frames(draw: st.DrawFn, turned: bool = True) -> Frame:
    return Frame(draw(sizes), draw(sizes), draw(transforms(turned)), UTM)


@st.composite
def windows(draw: st.DrawFn, frame: Frame) -> Window:
    col, row = draw(st.integers(0, frame.width - 1)), draw(st.integers(0, frame.height - 1))
    width = draw(st.integers(1, frame.width - col))
    return Window(col, row, width, draw(st.integers(1, frame.height - row)))


# --- crops and bounds ----------------------------------------------------------------


@given(st.data())
def test_a_window_of_the_bounds_of_a_crop_is_the_window(data: st.DataObject) -> None:
    frame = data.draw(frames(turned=False))
    window = data.draw(windows(frame))
    assert frame.window_of(frame.crop(window).bounds) == window


@given(st.data())
def test_turned_the_window_of_the_bounds_holds_the_crop(data: st.DataObject) -> None:
    frame = data.draw(frames())
    window = data.draw(windows(frame))
    rows, cols = frame.window_of(frame.crop(window).bounds).toranges()
    (top, bottom), (left, right) = window.toranges()
    assert rows[0] <= top < bottom <= rows[1] <= frame.height
    assert cols[0] <= left < right <= cols[1] <= frame.width


@given(st.data())
def test_a_crop_of_a_crop_is_a_crop(data: st.DataObject) -> None:
    frame = data.draw(frames())
    outer = data.draw(windows(frame))
    inner = data.draw(windows(frame.crop(outer)))
    at_once = Window(
        outer.col_off + inner.col_off, outer.row_off + inner.row_off, inner.width, inner.height
    )
    assert frame.crop(outer).crop(inner).same_lattice(frame.crop(at_once), 1e-3)
    assert frame.crop(frame.window) == frame


@given(st.data())
def test_a_pixel_of_a_crop_is_the_pixel_of_the_frame(data: st.DataObject) -> None:
    frame = data.draw(frames())
    window = data.draw(windows(frame))
    col, row = data.draw(st.integers(0, window.width)), data.draw(st.integers(0, window.height))
    here = frame.crop(window).transform * (col, row)
    there = frame.transform * (col + window.col_off, row + window.row_off)
    assert here == pytest.approx(there, rel=1e-12, abs=1e-6)


@given(frames())
def test_bounds_hold_the_corners_and_touch_them(frame: Frame) -> None:
    left, bottom, right, top = frame.bounds
    xs, ys = frame.corners.T
    assert (xs.min(), xs.max(), ys.min(), ys.max()) == (left, right, bottom, top)
    assert frame.polygon.bounds == frame.bounds
    area = frame.height * frame.width * frame.res[0] * frame.res[1]
    assert frame.polygon.area == pytest.approx(area, rel=1e-3, abs=1e-3)


@given(frames(turned=False), st.floats(0.01, 0.99), st.floats(0.01, 0.99))
def test_a_window_covers_the_bounds_and_no_row_more(frame: Frame, x: float, y: float) -> None:
    """From the first corner to a point inside some pixel: that pixel is the last one."""
    assume(frame.width > 2 and frame.height > 2)
    col, row = 1 + math.floor(x * (frame.width - 2)) + x, 1 + math.floor(y * (frame.height - 2)) + y
    xs, ys = zip(frame.transform * (0, 0), frame.transform * (col, row), strict=True)
    window = frame.window_of((min(xs), min(ys), max(xs), max(ys)))
    assert window == Window(0, 0, math.ceil(round(col, 6)), math.ceil(round(row, 6)))


def test_bounds_outside_are_refused() -> None:
    frame = utm(10, 20)
    left, bottom, right, top = frame.bounds
    assert frame.window_of((left - 5, bottom - 5, left + 1, bottom + 1)) == Window(0, 9, 1, 1)
    for bounds in [
        (right, bottom, right + 5, top),
        (left - 5, bottom, left, top),
        (left, top, right, top + 1),
        (right, bottom, left, top),
        (left, top, right, bottom),
    ]:
        with pytest.raises(AlignmentError, match=r"hold no pixel .* EPSG:32633") as caught:
            frame.window_of(bounds)
        assert f"{left:.10g} {bottom:.10g} {right:.10g} {top:.10g}" in str(caught.value)


def test_windows_hold_whole_numbers() -> None:
    window = utm(10, 20).window_of((EAST + 1.5, NORTH - 3.5, EAST + 4, NORTH - 1))
    assert window == Window(1, 1, 3, 3)
    assert {type(v) for v in (window.col_off, window.row_off, window.width)} == {int}


# --- positions and scales ------------------------------------------------------------


@given(frames(), frames())
def test_positions_there_and_back_are_the_same(one: Frame, other: Frame) -> None:
    cols, rows = np.array([0.0, one.width / 3, one.width]), np.array([0.0, one.height / 3, 0.0])
    back = other.pixels_in(one, *one.pixels_in(other, cols, rows))
    assert np.abs(back - [cols, rows]).max() < 1e-3


@pytest.mark.parametrize("epsg", [3857, 3035, 32634, 4326])
def test_positions_in_another_crs_are_those_of_proj(epsg: int) -> None:
    here = utm(100, 120, turn=15)
    there = seen_from(here, CRS.from_epsg(epsg), 0.8)
    positions = [(0.0, 0.0), (120.0, 100.0), (60.5, 3.25)]
    xs, ys = zip(*(here.transform * position for position in positions), strict=True)
    ground = zip(*warp_points(UTM, there.crs, xs, ys), strict=True)
    expected = np.array([~there.transform * point for point in ground]).T
    found = here.pixels_in(there, *np.array(positions).T)
    assert np.abs(found - expected).max() < 1e-6


def test_where_no_transformation_reaches_there_is_no_position() -> None:
    globe = Frame(18, 36, Affine(10, 0, -180, 0, -10, 90), CRS.from_epsg(4326))
    half = Frame(9, 9, Affine(1e6, 0, 0, 0, -1e6, 0), CRS.from_string("+proj=ortho"))
    cols = np.arange(36) + 0.5
    found = globe.pixels_in(half, cols, np.full(36, 9.5))
    assert np.array_equal(np.isfinite(found).all(0), np.abs(cols * 10 - 180) < 90)
    assert np.isnan(found[:, 0]).all()


ratios = st.floats(0.1, 10)


@given(transforms(), ratios, ratios, st.sampled_from([0, 180]), st.booleans())
def test_scales_are_the_ratios_along_the_axes(
    transform: Affine, across: float, down: float, turn: float, flip: bool
) -> None:
    here = Frame(100, 100, transform, UTM)
    scale = Affine.scale(across, -down if flip else down)
    other = Frame(50, 50, transform * Affine.rotation(turn) * scale, UTM)
    assert here.scale_to(other) == pytest.approx((across, down), rel=1e-5)


@given(ratios, st.floats(0, 360))
def test_a_rotation_of_square_pixels_does_not_count(ratio: float, turn: float) -> None:
    there = utm(50, 50, turn=turn)
    other = Frame(50, 50, there.transform * Affine.scale(ratio), UTM)
    assert utm(100, 100).scale_to(other) == pytest.approx((ratio, ratio), rel=1e-5)


@given(ratios, ratios, st.sampled_from([90, 270]))
def test_a_quarter_turn_swaps_the_axes(across: float, down: float, turn: float) -> None:
    scale = Affine.rotation(turn) * Affine.scale(across, down)
    other = Frame(50, 50, utm(1, 1).transform * scale, UTM)
    assert utm(100, 100).scale_to(other) == pytest.approx((down, across), rel=1e-5)


@pytest.mark.parametrize("ratio", [0.3, 1, 4])
@pytest.mark.parametrize("epsg", [3857, 3035, 32634, 4326])
def test_scales_hold_across_crs(epsg: int, ratio: float) -> None:
    here = utm(200, 250)
    there = seen_from(here, CRS.from_epsg(epsg), ratio, 0.2)
    assert here.scale_to(there) == pytest.approx((ratio, ratio), rel=1e-2)


def test_scales_are_taken_where_both_are() -> None:
    """Web Mercator grows with latitude: only the shared ground tells the scale."""
    here = utm(100, 100, res=100)
    x, y = (v[0] for v in warp_points(UTM, CRS.from_epsg(3857), [EAST + 5e3], [NORTH - 5e3]))
    globe = Frame(400, 400, Affine(1e5, 0, x - 2e7, 0, -1e5, y + 2e7), CRS.from_epsg(3857))
    assert here.scale_to(globe) == pytest.approx([1e3 * math.cos(math.radians(47.8))] * 2, rel=0.02)


# --- comparisons ---------------------------------------------------------------------


@given(frames(), st.floats(-1, 1), st.floats(-1, 1))
def test_the_same_lattice_is_judged_in_pixels(frame: Frame, x: float, y: float) -> None:
    moved = Frame(*frame.shape, frame.transform * Affine.translation(x, y), UTM)
    off = max(abs(x), abs(y))
    assume(abs(off - 0.1) > 1e-4)
    assert frame.same_lattice(frame)
    assert frame.same_lattice(moved, 0.1) == (off < 0.1)
    assert moved.same_lattice(frame, 0.1) == (off < 0.1)


@pytest.mark.parametrize("turn", [0, 90, 137])
def test_the_axes_of_a_turned_lattice_do_not_mix(turn: float) -> None:
    """Pixels of 4 x 1 m: 0.2 m is little along the rows and much across."""
    frame = Frame(9, 9, utm(1, 1, turn=turn).transform * Affine.scale(4, 1), UTM)
    for x, y, same in [(0.05, 0, True), (0, 0.2, False), (0.2, 0, False), (0, 0.05, True)]:
        moved = Frame(9, 9, frame.transform * Affine.translation(x, y), UTM)
        assert frame.same_lattice(moved, 0.1) is same


def test_lattices_differ_in_shape_crs_place_and_size() -> None:
    here = utm(50, 60)
    for other in [
        utm(50, 61),
        utm(51, 60),
        utm(50, 60, res=1.001),
        utm(50, 60, turn=0.1),
        Frame(50, 60, here.transform, CRS.from_epsg(32634)),
        Frame(50, 60, here.transform * Affine.translation(0.01, 0), UTM),
    ]:
        assert not here.same_lattice(other)
        with pytest.raises(AlignmentError) as caught:
            here.require_same(other, "a.tif", "b.tif")
        message = str(caught.value)
        assert f"b.tif is {other}" in message
        assert f"a.tif is {here}" in message
        assert "rio warp --like" in message
        assert "\n" not in message
    here.require_same(Frame(50, 60, here.transform * Affine.translation(5e-4, 0), UTM), "a", "b")


@pytest.mark.parametrize(("col", "shared"), [(0, True), (59, True), (61, False), (-61, False)])
@pytest.mark.parametrize("turn", [0, 30])
def test_frames_overlap_where_they_share_ground(col: int, shared: bool, turn: float) -> None:
    here = utm(50, 60, turn=turn)
    there = Frame(50, 60, here.transform * Affine.translation(col, 0), UTM)
    assert here.overlaps(there) is shared
    assert there.overlaps(here) is shared


def test_a_small_frame_between_the_samples_overlaps() -> None:
    large, small = utm(5000, 5000), Frame(2, 2, Affine(1, 0, EAST + 777, 0, -1, NORTH - 1003), UTM)
    assert large.overlaps(small)
    assert small.overlaps(large)
    assert large.overlaps(seen_from(small, CRS.from_epsg(3035), 1))


# --- values --------------------------------------------------------------------------


@given(frames())
def test_a_frame_is_a_value(frame: Frame) -> None:
    copy = pickle.loads(pickle.dumps(frame))
    assert copy == frame
    assert hash(copy) == hash(frame)
    assert frame.shape == (frame.height, frame.width)
    assert f"{frame.width} x {frame.height} px" in str(frame)
    assert str(frame).endswith("in EPSG:32633")
    assert "\n" not in str(frame)


@pytest.mark.parametrize(
    ("crs", "name"),
    [
        ("EPSG:3035", "EPSG:3035"),
        ("ESRI:102039", "ESRI:102039"),
        ("+proj=laea +lat_0=10 +lon_0=20", "laea"),
        ('LOCAL_CS["site",UNIT["metre",1]]', "custom"),
    ],
)
def test_a_crs_has_a_short_name(crs: str, name: str) -> None:
    assert Frame(1, 1, Affine.identity(), CRS.from_user_input(crs)).crs_name == name


def test_a_raster_without_a_place_has_no_frame() -> None:
    with pytest.raises(RasterError, match=r"a\.tif: has no coordinate reference system"):
        frame_of("a.tif", 5, 5, utm(5, 5).transform, None)
    with pytest.raises(RasterError, match=r"a\.tif: has a CRS but no transform"):
        frame_of("a.tif", 5, 5, Affine.identity(), UTM)
    with pytest.raises(RasterError, match=r"a\.tif: its transform gives pixels no area"):
        frame_of("a.tif", 5, 5, Affine(1, 0, 5, 2, 0, 5), UTM)
    assert frame_of("a.tif", 5, 6, utm(5, 6).transform, UTM) == utm(5, 6)
