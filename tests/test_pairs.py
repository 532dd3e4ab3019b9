"""Whatever holds pairs opens as pairs, and says so in one line where it does not."""

import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from layouts import (
    GAPS,
    beside,
    classes,
    content,
    coordinates,
    indexed,
    pictures,
    place,
    pro,
    state,
    write_image,
)
from pairs import blobs
from rasterio.crs import CRS
from rasters import seen_from, utm, write

from geo_p2p.chips import Chip, ChipFolder, Pairs, export_chips, open_pairs
from geo_p2p.chips.views import Patches
from geo_p2p.errors import ChipError
from geo_p2p.raster import (
    FORMATS,
    PIXELS,
    UNKNOWN,
    Bands,
    Frame,
    PlainImage,
    RasterSource,
    resample,
)

MakeRaster = Callable[..., Path]

RED, BLUE = {0: (255, 0, 0, 255), 1: (0, 0, 255, 255)}, {0: (255, 0, 0, 255), 1: (0, 0, 9, 255)}


def refused(words: str, path: Any, **settings: Any) -> None:
    """Open and read all pairs; a ChipError of one line names the matter."""
    with pytest.raises(ChipError) as caught:
        pairs = open_pairs(path, **settings)
        for name in pairs.names:
            pairs.read(name)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


# ------------------------------------------------------------------ ArcGIS Pro


@pytest.mark.parametrize("suffix", [".tif", ".png", ".jpg"])
@pytest.mark.parametrize("version", [2, 3])
def test_exports_of_pro_open_whatever_their_age_and_format(
    tmp_path: Path, version: int, suffix: str
) -> None:
    folder = pro(tmp_path / "pro", version, suffix=suffix)
    pairs = open_pairs(folder)
    assert isinstance(pairs, ChipFolder)
    assert [int(name) for name in pairs.names] == sorted(GAPS)
    assert {len(name) for name in pairs.names} == {9 if version == 2 else 12}
    assert pairs.split is None
    off = 4 if suffix == ".jpg" else 0  # JPEG loses a little
    for name in pairs.names:
        chip = pairs.read(name)
        for values, seed in ((chip.x, 1), (chip.y, 2)):
            known = content(int(name), 32, seed)
            assert np.abs(values.astype(int) - known).mean() <= off
            assert (values.dtype, values.shape) == (known.dtype, known.shape)
        assert chip.valid.all()
        assert chip.frame.transform.almost_equals(place(int(name), 32), 1e-6)
        # A PNG or JPEG carries no CRS: the .emd names it.
        assert chip.frame.crs == CRS.from_epsg(32633)
    assert [(b.count, b.dtype, b.categorical) for b in pairs.bands()] == [(3, "uint8", False)] * 2


def test_map_txt_and_statistics_are_as_pro_writes_them_and_decide_nothing(tmp_path: Path) -> None:
    folder = pro(tmp_path / "pro", 2)
    first, second, *_ = (folder / "map.txt").read_bytes().split(b"\r\n")
    assert first == rb"images\000000019.tif  images2\000000019.tif "
    assert second == rb"images\000000001.tif  images2\000000001.tif "
    names = open_pairs(folder).names
    for file in ("map.txt", "stats.txt", "esri_accumulated_stats.json"):
        (folder / file).unlink()
    assert open_pairs(folder).names == names
    assert (
        (pro(tmp_path / "new", 3) / "map.txt")
        .read_bytes()
        .startswith(b"images\\000000000000.tif images2\\000000000000.tif \r\n")
    )


@pytest.mark.parametrize("emd", ["", "{", "[]", '{"MinCellSize": "e.g. 1"}', '{"MinCellSize": {}}'])
def test_a_world_file_without_any_crs_still_places_chips_side_by_side(
    tmp_path: Path, emd: str
) -> None:
    folder = pro(tmp_path / "pro", 2, suffix=".png")
    (folder / "esri_model_definition.emd").write_text(emd)
    pairs = open_pairs(folder)
    for name in pairs.names:
        frame = pairs.read(name).frame
        assert frame.crs == UNKNOWN
        assert frame.transform.almost_equals(place(int(name), 32), 1e-6)


