"""Laws of VectorSource: shapes land where they are, and windows agree with the whole."""

import logging
import pickle
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import pytest
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS
from rasterio.errors import NotGeoreferencedWarning
from rasterio.features import rasterize
from rasterio.warp import transform as warp_points
from rasterio.windows import Window
from rasters import seen_from, utm

from geo_p2p.chips.area import read_area
from geo_p2p.chips.vector import COARSE, TILE, VectorSource
from geo_p2p.errors import AlignmentError, ChipError, GeoP2PError, RasterError
from geo_p2p.raster import Frame

HERE = utm(300, 340, 2.0)


def write_shapes(
    path: Path, pixels: Any, frame: Frame = HERE, crs: str = "EPSG:32633", **columns: Any
) -> Path:
    """Write shapes given in px of a frame to a vector file of any CRS, with attributes."""
    shapes = np.array(pixels, object)

    def onto(points: np.ndarray) -> np.ndarray:
        xs, ys = frame.transform * (points[:, 0], points[:, 1])
        return np.column_stack(warp_points(frame.crs, CRS.from_string(crs), xs, ys))

    dense = shapes if crs == "EPSG:32633" else shapely.segmentize(shapes, 4)
    wkb = shapely.to_wkb(shapely.transform(dense, onto))
    layer = {"layer": columns.pop("layer")} if "layer" in columns else {}
    kind = {"geometry_type": "Unknown", "crs": crs, "append": columns.pop("append", False)}
    values = [np.asarray(column) for column in columns.values()]
    pyogrio.raw.write(path, wkb, values, list(columns), **kind, **layer)
    return path


def shapes_for(seed: int, count: int = 12) -> list[shapely.Polygon]:
    """Triangles and discs all over the raster and beyond its edges."""
    rng = np.random.default_rng(seed)
    triangles = [shapely.Polygon(rng.uniform(-20, 360, (3, 2))) for _ in range(count)]
    discs = [shapely.Point(*rng.uniform(0, 340, 2)).buffer(rng.uniform(2, 60)) for _ in triangles]
    return [*triangles, *discs]


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Path:
    shapes = shapes_for(0)
    path = tmp_path_factory.mktemp("town") / "town.gpkg"
    return write_shapes(path, shapes, kind=np.arange(len(shapes)) % 5 + 1)


# --- windows -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def both(town: Path) -> dict[bool, tuple[np.ndarray, VectorSource]]:
    """Return the whole, and a source to read windows from, by whether all touched pixels count."""
    return {
        touched: (
            VectorSource(town, HERE, "kind", all_touched=touched).read()[0],
            VectorSource(town, HERE, "kind", all_touched=touched),
        )
        for touched in (False, True)
    }


@settings(max_examples=60)
@given(st.data())
def test_a_window_is_a_part_of_the_whole(
    both: dict[bool, tuple[np.ndarray, VectorSource]], data: st.DataObject
) -> None:
    touched = data.draw(st.booleans())
    whole, source = both[touched]
    row, col = data.draw(st.integers(0, 299)), data.draw(st.integers(0, 339))
    height, width = data.draw(st.integers(1, 300 - row)), data.draw(st.integers(1, 340 - col))
    values, valid = source.read(Window(col, row, width, height))
    assert np.array_equal(values, whole[:, row : row + height, col : col + width])
    assert valid.all()
    assert valid.shape == (height, width)


@pytest.mark.parametrize("touched", [False, True])
@pytest.mark.parametrize("turn", [0.0, 30.0])
def test_it_burns_what_rasterio_burns_in_the_order_of_the_file(
    tmp_path: Path, touched: bool, turn: float
) -> None:
    frame = utm(300, 340, 2.0, turn)
    shapes = shapes_for(1)
    numbers = np.random.default_rng(1).permutation(len(shapes)) + 1
    path = write_shapes(tmp_path / "a.gpkg", shapes, frame, kind=numbers)
    values, _ = VectorSource(path, frame, "kind", all_touched=touched).read()
    pairs = list(zip(shapes, numbers.tolist(), strict=True))
    expected = rasterize(pairs, frame.shape, transform=Affine.identity(), all_touched=touched)
    # A centre on an edge, within rounding, may fall to either side.
    assert (values[0] != expected).mean() < 1e-4
    assert len(np.unique(expected)) > 10


