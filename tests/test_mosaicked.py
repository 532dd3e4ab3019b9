"""Laws of Mosaicked: the first valid raster counts, windows agree, and far files stay closed."""

import pickle
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS
from rasterio.windows import Window
from rasters import ramps, seen_from, tiles, utm, write

from geo_p2p.chips.mosaicked import Mosaicked
from geo_p2p.errors import AlignmentError, RasterError
from geo_p2p.raster import Frame, RasterSource, reach, shares_ground, union_frame
from geo_p2p.raster import source as source_module
from geo_p2p.raster.handles import HANDLES, MOST_OPEN

HERE = utm(120, 160)


def sheet(folder: Path, name: str, window: Window, value: int, **options: Any) -> Path:
    """Write noise about a value on a part of `HERE`; 0 means nothing."""
    rng = np.random.default_rng(value)
    values = rng.integers(value, value + 10, (2, window.height, window.width)).astype("uint8")
    values[:, rng.random(values.shape[1:]) < 0.2] = 0
    return write(folder / f"{name}.tif", values, HERE.crop(window), nodata=0, **options)


@pytest.fixture(scope="module")
def sheets(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three sheets that overlap: two of the lattice's CRS, the last of another."""
    folder = tmp_path_factory.mktemp("sheets")
    other = seen_from(HERE.crop(Window(20, 20, 100, 90)), CRS.from_epsg(3035), 1.2)
    values = np.random.default_rng(9).integers(100, 110, (2, *other.shape)).astype("uint8")
    return [
        sheet(folder, "west", Window(0, 0, 90, 120), 20),
        sheet(folder, "east", Window(60, 10, 100, 80), 60),
        write(folder / "turned.tif", values, other, nodata=0),
    ]


def on(paths: Sequence[Path], frame: Frame = HERE, **options: Any) -> Mosaicked:
    return Mosaicked([RasterSource(path, like=frame, **options) for path in paths])


# --- values --------------------------------------------------------------------------


def test_the_first_valid_raster_counts(sheets: list[Path]) -> None:
    values, valid = on(sheets).read()
    expected, known = np.zeros((2, *HERE.shape), "uint8"), np.zeros(HERE.shape, bool)
    for path in reversed(sheets):
        own, there = RasterSource(path, like=HERE).read()
        expected[:, there] = own[:, there]
        known |= there
    assert np.array_equal(valid, known)
    assert np.array_equal(values, expected)
    assert not valid.all()
    shown = [((values[0] >= low) & (values[0] < low + 10)).sum() for low in (20, 60, 100)]
    assert min(shown) > 500, "a sheet does not show"


@settings(max_examples=20)
@given(st.data())
def test_a_window_is_a_part_of_the_whole(sheets: list[Path], data: st.DataObject) -> None:
    row, col = data.draw(st.integers(0, 119)), data.draw(st.integers(0, 159))
    height, width = data.draw(st.integers(1, 120 - row)), data.draw(st.integers(1, 160 - col))
    order = data.draw(st.permutations(sheets))
    window = Window(col, row, width, height)
    whole, part = on(order).read(), on(order).read(window)
    for all_of, some in zip(whole, part, strict=True):
        assert np.array_equal(some, all_of[..., row : row + height, col : col + width])


def test_sheets_cut_from_one_raster_are_that_raster_again(tmp_path: Path) -> None:
    image = ramps(HERE)
    paths = []
    for number, window in enumerate(tiles(HERE, 50)):
        rows, cols = window.toslices()
        part = image[:, rows, cols]
        paths.append(write(tmp_path / f"{number}.tif", part, HERE.crop(window)))
    values, valid = on(paths).read()
    assert valid.all()
    assert np.array_equal(values, image)


def test_one_raster_is_itself(sheets: list[Path]) -> None:
    alone = RasterSource(sheets[0], like=HERE)
    values, valid = Mosaicked([alone]).read()
    expected, known = alone.read()
    assert np.array_equal(valid, known)
    assert np.array_equal(values[:, valid], expected[:, known])


def test_a_nodata_value_of_one_alone_is_none_of_all(tmp_path: Path) -> None:
    left = sheet(tmp_path, "left", Window(0, 0, 80, 120), 20)
    right = write(
        tmp_path / "right.tif", np.zeros((2, 120, 80), "uint8"), HERE.crop(Window(80, 0, 80, 120))
    )
    both = on([left, right])
    assert on([left, left]).info.nodata == 0
    assert both.info.nodata is None
    assert both.read()[1][:, 80:].all()


def test_a_turned_mosaic_is_one_of_turned_rasters(sheets: list[Path]) -> None:
    mosaic = pickle.loads(pickle.dumps(on(sheets)))
    turned = HERE.crop(Window(50, 30, 40, 40)).rotated(45)
    both = mosaic.warped(turned).read(), on(sheets, turned).read()
    assert all(np.array_equal(got, expected) for got, expected in zip(*both, strict=True))
    corner = HERE.crop(Window(0, 110, 10, 10)).rotated(45)
    assert mosaic.warped(corner).paths == (str(sheets[0]),)
    with pytest.raises(AlignmentError, match="and 2 more shares no ground"):
        mosaic.warped(HERE.crop(Window(500, 0, 10, 10)))


# --- files ---------------------------------------------------------------------------


def test_only_files_that_touch_the_window_are_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [
        write(tmp_path / f"{n}.tif", np.full((1, 20, 20), n + 1, "uint8"), HERE.crop(window))
        for n, window in enumerate(tiles(utm(120, 160), 20))
    ]
    mosaic = pickle.loads(pickle.dumps(on(paths)))
    opened: list[str] = []
    real = source_module.open_dataset

    def counting(path: str) -> Any:
        opened.append(Path(path).stem)
        return real(path)

    monkeypatch.setattr(source_module, "open_dataset", counting)
    assert mosaic.info.count == 1
    assert mosaic.frame == HERE
    assert not opened
    values, valid = mosaic.read(Window(45, 45, 10, 10))
    assert opened == ["18"]
    assert (values == 19).all()
    assert valid.all()


def test_a_thread_keeps_few_files_open(tmp_path: Path) -> None:
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("no /proc to count open files in")
    count = MOST_OPEN + 30
    frame = utm(10, 10 * count)
    paths = [
        write(tmp_path / f"{n}.tif", np.full((1, 10, 10), n % 250, "uint8"), frame.crop(window))
        for n, window in enumerate(tiles(frame, 10))
    ]
    mosaic = on(paths, frame)
    for _ in range(2):
        assert np.array_equal(mosaic.read()[0][0, 0, ::10], np.arange(count) % 250)
    files = [file.resolve().parent for file in Path("/proc/self/fd").iterdir()]
    assert files.count(tmp_path) == MOST_OPEN
    del mosaic
    assert len(HANDLES._opened) < MOST_OPEN


def test_a_mosaic_is_pickled_and_read_by_threads(sheets: list[Path]) -> None:
    mosaic = on(sheets)
    copy = pickle.loads(pickle.dumps(mosaic))
    assert copy == mosaic
    assert copy.paths == tuple(map(str, sheets))
    assert (copy.bands, copy.method, copy.name) == (
        None,
        "none, bilinear",
        f"{sheets[0]} and 2 more",
    )
    windows = list(tiles(HERE, 33)) * 4
    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(copy.read, windows))
    for window, (values, valid) in zip(windows, got, strict=True):
        expected, known = mosaic.read(window)
        assert np.array_equal(values, expected)
        assert np.array_equal(valid, known)