@pytest.mark.parametrize(("wkid", "crs"), [(102100, "ESRI:102100"), (3857, "EPSG:3857")])
def test_codes_of_esri_are_taken_for_esris(tmp_path: Path, capfd: Any, wkid: int, crs: str) -> None:
    folder = pro(tmp_path / "pro", 3, suffix=".png", indices=(0,))
    emd = {"MinCellSize": {"spatialReference": {"wkid": wkid}}}
    (folder / "esri_model_definition.emd").write_text(json.dumps(emd))
    assert open_pairs(folder).read("000000000000").frame.crs == CRS.from_user_input(crs)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("suffix", [".tif", ".jpg"])
def test_labels_are_classes(tmp_path: Path, suffix: str) -> None:
    folder = pro(tmp_path / "pro", 2, target="labels", suffix=suffix)
    pairs = open_pairs(folder)
    x, y = pairs.bands()
    assert (x.categorical, y.categorical) == (False, True)
    for name in pairs.names:
        np.testing.assert_array_equal(pairs.read(name).y, classes(int(name), 32))
    back = open_pairs(folder, direction="BtoA")
    assert [b.categorical for b in back.bands()] == [True, False]
    np.testing.assert_array_equal(back.read(back.names[3]).x, pairs.read(pairs.names[3]).y)


def test_the_type_of_the_data_set_decides_between_two_targets(tmp_path: Path) -> None:
    folder = pro(tmp_path / "pro", 3)
    shutil.copytree(pro(tmp_path / "other", 3, target="labels") / "labels", folder / "labels")
    for kind, count in ((None, 3), ("Pix2Pix", 3), ("Export_Tiles", 3), ("Classified_Tiles", 1)):
        assert open_pairs(folder, dataset_type=kind).bands()[1].count == count
    shutil.rmtree(folder / "labels")
    refused("it lacks images/ with labels/", folder, dataset_type="Classified_Tiles")
    refused("'PASCAL_VOC' is not of pairs", folder, dataset_type="PASCAL_VOC")


# ------------------------------------------------------------------ ours, as PNG


@pytest.mark.parametrize(("kind", "off"), [("PNG", 0), ("JPEG", 6)])
def test_our_chips_may_be_pictures_with_a_mask_beside_them(
    make_raster: MakeRaster, tmp_path: Path, kind: str, off: float
) -> None:
    hole = np.ones((64, 96), bool)
    hole[3:9, 40:50] = False
    x, y = make_raster(blobs(3, 64, 96), mask=hole), make_raster(blobs(1, 64, 96, seed=1))
    folders = [
        export_chips(x, y, tmp_path / each, tile_size=32, min_valid=0.1, image_format=each)
        for each in ("TIFF", kind)
    ]
    assert list((folders[1] / "images").glob("*.msk"))
    before, after = map(open_pairs, folders)
    assert after.names == before.names
    assert after.split == before.split
    assert after.bands() == before.bands()
    chips = [(before.read(name), after.read(name)) for name in before.names]
    assert not all(chip.valid.all() for chip, _ in chips)
    for chip, again in chips:
        np.testing.assert_array_equal(again.valid, chip.valid)
        for one, two in ((chip.x, again.x), (chip.y, again.y)):
            assert np.abs(one.astype(int) - two)[:, chip.valid].mean() <= off
        assert again.frame.same_lattice(chip.frame)


def test_the_place_of_our_pictures_is_known_without_their_aux_xml(
    make_raster: MakeRaster, tmp_path: Path
) -> None:
    x = make_raster(blobs(3, 64, 96))
    folder = export_chips(x, x, tmp_path / "chips", tile_size=32, image_format="PNG")
    before = {name: open_pairs(folder).read(name).frame for name in open_pairs(folder).names}
    for file in folder.rglob("*.aux.xml"):
        file.unlink()
    pairs = open_pairs(folder)
    for name, frame in before.items():
        assert pairs.read(name).frame.same_lattice(frame)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("how", ["one export", "appended"])
