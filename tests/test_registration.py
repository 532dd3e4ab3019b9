"""Laws of the registration: it finds what was moved, and is silent where it does not know."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS
from rasterio.windows import Window
from rasters import utm, write
from scipy import ndimage

from geo_p2p.chips.ground import metres, pixel_ratio_warning, shared_window
from geo_p2p.chips.registration import BlockShift, Registration, measure_registration
from geo_p2p.errors import AlignmentError, ChipError
from geo_p2p.raster import Bands, Frame, RasterSource
from geo_p2p.scene import SceneFiles, Town, write_scene


@dataclass
class Held:
    """A source that is an array: (bands, rows, cols), with what is valid of it."""

    values: np.ndarray
    valid: np.ndarray | None = None
    frame: Frame = None  # type: ignore[assignment]
    colors: dict = field(default_factory=dict)
    name: str = "held"
    paths: tuple[str, ...] = ()
    bands: None = None
    method: str = "none"

    def __post_init__(self) -> None:
        self.values = np.atleast_3d(self.values.T).T
        self.frame = self.frame or utm(*self.values.shape[1:])

    @property
    def info(self) -> Bands:
        return Bands(len(self.values), self.values.dtype.name, colors=self.colors)

    def read(self, window: Window | None = None) -> tuple[np.ndarray, np.ndarray]:
        at = (window or self.frame.window).toslices()
        values = self.values[:, *at]
        return values, np.ones(values.shape[1:], bool) if self.valid is None else self.valid[at]


def noise(side: int, seed: int = 0, blur: float = 3.0) -> np.ndarray:
    """Smooth noise of spread 1."""
    image = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(side, side)), blur)
    return image / image.std()


def moved_noise(side: int, shift: tuple[float, float], seed: int = 0) -> tuple[np.ndarray, ...]:
    """Noise and the same (columns, rows) further right and down, in steps of half a pixel."""
    fine = noise(2 * side + 100, seed)
    images = []
    for col, row in ((0, 0), shift):
        top, left = round(50 - 2 * row), round(50 - 2 * col)
        cut = fine[top : top + 2 * side, left : left + 2 * side]
        images.append(cut.reshape(side, 2, side, 2).mean((1, 3)))
    return tuple(images)


def inverted(image: np.ndarray) -> np.ndarray:
    return -np.tanh(image)


def classes(image: np.ndarray) -> np.ndarray:
    return np.digitize(image, [-0.7, 0.3, 1.0]).astype("uint8")


halves = st.integers(-40, 40).map(lambda n: n / 2)


# --- it finds what was moved ---------------------------------------------------------


@settings(max_examples=8)
@given(shift=st.tuples(halves, halves), look=st.sampled_from([inverted, classes, np.sin]))
def test_a_shift_of_noise_is_found_whatever_it_looks_like(
    shift: tuple[float, float], look: Callable[[np.ndarray], np.ndarray]
) -> None:
    here, there = moved_noise(400, shift)
    colors = {1: (1, 2, 3, 255)} if look is classes else {}
    found = measure_registration(Held(here), Held(look(there), colors=colors), blocks=6)
    assert found.shift == pytest.approx(shift, abs=0.25)
    assert found.confidence > 0.8
    assert len(found.agreeing) == len(found.blocks) == 6
    assert found.visible == (np.hypot(*found.shift) - found.doubt > 1)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> SceneFiles:
    return write_scene(tmp_path_factory.mktemp("scene"), size=896)


def moved_file(path: Path, to: Path, x: Frame, shift: tuple[float, float]) -> Path:
    """Copy a raster with a georeference that is wrong by (columns, rows) px of ``x``."""
    source = RasterSource(path)
    degrees = Frame(1, 1, Affine.identity(), source.frame.crs)
    middle = np.array([x.width / 2]), np.array([x.height / 2])
    at = x.pixels_in(degrees, *middle)
    off = x.pixels_in(degrees, middle[0] + shift[0], middle[1] + shift[1]) - at
    frame = replace(source.frame, transform=Affine.translation(*off[:, 0]) * source.frame.transform)
    colors = source.info.colors or None
    return write(to / path.name, source.read()[0], frame, colors=colors)


@pytest.mark.parametrize(
    ("kind", "shift"),
    [("map", (7.0, -4.0)), ("map", (-19.5, 20.0)), ("classes", (0.5, -12.5)), ("classes", (3, 0))],
)
def test_a_map_in_another_crs_with_a_wrong_georeference_is_told(
    scene: SceneFiles, tmp_path: Path, kind: str, shift: tuple[float, float]
) -> None:
    x = RasterSource(scene.aerial)
    assert RasterSource(getattr(scene, kind)).frame.crs != x.frame.crs
    path = moved_file(getattr(scene, kind), tmp_path, x.frame, shift)
    found = measure_registration(x, RasterSource(path, like=x.frame), blocks=25)
    assert found.shift == pytest.approx(shift, abs=0.25)
    assert found.visible
    assert found.ground == pytest.approx((shift[0] * 0.5, -shift[1] * 0.5), abs=0.15)
    assert len(found.agreeing) > len(found.blocks) / 2


@pytest.mark.parametrize("kind", ["map", "classes"])
def test_a_photograph_and_its_map_line_up(scene: SceneFiles, kind: str) -> None:
    x = RasterSource(scene.aerial)
    found = measure_registration(x, RasterSource(getattr(scene, kind), like=x.frame))
    assert found.known
    assert not found.visible
    assert found.length < 0.5


def test_one_block_is_enough_where_the_edges_are_the_same() -> None:
    here, there = moved_noise(200, (3.0, -2.5))
    found = measure_registration(Held(here), Held(inverted(there)))
    assert {(b.col_off, b.row_off, b.side) for b in found.blocks} == {(0, 0, 200)}
    assert found.visible
    assert found.shift == pytest.approx((3, -2.5), abs=0.25)


def test_class_numbers_are_names() -> None:
    """A class of a high number, drawn anywhere, has no stronger outlines than the others."""
    here, there = moved_noise(400, (2.0, -7.0))
    kinds = np.where(noise(400, 5, 6) > 0.8, 255, classes(there)).astype("uint8")
    found = measure_registration(Held(here), Held(kinds, colors={1: ()}))
    assert found.shift == pytest.approx((2, -7), abs=0.25)
    assert found.visible


def test_edges_that_mostly_run_one_way_do_not_hold_it_back() -> None:
    fine = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(600, 600)), (12, 1.5))
    here, there = fine[100:500, 100:500], fine[92:492, 85:485]
    found = measure_registration(Held(here), Held(inverted(there / fine.std())))
    assert found.shift == pytest.approx((15, 8), abs=0.25)


def test_bands_count_whatever_their_unit() -> None:
    here, there = moved_noise(400, (5.0, 0.0))
    y = np.stack([1e-4 * there, 1e4 * noise(400, 9)])
    found = measure_registration(Held(here), Held(y))
    assert found.shift == pytest.approx((5, 0), abs=0.25)
    assert found.visible


# --- it is silent where it does not know ---------------------------------------------


@pytest.mark.parametrize("seed", range(12))
def test_unrelated_noise_gives_no_alarm(seed: int) -> None:
    side = 300 + 40 * (seed % 4)
    here, there = noise(side, seed, 1 + seed % 5), noise(side, 100 + seed, 1 + seed % 3)
    found = measure_registration(Held(here), Held(there), seed=seed)
    assert not found.known
    assert not found.visible
    assert found.confidence < 0.5
    assert str(found).startswith("alignment unknown")


@pytest.mark.parametrize("kind", ["map", "classes"])
def test_the_map_of_another_town_gives_no_alarm(scene: SceneFiles, kind: str) -> None:
    x = RasterSource(scene.aerial)
    render = {"map": Town(99).map_colours, "classes": Town(99).map_classes}[kind]
    colors = {1: (1, 2, 3, 255)} if kind == "classes" else {}
    other = Held(render(x.frame), frame=x.frame, colors=colors)
    for seed in range(3):
        found = measure_registration(x, other, blocks=6, seed=seed)
        assert not found.known
        assert found.confidence < 0.3


def test_a_pattern_that_repeats_itself_is_ambiguous() -> None:
    rows, cols = np.indices((500, 500))
    stripes = (cols // 10 % 2).astype(float)
    checks = ((cols // 12 + rows // 12) % 2).astype(float)
    for image in (stripes, checks):
        found = measure_registration(Held(image), Held(np.roll(image, 4, axis=1)))
        assert not found.visible


def test_seams_at_the_same_places_of_every_block_are_no_likeness() -> None:
    """Of mosaics, or of compression: pairs of blocks of different places show them as well."""
    at = np.arange(900)
    images = []
    for seed, start in ((1, 0), (2, 5)):
        seam = 3.0 * (((at - start) % 128 < 64)[:, None] ^ ((at - start) % 128 < 64))
        images.append(Held(noise(900, seed) + seam))
    found = measure_registration(*images)
    assert found.shift == pytest.approx((5, 5), abs=0.5)
    assert not found.known


def test_a_single_line_does_not_tell_how_far_along_it() -> None:
    rows, cols = np.indices((500, 500))
    coast = (cols > 250).astype(float) + 0.02 * noise(500)
    other = (cols > 250).astype(float) + 0.02 * noise(500, 1)
    assert not measure_registration(Held(coast), Held(other)).visible


def test_nothing_in_common_is_said() -> None:
    flat = np.zeros((300, 300))
    for other in (Held(flat), Held(noise(300), np.zeros((300, 300), bool))):
        found = measure_registration(Held(noise(300)), other)
        assert found.blocks == ()
        assert found.confidence == 0
        assert not found.known
        assert "no ground" in str(found)
    assert not measure_registration(Held(noise(40)), Held(noise(40))).blocks


# --- invalid pixels ------------------------------------------------------------------


def holes(side: int, seed: int) -> np.ndarray:
    return noise(side, seed, 25) < 0.6


def test_values_of_invalid_pixels_do_not_matter() -> None:
    here, there = moved_noise(400, (6.0, -3.0))
    valid = holes(400, 1), holes(400, 2)
    found = []
    for junk in (0.0, 1e6, np.nan):
        x, y = np.where(valid[0], here, junk), np.where(valid[1], there, -junk)
        found.append(measure_registration(Held(x, valid[0]), Held(y, valid[1])))
    assert found[0] == found[1] == found[2]
    assert found[0].shift == pytest.approx((6, -3), abs=0.25)
    assert found[0].visible


def test_a_shared_outline_is_no_likeness() -> None:
    """Two rasters cut to one outline: that lines up, which says nothing of what is in it."""
    here, there = moved_noise(500, (8.0, 5.0))
    slope = np.arange(500) / 10  # so that the outline stands out against any one fill
    for seed in range(3):
        valid = holes(500, seed)
        x = Held(here + slope, valid)
        same = measure_registration(x, Held(there - slope, valid))
        assert same.shift == pytest.approx((8, 5), abs=0.25)
        assert not measure_registration(x, Held(noise(500, 7) - slope, valid)).known


def test_the_outline_of_a_single_class_is_no_edge() -> None:
    one = Held(np.ones((300, 300), "uint8"), holes(300, 0), colors={1: (1, 2, 3, 255)})
    assert measure_registration(Held(noise(300)), one).blocks == ()


# --- what it costs -------------------------------------------------------------------


class Endless(Held):
    """A raster of 10^12 px whose values are computed where it is read; counts what is read."""

    def __init__(self, east: int) -> None:
        super().__init__(noise(1024, 3), frame=utm(10**6, 10**6))
        self.east, self.read_px, self.largest = east, 0, 0

    def read(self, window: Window | None = None) -> tuple[np.ndarray, np.ndarray]:
        assert window is not None
        rows = np.arange(window.row_off, window.row_off + window.height) % 1024
        cols = (np.arange(window.col_off, window.col_off + window.width) - self.east) % 1024
        self.read_px += window.width * window.height
        self.largest = max(self.largest, window.width * window.height)
        return self.values[:, rows[:, None], cols], np.ones((window.height, window.width), bool)


def test_a_raster_of_any_size_costs_a_few_blocks() -> None:
    x, y = Endless(0), Endless(9)
    found = measure_registration(x, y)
    assert found.shift == pytest.approx((9, 0), abs=0.25)
    assert len(found.blocks) == 16
    for source in (x, y):
        assert source.largest == 256**2
        assert source.read_px < 17 * 256**2
    offsets = np.array([(b.col_off, b.row_off) for b in found.blocks])
    assert (offsets.max(0) - offsets.min(0) > 8e5).all()  # spread over the raster


def test_the_ground_that_both_share_is_found_in_a_large_raster() -> None:
    x = Endless(0)
    window = Window(700_000, 300_000, 600, 500)
    image = x.read(window)[0]
    y = RasterSourceLike(image, window, x.frame)
    assert measure_registration(x, y).blocks == ()
    shared = shared_window(x.frame, x.frame.crop(window))
    assert shared == window
    found = measure_registration(x, y, within=shared)
    assert found.known
    assert found.length < 0.1
    for b in found.blocks:
        assert 700_000 <= b.col_off <= 700_600 - b.side
        assert 300_000 <= b.row_off <= 300_500 - b.side


class RasterSourceLike(Held):
    """Values in one window of a large raster, and nothing elsewhere."""

    def __init__(self, image: np.ndarray, place: Window, frame: Frame) -> None:
        super().__init__(image, frame=frame)
        self.place = place

    def read(self, window: Window | None = None) -> tuple[np.ndarray, np.ndarray]:
        assert window is not None
        shape = window.height, window.width
        row, col = window.row_off - self.place.row_off, window.col_off - self.place.col_off
        if not (0 <= row <= self.place.height - shape[0]) or not (
            0 <= col <= self.place.width - shape[1]
        ):
            return np.zeros((1, *shape)), np.zeros(shape, bool)
        values = self.values[:, row : row + shape[0], col : col + shape[1]]
        return values, np.ones(shape, bool)


def test_the_seed_decides() -> None:
    x, y = (Held(image) for image in moved_noise(700, (3.0, 1.0)))
    assert measure_registration(x, y, blocks=4) == measure_registration(x, y, blocks=4)
    blocks = {measure_registration(x, y, blocks=4, seed=seed).blocks for seed in (1, 2)}
    assert len(blocks) == 2


# --- what it says --------------------------------------------------------------------


def registration(shift: tuple[float, float], own: list[Any], **settings: Any) -> Registration:
    blocks = tuple(BlockShift(0, 256 * i, 256, s, c) for i, (s, c) in enumerate(own))
    given: dict[str, Any] = {
        "ground": (shift[0] * 0.5, -shift[1] * 0.5),
        "confidence": 0.9,
        **settings,
    }
    return Registration(shift, given["ground"], given["confidence"], blocks)


def test_a_visible_shift_is_told_with_figures() -> None:
    found = registration((3.2, -0.4), [((3.2, -0.4), 0.9)] * 11 + [((40.0, 9.0), 0.1)] * 3)
    assert found.visible
    assert str(found) == (
        "the additional raster seems 3.2 px off the input, 1.6 m to the east and 0.2 m to the "
        "north; 11 of 14 blocks agree (confidence 0.9): check its georeference before training"
    )
    nowhere = registration((-3.2, 0.0), [((-3.2, 0.0), 0.9)] * 3, ground=None)
    assert "3.2 px to the left;" in str(nowhere)


def test_witnesses_decide() -> None:
    here, there = ((3.0, 0.0), 0.9), ((-9.0, 9.0), 0.9)
    assert registration((3.0, 0.0), [here] * 3).visible
    assert registration((3.0, 0.0), [here]).visible  # there is no other
    assert not registration((3.0, 0.0), [here] * 2 + [((9.0, 9.0), 0.1)]).known
    assert not registration((3.0, 0.0), [here] * 3, confidence=0.4).visible
    assert not registration((0.9, 0.0), [((0.9, 0.0), 1.0)] * 9).visible
    scattered = registration((3.0, 0.0), [here] * 3 + [there] * 4)
    assert not scattered.visible
    assert "turned, scaled or bent" in str(scattered)
    # Blocks of which each is a pixel off: the shift is no better known than that.
    assert not registration((1.2, 0.0), [((0.2, 0.0), 1.0), ((2.2, 0.0), 1.0)] * 2).visible


def test_a_turned_map_is_no_shift(scene: SceneFiles) -> None:
    x = RasterSource(scene.aerial)
    town, t = Town(), x.frame.transform
    middle = t * (448, 448)
    turned = replace(x.frame, transform=Affine.rotation(3, pivot=middle) * t)
    found = measure_registration(x, Held(town.map_classes(turned), frame=x.frame, colors={1: ()}))
    assert not found.visible
    assert "block to block" in str(found)


def test_it_is_plain_data() -> None:
    x, y = (Held(image) for image in moved_noise(300, (3.0, 1.0)))
    said = json.loads(json.dumps(measure_registration(x, y).to_json(), allow_nan=False))
    assert said["shift"] == pytest.approx([3, 1], abs=0.25)
    assert said["visible"] is True
    assert said["agreeing"] == len(said["blocks"])
    assert json.dumps(registration((0.0, 0.0), []).to_json(), allow_nan=False)


def test_what_cannot_be_measured_is_refused() -> None:
    x = Held(noise(300))
    with pytest.raises(AlignmentError, match="pixel on pixel"):
        measure_registration(x, Held(noise(300), frame=utm(300, 300, 2.0)))
    for wrong in ({"block": 32}, {"blocks": 0}):
        with pytest.raises(ChipError, match="give at least"):
            measure_registration(x, x, **wrong)


# --- the ground ----------------------------------------------------------------------


def test_metres_are_those_of_the_ground() -> None:
    assert metres(utm(100, 100, 0.5), (4, 6)) == pytest.approx((2, -3), rel=0.005)
    south_up = Frame(100, 100, Affine(1, 0, 500_000, 0, 1, 5_300_000), CRS.from_epsg(32633))
    assert metres(south_up, (4, 6)) == pytest.approx((4, 6), rel=0.005)
    # At 60 degrees north a metre of web mercator is half a metre.
    mercator = Frame(100, 100, Affine(1, 0, 0, 0, -1, 8_399_738), CRS.from_epsg(3857))
    assert metres(mercator, (10, 0)) == pytest.approx((5, 0), rel=0.005)
    degrees = Frame(100, 100, Affine(1e-3, 0, 179.95, 0, -1e-3, 60.05), CRS.from_epsg(4326))
    assert metres(degrees, (1, 1)) == pytest.approx((55.6, -111.2), rel=0.005)
    local = CRS.from_wkt('LOCAL_CS["site",UNIT["metre",1]]')
    assert metres(replace(utm(100, 100), crs=local), (1, 1)) is None


def test_the_window_that_two_frames_share() -> None:
    x = utm(400, 500)
    assert shared_window(x, x) == x.window
    inside = x.crop(Window(30, 40, 100, 50))
    assert shared_window(x, inside) == Window(30, 40, 100, 50)
    assert shared_window(inside, x) == inside.window
    assert shared_window(x, x.crop(Window(-90, 0, 90, 90))) is None


@pytest.mark.parametrize("res", [0.3, 1.0, 3.9])
def test_pixels_of_one_size_give_no_warning(res: float) -> None:
    assert pixel_ratio_warning(utm(400, 400), utm(400, 400, res)) is None


def test_pixels_of_very_different_size_are_told_with_figures() -> None:
    finer = pixel_ratio_warning(utm(100, 100, 10), utm(1000, 1000, 0.5))
    assert finer is not None
    assert "20-fold (10 x 10 m in the input, 0.5 x 0.5 m in the additional raster)" in finer
    assert "averaged" in finer
    degrees = Frame(40, 40, Affine(1e-3, 0, 14.99, 0, -1e-3, 47.86), CRS.from_epsg(4326))
    coarser = pixel_ratio_warning(utm(1000, 1000), degrees)
    assert coarser is not None
    assert "111-fold" in coarser
    assert "74.8 x 111 m in the additional raster" in coarser
    globe = Frame(180, 360, Affine(1, 0, -180, 0, -1, 90), CRS.from_epsg(4326))
    world = pixel_ratio_warning(globe, utm(9000, 9000, 30.0))
    assert world is not None
    assert "30 x 30 m in the additional raster" in world


# --- real rasters --------------------------------------------------------------------


def test_the_map_of_banepa_lines_up_with_the_photograph(real_data: Path) -> None:
    """Roofs were drawn by hand, a few pixels off each; together they lie where they should."""
    x = RasterSource(real_data / "banepa" / "ortho.tif")
    y = RasterSource(real_data / "banepa" / "osm_map_rgba.tif", like=x.frame)
    found = measure_registration(x, y, blocks=24)
    assert found.known
    assert not found.visible
    assert found.length < 1


def test_near_infrared_lies_on_red_green_and_blue(real_data: Path) -> None:
    path = real_data / "zion" / "zion_landsat8_rgbn.tif"
    found = measure_registration(RasterSource(path, (1, 2, 3)), RasterSource(path, (4,)))
    assert len(found.agreeing) == 16
    assert found.length < 0.2


def test_land_cover_lies_half_a_pixel_beside_its_landsat_scene(real_data: Path) -> None:
    x = RasterSource(real_data / "zion" / "zion_landsat8_rgbn.tif")
    y = RasterSource(real_data / "zion" / "nlcd.tif", like=x.frame)
    found = measure_registration(x, y)
    assert len(found.agreeing) >= 15
    assert not found.visible
    assert found.shift == pytest.approx((0.4, 0.4), abs=0.2)
