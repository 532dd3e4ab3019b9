"""Many rasters: found, and paired by the ground they show."""

import json
import logging
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import pytest
import rasterio.shutil
import shapely
from rasterio.crs import CRS
from rasterio.windows import Window
from rasters import seen_from, tiles, utm, write, write_unplaced

from geo_p2p.chips.mosaicked import Mosaicked
from geo_p2p.chips.scenes import Drawn, Quality, Rasters, pixel_scenes, scenes
from geo_p2p.errors import AlignmentError, ChipError, RasterError
from geo_p2p.raster import RasterSource, find_rasters

LAND = utm(60, 120)
WEST, EAST, FAR = (LAND.crop(Window(col, 0, 60, 60)) for col in (0, 60, 5000))


def noise(frame: Any, seed: int = 0, bands: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, 250, (bands, *frame.shape)).astype("uint8")


@pytest.fixture
def aerial(tmp_path: Path) -> Path:
    """A folder with three input rasters and what lies beside rasters."""
    folder = tmp_path / "aerial"
    folder.mkdir()
    for seed, (name, frame) in enumerate([("west", WEST), ("east", EAST), ("far", FAR)]):
        write(folder / f"{name}.tif", noise(frame, seed), frame)
    for name in ("west.tif.ovr", "west.tif.aux.xml", "east.tif.msk", "east.tfw", "notes.txt"):
        (folder / name).write_text("")
    (folder / "._west.tif").write_text("")
    (folder / "deep").mkdir()
    write(folder / "deep" / "low.TIFF", noise(WEST), WEST)
    return folder


@pytest.fixture
def maps(tmp_path: Path) -> Path:
    """A folder with maps: of the west alone, of the land in another CRS."""
    folder = tmp_path / "maps"
    folder.mkdir()
    write(
        folder / "a_west.tif", noise(WEST, 7), WEST, mask=np.arange(60) % 2 * np.ones((60, 1)) > 0
    )
    there = seen_from(LAND, CRS.from_epsg(3035), 1.0, 0.1)
    write(folder / "land.tif", noise(there, 8), there)
    return folder


def stems(found: list[tuple[str, ...]]) -> list[str]:
    """Names of rasters that are one file each."""
    return [Path(path).stem for (path,) in found]


# --- find ----------------------------------------------------------------------------


def test_a_folder_holds_its_rasters_in_order(aerial: Path) -> None:
    assert stems(find_rasters(aerial)) == ["east", "far", "west"]
    files = [(str(aerial / f"{name}.tif"),) for name in ("east", "far", "west")]
    assert find_rasters(str(aerial)) == files


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*", ["east", "far", "west"]),
        ("?ast.tif", ["east"]),
        ("[ew]*.tif*", ["east", "west"]),
        ("**/*", ["low", "east", "far", "west"]),
        ("*.txt", ["notes"]),
    ],
)
def test_a_pattern_finds_rasters(aerial: Path, pattern: str, expected: list[str]) -> None:
    assert sorted(stems(find_rasters(aerial / pattern))) == sorted(expected)


def test_brackets_of_a_folder_or_file_that_exists_are_its_name(tmp_path: Path) -> None:
    folder = tmp_path / "scenes [2020]"
    folder.mkdir()
    path = write(folder / "a[1].tif", noise(WEST), WEST)
    for spec in (path, folder, folder / "*.tif"):
        assert find_rasters(spec) == [(str(path),)]


def test_anything_else_is_a_raster(aerial: Path) -> None:
    for name in (str(aerial / "west.tif"), "missing.tif", "GTIFF_DIR:1:a.tif"):
        assert find_rasters(name) == [(name,)]