def test_pictures_of_scenes_in_several_crs_lie_in_their_own(
    tmp_path: Path, kind: str, how: str
) -> None:
    """As scenes, as chips, and as chips whose .aux.xml somebody has left behind."""
    scenes = tmp_path / "scenes"
    scenes.mkdir()
    suffix = FORMATS[kind].suffix
    frames = [utm(32, 64), seen_from(utm(32, 64), CRS.from_epsg(3035), 1.0)]
    frames.append(seen_from(utm(32, 64), CRS.from_epsg(32632), 1.0))
    for number, frame in enumerate(frames):
        write(scenes / f"s{number}{suffix}", blobs(3, *frame.shape), frame, driver=kind)
    paths = [scenes / f"s{number}{suffix}" for number in range(3)]
    for path, frame in zip(paths, frames, strict=True):
        assert RasterSource(path).frame.same_lattice(frame)

    settings = {"tile_size": 32, "image_format": kind, "processing_mode": "items", "split": "none"}
    folder = tmp_path / "chips"
    for path in paths if how == "appended" else [scenes]:
        export_chips(path, path, folder, append=folder.exists(), **settings)
    before = {name: open_pairs(folder).read(name).frame for name in open_pairs(folder).names}
    assert {frame.crs for frame in before.values()} == {frame.crs for frame in frames}
    for file in folder.rglob("*.aux.xml"):
        file.unlink()
    pairs = open_pairs(folder)
    for name, frame in before.items():
        assert pairs.read(name).frame.same_lattice(frame)
    (folder / "chips.geojson").unlink()
    pairs = open_pairs(folder)
    assert {pairs.read(name).frame.crs for name in before} == {UNKNOWN}


# ------------------------------------------------------------------ plain pictures


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("A", "B"),
        ("a", "b"),
        ("trainA", "trainB"),
        ("Images/train_a", "Images/train_b"),
        ("A/images", "B/images"),
    ],
)
def test_two_folders_pair_by_name(tmp_path: Path, first: str, second: str) -> None:
    folders = pictures(tmp_path / first, 4, 1), pictures(tmp_path / second, 4, 2)
    alike = []
    for where in (tmp_path, folders):
        pairs = open_pairs(where)
        assert pairs.names == ("p0", "p1", "p2", "p3")
        assert pairs.split is None
        chip = pairs.read("p2")
        np.testing.assert_array_equal(chip.x, blobs(3, 40, 40, seed=1002))
        np.testing.assert_array_equal(chip.y, blobs(3, 40, 40, seed=2002))
        assert (chip.frame.crs, chip.frame.transform) == (PIXELS, Affine(1, 0, 0, 0, -1, 0))
        alike.append(pairs.read("p1").x)
    assert np.array_equal(*alike)


def test_two_folders_may_be_parted_either_way(tmp_path: Path) -> None:
    for part, count in (("train", 4), ("val", 2)):
        for side, seed in (("A", 1), ("B", 2)):
            pictures(tmp_path / "outer" / side / part, count, seed)
            pictures(tmp_path / "inner" / part / side, count, seed)
    outer, inner = open_pairs(tmp_path / "outer"), open_pairs(tmp_path / "inner")
    assert outer.split == inner.split
    assert outer.split is not None
    assert outer.split["val"] == ["val/p0", "val/p1"]
    for name in outer.names:
        a, b = outer.read(name), inner.read(name)
        assert np.array_equal(a.x, b.x)
        assert np.array_equal(a.y, b.y)
        assert not np.array_equal(a.x, a.y)