def test_a_shape_of_many_points_is_burnt_as_it_is(tmp_path: Path) -> None:
    angles = np.linspace(0, 2 * np.pi, 6000, endpoint=False)
    reach = 120 + 40 * np.sin(9 * angles)
    star = shapely.Polygon(
        np.column_stack([170 + reach * np.cos(angles), 150 + reach * np.sin(angles)])
    )
    ring = star.difference(shapely.Point(170, 150).buffer(50, quad_segs=400))
    source = VectorSource(write_shapes(tmp_path / "a.fgb", [ring]), HERE)
    expected = rasterize([ring], HERE.shape)
    assert (source.read()[0][0] != expected).sum() <= 2


def test_a_large_shape_is_whole_across_the_squares_it_is_cut_to(tmp_path: Path) -> None:
    frame = utm(5000, 5000)
    angles = np.linspace(0, 2 * np.pi, 2000, endpoint=False)
    reach = 2000 + 30 * np.sin(300 * angles)
    ring = np.column_stack([COARSE + reach * np.cos(angles), COARSE + reach * np.sin(angles)])
    star = shapely.Polygon(ring)
    source = VectorSource(write_shapes(tmp_path / "a.gpkg", [star], frame), frame)
    for row, col in [(COARSE - 50, COARSE - 2040), (COARSE - 1450, COARSE - 1450), (4050, 4060)]:
        values = source.read(Window(col, row, 100, 100))[0][0]
        place = Affine.translation(col, row)
        assert (values != rasterize([star], (100, 100), transform=place)).sum() <= 2
    assert source.read(Window(COARSE - 2040, COARSE, 100, 1))[0].any()


def test_all_touched_covers_more(town: Path) -> None:
    centres = VectorSource(town, HERE).read()[0] > 0
    touched = VectorSource(town, HERE, all_touched=True).read()[0] > 0
    assert touched[centres].all()
    assert touched.sum() > centres.sum() > 0


# --- place ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "crs"),
    [
        ("a.geojson", "EPSG:4326"),
        ("a.gpkg", "EPSG:3035"),
        ("a.shp", "EPSG:32634"),
        ("a.fgb", "EPSG:3857"),
    ],
)
def test_a_shape_of_another_crs_lies_in_place(tmp_path: Path, file: str, crs: str) -> None:
    """The centre of gravity of a large disc tells its place to a hundredth of a pixel."""
    col, row = 160.3, 140.8
    disc = shapely.Point(col, row).buffer(100, quad_segs=64)
    frame = utm(300, 340, 10.0)
    path = write_shapes(tmp_path / file, [disc], frame, crs)
    values, _ = VectorSource(path, frame).read()
    rows, cols = np.nonzero(values[0])
    assert (cols.mean() + 0.5, rows.mean() + 0.5) == pytest.approx((col, row), abs=0.05)
    assert values.sum() == pytest.approx(disc.area, rel=1e-3)


