"""An export goes on behind an earlier one: the two are one folder, or nothing has changed."""

import json
import logging
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from affine import Affine
from rasterio.crs import CRS

from geo_p2p.chips import ChipFolder, cut, export_chips, foresee_chips, joining, plan, workers
from geo_p2p.data import prepare_data
from geo_p2p.errors import ChipError

MakeRaster = Callable[..., Path]

UTM = CRS.from_epsg(32633)
HERE = Affine(2, 0, 500_000, 0, -2, 5_300_000)
SMALL = {"tile_size": 32, "stride": 32, "split": "none"}
COLORS = {value: (value * 9, 90, 200 - value, 255) for value in (0, 3, 7)}
STATES = ("BandStatsState", "BandStatsState2")

Pair = tuple[Path, Path]
Place = Callable[..., Pair]


class Interrupted(BaseException):
    """Stands for a KeyboardInterrupt, which pytest would take for its own."""


@pytest.fixture
def place(make_raster: MakeRaster) -> Place:
    """Make a pair of rasters, of two bands and of classes, so many px to the east."""

    def make(left: int, seed: int = 0, shape: tuple[int, int] = (64, 96), **options: Any) -> Pair:
        rng = np.random.default_rng(seed)
        where = {"crs": UTM, "transform": HERE * Affine.translation(left, 0), **options}
        x = rng.integers(0, 1000, (2, *shape)).astype("uint16")
        y = rng.choice(np.array([0, 3, 7], "uint8"), (1, *shape))
        return make_raster(x, f"at_{left}.tif", **where), make_raster(
            y, f"map_{left}.tif", colors=COLORS, **where
        )

    return make


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def document(folder: Path, name: str = "geo_p2p.json") -> dict[str, Any]:
    return json.loads((folder / name).read_text())


def images(folder: Path) -> dict[str, bytes]:
    return {name: data for name, data in contents(folder).items() if name.startswith("images")}


def outlines(folder: Path) -> dict[str, shapely.Geometry]:
    features = document(folder, "chips.geojson")["features"]
    return {
        feature["properties"]["name"]: shapely.from_geojson(json.dumps(feature["geometry"]))
        for feature in features
    }


def same_folders(one: Path, two: Path) -> None:
    """Compare two folders but for what rounding leaves open, and in which order things are told."""
    assert images(one) == images(two)
    for name in ("map.txt", "stats.txt", "chips.geojson"):
        assert (one / name).read_bytes() == (two / name).read_bytes()
    mine, its = (document(folder, "esri_accumulated_stats.json") for folder in (one, two))
    for key in STATES:
        for band, other in zip(mine.pop(key), its.pop(key), strict=True):
            assert band == pytest.approx(other, rel=1e-12)
    for key in ("InputRastersProps", "InputRastersProps2"):  # an export names its first raster
        mine[key].pop("RasterCount"), its[key].pop("RasterCount")
    assert mine == its
    mine, its = (document(folder, "esri_model_definition.emd") for folder in (one, two))
    for key in ("AllTilesStats", "AllTilesStats2"):
        for band, other in zip(mine.pop(key), its.pop(key), strict=True):
            assert band.pop("BandName") == other.pop("BandName")
            assert band == pytest.approx(other, rel=1e-12)
    for key in ("InputRastersProps", "InputRastersProps2"):
        mine[key].pop("RasterCount"), its[key].pop("RasterCount")
    assert mine == its


# What comes of it


