"""Cutting chips: pairs line up, nothing invalid slips in, nothing is left behind on failure."""

import json
import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
from affine import Affine
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.warp import reproject
from rasterio.warp import transform as warp_points
from rasters import seen_from, texture, write

from geo_p2p.chips import ChipFolder, ExportConfig, export_chips
from geo_p2p.chips.area import read_area
from geo_p2p.chips.outline import outline
from geo_p2p.errors import AlignmentError, ChipError, GeoP2PError, GridError, RasterError
from geo_p2p.raster import Frame, RasterSource

MakeRaster = Callable[..., Path]

HEIGHT, WIDTH = 64, 96
TILE, STRIDE = 32, 16
UTM = CRS.from_epsg(32633)
LAEA = CRS.from_epsg(3035)
HERE = Affine(2, 0, 500_000, 0, -2, 5_300_000)
FRAME = Frame(HEIGHT, WIDTH, HERE, UTM)
ACROSS = (WIDTH - TILE) // STRIDE + 1
COUNT = ACROSS * ((HEIGHT - TILE) // STRIDE + 1)
SMALL = {"tile_size": TILE, "stride": STRIDE, "split": "none"}


def noise(bands: int = 1, dtype: str = "uint8", seed: int = 0) -> np.ndarray:
    values = np.random.default_rng(seed).integers(1, 100, (bands, HEIGHT, WIDTH))
    return values.astype(dtype)


@pytest.fixture
def place(make_raster: MakeRaster) -> MakeRaster:
    """Return a function that writes an array where the tests are."""

    def make(values: np.ndarray, **options: Any) -> Path:
        return make_raster(values, **{"crs": UTM, "transform": HERE, **options})

    return make


def names(folder: Path, side: str = "images") -> list[str]:
    return sorted(file.stem for file in (folder / side).glob("*.tif"))


def corner(name: str) -> tuple[int, int]:
    """Return the row and column of a chip's upper-left pixel, by its name."""
    row, col = divmod(int(name), ACROSS)
    return row * STRIDE, col * STRIDE


def cut(values: np.ndarray, name: str) -> np.ndarray:
    """Return the part of (..., HEIGHT, WIDTH) that a chip covers."""
    row, col = corner(name)
    return values[..., row : row + TILE, col : col + TILE]


def pixels(folder: Path, side: str, name: str) -> np.ndarray:
    with rasterio.open(folder / side / f"{name}.tif") as src:
        return src.read()


def mask(folder: Path, side: str, name: str) -> np.ndarray:
    with rasterio.open(folder / side / f"{name}.tif") as src:
        return src.dataset_mask() > 0


def own(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "geo_p2p.json").read_text())


def around(crs: CRS, res: float, margin: float = 40) -> Frame:
    """Return a frame of another CRS that covers the test's place and a margin of pixels."""
    xs, ys = (np.array(v) for v in warp_points(UTM, crs, *FRAME.corners.T))
    left, top = xs.min() - margin * res, ys.max() + margin * res
    width, height = (round(np.ptp(v) / res + 2 * margin) for v in (xs, ys))
    return Frame(height, width, Affine(res, 0, left, 0, -res, top), crs)


def ground(frame: Frame) -> np.ndarray:
    """Return easting and northing of each pixel's centre, metres in the tests' zone."""
    rows, cols = np.indices(frame.shape) + 0.5
    xs, ys = frame.transform * (cols, rows)
    where = np.array(warp_points(frame.crs, UTM, xs.ravel(), ys.ravel()))
    return where.reshape(2, *frame.shape)


# Pairs line up


@pytest.mark.parametrize(
    ("res", "most"), [(2.0, 0.001), (3.1, 0.001), pytest.param(0.9, 0.05, id="average")]
)
def test_a_pixel_of_the_target_is_where_the_input_says_it_is(
    place: MakeRaster, tmp_path: Path, res: float, most: float
) -> None:
    theirs = around(LAEA, res)
    y = place(ground(theirs), crs=LAEA, transform=theirs.transform)
    folder = export_chips(place(noise()), y, tmp_path / "chips", **SMALL)
    truth = ground(FRAME)
    off = [np.abs(pixels(folder, "images2", n) - cut(truth, n)).max() for n in names(folder)]
    assert len(off) == COUNT
    assert max(off) / FRAME.res[0] <= most