def test_sides_of_a_picture_are_input_and_target(tmp_path: Path) -> None:
    left, right = blobs(3, 40, 40), blobs(3, 40, 40, seed=1)
    beside(tmp_path / "p.jpg", left, right)
    there, back = open_pairs(tmp_path), open_pairs(tmp_path, direction="BtoA")
    (name,) = there.names
    one, two = there.read(name), back.read(name)
    assert np.abs(one.x.astype(int) - left).mean() < 4
    assert np.abs(one.y.astype(int) - right).mean() < 4
    assert np.array_equal(one.x, two.y)
    assert np.array_equal(one.y, two.x)
    assert (one.frame.crs, one.frame.shape) == (PIXELS, (40, 40))


def test_maps_are_cut_into_patches_at_full_resolution_and_their_folders_are_the_split(
    tmp_path: Path,
) -> None:
    whole = {}
    for part, count in (("train", 3), ("val", 2), ("test", 1)):
        for index in range(count):
            left, right = (blobs(3, 600, 600, seed=index + 10 * s + count) for s in (1, 2))
            beside(tmp_path / part / f"{index}.png", left, right)
            whole[f"{part}/{index}"] = left, right
    pairs = open_pairs(tmp_path)
    assert len(pairs.names) == len(set(pairs.names)) == 6 * 9
    assert pairs.split is not None
    assert {part: len(pairs.split[part]) for part in ("train", "val", "test")} == {
        "train": 27,
        "val": 18,
        "test": 9,
    }
    assert pairs.split["val_pct"] == 40
    for part in ("train", "val", "test"):
        assert all(name.startswith(f"{part}/") for name in pairs.split[part])
    seen = np.zeros((600, 600), int)
    for row in (0, 256, 344):
        for col in (0, 256, 344):
            chip = pairs.read(f"val/1_{row}_{col}")
            left, right = whole["val/1"]
            assert np.array_equal(chip.x, left[:, row : row + 256, col : col + 256])
            assert np.array_equal(chip.y, right[:, row : row + 256, col : col + 256])
            assert (chip.frame.transform.c, chip.frame.transform.f) == (col, -row)
            assert pairs.picture(chip.name) == "val/1"
            seen[row : row + 256, col : col + 256] += 1
    assert seen.all()
    resized = open_pairs(tmp_path, resize_to=256)
    assert len(resized.names) == 6
    chip = resized.read("train/2")
    assert chip.x.shape == (3, 256, 256)
    assert chip.frame.bounds == (0, -600, 600, 0)
    both = open_pairs(tmp_path, resize_to=512, chip_size=256)
    assert len(both.names) == 6 * 4


def test_a_picture_is_decoded_once_for_all_its_patches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    beside(tmp_path / "p.png", blobs(3, 96, 96), blobs(3, 96, 96, seed=1))
    reads = []
    read = PlainImage.read
    monkeypatch.setattr(PlainImage, "read", lambda image: reads.append(image.path) or read(image))
    pairs = open_pairs(tmp_path, chip_size=32)
    chips = [pairs.read(name) for name in pairs.names]
    assert (len(chips), len(reads)) == (9, 1)
    assert len({id(chip.x.base if chip.x.base is not None else chip.x) for chip in chips}) == 1


def test_what_is_not_twice_as_wide_as_high_is_a_pair_only_if_told(tmp_path: Path) -> None:
    beside(tmp_path / "p.png", blobs(3, 64, 32), blobs(3, 64, 32, seed=1))
    refused("picture p is 64 x 64 px, but pairs side by side are twice as wide", tmp_path)
    assert open_pairs(tmp_path, direction="AtoB", chip_size=32).names == ("p_0_0", "p_32_0")
    (tmp_path / "odd").mkdir()
    write_image(tmp_path / "odd" / "q.png", blobs(3, 20, 41), None)
    refused("41 px wide, which is odd", tmp_path / "odd", direction="AtoB")