def test_two_exports_one_behind_the_other_are_one_of_both(place: Place, tmp_path: Path) -> None:
    first, second = place(0), place(100, seed=1)
    sheets = []
    for side in (0, 1):
        sheets.append(tmp_path / f"sheets{side}")
        sheets[-1].mkdir()
        for pair in (first, second):
            os.link(pair[side], sheets[-1] / pair[side].name)
    both = export_chips(*sheets, tmp_path / "both", processing_mode="items", **SMALL)
    folder = export_chips(*first, tmp_path / "chips", **SMALL)
    assert export_chips(*second, folder, append=True, **SMALL) == folder
    same_folders(folder, both)
    mine, its = document(folder), document(both)
    assert mine["scenes"] == its["scenes"]
    assert mine["registration"].keys() == its["registration"].keys() == mine["scenes"].keys()
    assert mine["split"]["train"] == its["split"]["train"]
    assert mine["statistics"]["chips"] == its["statistics"]["chips"] == 12
    assert mine["statistics"]["census"] == its["statistics"]["census"]
    for side in ("input", "additional"):
        for band, other in zip(mine["statistics"][side], its["statistics"][side], strict=True):
            assert other.pop("percentiles")  # of two exports there are none of both
            assert band == pytest.approx(other, rel=1e-12)
    (told,) = mine["appended"]
    assert (told["first"], told["chips"], told["scenes"]) == (f"{6:012d}", 6, ["at_100"])
    assert told["settings"]["start_index"] == 6
    assert told["input"]["paths"] == [str(second[0])]
    assert told["versions"] == mine["versions"]
    assert {item.name for item in tmp_path.iterdir()} == {"both", "chips", "sheets0", "sheets1"}


def test_three_exports_are_read_as_one_set(place: Place, tmp_path: Path) -> None:
    pairs = [place(200 * number, seed=number, shape=(160, 160)) for number in range(3)]
    settings = {**SMALL, "split": "blocks", "val_pct": 20, "buffer": 0}
    alone = [export_chips(*pair, tmp_path / f"{i}", **settings) for i, pair in enumerate(pairs)]
    folder = export_chips(*pairs[0], tmp_path / "chips", **settings)
    for pair in pairs[1:]:
        export_chips(*pair, folder, append=True, **settings)
    chips = ChipFolder.open(folder)
    assert len(chips) == sum(len(ChipFolder.open(each)) for each in alone)
    for part in ("train", "val", "test"):
        expected = sum(len(document(each)["split"][part]) for each in alone)
        assert len(chips.split[part]) == len(set(chips.split[part])) == expected
    assert chips.split["common"] == 0
    assert [each["scenes"] for each in chips.own["appended"]] == [["at_200"], ["at_400"]]
    accumulated = document(folder, "esri_accumulated_stats.json")
    assert accumulated["NumTiles"] == len(chips)
    assert accumulated["NextTileIndex"] == int(chips.names[-1]) + 1
    assert accumulated["InputRastersProps"]["RasterCount"] == 3
    assert (folder / "stats.txt").read_text().startswith(f"images = {len(chips)} *2*32*32")
    assert len((folder / "map.txt").read_text().splitlines()) == len(chips)
    areas = document(folder, "split.geojson")["features"]
    assert len(areas) == sum(len(document(e, "split.geojson")["features"]) for e in alone)
    data = prepare_data(folder)
    assert [{chip.name for chip in part} for part in data.chips] == [
        set(chips.split[part]) for part in ("train", "val")
    ]
    summary = chips.split["summary"]
    assert summary.endswith("of 3 exports; 0 px in common")
    assert summary.startswith(f"{len(chips.split['train'])} train, {len(chips.split['val'])} val")


def test_numbers_go_on_or_begin_where_they_are_told_to(place: Place, tmp_path: Path) -> None:
    pair = place(0)
    folder = export_chips(*pair, tmp_path / "chips", **SMALL, start_index=10)
    (folder / "images" / f"{15:012d}.tif").unlink()  # the last: its number is not given again
    (folder / "images2" / f"{15:012d}.tif").unlink()
    export_chips(*place(100), folder, append=True, **SMALL, start_index=3)
    export_chips(*place(200), folder, append=True, **SMALL, start_index=50)
    numbers = [int(name) for name in ChipFolder.open(folder).names]
    assert numbers == [*range(10, 15), *range(16, 22), *range(50, 56)]


