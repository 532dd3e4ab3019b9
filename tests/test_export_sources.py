"""What an export is made of, from end to end: shapes, many rasters, quality, pixel space, parts."""

import json
import logging
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
from rasterio.warp import transform as warp_points

from geo_p2p.chips import ChipFolder, ExportConfig, export_chips
from geo_p2p.data import prepare_data
from geo_p2p.errors import AlignmentError, ChipError
from geo_p2p.scene import Town, scene_frames

MakeRaster = Callable[..., Path]

UTM, LAEA = CRS.from_epsg(32633), CRS.from_epsg(3035)
HERE = Affine(2, 0, 500_000, 0, -2, 5_300_000)
SMALL = {"tile_size": 32, "stride": 32, "split": "none"}
COLORS = {value: (value * 9, 90, 200 - value, 255) for value in (0, 3, 7)}


@pytest.fixture
def place(make_raster: MakeRaster) -> MakeRaster:
    def make(values: np.ndarray, **options: Any) -> Path:
        return make_raster(values, **{"crs": UTM, "transform": HERE, **options})

    return make


def noise(shape: tuple[int, int] = (128, 192), bands: int = 2) -> np.ndarray:
    return np.random.default_rng(bands).integers(0, 256, (bands, *shape), dtype="uint8")


def write_shapes(path: Path, shapes: list[Any], **columns: list[Any]) -> Path:
    """Write shapes given on the tests' raster, in CRS 3035, with text or number attributes."""

    def warp(points: np.ndarray) -> np.ndarray:
        return np.column_stack(warp_points(UTM, LAEA, *points.T))

    dense = shapely.segmentize(np.array(shapes, object), 4)
    pyogrio.raw.write(
        path,
        shapely.to_wkb(shapely.transform(dense, warp)),
        field_data=[np.array(values, object) for values in columns.values()],
        fields=list(columns),
        geometry_type="Polygon",
        crs="EPSG:3035",
    )
    return path


def ground(left: int, top: int, right: int, bottom: int) -> shapely.Polygon:
    """A box given in px of the tests' raster."""
    (x0, y0), (x1, y1) = HERE * (left, top), HERE * (right, bottom)
    return shapely.box(x0, y1, x1, y0)


def whole(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "geo_p2p.json").read_text())


# What chips are cut from


def test_shapes_are_drawn_as_classes_with_their_names(place: MakeRaster, tmp_path: Path) -> None:
    vector = write_shapes(
        tmp_path / "roofs.gpkg",
        [ground(10, 20, 60, 50), ground(70, 60, 120, 100)],
        kind=["tin", "concrete"],
    )
    path = place(noise())
    folder = export_chips(path, vector, tmp_path / "chips", class_field="kind", **SMALL)
    chips = ChipFolder.open(folder)
    drawn = np.zeros((128, 192), int)
    drawn[20:50, 10:60], drawn[60:100, 70:120] = 2, 1
    seen = np.zeros_like(drawn)
    for name in chips.names:
        chip = chips.read(name)
        col, row = (round(v) for v in ~HERE * (chip.frame.transform.c, chip.frame.transform.f))
        seen[row : row + 32, col : col + 32] = chip.y[0]
    assert (seen != drawn).mean() < 0.005  # where a border runs through a pixel's centre
    target = chips.bands()[1]
    assert target.classes == {0: "background", 1: "concrete", 2: "tin"}
    assert prepare_data(folder).scalings[1].channels == 3