def test_a_vrt_of_rasters_that_are_there_as_well_does_not_count(
    aerial: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rasterio.shutil.copy(aerial / "west.tif", aerial / "all.vrt", driver="VRT")
    rasterio.shutil.copy(aerial / "deep" / "low.TIFF", aerial / "deep.vrt", driver="VRT")
    with caplog.at_level(logging.WARNING):
        assert stems(find_rasters(aerial)) == ["deep", "east", "far", "west"]
    assert "all.vrt: left out" in caplog.text
    assert find_rasters(aerial / "all.vrt") == [(str(aerial / "all.vrt"),)]


def stac(folder: Path, *items: dict[str, Any], single: bool = False) -> Path:
    """Write a STAC file whose items have these assets."""
    features = [
        {"type": "Feature", "stac_version": "1.1.0", "id": f"item-{n}", "assets": assets}
        for n, assets in enumerate(items)
    ]
    path = folder / "items.json"
    collection = {"type": "FeatureCollection", "features": features}
    path.write_text(json.dumps(features[0] if single else collection))
    return path


def test_a_stac_file_names_its_data(aerial: Path) -> None:
    thumbnail = {"href": "https://a.example/t.png", "roles": ["thumbnail"]}
    east = {"href": "./east.tif", "roles": ["data", "visual"]}
    west = {"href": (aerial / "west.tif").as_uri(), "roles": ["data"]}
    path = stac(aerial, {"t": thumbnail, "image": east}, {"image": west, "t": thumbnail})
    assert stems(find_rasters(path)) == ["east", "west"]
    assert all(RasterSource(found).count == 1 for found in find_rasters(path))
    far = {"href": "far.tif"}
    path = stac(aerial, {"image": east, "nir": far}, single=True)
    assert stems(find_rasters(path)) == ["east"]
    assert stems(find_rasters(path, "nir")) == ["far"]
    assert stems(find_rasters(f"{path}#nir")) == ["far"]


def test_assets_of_an_item_stack_in_the_order_they_are_named(tmp_path: Path) -> None:
    bands = {"red": 1, "green": 2, "nir": 3}
    items = []
    for number, frame in enumerate((WEST, EAST)):
        (tmp_path / f"scene{number}").mkdir()
        for band, seed in bands.items():
            path = tmp_path / f"scene{number}" / f"{band}.tif"
            write(path, noise(frame, 10 * number + seed), frame)
        items.append({band: {"href": f"scene{number}/{band}.tif"} for band in bands})
    path = stac(tmp_path, *items)
    for rasters in (Rasters(f"{path}#nir,red, nir"), Rasters(path, asset="nir,red,nir")):
        assert len(rasters.items) == 2
        for number, frame in enumerate((WEST, EAST)):
            source = rasters.source(number)
            stack = [noise(frame, 10 * number + bands[band])[0] for band in ("nir", "red", "nir")]
            assert source.frame == frame
            assert np.array_equal(source.read()[0], stack)
    # Band numbers count through the stack, as they do through a list of paths.
    assert np.array_equal(Rasters(f"{path}#red,nir", (2,)).source(0).read()[0], noise(WEST, 3))
    found = scenes(Rasters(f"{path}#red,green"), Rasters(f"{path}#nir"))
    assert (found[0].x.info.count, found[0].y.info.count) == (2, 1)
    # An item's quality goes with the item.
    masked = Rasters(f"{path}#red", quality=Quality(f"{path}#nir", values=(7, 8))).source(1)
    assert np.array_equal(masked.read()[1], ~np.isin(noise(EAST, 13)[0], (7, 8)))


def test_an_asset_is_of_one_stac_file(aerial: Path) -> None:
    path = stac(aerial, {"image": {"href": "east.tif"}})
    with pytest.raises(RasterError, match="'image' is named behind its #, and 'nir' beside it"):
        find_rasters(f"{path}#image", "nir")
    for spec in (aerial, aerial / "east.tif", aerial / "*.tif", f"{aerial}/none.json#image"):
        with pytest.raises(RasterError, match="no STAC file, so it has no asset 'image'"):
            find_rasters(spec, None if "#" in str(spec) else "image")
    # A # in the name of a file is no more than that.
    odd = write(aerial / "a#b.tif", noise(WEST), WEST)
    assert find_rasters(odd) == [(str(odd),)]
    odd = aerial / "items.json#image"
    write(odd, noise(WEST), WEST, driver="GTiff")
    assert find_rasters(odd) == [(str(odd),)]


DATA = ["data"]


@pytest.mark.parametrize(
    ("words", "assets", "name"),
    [
        (
            r"item-0 has 2 assets .* 'data'; .* \(items\.json#red,green,blue\), of a, b$",
            {"a": {"href": "a.tif", "roles": DATA}, "b": {"href": "b.tif", "roles": DATA}},
            None,
        ),
        ("item-0 has 0 assets with the role", {"a": {"href": "a.tif"}}, None),
        ("item-0 has no asset 'b'; .*, of a$", {"a": {"href": "a.tif", "roles": DATA}}, "b"),
        ("item-0 has no asset 'b'; .*, of a$", {"a": {"href": "a.tif", "roles": DATA}}, "a,b"),
        ("item-0 has no asset ''; .*, of a$", {"a": {"href": "a.tif", "roles": DATA}}, "a,"),
        ("is at https://b.example/a.tif", {"a": {"href": "https://b.example/a.tif"}}, "a"),
        ("is at s3://bucket/a.tif", {"a": {"href": "s3://bucket/a.tif"}}, "a"),
        ("is at /vsicurl/http", {"a": {"href": "/vsicurl/http://b.example/a.tif"}}, "a"),
        ("is at no address", {"a": {}}, "a"),
        ("not a STAC Item", {"a": "a.tif"}, "a"),
    ],
)
def test_an_item_without_one_file_here_is_refused(
    tmp_path: Path, words: str, assets: dict[str, Any], name: str | None
) -> None:
    with pytest.raises(RasterError, match=rf"items\.json: .*{words}") as error:
        find_rasters(stac(tmp_path, assets), name)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "text",
    ["{", "[]", '{"type": "Catalog", "id": "c", "links": []}', '{"type": "FeatureCollection"}']
    + ['{"type": "Collection", "id": "c", "assets": {}}'],
)
def test_other_json_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(RasterError, match="a.json: not a STAC Item"):
        find_rasters(path)