def test_the_target_is_the_additional_raster_warped_as_a_whole(
    place: MakeRaster, tmp_path: Path
) -> None:
    theirs = around(LAEA, 2.6)
    values = np.random.default_rng(1).normal(size=(2, *theirs.shape)).astype("float32")
    y = place(values, crs=LAEA, transform=theirs.transform)
    asked = {**SMALL, "resampling": "bilinear"}
    folder = export_chips(place(noise()), y, tmp_path / "chips", **asked)
    whole = np.zeros((2, HEIGHT, WIDTH), "float32")
    reproject(
        values,
        whole,
        src_transform=theirs.transform,
        src_crs=LAEA,
        dst_transform=HERE,
        dst_crs=UTM,
        resampling=Resampling.bilinear,
        tolerance=0.001,
    )
    for name in names(folder):
        np.testing.assert_allclose(pixels(folder, "images2", name), cut(whole, name), atol=0.01)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", "int32", "float32"])
def test_a_raster_paired_with_itself_gives_equal_halves_of_its_own_type(
    place: MakeRaster, tmp_path: Path, dtype: str
) -> None:
    values = noise(3, dtype)
    path = place(values)
    folder = export_chips(path, path, tmp_path / "chips", **SMALL)
    assert names(folder) == names(folder, "images2")
    for name in names(folder):
        x, y = (pixels(folder, side, name) for side in ("images", "images2"))
        assert x.dtype == y.dtype == dtype
        np.testing.assert_array_equal(x, cut(values, name))
        np.testing.assert_array_equal(y, x)


def test_each_chip_knows_its_place(place: MakeRaster, tmp_path: Path) -> None:
    turned = HERE * Affine.rotation(20)
    for transform in (HERE, turned):
        path = place(noise(), transform=transform)
        folder = export_chips(path, path, tmp_path / "chips", overwrite=True, **SMALL)
        for side in ("images", "images2"):
            for name in names(folder, side):
                row, col = corner(name)
                expected = transform * Affine.translation(col, row)
                with rasterio.open(folder / side / f"{name}.tif") as src:
                    assert src.crs == UTM
                    assert src.transform.almost_equals(expected, 1e-6)


def test_bands_are_taken_as_asked_and_files_stack(place: MakeRaster, tmp_path: Path) -> None:
    one, two = noise(3, seed=1), noise(2, seed=2)
    paths = [place(one), place(two)]
    asked = {**SMALL, "bidx": (4, 1), "additional_bidx": (2,)}
    folder = export_chips(paths, paths[1], tmp_path / "chips", **asked)
    for name in names(folder):
        stacked = np.concatenate([one, two])[[3, 0]]
        picked = pixels(folder, "images", name)
        assert sorted(p.tobytes() for p in picked) == sorted(
            p.tobytes() for p in cut(stacked, name)
        )
        np.testing.assert_array_equal(pixels(folder, "images2", name), cut(two[1:], name))


# What is cut, and what is not


def test_names_are_the_places_in_the_grid_and_gaps_stay(place: MakeRaster, tmp_path: Path) -> None:
    path = place(noise())
    folder = export_chips(path, path, tmp_path / "all", **SMALL)
    assert names(folder) == [f"{i:012d}" for i in range(COUNT)]
    holed = noise()
    holed[:, :20, :20] = 0
    path = place(holed, nodata=0)
    folder = export_chips(path, path, tmp_path / "some", **SMALL)
    kept = names(folder)
    assert len(kept) < COUNT
    assert kept == [n for n in kept if (cut(holed, n) > 0).mean() >= 0.9]


@pytest.mark.parametrize("min_valid", [0, 0.5, 0.9, 1])
def test_a_chip_needs_its_share_of_pixels_that_are_valid_in_both(
    place: MakeRaster, tmp_path: Path, min_valid: float
) -> None:
    x_values = noise()
    x_values[:, :, :30] = 0
    y_valid = np.ones((HEIGHT, WIDTH), bool)
    y_valid[34:, 80:] = False
    y_valid[60, 55] = False
    x, y = place(x_values, nodata=0), place(noise(seed=1), mask=y_valid)
    folder = export_chips(x, y, tmp_path / "chips", **SMALL, min_valid=min_valid)
    both = (x_values[0] > 0) & y_valid
    shares = {f"{i:012d}": cut(both, f"{i:012d}").mean() for i in range(COUNT)}
    assert names(folder) == [n for n, s in shares.items() if s >= min_valid and s > 0]
    for name in names(folder):
        np.testing.assert_array_equal(mask(folder, "images", name), cut(x_values[0] > 0, name))
        np.testing.assert_array_equal(mask(folder, "images2", name), cut(y_valid, name))