def test_the_same_place_at_another_date_is_a_scene_of_another_name(
    place: Place, tmp_path: Path
) -> None:
    folder = export_chips(*place(0), tmp_path / "chips", **SMALL)
    for seed in (1, 2):
        export_chips(*place(0, seed=seed), folder, append=True, **SMALL)
    own = document(folder)
    assert list(own["scenes"]) == ["at_0", "at_0_2", "at_0_3"]
    assert len(own["split"]["train"]) == 18
    scenes = [f["properties"]["scene"] for f in document(folder, "chips.geojson")["features"]]
    assert [scenes.count(name) for name in own["scenes"]] == [6, 6, 6]


@pytest.mark.parametrize("kind", ["TIFF", "PNG"])
def test_chips_of_another_crs_keep_their_place(
    make_raster: MakeRaster, place: Place, tmp_path: Path, kind: str
) -> None:
    rng = np.random.default_rng(5)
    other = {"crs": CRS.from_epsg(32634), "transform": Affine(3, 0, 400_000, 0, -3, 5_400_000)}

    def pair(**where: Any) -> Pair:
        values = rng.integers(0, 256, (3, 64, 96), "uint8")
        return make_raster(values, **where), make_raster(values[:1], **where)

    settings = {**SMALL, "image_format": kind}
    folder = export_chips(*pair(crs=UTM, transform=HERE), tmp_path / "chips", **settings)
    export_chips(*pair(**other), folder, append=True, **settings)
    chips = ChipFolder.open(folder)
    frames = [chips.read(name).frame for name in chips.names]
    assert [frame.crs.to_epsg() for frame in frames] == [32633] * 6 + [32634] * 6
    assert frames[6].transform.almost_equals(other["transform"])
    cells = document(folder, "esri_model_definition.emd")
    assert cells["MinCellSize"] == cells["MaxCellSize"]  # metres of two CRSs are not compared
    finer = Affine.scale(0.5) * HERE
    export_chips(*pair(crs=UTM, transform=finer), folder, append=True, **settings)
    cells = document(folder, "esri_accumulated_stats.json")
    assert (cells["MinCellSize"]["x"], cells["MaxCellSize"]["y"]) == (1, 2)


def test_whatever_else_lies_in_the_folder_stays(place: Place, tmp_path: Path) -> None:
    folder = export_chips(*place(0), tmp_path / "chips", **SMALL)
    (folder / "models" / "one").mkdir(parents=True)
    (folder / "models" / "one" / "one.emd").write_text("weeks of training")
    (folder / "images" / "notes.txt").write_text("the third is blurred")
    (folder / "latest").symlink_to(Path("models") / "one")
    export_chips(*place(100), folder, append=True, **SMALL)
    assert (folder / "models" / "one" / "one.emd").read_text() == "weeks of training"
    assert (folder / "images" / "notes.txt").exists()
    assert (folder / "latest").is_symlink()
    assert (folder / "latest" / "one.emd").exists()


@pytest.mark.parametrize("kept", ["some", "none"])
def test_of_chips_that_were_taken_out_nothing_is_told(
    place: Place, tmp_path: Path, kept: str
) -> None:
    first, second = place(0), place(100, seed=1)
    folder = export_chips(*first, tmp_path / "chips", **SMALL)
    gone = range(1, 4)
    for side in ("images", "images2"):
        for number in gone:
            (folder / side / f"{number:012d}.tif").unlink()
    export_chips(*second, folder, append=True, **SMALL)
    chips = ChipFolder.open(folder)
    read = [chips.read(name) for name in chips.names]
    accumulated = document(folder, "esri_accumulated_stats.json")
    assert accumulated["NumTiles"] == len(read) == 9
    assert {name for name in outlines(folder)} == set(chips.names)
    statistics = document(folder)["statistics"]
    for key, side, attribute in zip(STATES, ("input", "additional"), "xy", strict=True):
        values = np.concatenate([getattr(c, attribute).reshape(-1, 32 * 32) for c in read], axis=1)
        values = values.reshape(len(getattr(read[0], attribute)), -1, order="A")
        pixels = np.stack([getattr(chip, attribute) for chip in read], axis=1).astype(float)
        for band, state, told in zip(pixels, accumulated[key], statistics[side], strict=True):
            assert (state["Num"], state["M1"]) == (band.size, pytest.approx(band.mean()))
            assert state["M2"] == pytest.approx(((band - band.mean()) ** 2).sum())
            assert told["sd"] == pytest.approx(band.std(ddof=1))
    found, counts = np.unique([chip.y for chip in read], return_counts=True)
    assert statistics["census"] == dict(zip(map(str, found), counts.tolist(), strict=True))