def test_nothing_found_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RasterError, match="holds no raster"):
        find_rasters(tmp_path)
    with pytest.raises(RasterError, match="no raster has a name like this"):
        find_rasters(tmp_path / "*.tif")
    with pytest.raises(RasterError, match="holds no item"):
        find_rasters(stac(tmp_path))


# --- pair ----------------------------------------------------------------------------


def test_each_input_is_paired_with_what_shows_its_ground(
    aerial: Path, maps: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        found = scenes(Rasters(aerial), Rasters(maps, resampling="nearest"), "items")
    assert [scene.name for scene in found] == ["east", "west"]
    assert "far: left out" in caplog.text
    east, west = found
    assert east.x.frame.same_lattice(EAST)
    assert [Path(path).stem for path in east.y.paths] == ["land"]
    assert [Path(path).stem for path in west.y.paths] == ["a_west", "land"]
    assert isinstance(west.y, Mosaicked)
    for scene in found:
        assert scene.y.frame.same_lattice(scene.x.frame)
    values, valid = west.y.read()
    assert valid.all()
    assert np.array_equal(values[0][:, 1::2], noise(WEST, 7)[0][:, 1::2])
    again = pickle.loads(pickle.dumps(found))
    assert np.array_equal(again[1].y.read()[0], values)


def test_all_inputs_are_one_scene(aerial: Path, maps: Path) -> None:
    (scene,) = scenes(Rasters(aerial / "[ew]*.tif"), Rasters(maps))
    assert scene.x.frame.same_lattice(LAND)
    values, valid = scene.x.read()
    assert valid.all()
    assert np.array_equal(values, np.concatenate([noise(WEST, 0), noise(EAST, 1)], axis=2))
    assert scene.y.frame == scene.x.frame
    assert scene.y.read()[1].all()


def test_one_input_is_itself_in_either_mode(aerial: Path, maps: Path) -> None:
    for mode in ("mosaic", "items"):
        (scene,) = scenes(Rasters(aerial / "west.tif"), Rasters(maps / "land.tif"), mode)
        assert scene.x == RasterSource(aerial / "west.tif")
        assert scene.y == RasterSource(maps / "land.tif", like=WEST)
        assert scene.name == "west"


def test_a_list_of_paths_is_one_raster_of_many_bands(aerial: Path, maps: Path) -> None:
    pair = [aerial / "west.tif", aerial / "deep" / "low.TIFF"]
    (scene,) = scenes(Rasters(iter(pair), bands=(2, 1)), Rasters(maps), "items")
    assert scene.x.info.count == 2
    assert np.array_equal(scene.x.read()[0], np.concatenate([noise(WEST), noise(WEST)]))


def test_shapes_are_an_additional_raster_too(aerial: Path, tmp_path: Path) -> None:
    left, bottom, right, top = EAST.bounds
    path = tmp_path / "houses.gpkg"
    box = shapely.to_wkb(np.array([shapely.box(left + 5, bottom + 5, right - 5, top - 5)]))
    pyogrio.raw.write(path, box, [], [], geometry_type="Polygon", crs="EPSG:32633")
    (scene,) = scenes(Rasters(aerial), Drawn(str(path)), "items")
    assert scene.name == "east"
    assert scene.y.read()[0].sum() == 50 * 50
    (scene,) = scenes(Rasters(aerial / "[ew]*.tif"), Drawn(str(path), burn=3))
    assert scene.y.read()[0].sum() == 3 * 50 * 50


def test_names_of_scenes_differ(aerial: Path, maps: Path) -> None:
    write(aerial / "deep" / "west.tif", noise(WEST), WEST)
    found = scenes(Rasters(aerial / "**" / "*"), Rasters(maps), "items")
    names = [scene.name for scene in found]
    assert sorted(names) == ["aerial_west", "deep_west", "east", "low"]


def test_no_shared_ground_is_refused_by_both_names(aerial: Path, maps: Path) -> None:
    for mode in ("mosaic", "items"):
        with pytest.raises(
            AlignmentError, match=r"maps.a_west\.tif and 1 more .*far\.tif"
        ) as error:
            scenes(Rasters(aerial / "far.tif"), Rasters(maps), mode)
        assert "\n" not in str(error.value)
    with pytest.raises(ChipError, match="processing mode 'x': choose one of mosaic, items"):
        scenes(Rasters(aerial), Rasters(maps), "x")


# --- quality -------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["one each", "one for all", "own band"])
@pytest.mark.parametrize("mode", ["mosaic", "items"])
def test_quality_goes_with_its_raster(tmp_path: Path, how: str, mode: str) -> None:
    clouds = (np.random.default_rng(3).random((1, *LAND.shape)) < 0.3) * np.uint8(8)
    own = how == "own band"
    for folder in ("x", "qa"):
        (tmp_path / folder).mkdir()
    for number, window in enumerate(tiles(LAND, 60)):
        part = clouds[:, *window.toslices()]
        frame = LAND.crop(window)
        values = np.concatenate([noise(frame), part]) if own else noise(frame)
        write(tmp_path / "x" / f"{number}.tif", values, frame)
        if how == "one each":
            write(tmp_path / "qa" / f"{number}.tif", part, frame)
    if how == "one for all":
        write(tmp_path / "qa" / "all.tif", clouds, LAND)
    rule = Quality(None if own else tmp_path / "qa", 2 if own else 1, bits=(3,))
    y = write(tmp_path / "y.tif", noise(LAND), LAND)
    x = Rasters(tmp_path / "x", bands=(1,), quality=rule)
    valid = [scene.x.read()[1] for scene in scenes(x, Rasters(y), mode)]
    assert np.array_equal(np.concatenate(valid, axis=1), clouds[0] == 0)


def test_quality_of_other_ground_is_refused(aerial: Path, maps: Path) -> None:
    rule = Quality(aerial / "[f]*.tif", bits=(0,))
    with pytest.raises(AlignmentError, match=r"far\.tif"):
        scenes(Rasters(aerial / "west.tif", quality=rule), Rasters(maps))
    with pytest.raises(AlignmentError, match=r"no quality raster shares ground with .*east\.tif"):
        scenes(Rasters(aerial / "[ew]*.tif", quality=rule), Rasters(maps), "items")


# --- pixel space ---------------------------------------------------------------------


@pytest.fixture
def pictures(tmp_path: Path) -> tuple[Path, Path]:
    """Two folders of images without a place."""
    for side, names in {"a": "one two three", "b": "zero two one"}.items():
        (tmp_path / side).mkdir()
        for seed, name in enumerate(names.split()):
            write_unplaced(tmp_path / side / f"{name}.tif", noise(WEST, seed, 3))
    return tmp_path / "a", tmp_path / "b"


def test_images_are_paired_by_name(
    pictures: tuple[Path, Path], caplog: pytest.LogCaptureFixture
) -> None:
    a, b = pictures
    with caplog.at_level(logging.WARNING):
        found = pixel_scenes(Rasters(a), Rasters(b, bands=(2,)))
    assert [scene.name for scene in found] == ["one", "two"]
    assert "three: left out" in caplog.text
    assert "zero: left out" in caplog.text
    one = found[0]
    assert np.array_equal(one.x.read()[0], noise(WEST, 0, 3))
    assert np.array_equal(one.y.read()[0], noise(WEST, 2, 3)[1:2])


def test_one_image_goes_with_one(pictures: tuple[Path, Path]) -> None:
    a, b = pictures
    rule = Quality(band=1, bits=(0,))
    (scene,) = pixel_scenes(Rasters(a / "three.tif", quality=rule), Rasters(b / "zero.tif"))
    assert scene.name == "three"
    values, valid = scene.x.read()
    assert np.array_equal(valid, values[0] % 2 == 0)
    assert np.array_equal(scene.y.read()[0], noise(WEST, 0, 3))
    with pytest.raises(AlignmentError, match="no two images share a name"):
        pixel_scenes(Rasters(a / "three.tif"), Rasters(b))