def test_nan_stays_invalid_by_a_mask_inside_the_chip(place: MakeRaster, tmp_path: Path) -> None:
    values = noise(2, "float32")
    values[1, 3, 5] = np.nan
    values[0, 4, 6] = np.inf
    path = place(values)
    folder = export_chips(path, place(noise()), tmp_path / "chips", **SMALL)
    expected = np.ones((TILE, TILE), bool)
    expected[3, 5] = expected[4, 6] = False
    np.testing.assert_array_equal(mask(folder, "images", names(folder)[0]), expected)
    assert not list(folder.rglob("*.msk")), "the mask lies beside the chip"
    chip = ChipFolder.open(folder).read(names(folder)[0])
    np.testing.assert_array_equal(chip.valid, expected)


# The area of interest

# Off the lattice of chips by two pixels, so that no chip is a borderline case.
AREA = shapely.Polygon(
    [(499_995, 5_300_005), (500_187, 5_300_005), (500_187, 5_299_925)]
    + [(500_100, 5_299_925), (500_100, 5_299_877), (499_995, 5_299_877)]
)
SMALL_HOLE = shapely.Point(500_050, 5_299_950).buffer(3)


def write_area(path: Path, area: Any, crs: str = "EPSG:32633", **options: Any) -> Path:
    """Write geometries to a vector file, warped from the tests' zone to a CRS."""
    shapes = np.atleast_1d(np.array(area, object))

    def warp(points: np.ndarray) -> np.ndarray:
        return np.column_stack(warp_points(UTM, CRS.from_string(crs), *points.T))

    wkb = shapely.to_wkb(shapely.transform(shapely.segmentize(shapes, 5), warp))
    kind = {"geometry_type": "Unknown", "crs": crs, **options}
    pyogrio.raw.write(path, wkb, field_data=[], fields=[], **kind)
    return path


def inside(area: shapely.Geometry) -> list[str]:
    every = [f"{i:012d}" for i in range(COUNT)]
    return [n for n in every if area.contains(box_of(n))]


def box_of(name: str) -> shapely.Polygon:
    row, col = corner(name)
    (left, top), (right, bottom) = HERE * (col, row), HERE * (col + TILE, row + TILE)
    return shapely.box(left, bottom, right, top)


@pytest.mark.parametrize(
    ("file", "crs"),
    [("a.geojson", "EPSG:4326"), ("a.gpkg", "EPSG:3035"), ("a.gpkg", "EPSG:32633")],
)
def test_chips_lie_wholly_inside_the_area_of_interest_in_any_crs(
    place: MakeRaster, tmp_path: Path, file: str, crs: str
) -> None:
    area = AREA.difference(SMALL_HOLE)
    vector = write_area(tmp_path / file, area, crs)
    folder = export_chips(place(noise()), place(noise()), tmp_path / "c", **SMALL, mask=vector)
    assert names(folder) == inside(area)
    assert 0 < len(names(folder)) < len(inside(AREA)) < COUNT


def test_polygons_that_touch_are_one_area_and_other_shapes_do_not_count(
    place: MakeRaster, tmp_path: Path
) -> None:
    west, east = (
        AREA.intersection(shapely.box(0, 0, 500_100, 6e6)),
        AREA - shapely.box(0, 0, 500_100, 6e6),
    )
    line, point = shapely.LineString([(500_000, 0), (500_000, 6e6)]), shapely.Point(500_010, 5e6)
    both = shapely.GeometryCollection([east, line])
    vector = write_area(tmp_path / "a.gpkg", [west, point, both, line])
    folder = export_chips(place(noise()), place(noise()), tmp_path / "c", **SMALL, mask=vector)
    assert names(folder) == inside(AREA)