# --- refusals ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "options", "values"),
    [
        (r"number of bands \(1 and 2\)", {}, np.ones((2, 120, 160), "uint8")),
        (r"type \(uint8 and uint16\)", {}, np.ones((1, 120, 160), "uint16")),
        ("colors", {"colors": {1: (1, 2, 3, 255)}}, np.ones((1, 120, 160), "uint8")),
    ],
)
def test_rasters_that_hold_different_things_make_no_mosaic(
    tmp_path: Path, words: str, options: dict[str, Any], values: np.ndarray
) -> None:
    plain = write(tmp_path / "plain.tif", np.ones((1, 120, 160), "uint8"), HERE)
    other = write(tmp_path / "other.tif", values, HERE, **options)
    with pytest.raises(
        AlignmentError, match=rf"plain.tif and .*other.tif differ.*{words}"
    ) as error:
        on([plain, other])
    assert "\n" not in str(error.value)


def test_rasters_on_different_lattices_make_no_mosaic(sheets: list[Path]) -> None:
    with pytest.raises(AlignmentError, match="pixel on pixel"):
        Mosaicked([RasterSource(path) for path in sheets[:2]])
    with pytest.raises(RasterError, match="lie outside"):
        on(sheets).read(Window(150, 0, 20, 20))


# --- frames --------------------------------------------------------------------------