# No pixel in two parts


@pytest.mark.parametrize("shift", [16, 37])
def test_new_chips_on_the_ground_of_another_part_are_left_out(
    place: Place, tmp_path: Path, caplog: pytest.LogCaptureFixture, shift: int
) -> None:
    settings = {**SMALL, "stride": 16, "split": "blocks", "val_pct": 20, "buffer": 0}
    shape = (128, 208)
    folder = export_chips(*place(0, shape=shape), tmp_path / "chips", **settings)
    before = document(folder)["split"]
    second = place(shift, seed=1, shape=shape)
    alone = document(export_chips(*second, tmp_path / "alone", **settings, seed=3))["split"]
    outlook = foresee_chips(*second, append_to=folder, **settings, seed=3)
    caplog.clear()
    export_chips(*second, folder, append=True, **settings, seed=3)
    split = document(folder)["split"]
    places = outlines(folder)
    part = {name: side for side in ("train", "val") for name in split[side]}
    assert part.keys() == places.keys()
    new = {name for name in part if name not in {*before["train"], *before["val"]}}
    names = list(part)
    tree = shapely.STRtree([places[name].buffer(-1e-7) for name in names])  # a centimetre
    for name in names:
        near = tree.query(places[name].buffer(-1e-7), predicate="intersects")
        assert {part[names[i]] for i in near} == {part[name]}
    left_out = len(alone["train"]) + len(alone["val"]) - len(new)
    assert left_out > 0
    assert new
    (told,) = (r.message for r in caplog.records if "another part" in r.message)
    assert told.startswith(f"{left_out} chips share ground")
    assert {side: outlook.split.count(side) for side in ("train", "val")} == {
        side: len(new & set(split[side])) for side in ("train", "val")
    }


def parts_by_columns(path: Path, **ends: tuple[int, int]) -> Path:
    """Write polygons of ground, by the columns they begin and end at, px of the tests' rasters."""
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32633"}}
    features = []
    for name, (left, right) in ends.items():
        (x0, y0), (x1, y1) = HERE * (left, 0), HERE * (right, 64)
        geometry = json.loads(shapely.to_geojson(shapely.box(x0, y1, x1, y0)))
        told = {"split": name.rstrip("2")}
        features.append({"type": "Feature", "geometry": geometry, "properties": told})
    path.write_text(json.dumps({"type": "FeatureCollection", "crs": crs, "features": features}))
    return path