def test_the_first_layer_counts_and_nothing_warns(place: MakeRaster, tmp_path: Path) -> None:
    vector = write_area(tmp_path / "a.gpkg", AREA, layer="first")
    write_area(vector, AREA.centroid.buffer(50), layer="second", append=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        folder = export_chips(place(noise()), place(noise()), tmp_path / "c", **SMALL, mask=vector)
    assert names(folder) == inside(AREA)


@pytest.mark.parametrize("crs", ["EPSG:32633", "EPSG:4326"])
def test_an_area_as_large_as_the_raster_keeps_every_chip(
    place: MakeRaster, tmp_path: Path, crs: str
) -> None:
    # GeoJSON has seven decimals of a degree, about a centimetre.
    vector = write_area(tmp_path / "a.geojson", FRAME.polygon, crs)
    folder = export_chips(place(noise()), place(noise()), tmp_path / "c", **SMALL, mask=vector)
    assert len(names(folder)) == COUNT


def test_the_whole_world_is_an_area_too(place: MakeRaster, tmp_path: Path) -> None:
    vector = tmp_path / "world.geojson"
    vector.write_text(shapely.to_geojson(shapely.box(-180, -90, 180, 90)))
    folder = export_chips(place(noise()), place(noise()), tmp_path / "c", **SMALL, mask=vector)
    assert len(names(folder)) == COUNT


def test_a_long_edge_is_straight_in_its_own_crs(tmp_path: Path) -> None:
    # Along a parallel, drawn with two points: a chord over the raster would miss it by a pixel,
    # one over the whole edge by fifty.
    frame = Frame(64, 96, Affine(4000, 0, 308_000, 0, -4000, 5_400_000), UTM)
    vector = tmp_path / "a.geojson"
    vector.write_text(shapely.to_geojson(shapely.box(0, 40, 30, 48)))
    area = read_area(vector, frame)
    lons = np.linspace(13, 17, 50)
    xs, ys = warp_points(CRS.from_epsg(4326), UTM, lons, np.full(50, 48.0))
    off = shapely.distance(shapely.boundary(area), shapely.points(xs, ys)) / 4000
    assert off.max() < 0.2


# The files beside the chips


def test_statistics_are_those_of_all_valid_pixels_of_all_chips(
    place: MakeRaster, tmp_path: Path
) -> None:
    rng = np.random.default_rng(5)
    x_values = rng.normal(1e4, 3, (2, HEIGHT, WIDTH)).astype("float32")
    x_values[:, rng.random((HEIGHT, WIDTH)) < 0.02] = np.nan
    y_values = rng.integers(0, 65536, (1, HEIGHT, WIDTH)).astype("uint16")
    asked = {"tile_size": TILE, "stride": STRIDE, "val_pct": 20}
    folder = export_chips(place(x_values), place(y_values, nodata=7), tmp_path / "c", **asked)
    states = json.loads((folder / "esri_accumulated_stats.json").read_text())
    emd = json.loads((folder / "esri_model_definition.emd").read_text())
    for side, state, table, values in (
        ("images", "BandStatsState", "AllTilesStats", x_values),
        ("images2", "BandStatsState2", "AllTilesStats2", y_values),
    ):
        for band, (welford, row) in enumerate(zip(states[state], emd[table], strict=True)):
            chips = [cut(values[band], n)[mask(folder, side, n)] for n in names(folder)]
            seen = np.concatenate(chips).astype("float64")
            assert welford["Num"] == seen.size
            assert (welford["Min"], welford["Max"]) == (seen.min(), seen.max())
            assert welford["M1"] == pytest.approx(seen.mean(), rel=1e-12)
            sd = np.sqrt(welford["M2"] / (welford["Num"] - 1))
            assert sd == pytest.approx(seen.std(ddof=1), rel=1e-9)
            expected = [seen.min(), seen.max(), seen.mean(), seen.std(ddof=1)]
            assert [row[k] for k in ("Min", "Max", "Mean", "StdDev")] == pytest.approx(expected)


@pytest.fixture(scope="module")
def territory(make_raster: MakeRaster, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of chips that were split by blocks."""
    path = make_raster(noise(), crs=UTM, transform=HERE)
    folder = tmp_path_factory.mktemp("territory") / "chips"
    asked = {"tile_size": 16, "stride": 8, "val_pct": 15, "buffer": 4, "seed": 5}
    return export_chips(path, path, folder, **asked)


def test_the_split_names_exactly_the_chips_on_disk(territory: Path) -> None:
    folder = territory
    split = own(folder)["split"]
    assert split["train"] and split["val"]
    assert sorted(split["train"] + split["val"]) == names(folder) == names(folder, "images2")
    assert len(names(folder)) < 7 * 11, "nothing was left out in the buffer"
    stems = {file.stem for side in ("images", "images2") for file in (folder / side).iterdir()}
    assert stems == set(names(folder)), "files of a chip in the buffer are left"
    assert (split["method"], split["seed"], split["buffer"]) == ("blocks", 5, 4)
    assert split["side"] in (64, 48, 32, 24, 16)
    col, row, width, height = split["blocks"][0]
    assert (width, height) == (split["side"], split["side"])
    assert not {col % split["side"], row % split["side"]} - {0}


def test_the_split_is_said_and_kept_in_words(
    place: MakeRaster, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = place(noise())
    with caplog.at_level(logging.INFO, "geo_p2p"):
        folder = export_chips(path, path, tmp_path / "chips", tile_size=16, stride=16, buffer=0)
    split = own(folder)["split"]
    assert f"{len(split['train'])} train, {len(split['val'])} val" in split["summary"]
    assert split["summary"] in caplog.text


def test_settings_and_sources_are_recorded(place: MakeRaster, tmp_path: Path) -> None:
    x = place(noise(3), nodata=255, names=["r", "g", "b"])
    y = place(noise(1, "float32"), nodata=float("nan"))
    vector = write_area(tmp_path / "a.gpkg", AREA)
    asked = {**SMALL, "bidx": (3, 1), "min_valid": 0.8, "mask": vector, "resampling": "cubic"}
    folder = export_chips(x, y, tmp_path / "chips", **asked)
    record = own(folder)
    expected = ExportConfig(**asked).to_json()
    assert record["settings"] == json.loads(json.dumps(expected))
    assert record["settings"]["mask"] == str(vector)
    assert record["input"]["paths"] == [str(x)]
    assert record["input"]["bidx"] == [3, 1]
    assert record["additional"]["resampling"] == "none"  # one lattice: nothing to resample
    assert CRS.from_wkt(record["crs"]) == UTM
    assert record["pixel_size"] == [2, 2]
    x_bands, y_bands = ChipFolder.open(folder).bands()
    assert sorted(x_bands.names) == ["b", "r"]
    assert x_bands.nodata == 255
    assert np.isnan(y_bands.nodata)


def test_the_stride_is_half_a_chip_unless_it_is_given() -> None:
    assert ExportConfig(tile_size=50).stride == 25
    assert ExportConfig(tile_size=1).stride == 1
    assert ExportConfig(tile_size=50, stride=50).steps == (50, 50)


def test_progress_counts_every_tile_up_to_the_last(place: MakeRaster, tmp_path: Path) -> None:
    path = place(noise())
    calls: list[tuple[int, int]] = []
    export_chips(
        path, path, tmp_path / "c", progress=lambda done, n: calls.append((done, n)), **SMALL
    )
    assert calls[0] == (0, COUNT)
    assert calls[-1] == (COUNT, COUNT)
    assert calls == sorted(calls)


# chips.geojson


def features(folder: Path) -> list[dict[str, Any]]:
    collection = json.loads((folder / "chips.geojson").read_text())
    assert collection["type"] == "FeatureCollection"
    assert "crs" not in collection, "RFC 7946 knows WGS 84 only"
    found: list[dict[str, Any]] = collection["features"]
    return found


def test_the_geojson_shows_each_chip_where_it_is(territory: Path) -> None:
    folder = territory
    split = own(folder)["split"]
    found = features(folder)
    assert [f["properties"]["name"] for f in found] == names(folder)
    for feature in found:
        name = feature["properties"]["name"]
        assert feature["type"] == "Feature"
        assert name in split[feature["properties"]["split"]]
        assert feature["properties"]["valid"] == 1
        with rasterio.open(folder / "images" / f"{name}.tif") as src:
            centre = warp_points(src.crs, CRS.from_epsg(4326), *zip(src.transform * (8, 8)))
            edge = warp_points(src.crs, CRS.from_epsg(4326), *zip(src.transform * (0, 8)))
        shape = shapely.geometry.shape(feature["geometry"])
        assert shape.is_valid
        assert shape.exterior.is_ccw
        assert shape.contains(shapely.Point(np.ravel(centre)))
        assert shape.exterior.distance(shapely.Point(np.ravel(edge))) < 1e-7


@pytest.mark.parametrize("turn", [0, 30])
@pytest.mark.parametrize(
    ("crs", "x", "y", "res"),
    [
        ("EPSG:4326", 178.7, -16.5, 0.02),
        ("EPSG:4326", 179.0, -16.5, 0.02),
        ("EPSG:32701", 165_000.0, 8_170_000.0, 500.0),  # Fiji
    ],
)
def test_an_outline_across_the_180th_meridian_is_cut_there(
    crs: str, x: float, y: float, res: float, turn: float
) -> None:
    transform = Affine(res, 0, x, 0, -res, y) * Affine.rotation(-turn)
    frame = Frame(64, 128, transform, CRS.from_string(crs))
    shape = outline(frame)
    left, _, right, _ = shape.bounds
    assert (left, right) == (-180, 180)
    assert shape.geom_type == "MultiPolygon"
    assert all(part.exterior.is_ccw for part in shape.geoms)
    span = sum(np.ptp(part.exterior.coords.xy[0]) for part in shape.geoms)
    assert span < 4, "the outline goes around the world"
    rows, cols = np.random.default_rng(0).uniform(0.01, 0.99, (2, 50)) * [[64], [128]]
    lons, lats = (
        np.array(v)
        for v in warp_points(frame.crs, CRS.from_epsg(4326), *(transform * (cols, rows)))
    )
    assert shapely.contains_xy(shape, (lons + 180) % 360 - 180, lats).all()


def test_degrees_counted_beyond_180_are_brought_back() -> None:
    frame = Frame(10, 10, Affine(0.1, 0, 190, 0, -0.1, 5), CRS.from_epsg(4326))
    assert outline(frame).bounds == pytest.approx((-170, 4, -169, 5))


def test_a_long_outline_bends_with_its_crs() -> None:
    frame = Frame(256, 256, Affine(1000, 0, 308_000, 0, -1000, 5_400_000), UTM)
    middle = warp_points(UTM, CRS.from_epsg(4326), *zip(frame.transform * (128, 256)))
    off = outline(frame).exterior.distance(shapely.Point(np.ravel(middle)))
    assert off < 0.002  # a straight edge is off by 0.013 degrees


@pytest.mark.parametrize(("code", "pole"), [(3995, 90), (3031, -90)])
def test_the_outline_of_a_chip_over_a_pole_holds_the_pole(code: int, pole: int) -> None:
    frame = Frame(10, 10, Affine(1000, 0, -4000, 0, -1000, 6000), CRS.from_epsg(code))
    shape = outline(frame)
    assert shape.is_valid
    west, south, east, north = shape.bounds
    assert (west, east) == (-180, 180)
    assert (north if pole > 0 else south) == pole
    assert 0.06 < abs(pole) - min(abs(south), abs(north)) < 0.08  # its far corner is 8.5 km away
    for lon in (-179, -90, 0, 90, 179):
        assert shape.contains(shapely.Point(lon, pole * 0.9999))


def test_the_outline_of_a_chip_beyond_the_globe_is_empty() -> None:
    robinson = CRS.from_string("ESRI:54030")
    assert outline(Frame(10, 10, Affine(1000, 0, 3e7, 0, -1000, 0), robinson)).is_empty


def test_the_outline_of_a_chip_half_beyond_the_globe_is_what_lies_on_it() -> None:
    robinson = CRS.from_string("ESRI:54030")
    shape = outline(Frame(200, 200, Affine(20_000, 0, 15e6, 0, -20_000, 2e6), robinson))
    assert shape.is_valid
    assert shape.area > 0
    assert -180 <= shape.bounds[0] < shape.bounds[2] <= 180


@pytest.mark.parametrize("side", [-1, 1])
def test_an_area_at_the_180th_meridian_counts_on_either_side(tmp_path: Path, side: int) -> None:
    frame = Frame(
        64,
        64,
        Affine(1000, 0, -32_000, 0, -1000, 6_700_000),
        CRS.from_string("+proj=tmerc +lon_0=180 +datum=WGS84"),
    )
    vector = tmp_path / "a.geojson"
    west, east = sorted((side * 179.9, side * 180))
    vector.write_text(shapely.to_geojson(shapely.box(west, 60, east, 60.2)))
    left, _, right, _ = read_area(vector, frame).bounds
    assert (left > -200) == (side < 0)
    assert (right < 200) == (side > 0)
    assert 5_400 < right - left < 5_800


def test_an_area_beyond_where_the_raster_s_crs_leads_is_refused(tmp_path: Path) -> None:
    there = CRS.from_string("+proj=ortho +lon_0=180 +datum=WGS84")
    frame = Frame(64, 64, Affine(1000, 0, -32_000, 0, -1000, 32_000), there)
    vector = tmp_path / "a.gpkg"
    around = shapely.to_wkb(np.array([shapely.box(-179, -10, 179, 10)]))
    pyogrio.raw.write(vector, around, [], [], geometry_type="Polygon", crs="EPSG:4326")
    with pytest.raises(ChipError, match=r"a\.gpkg: .* reaches beyond"):
        read_area(vector, frame)


# Refusals leave nothing behind


def refused(kind: type[GeoP2PError], words: str, *args: Any, **settings: Any) -> None:
    """Check that an export is refused in one line, and leaves its folder as it was."""
    out_dir = Path(args[2])
    before = contents(out_dir.parent)
    with pytest.raises(kind) as caught:
        export_chips(*args, **{**SMALL, **settings})
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert contents(out_dir.parent) == before


def contents(folder: Path) -> dict[Path, bytes | None]:
    found = folder.rglob("*") if folder.is_dir() else ()
    return {path: path.read_bytes() if path.is_file() else None for path in found}


@pytest.mark.parametrize(
    ("kind", "words", "settings"),
    [
        (RasterError, "no band 4", {"bidx": (1, 4)}),
        (RasterError, "no band 2", {"additional_bidx": (2,)}),
        (GridError, "stride 33 px", {"stride": 33}),
        (GridError, "stride 0 px", {"stride": 0}),
        (GridError, "stride -1 px", {"stride": -1}),
        (ChipError, "min valid 1.5: give 0 to 1", {"min_valid": 1.5}),
        (ChipError, "choose one of blocks", {"split": "half"}),
        (ChipError, "100 %", {"val_pct": 100}),
        (ChipError, "-1 px", {"buffer": -1}),
        (RasterError, "choose one of auto", {"resampling": "best"}),
        (ChipError, "nowhere.gpkg: no such file", {"mask": "nowhere.gpkg"}),
    ],
    ids=lambda value: str(value)[:20],
)
def test_what_cannot_be_cut_is_refused(
    place: MakeRaster, tmp_path: Path, kind: Any, words: str, settings: dict[str, Any]
) -> None:
    paths = place(noise(3)), place(noise())
    refused(kind, words, *paths, tmp_path / "chips", **settings)


@pytest.mark.parametrize("asked", [{"split": "half"}, {"val_pct": 100}, {"buffer": -1}])
def test_a_split_that_cannot_be_is_refused_before_anything_is_read(asked: dict[str, Any]) -> None:
    with pytest.raises(ChipError):
        ExportConfig(**asked)


def test_rasters_of_different_places_are_refused(place: MakeRaster, tmp_path: Path) -> None:
    away = place(noise(), transform=Affine.translation(5000, 0) * HERE)
    refused(AlignmentError, "shares no ground", place(noise()), away, tmp_path / "chips")


@pytest.mark.parametrize("empty", ["input", "additional"])
def test_rasters_without_enough_valid_pixels_are_refused(
    place: MakeRaster, tmp_path: Path, empty: str
) -> None:
    full, holed = place(noise()), place(noise(), mask=np.zeros((HEIGHT, WIDTH), bool))
    pair = (holed, full) if empty == "input" else (full, holed)
    for least in (0, 0.9):
        refused(ChipError, "none of 15 chips", *pair, tmp_path / "c", min_valid=least)


def areas(folder: Path) -> dict[str, tuple[str, Path]]:
    """Return areas that cannot serve, with the words of their refusal."""
    nothing = folder / "nothing.geojson"
    nothing.write_text('{"type": "FeatureCollection", "features": []}')
    nonsense = folder / "nonsense.geojson"
    nonsense.write_text("{")
    point = shapely.Point(500_100, 5_299_900)
    away = shapely.transform(AREA, lambda p: p + (9_000, 0))
    bare = {"crs": None, "driver": "ESRI Shapefile", "geometry_type": "Polygon"}
    return {
        "nothing": ("holds no polygon", nothing),
        "nonsense": ("not a vector file", nonsense),
        "points": ("holds no polygon", write_area(folder / "points.gpkg", [point, point])),
        "elsewhere": ("does not touch", write_area(folder / "away.geojson", away, "EPSG:4326")),
        "tiny": ("none of the 15 chips", write_area(folder / "tiny.gpkg", point.buffer(20))),
        "nowhere": ("no place", bare_area(folder / "bare.shp", bare)),
    }


def bare_area(path: Path, options: dict[str, Any]) -> Path:
    pyogrio.raw.write(path, shapely.to_wkb(np.array([AREA])), [], [], **options)
    return path


@pytest.mark.parametrize("case", ["nothing", "nonsense", "points", "elsewhere", "tiny", "nowhere"])
@pytest.mark.filterwarnings("ignore:'crs' was not provided:UserWarning")
def test_an_area_that_cannot_serve_is_refused(place: MakeRaster, tmp_path: Path, case: str) -> None:
    words, vector = areas(tmp_path)[case]
    refused(ChipError, words, place(noise()), place(noise()), tmp_path / "chips", mask=vector)


def test_a_missing_raster_or_parent_folder_is_refused(place: MakeRaster, tmp_path: Path) -> None:
    path = place(noise())
    refused(RasterError, "no such file", tmp_path / "no.tif", path, tmp_path / "chips")
    refused(RasterError, "no such file", path, tmp_path / "no.tif", tmp_path / "chips")
    refused(ChipError, "parent folder", path, path, tmp_path / "no" / "chips")


# The folder


def test_the_folder_given_is_the_folder_returned(
    place: MakeRaster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = place(noise())
    monkeypatch.chdir(tmp_path)
    assert export_chips(path, path, "chips", **SMALL) == Path("chips")
    monkeypatch.chdir(tmp_path / "chips")
    export_chips(path, path, ".", overwrite=True, tile_size=48, split="none")
    assert len(names(tmp_path / "chips")) == 2 * 3


def test_overwrite_replaces_a_chip_folder_and_only_when_asked(
    place: MakeRaster, tmp_path: Path
) -> None:
    path = place(noise())
    folder = export_chips(path, path, tmp_path / "chips", **SMALL)
    refused(ChipError, "exists already", path, path, folder)
    (folder / "esri_normalization_stats_a.json").touch()  # arcgis.learn leaves it there
    export_chips(path, path, folder, overwrite=True, tile_size=48, stride=48, split="none")
    assert len(names(folder)) == 2 * 2
    assert not (folder / "esri_normalization_stats_a.json").exists()
    assert [item.name for item in tmp_path.iterdir()] == ["chips"]


def test_overwrite_never_removes_what_no_export_wrote(place: MakeRaster, tmp_path: Path) -> None:
    path = place(noise())
    folder = export_chips(path, path, tmp_path / "chips", **SMALL)
    (folder / "models").mkdir()
    (folder / "models" / "weights.pth").write_bytes(b"weeks of work")
    refused(ChipError, "holds models", path, path, folder, overwrite=True)
    other = tmp_path / "thesis"
    other.mkdir()
    (other / "thesis.tex").write_text("years of work")
    refused(ChipError, "not a chip folder", path, path, other, overwrite=True)
    refused(ChipError, "not a chip folder", path, path, other / "thesis.tex", overwrite=True)


def test_an_export_across_the_180th_meridian_pairs_both_sides(tmp_path: Path) -> None:
    """Fiji in UTM 60 and in the Pacific's Mercator: neither breaks at the meridian, degrees do."""
    here = Frame(64, 128, Affine(500, 0, 790_000, 0, -500, 8_170_000), CRS.from_epsg(32760))
    x = write(tmp_path / "x.tif", (texture(here) * 100 + 120).astype("uint8")[None], here)
    there = seen_from(here, CRS.from_epsg(3832), 0.5, 0.1)
    seen = RasterSource(x, like=there, resampling="bilinear").read()[0]
    y = write(tmp_path / "y.tif", seen, there)
    settings = {"tile_size": 32, "stride": 32, "split": "none", "min_valid": 0.5}
    chips = ChipFolder.open(export_chips(x, y, tmp_path / "chips", **settings))
    assert len(chips) == 8
    for name in chips.names:
        chip = chips.read(name)
        off = chip.x[0][chip.valid].astype(float) - chip.y[0][chip.valid]
        assert chip.valid.mean() > 0.8
        assert np.abs(off).mean() < 10
    features = json.loads((tmp_path / "chips" / "chips.geojson").read_text())["features"]
    shapes = [shapely.from_geojson(json.dumps(feature["geometry"])) for feature in features]
    assert {shape.bounds[0] < 0 for shape in shapes} == {True, False}
    split = [shape for shape in shapes if shape.geom_type == "MultiPolygon"]
    assert split
    assert all(sum(part.area for part in shape.geoms) < 1 for shape in split)