SMALL = [
    utm(50, 70, 20.0),
    utm(50, 70, 3.0, 30.0),
    Frame(40, 60, Affine(0.001, 0, 15.0, 0, -0.001, 47.9), CRS.from_epsg(4326)),
    seen_from(utm(90, 120, 30.0), CRS.from_epsg(3035), 1.0),
]
LARGE = [
    Frame(90, 90, Affine(2e4, 0, -9e5, 0, -2e4, 9e5), CRS.from_epsg(3413)),
    Frame(90, 90, Affine(2e3, 0, 400_000, 0, -2e3, 6_200_000), CRS.from_epsg(32601)),
]
WORLDS = [Frame(180, 360, Affine(1, 0, left, 0, -1, 90), CRS.from_epsg(4326)) for left in (-180, 0)]


@pytest.mark.parametrize(
    ("place", "world"),
    [*((s, utm(500, 500, 10.0, 12.0)) for s in SMALL), *((p, w) for p in LARGE for w in WORLDS)],
    ids=str,
)
def test_what_a_raster_fills_lies_within_its_reach(
    tmp_path: Path, place: Frame, world: Frame
) -> None:
    """Poles and the 180th meridian included: what is valid after the warp is in the box."""
    path = write(tmp_path / "a.tif", np.ones((1, *place.shape), "float32"), place)
    _, valid = RasterSource(path, like=world).read()
    left, top, right, bottom = reach(place, world)
    rows, cols = np.nonzero(valid)
    assert rows.size
    assert left <= cols.min() <= cols.max() < right
    assert top <= rows.min() <= rows.max() < bottom


def test_a_union_keeps_the_first_lattice() -> None:
    first, east = utm(50, 60, 2.0), utm(50, 60, 2.0).crop(Window(50, -20, 40, 40))
    union = union_frame([first, east])
    assert union.shape == (70, 90)
    assert union.crop(Window(0, 20, 60, 50)).same_lattice(first)
    assert union_frame([first]) == first
    assert union_frame([first, first.crop(Window(3, 3, 5, 5))]).same_lattice(first)


@given(st.floats(-60, 60), st.floats(-60, 60), st.floats(0.3, 3), st.floats(0, 90), st.booleans())
def test_a_union_covers_all(x: float, y: float, res: float, turn: float, warp: bool) -> None:
    first = utm(40, 50, 2.0, turn)
    moved = Affine.translation(x, y) * Affine.scale(res, res)
    other = Frame(30, 30, first.transform * moved, first.crs)
    if warp:
        other = seen_from(other, CRS.from_epsg(3035), 1.0)
    union = union_frame([first, other])
    for frame in (first, other):
        cols, rows = np.array([0.0, frame.width] * 2), np.array([0, 0, frame.height, frame.height])
        points = frame.pixels_in(union, cols, rows)
        assert (points > -0.01).all()
        assert (points < np.array([[union.width], [union.height]]) + 0.01).all()
    corner = first.pixels_in(union, np.zeros(1), np.zeros(1))
    assert corner == pytest.approx(np.round(corner), abs=1e-6)


def test_ground_beyond_the_first_crs_makes_no_union() -> None:
    ortho = CRS.from_string("+proj=ortho +lon_0=180 +datum=WGS84")
    first = Frame(64, 64, Affine(1000, 0, -32_000, 0, -1000, 32_000), ortho)
    with pytest.raises(AlignmentError, match="process the items separately"):
        union_frame([first, utm(10, 10)])


def test_an_edge_is_no_shared_ground() -> None:
    first = utm(50, 60)
    assert not shares_ground(first, first.crop(Window(60, 0, 10, 50)))
    assert shares_ground(first, first.crop(Window(59, 0, 10, 50)))
    assert shares_ground(first, seen_from(first, CRS.from_epsg(3035), 1.0))