def test_palettes_make_classes_and_must_agree(tmp_path: Path) -> None:
    numbers = (blobs(1, 40, 40) > 120).astype("uint8")
    for name, colors in (("p0", RED), ("p1", RED), ("p2", BLUE)):
        indexed(tmp_path / "B" / f"{name}.png", numbers, colors)
    pictures(tmp_path / "A", 3, 1)
    pairs = open_pairs(tmp_path)
    assert pairs.bands()[1].categorical
    assert pairs.bands()[1].colors[1] == RED[1]
    np.testing.assert_array_equal(pairs.read("p1").y, numbers)
    refused("picture p2 has another palette", tmp_path)
    indexed(tmp_path / "B" / "p2.png", numbers * 0, BLUE)  # what is not used does not matter
    assert open_pairs(tmp_path).read("p2").y.max() == 0
    half = open_pairs(tmp_path, resize_to=20)
    assert set(np.unique(half.read("p1").y)) == {0, 1}


# ------------------------------------------------------------------ several


def test_several_sets_are_one_with_names_of_their_own(tmp_path: Path) -> None:
    folders = [pro(tmp_path / "a" / "pro", 3), pro(tmp_path / "b" / "pro", 2)]
    pairs = open_pairs(folders)
    assert len(pairs.names) == len(set(pairs.names)) == 2 * len(GAPS)
    assert {name.split("/")[0] for name in pairs.names} == {"pro-1", "pro-2"}
    for name in pairs.names:
        assert pairs.read(name).name == name
    single = open_pairs(folders[:1])
    assert single.names == open_pairs(folders[0]).names
    refused("comes twice", [folders[0], folders[0]])
    refused("no folder named", [])


def test_sets_of_other_bands_are_named(tmp_path: Path) -> None:
    one, two = pro(tmp_path / "one", 3), pro(tmp_path / "two", 3, target="labels")
    refused(f"{two}: its target has a count of bands of 1, but that of {one} has 3", [one, two])


# ------------------------------------------------------------------ two rasters


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"mask": True},
        {"rotation_angle": 180.0},
        {"edges": "lattice", "split": "none"},
        {"split": "random-overlapping", "test_pct": 15.0},
    ],
    ids=str,
)
def test_chips_cut_on_the_fly_are_those_of_an_export(
    make_raster: MakeRaster, tmp_path: Path, more: dict[str, Any]
) -> None:
    hole = np.ones((200, 260), bool)
    hole[60:120, 70:140] = False
    x = make_raster(blobs(4, 200, 260), mask=hole)
    y = make_raster(blobs(1, 100, 130, seed=1), transform=Affine(2, 0, 500_000, 0, -2, 5_000_000))
    ring = [(500_010, 4_999_990), (500_255, 4_999_990), (500_255, 4_999_800), (500_010, 4_999_800)]
    polygon = {"type": "Polygon", "coordinates": [[*ring, ring[0]]]}
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32633"}}
    area = tmp_path / "area.geojson"
    area.write_text(json.dumps({**polygon, "crs": crs}))
    same = {"min_valid": 0.6, "bidx": (3, 1), "buffer": 10, "seed": 3, "val_pct": 15.0, **more}
    same |= {"mask": area} if "mask" in more else {}
    exported = ChipFolder.open(
        export_chips(x, y, tmp_path / "chips", tile_size=32, stride=24, **same)
    )
    before = state(tmp_path)
    live = open_pairs(x, additional=y, chip_size=32, stride=24, export=same)
    assert open_pairs((x, y), chip_size=32, stride=24, export=same).names == live.names
    assert state(tmp_path) == before
    assert live.names == exported.names
    assert live.bands() == exported.bands()
    assert live.bidx == exported.bidx == ((3, 1), ())
    assert live.split is not None
    assert exported.split is not None
    assert live.split == {key: exported.split[key] for key in live.split}
    assert len(live.names) == sum(len(live.split[part]) for part in ("train", "val", "test"))
    assert bool(live.split["test"]) == ("test_pct" in more)
    for name in live.names:
        a, b = live.read(name), exported.read(name)
        for ours, theirs in ((a.x, b.x), (a.y, b.y), (a.valid, b.valid)):
            np.testing.assert_array_equal(ours, theirs)
        assert a.frame.same_lattice(b.frame)