def test_neighbours_share_no_ground_and_what_does_is_left_out(
    place: Place, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = export_chips(*place(0), tmp_path / "chips", **SMALL)
    ends = {"train": (-96, -32), "val": (-32, 160), "train2": (160, 192)}
    areas = parts_by_columns(tmp_path / "areas.geojson", **ends)
    settings = {**SMALL, "split": "polygons", "split_polygons": areas}
    for left in (96, -96):  # at either side, so that validation begins where training ends
        export_chips(*place(left), folder, append=True, **settings)
    assert "another part" not in caplog.text
    split = document(folder)["split"]
    assert (len(split["train"]), len(split["val"])) == (12, 6)
    before = contents(tmp_path)
    over = place(96, seed=9, shape=(64, 64))  # on validation ground, but to train on
    with pytest.raises(ChipError, match="all chips share ground with chips of another part"):
        export_chips(*over, folder, append=True, **SMALL)
    assert contents(tmp_path) == before


def test_folds_are_joined_fold_by_fold(place: Place, tmp_path: Path) -> None:
    settings = {**SMALL, "split": "kfold", "folds": 3, "buffer": 0}
    pairs = [place(left, seed=left, shape=(224, 224)) for left in (0, 230, 48)]
    folder = export_chips(*pairs[0], tmp_path / "chips", **settings)
    count = len(ChipFolder.open(folder))
    export_chips(*pairs[1], folder, append=True, **settings)
    chips = ChipFolder.open(folder)
    assert len(chips) > count
    for fold in (0, 1, 2):
        names = {*chips.split["folds"][fold]["train"], *chips.split["folds"][fold]["val"]}
        assert names == set(chips.names)
    loaded = prepare_data(folder, fold=2).chips
    assert {chip.name for chip in loaded[1]} == set(chips.split["folds"][2]["val"])
    export_chips(*pairs[2], folder, append=True, **settings)  # over the first
    split, places = document(folder)["split"], outlines(folder)
    for fold in split["folds"]:
        train, val = (
            shapely.union_all([places[name] for name in fold[side]]).buffer(-1e-7)
            for side in ("train", "val")
        )
        assert not train.intersects(val)
    for wrong in ({"folds": 4}, {"fold": 1}, {"split": "none"}):
        with pytest.raises(ChipError, match="fold 0 of 3"):
            export_chips(*pairs[1], folder, append=True, **{**settings, **wrong})


# All or nothing


def broken_off(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """Interrupt the export before it cuts more than so many groups."""
    cut_now: list[int] = []

    def count(job: plan.Job, group: plan.Group) -> int:
        if len(cut_now) == after:
            raise Interrupted
        cut_now.append(group.number)
        return cut.cut_group(job, group)

    monkeypatch.setattr(workers, "cut_group", count)


def broken_join(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Let the last step but one fail, in the middle of it."""

    def fail(*args: Any, **options: Any) -> None:
        raise error

    monkeypatch.setattr(joining, "write_json", fail)


def broken_swap(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Let the joined folder not take its place."""
    move = Path.replace

    def jammed(self: Path, target: Path) -> Path:
        if self.name == "joined":
            raise error
        return move(self, target)

    monkeypatch.setattr(Path, "replace", jammed)


@pytest.mark.parametrize(
    "breaking",
    [
        partial(broken_off, after=0),
        partial(broken_off, after=1),
        partial(broken_join, error=Interrupted()),
        partial(broken_swap, error=Interrupted()),
    ],
)
def test_an_interrupted_append_changes_nothing_and_goes_on(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, breaking: Callable[..., None]
) -> None:
    monkeypatch.setattr(plan, "SPAN", 64)
    first, second = place(0), place(100, seed=1)
    right = export_chips(*first, tmp_path / "right", **SMALL)
    export_chips(*second, right, append=True, **SMALL)
    folder = export_chips(*first, tmp_path / "chips", **SMALL)
    before = contents(folder)
    with monkeypatch.context() as patch:
        breaking(patch)
        with pytest.raises(Interrupted):
            export_chips(*second, folder, append=True, **SMALL)
    assert contents(folder) == before
    export_chips(*second, folder, append=True, **SMALL)
    same_folders(folder, right)
    assert {item.name for item in tmp_path.iterdir()} == {"chips", "right"}


def test_what_an_append_has_left_is_not_taken_for_an_export(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    areas = parts_by_columns(tmp_path / "areas.geojson", train=(0, 32), val=(32, 96))
    settings = {**SMALL, "split": "polygons", "split_polygons": areas}
    folder = export_chips(*place(0), tmp_path / "chips", **settings)
    second = place(0, seed=1)
    right = export_chips(*second, tmp_path / "right", **SMALL, start_index=6)
    with monkeypatch.context() as patch:
        broken_swap(patch, Interrupted())
        with pytest.raises(Interrupted):
            export_chips(*second, folder, append=True, **SMALL)
    left = tmp_path / "chips.parts" / "chips" / "images"
    assert len(list(left.glob("*.tif"))) == 2  # four lay on the ground that validates
    export_chips(*second, folder, overwrite=True, **SMALL, start_index=6)
    assert contents(folder) == contents(right)


def test_an_append_that_was_done_is_not_done_twice(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = export_chips(*place(0), tmp_path / "chips", **SMALL)
    second = place(100, seed=1)
    with monkeypatch.context() as patch:  # published, and then killed
        patch.setattr("shutil.rmtree", lambda *args, **options: None)
        export_chips(*second, folder, append=True, **SMALL)
    done = contents(folder)
    assert (tmp_path / "chips.parts").exists()
    export_chips(*second, folder, append=True, **SMALL)
    assert contents(folder) == done
    assert [item.name for item in tmp_path.iterdir()] == ["chips"]
    export_chips(*second, folder, append=True, **SMALL)  # said once more, it is meant
    assert len(ChipFolder.open(folder)) == 18


def test_a_folder_that_a_crash_left_aside_is_put_back(place: Place, tmp_path: Path) -> None:
    folder = export_chips(*place(0), tmp_path / "chips", **SMALL)
    folder.rename(tmp_path / ".chips.former")
    export_chips(*place(100), folder, append=True, **SMALL)
    assert len(ChipFolder.open(folder)) == 12
    assert [item.name for item in tmp_path.iterdir()] == ["chips"]


def test_a_full_disk_leaves_the_former_folder(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = export_chips(*place(0), tmp_path / "chips", **SMALL)
    before = contents(folder)
    full = OSError(28, "No space left on device")
    with monkeypatch.context() as patch:
        broken_join(patch, full)
        with pytest.raises(ChipError, match=r"No space left.*what is cut lies in chips\.parts"):
            export_chips(*place(100), folder, append=True, **SMALL)
    assert contents(folder) == before
    with monkeypatch.context() as patch:  # another rule, another plan
        broken_swap(patch, full)
        with pytest.raises(ChipError, match="No space left"):
            export_chips(*place(100), folder, append=True, **SMALL, min_valid=0.5)
    assert contents(folder) == before


def test_images_are_linked_and_where_that_fails_copied(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = export_chips(*place(0), tmp_path / "chips", **SMALL)
    image = folder / "images" / f"{0:012d}.tif"
    first, content = image.stat().st_ino, image.read_bytes()
    export_chips(*place(100), folder, append=True, **SMALL)
    assert (image.stat().st_ino, image.stat().st_nlink) == (first, 1)

    def refuse(*args: Any, **options: Any) -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    export_chips(*place(200), folder, append=True, **SMALL)
    assert image.read_bytes() == content
    assert image.stat().st_ino != first
    assert len(ChipFolder.open(folder)) == 18


# What is refused


def refused(told: str, pair: Pair, folder: Path, **settings: Any) -> None:
    """Expect one line, and all as it was."""
    around = folder.parent
    before = contents(around)
    with pytest.raises(ChipError, match=told) as caught:
        export_chips(*pair, folder, append=True, **{**SMALL, **settings})
    assert "\n" not in str(caught.value)
    assert contents(around) == before


def test_only_an_export_of_ours_is_appended_to(place: Place, tmp_path: Path) -> None:
    pair, folder = place(0), tmp_path / "chips"
    refused("no such folder to append to; leave out append", pair, folder)
    folder.mkdir()
    refused("not a chip folder", pair, folder)
    folder.rmdir()
    export_chips(*pair, folder, **SMALL)
    refused("either append to it or overwrite it", pair, folder, overwrite=True)
    with pytest.raises(ChipError, match="exists already.*append"):
        export_chips(*pair, folder, **SMALL)
    for name in ("chips.geojson", "split.geojson", "esri_accumulated_stats.json"):
        text = (folder / name).read_text()
        for damaged in (text[:100], "{}", "[]"):
            (folder / name).write_text(damaged)
            refused("is damaged", pair, folder)
        (folder / name).write_text(text)
    (folder / "geo_p2p.json").unlink()
    refused("has no geo_p2p.json, so it is no export of ours", pair, folder)


def test_chips_of_another_kind_are_refused_and_both_are_named(
    make_raster: MakeRaster, place: Place, tmp_path: Path
) -> None:
    x, y = place(0)
    folder = export_chips(x, y, tmp_path / "chips", **SMALL)
    where = {"crs": UTM, "transform": HERE}
    ones = np.ones((3, 64, 96))
    three, floats = (make_raster(ones.astype(kind), **where) for kind in ("uint16", "float32"))
    values = make_raster(ones[:1].astype("uint8"), **where)
    colors = {**COLORS, 1: (9, 9, 9, 255), 3: (1, 2, 3, 255)}  # no chip holds a 1
    other = make_raster(ones[:1].astype("uint8"), colors=colors, **where)
    more = make_raster(ones[:1].astype("uint8"), colors={**COLORS, 9: (9, 9, 9, 255)}, **where)
    name = str(folder)
    kinds: list[tuple[str, Pair, dict[str, Any]]] = [
        (
            f"{name} holds chips of 32 x 32 px, and {x} would add chips of 48 x 32",
            (x, y),
            {"tile_size": (48, 32)},
        ),
        ("holds TIFF images, and .* would add PNG images", (values, y), {"image_format": "PNG"}),
        ("images of 2 bands of uint16, and .* images of 3 bands of uint16", (three, y), {}),
        ("images of 2 bands of uint16, and .* 2 bands of float32", (floats, y), {"bidx": (1, 2)}),
        (
            "images2 of 1 band of uint8, classes, and .* images2 of 1 band of uint8;",
            (x, values),
            {},
        ),
        (
            rf"class 3 as colour \(27, 90, 197\), and {other} would add class 3 as colour \(1,",
            (x, other),
            {},
        ),
        (r"class 9 as colour \(0, 0, 0\), and .* \(9, 9, 9\)", (x, more), {}),
        ("chips in MAP_SPACE, and .* PIXEL_SPACE", (x, y), {"reference_system": "PIXEL_SPACE"}),
        ("no folds, and .* fold 0 of 5", (x, y), {"split": "kfold"}),
    ]
    for told, pair, settings in kinds:
        refused(told, pair, folder, **settings)
    refused("either append to it or overwrite it", (x, y), folder, overwrite=True)


def test_a_damaged_raster_leaves_everything_as_it_was(place: Place, tmp_path: Path) -> None:
    x, y = place(100, seed=3)
    folder = export_chips(*place(0), tmp_path / "chips", **SMALL)
    before = contents(tmp_path)
    damaged = x.with_name("damaged.tif")
    damaged.write_bytes(x.read_bytes())
    os.truncate(damaged, x.stat().st_size // 2)
    with pytest.raises(Exception, match="cannot be read"):
        export_chips(damaged, y, folder, append=True, **SMALL)
    assert contents(tmp_path) == before


# From the command line


def test_the_command_appends_and_foresees_it(
    place: Place, tmp_path: Path, runner: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    options = ("--tile-size", 32, "--stride", 32, "--split", "none", "--json")
    folder = tmp_path / "chips"
    runner("export-chips", *place(0), folder, *options)
    seen = runner("export-chips", *place(100), folder, *options, "--append", "--dry-run").json()
    before = contents(folder)
    assert seen["chips"] == 6
    assert contents(folder) == before
    told = runner("export-chips", *place(100), folder, *options, "--append").json()
    assert (told["chips"], told["train"]) == (12, 12)
    failed = runner(
        "export-chips", *place(100), folder, *options, "--append", "--overwrite", code=1
    )
    assert "either append to it or overwrite it" in failed.stderr
    caplog.set_level(logging.INFO)
    export_chips(*place(200), folder, append=True, **SMALL)
    assert "6 chips appended; 18 train, 0 val, 0 test of 3 exports; 0 px in common" in caplog.text