def test_long_edges_are_bent_on_the_way(tmp_path: Path) -> None:
    """A straight line of degrees is none in the raster: the corners alone would miss it."""
    frame = Frame(400, 400, Affine(1000, 0, 200_000, 0, -1000, 6_600_000), CRS.from_epsg(32633))
    box = shapely.box(10, 56, 20, 58)
    path = tmp_path / "a.gpkg"
    pyogrio.raw.write(
        path, shapely.to_wkb(np.array([box])), [], [], geometry_type="Polygon", crs="EPSG:4326"
    )
    values, _ = VectorSource(path, frame).read()
    rows, cols = np.indices(frame.shape) + 0.5
    degrees = Frame(1, 1, Affine.identity(), CRS.from_epsg(4326))
    lon, lat = frame.pixels_in(degrees, cols.ravel(), rows.ravel())
    expected = (lon > 10) & (lon < 20) & (lat > 56) & (lat < 58)
    # Two edges of 300 px, off by 0.05 px on average.
    assert (values.ravel() != expected).sum() < 0.05 * 600
    assert expected.sum() > 10_000


# --- classes -------------------------------------------------------------------------

SQUARES = [shapely.box(10 * n, 10, 10 * n + 8, 18) for n in range(1, 7)]


def at(source: VectorSource) -> list[int]:
    """Return the class in the middle of each square."""
    values, _ = source.read()
    return [int(values[0, 14, 10 * n + 4]) for n in range(1, 7)]


def test_text_becomes_classes_in_sorted_order(tmp_path: Path, caplog: Any) -> None:
    words = np.array(["road", "house", None, "tree", "house", ""], object)
    path = write_shapes(tmp_path / "a.gpkg", SQUARES, kind=words)
    with caplog.at_level(logging.WARNING):
        source = VectorSource(path, HERE, "kind")
    assert at(source) == [2, 1, 0, 3, 1, 0]
    assert source.info.classes == {0: "background", 1: "house", 2: "road", 3: "tree"}
    assert source.info.dtype == source.read()[0].dtype == "uint8"
    assert source.info.categorical
    assert "2 features have no kind" in caplog.text
    assert set(source.info.colors) == {0, 1, 2, 3}
    assert len(set(source.info.colors.values())) == 4


def test_the_classes_are_those_of_the_layer_wherever_the_raster_lies(tmp_path: Path) -> None:
    words = np.array(list("fedcba"), object)
    path = write_shapes(tmp_path / "a.gpkg", SQUARES, kind=words)
    part = HERE.crop(Window(20, 0, 30, 30))
    there = VectorSource(path, part, "kind")
    assert there.info == VectorSource(path, HERE, "kind").info
    assert set(np.unique(there.read()[0])) == {0, 3, 4, 5}


@pytest.mark.parametrize("file", ["a.fgb", "a.shp", "a.geojson", "a.gpkg", "a.geojsonl"])
def test_a_shape_keeps_its_attribute_where_an_index_leaves_out_others(
    tmp_path: Path, file: str
) -> None:
    far = [shapely.box(6000 * n, 9000, 6000 * n + 1, 9001) for n in range(1, 9)]
    words = np.array([*"xyxyxyxy", *"fedcba"], object)
    crs = "EPSG:32633" if file[2:] in ("fgb", "shp", "gpkg") else "EPSG:4326"
    path = write_shapes(tmp_path / file, [*far, *SQUARES], crs=crs, kind=words)
    assert at(VectorSource(path, HERE, "kind")) == [6, 5, 4, 3, 2, 1]


@pytest.mark.parametrize(
    ("column", "dtype", "expected"),
    [
        (np.array([1, 2, 3, 4, 5, 255]), "uint8", [1, 2, 3, 4, 5, 255]),
        (np.array([1, 2, 3, 4, 5, 256]), "uint16", [1, 2, 3, 4, 5, 256]),
        (np.array([7.0, np.nan, 7, 7, 7, 65535]), "uint16", [7, 0, 7, 7, 7, 65535]),
        (np.array([True, False] * 3), "uint8", [1, 0] * 3),
    ],
)
def test_numbers_are_the_classes(
    tmp_path: Path, column: np.ndarray, dtype: str, expected: list[int]
) -> None:
    source = VectorSource(write_shapes(tmp_path / "a.gpkg", SQUARES, kind=column), HERE, "kind")
    assert at(source) == expected
    assert source.info.dtype == source.read()[0].dtype == dtype
    assert source.info.classes == {0: "background"}