def test_rasters_without_a_partner_or_a_chip_are_refused(make_raster: MakeRaster) -> None:
    x, y = (
        make_raster(blobs(1, 64, 64)),
        make_raster(blobs(1, 64, 64), mask=np.zeros((64, 64), bool)),
    )
    refused("a file; to cut chips from a raster, name the other: additional=", x)
    refused("none of 9 chips is valid", x, additional=y, chip_size=32)
    plain = {"additional": make_raster(blobs(1, 64, 64)), "chip_size": 32}
    refused(
        "is left (9 by deviation of the input); ask for less", x, export={"min_std_x": 1e6}, **plain
    )
    refused("know no image_format", x, additional=y, export={"image_format": "PNG"})
    refused("a tuple of 3", (x, y, x))
    refused("a tuple of 2", (x, y), additional=y)


# ------------------------------------------------------------------ nothing is written


def test_nothing_is_written_beside_what_is_read(tmp_path: Path, make_raster: MakeRaster) -> None:
    for version, suffix in ((3, ".tif"), (2, ".png"), (2, ".jpg")):
        pro(tmp_path / f"pro{suffix}", version, suffix=suffix)
    pictures(tmp_path / "plain" / "A", 2, 1)
    pictures(tmp_path / "plain" / "B", 2, 2)
    beside(tmp_path / "beside" / "p.jpg", blobs(3, 40, 40), blobs(3, 40, 40, seed=1))
    before = state(tmp_path)
    for folder in sorted(tmp_path.iterdir()):
        pairs = open_pairs(folder, resize_to=16)
        for name in pairs.names:
            pairs.read(name)
    assert state(tmp_path) == before


# ------------------------------------------------------------------ what is wrong is named


def test_images_without_partner_are_named_on_both_sides(tmp_path: Path) -> None:
    first, second = pictures(tmp_path / "A", 9, 1), pictures(tmp_path / "B", 9, 2)
    (second / "p4.png").unlink()
    (first / "p7.png").unlink()
    refused("2 images have no partner: p7 (missing in A/); p4 (missing in B/)", tmp_path)
    (first / "p7.png").write_bytes((first / "p0.png").read_bytes())
    refused(f"1 image has no partner: p4 (missing in {second}/)", (first, second))
    (first / "p7.png").unlink()
    for index in range(1, 9):
        (second / f"p{index}.png").unlink(missing_ok=True)
    refused("p1, p2, p3, p4, p5 and 2 more (missing in B/)", tmp_path)


def test_images_that_differ_in_size_cannot_be_read_or_have_one_name_are_named(
    tmp_path: Path,
) -> None:
    first, second = pictures(tmp_path / "A", 3, 1), pictures(tmp_path / "B", 3, 2)
    write_image(second / "p1.png", blobs(3, 40, 50), None)
    refused("chip p1 is (40, 40) in A/ and (40, 50) in B/", tmp_path, chip_size=40)
    shutil.copy(second / "p0.png", second / "p1.png")
    shutil.copy(first / "p0.png", first / "p2.PNG")
    write_image(first / "p2.tif", blobs(3, 40, 40), None)
    refused("p2.PNG and p2.", tmp_path)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
@pytest.mark.parametrize("share", [0.0, 0.2, 0.6, 0.99])
def test_a_file_that_was_cut_off_is_named_and_never_taken_for_a_whole_one(
    tmp_path: Path, suffix: str, share: float
) -> None:
    folder = pro(tmp_path / "pro", 3, suffix=suffix, indices=(0, 1), side=128)
    file = folder / "images2" / f"000000000001{suffix}"
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * share)])
    refused(f"chip 000000000001 cannot be read: {file}", folder)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"direction": "BtoC"}, "direction 'BtoC': choose one of AtoB, BtoA"),
        ({"chip_size": 0}, "chip_size 0: give a whole number"),
        ({"resize_to": 2.5}, "resize_to 2.5"),
        ({"chip_size": 64}, "40 x 40 px is smaller than a chip of 64 px"),
        ({"chip_size": 20, "stride": 30}, "stride 30 px: give 1 to the chip size, 20"),
    ],
)
def test_impossible_settings_are_refused(
    tmp_path: Path, settings: dict[str, Any], words: str
) -> None:
    pictures(tmp_path / "A", 2, 1)
    pictures(tmp_path / "B", 2, 2)
    refused(words, tmp_path, **settings)