@pytest.mark.parametrize("mode", ["mosaic", "items"])
def test_a_folder_of_rasters_is_cut_as_one_or_one_by_one(
    place: MakeRaster, tmp_path: Path, mode: str
) -> None:
    values = noise((64, 192))
    sheets = tmp_path / "sheets"
    sheets.mkdir()
    for number, left in enumerate((0, 96)):
        part = place(values[:, :, left : left + 96], transform=HERE * Affine.translation(left, 0))
        part.rename(sheets / f"sheet{number}.tif")
    target = place(255 - values[:1])
    folder = export_chips(sheets, target, tmp_path / "chips", processing_mode=mode, **SMALL)
    chips = ChipFolder.open(folder)
    assert len(chips) == 12
    for name in chips.names:
        chip = chips.read(name)
        col, row = (round(v) for v in ~HERE * (chip.frame.transform.c, chip.frame.transform.f))
        assert np.array_equal(chip.x, values[:, row : row + 32, col : col + 32])
        assert np.array_equal(chip.y, 255 - chip.x[:1])
    scenes = {"mosaic"} if mode == "mosaic" else {"sheet0", "sheet1"}
    assert set(whole(folder)["scenes"]) == scenes
    features = json.loads((folder / "chips.geojson").read_text())["features"]
    assert {feature["properties"]["scene"] for feature in features} == scenes


def test_whole_scenes_validate(place: MakeRaster, tmp_path: Path) -> None:
    sheets = tmp_path / "sheets"
    sheets.mkdir()
    for number in range(5):
        shift = HERE * Affine.translation(100 * number, 0)
        place(noise((64, 64)), transform=shift).rename(sheets / f"{number}.tif")
    target = place(noise((64, 500), bands=1))
    settings = {**SMALL, "split": "scene", "val_pct": 20}
    folder = export_chips(sheets, target, tmp_path / "c", processing_mode="items", **settings)
    features = json.loads((folder / "chips.geojson").read_text())["features"]
    sides: dict[str, set[str]] = {}
    for feature in features:
        told = feature["properties"]
        sides.setdefault(told["scene"], set()).add(told["split"])
    assert sorted(map(tuple, sides.values())) == [("train",)] * 4 + [("val",)]


def test_scenes_of_other_bands_are_refused(place: MakeRaster, tmp_path: Path) -> None:
    sheets = tmp_path / "sheets"
    sheets.mkdir()
    place(noise(bands=2)).rename(sheets / "a.tif")
    place(noise(bands=3)).rename(sheets / "b.tif")
    with pytest.raises(ChipError, match=r"b\.tif has 3 bands .*a\.tif 2"):
        export_chips(
            sheets, place(noise(bands=1)), tmp_path / "c", processing_mode="items", **SMALL
        )
    assert not (tmp_path / "c").exists()