def test_without_an_attribute_all_are_one_class(tmp_path: Path) -> None:
    source = VectorSource(write_shapes(tmp_path / "houses.gpkg", SQUARES), HERE, burn=300)
    assert at(source) == [300] * 6
    assert source.info.dtype == "uint16"
    assert source.info.classes == {0: "background", 300: "houses"}


def test_more_classes_than_colours_have_none(tmp_path: Path) -> None:
    words = np.array([f"{n:04}" for n in range(300)], object)
    squares = [shapely.box(n, 10, n + 1, 11) for n in range(300)]
    source = VectorSource(write_shapes(tmp_path / "a.gpkg", squares, kind=words), HERE, "kind")
    assert source.info.colors == {}
    assert source.info.categorical
    assert source.read()[0].max() == 300


# --- shapes --------------------------------------------------------------------------


def test_later_features_lie_on_top_whatever_an_index_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A spatial index may hand out shapes in an order of its own."""
    real = pyogrio.raw.read

    def shuffled(*args: Any, **options: Any) -> Any:
        meta, numbers, wkb, columns = real(*args, **options)
        order = np.random.default_rng(0).permutation(len(numbers))
        wkb = None if wkb is None else wkb[order]
        return meta, numbers[order], wkb, [column[order] for column in columns]

    monkeypatch.setattr(pyogrio.raw, "read", shuffled)
    rng = np.random.default_rng(0)
    boxes = [shapely.box(*low, *(low + 40)) for low in rng.uniform(0, 250, (200, 2))]
    numbers = np.arange(1, 201)
    for file in ("a.gpkg", "a.shp"):
        path = write_shapes(tmp_path / file, boxes, kind=numbers)
        values = VectorSource(path, HERE, "kind").read()[0][0]
        pairs = list(zip(boxes, numbers.tolist(), strict=True))
        assert (values != rasterize(pairs, HERE.shape)).mean() < 1e-4


def test_invalid_rings_are_repaired_and_told(tmp_path: Path, caplog: Any) -> None:
    bow = shapely.Polygon([(10, 10), (50, 50), (50, 10), (10, 50)])
    path = write_shapes(tmp_path / "a.gpkg", [bow, SQUARES[5]])
    with caplog.at_level(logging.WARNING):
        source = VectorSource(path, HERE)
    assert "repaired the rings of 1 invalid" in caplog.text
    values = source.read()[0][0]
    assert values[30, 15] == values[30, 45] == 1
    assert values[15, 30] == values[45, 30] == 0
    caplog.clear()
    pickle.loads(pickle.dumps(source)).read()
    assert not caplog.records


def test_an_area_of_interest_is_repaired_and_told_as_well(tmp_path: Path, caplog: Any) -> None:
    bow = shapely.Polygon([(10, 10), (50, 50), (50, 10), (10, 50)])
    path = write_shapes(tmp_path / "a.gpkg", SQUARES[:1], layer="first")
    write_shapes(path, [bow], layer="second", append=True)
    with caplog.at_level(logging.WARNING):
        assert read_area(path, HERE).area == pytest.approx(8 * 8 * 4, rel=0.1)
        assert not caplog.records
        assert read_area(path, HERE, "second").area == pytest.approx(2 * 400 * 4, rel=0.1)
    assert "a.gpkg: repaired the rings of 1 invalid" in caplog.text


def test_points_and_lines_count_once_they_have_a_width(tmp_path: Path) -> None:
    shapes = [shapely.Point(50, 50), shapely.LineString([(100, 20), (100, 220)]), SQUARES[5]]
    path = write_shapes(tmp_path / "a.gpkg", shapes, kind=[1, 2, 3])
    bare = VectorSource(path, HERE, "kind").read()[0]
    assert set(np.unique(bare)) == {0, 3}
    wide = VectorSource(path, HERE, "kind", buffer=20).read()[0][0]  # metres: 10 px
    assert (wide == 1).sum() == pytest.approx(np.pi * 100, rel=0.03)
    assert (wide == 2).sum() == pytest.approx(20 * 200 + np.pi * 100, rel=0.01)
    assert (wide == 3).sum() > (bare == 3).sum()


def test_a_point_beyond_the_edge_reaches_in_with_its_buffer(tmp_path: Path) -> None:
    path = write_shapes(tmp_path / "a.gpkg", [shapely.Point(-60, 100)])
    values = VectorSource(path, HERE, buffer=140).read()[0][0]
    assert values[100, 8] == 1
    assert values[100, 12] == 0


@pytest.mark.parametrize("layer", ["roads", 1, "1"])
def test_any_layer_counts(tmp_path: Path, layer: str | int) -> None:
    path = write_shapes(tmp_path / "a.gpkg", SQUARES[:1], layer="houses")
    write_shapes(path, SQUARES[1:2], layer="roads", append=True)
    assert at(VectorSource(path, HERE))[:2] == [1, 0]
    assert at(VectorSource(path, HERE, layer=layer))[:2] == [0, 1]


def test_features_elsewhere_are_not_read(tmp_path: Path) -> None:
    far = [shapely.box(1e5 + n, 0, 1e5 + n + 1, 1) for n in range(50)]
    path = write_shapes(tmp_path / "a.gpkg", [*far, SQUARES[0]])
    assert len(VectorSource(path, HERE)._burnt.shapes) == 1


# --- a Source ------------------------------------------------------------------------


def test_it_is_a_value_that_is_pickled(town: Path) -> None:
    source = VectorSource(town, HERE, "kind", all_touched=True, buffer=1.0)
    source.read(Window(0, 0, 10, 10))
    assert len(pickle.dumps(source)) < 3000
    copy = pickle.loads(pickle.dumps(source))
    assert copy == source
    assert np.array_equal(copy.read()[0], source.read()[0])
    assert (copy.name, copy.paths, copy.bands, copy.method) == (
        str(town),
        (str(town),),
        None,
        "none",
    )
    assert copy.frame == HERE
    assert copy.info == source.info


def test_eight_threads_read_what_one_reads(town: Path) -> None:
    rng = np.random.default_rng(0)
    windows = [Window(*rng.integers(0, 200, 2), *rng.integers(1, 100, 2)) for _ in range(40)]
    serial = [VectorSource(town, HERE, "kind").read(window)[0] for window in windows[:8]]
    source = pickle.loads(pickle.dumps(VectorSource(town, HERE, "kind")))
    with ThreadPoolExecutor(8) as pool:
        got = [values for values, _ in pool.map(source.read, windows)]
    assert all(np.array_equal(a, b) for a, b in zip(got, serial, strict=False))


def test_the_corner_of_the_raster_warns_of_nothing(town: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", NotGeoreferencedWarning)
        VectorSource(town, HERE).read()


def test_what_is_read_may_be_written_on(town: Path) -> None:
    source = VectorSource(town, HERE)
    before = source.read()[0]
    source.read()[0][:] = 9
    assert np.array_equal(source.read()[0], before)
    assert min(HERE.shape) > TILE


@pytest.mark.parametrize("copied", [False, True])
def test_shapes_turn_with_a_chip(town: Path, copied: bool) -> None:
    source = VectorSource(town, HERE, "kind")
    if copied:
        source = pickle.loads(pickle.dumps(source))
    chip = HERE.crop(Window(120, 100, 64, 64))
    turned = source.warped(chip.rotated(30))
    expected = VectorSource(town, chip.rotated(30), "kind")
    assert (turned.read()[0] != expected.read()[0]).mean() < 1e-3
    assert (turned, turned.info, turned.frame) == (expected, expected.info, expected.frame)
    assert np.array_equal(source.warped(chip).read()[0], source.read(Window(120, 100, 64, 64))[0])
    away = HERE.crop(Window(2000, 0, 64, 64))
    assert not source.warped(away).read()[0].any(), "a chip may hold nothing but background"
    other = seen_from(chip, CRS.from_epsg(3035), 1.0)
    assert source.warped(other) == VectorSource(town, other, "kind")


def test_a_large_shape_turns_with_a_chip(tmp_path: Path) -> None:
    disc = shapely.Point(150, 150).buffer(130, quad_segs=1000)
    source = VectorSource(write_shapes(tmp_path / "a.gpkg", [disc]), HERE)
    turned = HERE.crop(Window(20, 20, 64, 64)).rotated(45)
    cols, rows = np.meshgrid(np.arange(64) + 0.5, np.arange(64) + 0.5)
    places = turned.pixels_in(HERE, cols.ravel(), rows.ravel())
    expected = np.hypot(*(places - 150)).reshape(64, 64) < 130
    assert (source.warped(turned).read()[0][0] != expected).sum() <= 2
    assert 0.2 < expected.mean() < 0.8


# --- refusals ------------------------------------------------------------------------


def refusals(folder: Path) -> dict[str, tuple[type[GeoP2PError], str, dict[str, Any]]]:
    """Return what is refused: the error, its words, and the arguments."""
    good = write_shapes(folder / "good.gpkg", SQUARES[:2], kind=["a", "b"], size=[1.5, 2.0])
    points = write_shapes(folder / "points.gpkg", [shapely.Point(5, 5)], big=[70_000])
    away = write_shapes(folder / "away.gpkg", [shapely.box(900, 900, 950, 950)])
    nonsense = folder / "nonsense.geojson"
    nonsense.write_text("{")
    empty = write_shapes(folder / "empty.gpkg", SQUARES[:2], none=np.array([None, ""], object))
    pixels = Frame.of_pixels(300, 300)
    return {
        "missing": (ChipError, r"no\.gpkg: no such file", {"path": folder / "no.gpkg"}),
        "nonsense": (ChipError, "not a vector file", {"path": nonsense}),
        "layer": (ChipError, "no layer 'x'; it has good", {"path": good, "layer": "x"}),
        "number": (ChipError, "no layer 4; it has good", {"path": good, "layer": 4}),
        "field": (ChipError, "'x'; choose one of kind, size", {"path": good, "field": "x"}),
        "fraction": (ChipError, "holds 1.5, which is no class", {"path": good, "field": "size"}),
        "points": (ChipError, "give points and lines a buffer", {"path": points}),
        "large": (ChipError, "70000, which", {"path": points, "field": "big", "buffer": 1}),
        "away": (AlignmentError, r"none of its shapes lies on the raster", {"path": away}),
        "empty": (ChipError, "no value in any feature", {"path": empty, "field": "none"}),
        "burn": (ChipError, "burn value 0", {"path": good, "burn": 0}),
        "buffer": (ChipError, "buffer -1", {"path": good, "buffer": -1}),
        "pixels": (AlignmentError, r"good\.gpkg: no transf", {"path": good, "like": pixels}),
    }


CASES = [
    *("missing", "nonsense", "layer", "number", "field", "fraction", "points", "large", "away"),
    *("empty", "burn", "buffer", "pixels"),
]


@pytest.mark.parametrize("case", CASES)
def test_what_cannot_serve_is_refused_in_one_line(tmp_path: Path, case: str) -> None:
    kind, words, arguments = refusals(tmp_path)[case]
    with pytest.raises(kind, match=words) as error:
        VectorSource(**{"like": HERE, **arguments})
    assert "\n" not in str(error.value)


def test_a_window_beyond_the_raster_is_refused(town: Path) -> None:
    with pytest.raises(RasterError, match="lie outside"):
        VectorSource(town, HERE).read(Window(300, 0, 50, 10))