def test_what_holds_no_pairs_is_told_what_was_looked_for(tmp_path: Path) -> None:
    refused("no such folder", tmp_path / "nowhere")
    refused("looked for images/ with images2/ or labels/, A/ with B/", tmp_path)
    (tmp_path / "train").mkdir()
    refused("holds no images in", tmp_path)
    pictures(tmp_path / "A", 2, 1)
    (tmp_path / "B").mkdir()
    refused("p0, p1 (missing in B/)", tmp_path)
    refused("stride= goes with chip_size=", pro(tmp_path / "pro", 3), stride=8)


# ------------------------------------------------------------------ cutting and resizing


@given(
    rows=st.integers(8, 40),
    cols=st.integers(8, 40),
    size=st.integers(1, 8),
    stride=st.integers(1, 8),
)
def test_patches_cover_their_picture_and_are_its_pixels(
    rows: int, cols: int, size: int, stride: int
) -> None:
    class One:
        path, names, split, bidx = Path("one"), ("p",), None, ((), ())
        bands = staticmethod(lambda: (Bands(3, "uint8"), Bands(3, "uint8")))
        shape = staticmethod(lambda name: (rows, cols))
        picture = staticmethod(str)

        def read(self, name: str) -> Any:
            x = coordinates(rows, cols)
            return Chip(x, x + 100, x[0] >= 0, Frame.of_pixels(rows, cols), name)

    pairs: Pairs = Patches(One(), size, min(stride, size))
    seen = np.zeros((rows, cols), bool)
    for name in pairs.names:
        chip = pairs.read(name)
        assert chip.x.shape == (3, size, size)
        row, col = int(chip.x[0, 0, 0]), int(chip.x[1, 0, 0])
        assert name == f"p_{row}_{col}"
        assert np.array_equal(chip.y, chip.x + 100)
        assert (chip.frame.transform.c, -chip.frame.transform.f) == (col, row)
        seen[row : row + size, col : col + size] = True
    assert seen.all()


@given(
    factor=st.integers(1, 4), height=st.integers(2, 9), width=st.integers(2, 9), seed=st.integers(0)
)
def test_shrinking_averages_and_what_an_invalid_pixel_has_a_part_in_is_invalid(
    factor: int, height: int, width: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(2, height * factor, width * factor)).astype("float32")
    valid = rng.random(values.shape[1:]) > 0.05
    small, kept = resample(values, valid, (height, width))
    blocks = values.reshape(2, height, factor, width, factor)
    np.testing.assert_allclose(small, blocks.mean((2, 4)), atol=1e-5)
    assert np.array_equal(kept, valid.reshape(height, factor, width, factor).all((1, 3)))


def test_resized_chips_keep_their_ground(tmp_path: Path) -> None:
    folder = pro(tmp_path / "pro", 3)
    before, after = open_pairs(folder), open_pairs(folder, resize_to=64)
    for name in after.names:
        a, b = before.read(name), after.read(name)
        assert b.x.shape == (3, 64, 64)
        assert b.frame.bounds == a.frame.bounds
        assert b.frame.res == (0.25, 0.25)
        np.testing.assert_allclose(b.x[:, 8:-8, 8:-8].mean(), a.x[:, 4:-4, 4:-4].mean(), rtol=0.02)


def test_reading_pictures_without_a_place_warns_nobody(tmp_path: Path) -> None:
    write_image(tmp_path / "p.png", blobs(3, 8, 8), None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert PlainImage(str(tmp_path / "p.png")).read()[1].all()