def test_an_area_that_misses_a_scene_leaves_it_out(
    place: MakeRaster, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sheets = tmp_path / "sheets"
    sheets.mkdir()
    for number in range(2):
        shift = HERE * Affine.translation(200 * number, 0)
        place(noise((64, 64)), transform=shift).rename(sheets / f"{number}.tif")
    area = write_shapes(tmp_path / "area.gpkg", [ground(-5, -5, 70, 70)])
    target = place(noise((64, 400), bands=1))
    settings = {**SMALL, "processing_mode": "items"}
    folder = export_chips(sheets, target, tmp_path / "c", mask=area, **settings)
    assert set(whole(folder)["scenes"]) == {"0"}
    assert "1: left out" in caplog.text
    away = write_shapes(tmp_path / "away.gpkg", [ground(5000, 0, 5100, 100)])
    with pytest.raises(ChipError, match="does not touch"):
        export_chips(sheets, target, tmp_path / "d", mask=away, **settings)


@pytest.mark.parametrize("bits", [(3, 4), ("3-4=1",), ("3-4>=1",)])
def test_quality_bits_make_pixels_invalid(
    place: MakeRaster, tmp_path: Path, bits: tuple[int | str, ...]
) -> None:
    flags = np.zeros((1, 128, 192), "uint16")
    flags[0, :16, :16], flags[0, 40:50, 40:50] = 1 << 3, 1 << 5
    paths = place(noise()), place(noise(bands=1))
    settings = {**SMALL, "quality": place(flags), "quality_bits": bits, "min_valid": 0.1}
    folder = export_chips(*paths, tmp_path / "c", **settings)
    first = ChipFolder.open(folder).read(f"{0:012d}")
    assert not first.valid[:16, :16].any()
    assert first.valid.sum() == 32 * 32 - 16 * 16
    assert whole(folder)["statistics"]["input"][0]["count"] == 128 * 192 - 16 * 16
    with rasterio.open(folder / "images2" / f"{0:012d}.tif") as target:
        assert target.read_masks(1).all()  # the clouds are over the input alone


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_pixel_space_pairs_images_without_a_place(make_raster: MakeRaster, tmp_path: Path) -> None:
    x, y = noise(), noise(bands=1)
    bare = {"crs": None, "transform": None}
    pair = make_raster(x, **bare), make_raster(y, **bare)
    folder = export_chips(*pair, tmp_path / "c", reference_system="PIXEL_SPACE", **SMALL)
    chips = ChipFolder.open(folder)
    assert len(chips) == 24
    second = chips.read(f"{7:012d}")  # row 1, column 1
    assert np.array_equal(second.x, x[:, 32:64, 32:64])
    assert np.array_equal(second.y, y[:, 32:64, 32:64])
    emd = json.loads((folder / "esri_model_definition.emd").read_text())
    assert emd["ImageSpaceUsed"] == "PIXEL_SPACE"
    with pytest.raises(ChipError, match="pixel space has no place"):
        ExportConfig(reference_system="PIXEL_SPACE", rotation_angle=90)
    small = make_raster(y[:, :100], **bare)
    with pytest.raises(AlignmentError, match="100"):
        export_chips(pair[0], small, tmp_path / "d", reference_system="PIXEL_SPACE", **SMALL)


# Which of them are kept


def test_chips_without_content_are_dropped_and_counted(
    place: MakeRaster, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    target = np.zeros((1, 128, 192), "uint8")
    target[0, :32, :40] = 3
    pair = place(noise()), place(target, colors=COLORS)
    caplog.set_level(logging.INFO)
    folder = export_chips(*pair, tmp_path / "c", min_content=0.2, **SMALL)
    assert ChipFolder.open(folder).names == (f"{0:012d}", f"{1:012d}")
    assert "22 chips dropped: 22 by content" in caplog.text
    folder = export_chips(*pair, tmp_path / "d", min_content={3: 0.5}, **SMALL)
    assert ChipFolder.open(folder).names == (f"{0:012d}",)
    with pytest.raises(ChipError, match=r"24 by content of class 7.*ask for less"):
        export_chips(*pair, tmp_path / "e", min_content={7: 0.5}, **SMALL)
    flat = place(np.full((2, 128, 192), 9, "uint8"))
    with pytest.raises(ChipError, match="deviation of the input"):
        export_chips(flat, pair[1], tmp_path / "e", min_std_x=1, **SMALL)
    assert not (tmp_path / "e").exists()


def test_training_chips_are_balanced_over_the_classes(place: MakeRaster, tmp_path: Path) -> None:
    target = np.zeros((1, 256, 256), "uint8")
    target[0, :, :64] = 3
    pair = place(noise((256, 256))), place(target, colors=COLORS)
    settings = {"tile_size": 32, "stride": 32, "max_per_stratum": 5, "buffer": 0}
    folder = export_chips(*pair, tmp_path / "c", **settings)
    chips = ChipFolder.open(folder)
    kinds = [int(np.median(chips.read(name).y)) for name in chips.split["train"]]
    assert (kinds.count(0), kinds.count(3)) == (5, 5)
    free = export_chips(*pair, tmp_path / "d", **{**settings, "max_per_stratum": None})
    assert chips.split["val"] == ChipFolder.open(free).split["val"]
    assert len(chips) == 10 + len(chips.split["val"])


# How they are parted


def test_polygons_say_the_part(place: MakeRaster, tmp_path: Path) -> None:
    parts = write_shapes(
        tmp_path / "parts.gpkg",
        [ground(0, 0, 96, 128), ground(96, 0, 128, 128), ground(128, 0, 192, 64)],
        use=["training", "Test", "validation"],
    )
    path = place(noise())
    settings = {**SMALL, "split": "polygons", "split_polygons": parts, "split_field": "use"}
    folder = export_chips(path, path, tmp_path / "c", **settings)
    split = whole(folder)["split"]
    columns = {part: {int(name) % 6 for name in split[part]} for part in ("train", "test", "val")}
    assert columns == {"train": {0, 1, 2}, "test": {3}, "val": {4, 5}}
    assert len(split["val"]) == 4
    data = prepare_data(folder)
    assert [len(chips) for chips in data.chips] == [12, 4]
    with pytest.raises(ChipError, match="go together"):
        ExportConfig(split="polygons")


def test_every_fold_validates_once_and_the_loader_takes_any(
    place: MakeRaster, tmp_path: Path
) -> None:
    path = place(noise((320, 320)))
    settings = {"tile_size": 32, "stride": 32, "split": "kfold", "folds": 4, "buffer": 0}
    folder = export_chips(path, path, tmp_path / "c", **settings, fold=2)
    chips = ChipFolder.open(folder)
    validated = [set(chips.split["folds"][fold]["val"]) for fold in range(4)]
    assert set().union(*validated) == set(chips.names)
    assert sum(map(len, validated)) == len(chips)
    assert set(chips.split["val"]) == validated[2]
    data = prepare_data(folder, fold=1)
    assert {chip.name for chip in data.chips[1]} == validated[1]
    assert not validated[1] & {chip.name for chip in data.chips[0]}
    with pytest.raises(ChipError, match="has no fold 4"):
        prepare_data(folder, fold=4)


def test_a_test_share_is_kept_from_training(place: MakeRaster, tmp_path: Path) -> None:
    path = place(noise((512, 512)))
    settings = {"tile_size": 32, "stride": 32, "test_pct": 10, "buffer": 0}
    folder = export_chips(path, path, tmp_path / "c", **settings)
    split = ChipFolder.open(folder).split
    assert split["test"]
    assert split["common"] == 0
    data = prepare_data(folder)
    loaded = {chip.name for part in data.chips for chip in part}
    assert loaded == {*split["train"], *split["val"]}
    ground_of = json.loads((folder / "split.geojson").read_text())["features"]
    assert {feature["properties"]["split"] for feature in ground_of} == {"train", "val", "test"}
    assert b'attr="split"' in (folder / "chips.qml").read_bytes()


def test_chips_that_overlap_are_not_parted_at_random_unless_by_name() -> None:
    with pytest.raises(ChipError, match="random-overlapping"):
        ExportConfig(tile_size=64, stride=32, split="random")
    assert ExportConfig(tile_size=64, stride=64, split="random").split == "random"
    assert ExportConfig(tile_size=64, stride=32, split="random-overlapping").seed == 42


# Whether the two line up


@pytest.mark.parametrize("shift", [0.0, 9.0])
def test_rasters_that_do_not_line_up_are_told(
    make_raster: MakeRaster, tmp_path: Path, caplog: pytest.LogCaptureFixture, shift: float
) -> None:
    town = Town(5)
    aerial, chart = scene_frames(town, 512)
    moved = Affine.translation(shift, 0) * chart.transform
    pair = (
        make_raster(town.aerial(aerial), crs=aerial.crs, transform=aerial.transform),
        make_raster(town.map_colours(chart), crs=chart.crs, transform=moved),
    )
    folder = export_chips(*pair, tmp_path / "c", tile_size=128)
    (told,) = whole(folder)["registration"].values()
    assert told["visible"] == bool(shift)
    assert ("check its georeference" in caplog.text) == bool(shift)
    if shift:
        assert "to the east" in told["summary"]
