"""`prepare_data` on whatever people have: pairs stay pairs, parts stay apart, folders untouched."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from affine import Affine
from layouts import beside, coordinates, pictures, pro, state, write_image
from pairs import blobs
from test_data import narrower

from geo_p2p.chips import export_chips
from geo_p2p.data import Augmentation, DataBunch, prepare_data
from geo_p2p.errors import ChipError, ModelError

MakeRaster = Callable[..., Path]

LABELS = np.array([[0, 1], [3, 1]], "uint8").repeat(16, 0).repeat(16, 1)[None]


def refused(words: str, path: Any, **settings: Any) -> None:
    with pytest.raises(ChipError) as caught:
        prepare_data(path, **settings)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def names(data: DataBunch) -> tuple[list[str], list[str]]:
    train, valid = ([chip.name for chip in chips] for chips in data.chips)
    return train, valid


def apart(data: DataBunch) -> float:
    """Return the least distance between a training and a validation chip, CRS units."""
    gaps = []
    for one in data.chips[0]:
        for two in data.chips[1]:
            a, b = one.frame.bounds, two.frame.bounds
            gaps.append(max(a[0] - b[2], b[0] - a[2], a[1] - b[3], b[1] - a[3]))
    return min(gaps)


# ------------------------------------------------------------------ augmentation


@pytest.mark.parametrize("direction", ["AtoB", "BtoA"])
@pytest.mark.parametrize("resize_to", [None, 48])
def test_both_halves_of_a_picture_move_alike_on_the_way_to_a_batch(
    tmp_path: Path, direction: str, resize_to: int | None
) -> None:
    """Pixels carry where they are; drawing x and y apart, as some do, would part them."""
    whole = coordinates(96, 96)
    for index in range(6):
        beside(tmp_path / f"{index}.png", whole, whole + 100)
    data = prepare_data(
        tmp_path,
        chip_size=32,
        resize_to=resize_to,
        direction=direction,
        batch_size=4,
        val_split_pct=0.0,
        transforms=Augmentation("dihedral", 6),
    )
    seen = set()
    for _ in range(3):
        for x, y, valid in data.train_dl:
            assert valid.all()
            # 8-bit values fill [-1, 1]: back to what the pixels say.
            x, y = ((image[:, :2] + 1) * 127.5 for image in (x, y))
            shift = (y - x) if direction == "AtoB" else (x - y)
            assert (shift - 100).abs().max() < 0.51
            place = x if direction == "AtoB" else y
            # How rows and columns run down and across tells the turn and the flip.
            runs = place.diff(dim=2)[..., 9, 9], place.diff(dim=3)[..., 9, 9]
            steps = torch.stack(runs, -1).round().sign().flatten(1).int()
            seen |= {tuple(step) for step in steps.tolist()}
    assert len(seen) == 8


# ------------------------------------------------------------------ parts


def test_no_picture_has_patches_on_both_sides_and_the_seed_decides(tmp_path: Path) -> None:
    for index in range(10):
        beside(tmp_path / f"{index}.png", blobs(3, 64, 64, index), blobs(3, 64, 64, 100 + index))
    data = prepare_data(tmp_path, chip_size=32, stride=16, val_split_pct=0.2)
    sides = [{name.split("_")[0] for name in side} for side in names(data)]
    assert not sides[0] & sides[1]
    assert (len(sides[0]), len(sides[1])) == (8, 2)
    assert [len(chips) for chips in data.chips] == [8 * 9, 2 * 9]
    assert data.origin.split["method"] == "pictures"
    assert (data.origin.pixel_size, data.origin.crs) == (None, "")
    again = {
        seed: names(prepare_data(tmp_path, chip_size=32, val_split_pct=0.2, seed=seed))[1]
        for seed in (42, 43, 44, 45)
    }
    assert {name.split("_")[0] for name in again[42]} == sides[1]
    assert len({tuple(chosen) for chosen in again.values()}) > 1
    assert not prepare_data(tmp_path, chip_size=32, val_split_pct=0.0).chips[1]


def test_one_picture_trains(tmp_path: Path) -> None:
    beside(tmp_path / "p.png", blobs(3, 64, 64), blobs(3, 64, 64, 1))
    data = prepare_data(tmp_path)
    assert [len(chips) for chips in data.chips] == [1, 0]
    assert data.origin.split["method"] == "none"


def test_folders_are_the_split_and_the_test_stays_unseen(tmp_path: Path) -> None:
    for part, count in (("train", 4), ("val", 2), ("test", 3)):
        for index in range(count):
            beside(tmp_path / part / f"{index}.png", blobs(3, 32, 32), blobs(3, 32, 32, index))
    for file in (tmp_path / "test").iterdir():
        file.write_bytes(file.read_bytes()[:200])  # nobody reads it
    train, valid = names(prepare_data(tmp_path))
    assert train == [f"train/{i}" for i in range(4)]
    assert valid == ["val/0", "val/1"]
    refused("its folders train/ and val/ are its split, 33.3333 %", tmp_path, val_split_pct=0.1)
    for file in (tmp_path / "val").iterdir():
        file.unlink()
    (tmp_path / "val").rmdir()
    train, valid = names(prepare_data(tmp_path, val_split_pct=0.25))
    assert sorted(train + valid) == [f"train/{i}" for i in range(4)]
    assert len(valid) == 1


@pytest.mark.parametrize("suffix", [".tif", ".png"])
def test_chips_of_pro_are_split_by_their_ground(tmp_path: Path, suffix: str) -> None:
    folder = pro(tmp_path / "pro", 2, suffix=suffix, indices=range(32))
    data = prepare_data(folder, val_split_pct=0.1)
    assert all(names(data))
    assert data.origin.split["method"] == "blocks"
    assert apart(data) >= 8  # half a chip of 32 px of 0.5
    assert (data.origin.pixel_size, data.origin.crs) == ((0.5, 0.5), "EPSG:32633")


def test_turned_chips_claim_the_ground_they_touch(tmp_path: Path) -> None:
    folder = tmp_path / "turned"
    for side in ("images", "images2"):
        (folder / side).mkdir(parents=True)
        for index in range(64):
            row, col = divmod(index, 8)
            corner = Affine.translation(500_000 + 32 * col, 5_000_000 - 32 * row)
            turn = Affine.rotation(45 if index % 2 else 0) * Affine.scale(1, -1)
            write_image(folder / side / f"{index:09d}.tif", blobs(3, 32, 32), corner * turn)
    data = prepare_data(folder)
    assert all(names(data))
    for one in data.chips[0]:
        for two in data.chips[1]:
            assert not one.frame.polygon.intersects(two.frame.polygon)


def test_sets_without_a_split_are_split_together(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folders = [
        pro(tmp_path / "a", 2, indices=range(20)),
        pro(tmp_path / "b", 3, indices=range(12, 32)),  # some of it is ground of the first
    ]
    for seed in range(5):  # split one by one, they would now and then hold out other ground
        with caplog.at_level(logging.WARNING, "geo_p2p"):
            data = prepare_data(folders, seed=seed)
        assert not caplog.text
        assert all(names(data))
        assert {name.split("/")[0] for name in names(data)[0]} == {"a", "b"}
        assert apart(data) >= 8


def test_several_pairs_of_rasters_are_one_set(make_raster: MakeRaster) -> None:
    two = [
        (
            make_raster(blobs(3, 64, 64, seed), f"scene{seed}.tif", crs=crs),
            make_raster(blobs(1, 64, 64, seed), crs=crs),
        )
        for seed, crs in ((1, "EPSG:32633"), (2, "EPSG:32634"))
    ]
    data = prepare_data(two, chip_size=32, stride=32, val_split_pct=0.0)
    assert sorted({name.split("/")[0] for name in names(data)[0]}) == ["scene1.tif", "scene2.tif"]
    assert len(data.chips[0]) == 8


def test_training_chips_on_the_validation_ground_of_another_set_are_left_out(
    make_raster: MakeRaster, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    x, y = make_raster(blobs(3, 128, 192)), make_raster(blobs(1, 128, 192, 1))
    folders = [
        export_chips(x, y, tmp_path / f"chips{seed}", tile_size=32, stride=16, seed=seed, buffer=0)
        for seed in (1, 2)
    ]
    alone = [prepare_data(folder) for folder in folders]
    with caplog.at_level(logging.WARNING, "geo_p2p"):
        data = prepare_data(folders)
    assert "lie on the validation ground of another set" in caplog.text
    assert apart(data) >= 0
    assert len(data.chips[1]) == sum(len(one.chips[1]) for one in alone)
    assert 0 < len(data.chips[0]) < sum(len(one.chips[0]) for one in alone)
    assert len(data.origin.split["sets"]) == 2


def test_two_rasters_train_as_their_export_does(make_raster: MakeRaster, tmp_path: Path) -> None:
    x, y = make_raster(blobs(3, 128, 192)), make_raster(blobs(1, 128, 192, 1).astype("uint16") * 9)
    settings: dict[str, Any] = {"stride": 32, "bidx": (2, 1), "buffer": 0}
    export_chips(x, y, tmp_path / "chips", tile_size=32, seed=4, val_pct=15.0, **settings)
    exported = prepare_data(tmp_path / "chips")
    live = prepare_data(x, additional=y, chip_size=32, seed=4, val_split_pct=0.15, **settings)
    assert names(live) == names(exported)
    assert live.scalings == exported.scalings
    assert live.origin.bands == exported.origin.bands == (2, 1)
    assert live.origin.split == {**exported.origin.split, "val_pct": 15.0}
    for one, two in zip(live.chips[0], exported.chips[0], strict=True):
        assert np.array_equal(one.x, two.x)
        assert np.array_equal(one.y, two.y)


# ------------------------------------------------------------------ arguments


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """Return a Classified Tiles folder, each chip half of class 1 and a quarter of 0 and 3."""
    folder = pro(tmp_path / "pro", 2, target="labels", indices=range(32))
    for file in (folder / "labels").glob("*.tif"):
        write_image(file, LABELS, None)
    return folder


def test_labels_train_as_classes(labelled: Path) -> None:
    data = prepare_data(labelled)
    assert data.scalings[1].values.tolist() == [0, 1, 3]
    assert data.origin.crs == "EPSG:32633"  # the labels here have no place, the images do
    with pytest.raises(ModelError, match="class numbers stand in one band"):
        prepare_data(pro(labelled.parent / "rgb", 3), target="classes")


def test_a_class_mapping_names_classes_and_limits_them(labelled: Path) -> None:
    mapping = {1: "meadow", "3": "water"}
    data = prepare_data(labelled, mapping)  # the second argument, as in arcgis.learn
    assert [(c.value, c.name) for c in data.scalings[1].classes] == [(1, "meadow"), (3, "water")]
    for chip in data.chips[0]:
        assert np.array_equal(chip.valid, LABELS[0] != 0)
    assert [c.share for c in data.scalings[1].classes] == pytest.approx([2 / 3, 1 / 3])
    refused("class_mapping names classes", labelled, class_mapping={1: "a"}, target="values")
    refused("class_mapping: class numbers and names", labelled, class_mapping={"water": "x"})


def test_chips_without_a_pixel_of_the_classes_asked_for_are_left_out(
    labelled: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = prepare_data(labelled)
    for name in names(whole)[0][2:]:
        write_image(labelled / "labels" / f"{name}.tif", LABELS * 0, None)
    with caplog.at_level(logging.WARNING, "geo_p2p"):
        data = prepare_data(labelled, class_mapping={1: "a", 3: "b"})
    assert names(data)[0] == names(whole)[0][:2]
    assert "hold no valid pixel and are left out" in caplog.text


def test_arguments_of_arcgis_learn_are_taken(tmp_path: Path) -> None:
    folder = pro(tmp_path / "pro", 3, indices=range(32))
    data = prepare_data(
        folder,
        chip_size=32,
        val_split_pct=0.1,
        batch_size=4,
        transforms=False,
        collate_fn=len,
        seed=42,
        dataset_type="Pix2Pix",
        resize_to=64,
        working_dir=tmp_path / "work",
        num_workers=2,
    )
    assert data.chip_size == 32
    assert data.batch_size == 4
    assert Path(data.path) == data.origin.working_dir == tmp_path / "work"
    assert data.origin.path == folder
    assert Path(prepare_data(folder).path) == folder
    assert not (tmp_path / "work").exists()
    assert not data.train_dl.fake_l.num_workers


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"norm_pct": 0.3}, "prepare_data knows no norm_pct; it knows additional, additional_bidx"),
        ({"export": {}}, "knows no export"),
        ({"val_split_pct": 1.0}, "val_split_pct 1.0: a share"),
        ({"val_split_pct": 10}, "val_split_pct 10: a share"),
        ({"working_dir": __file__}, "working_dir is a folder"),
        ({"class_mapping": {}}, "give at least one"),
        ({"class_mapping": "water"}, "class_mapping: class numbers and names"),
        ({"min_valid": 0.5, "mask": "a.geojson"}, "mask, min_valid: for chips that are cut from"),
        ({"dataset_type": "KITTI_rectangles"}, "is not of pairs"),
    ],
)
def test_arguments_nothing_can_have_are_refused(
    tmp_path: Path, settings: dict[str, Any], words: str
) -> None:
    refused(words, pro(tmp_path / "pro", 3), **settings)


# ------------------------------------------------------------------ what is wrong is named


def test_pictures_of_other_bands_are_named(tmp_path: Path) -> None:
    pictures(tmp_path / "A", 5, 1)
    pictures(tmp_path / "B", 5, 2)
    for index in (2, 4):
        write_image(tmp_path / "B" / f"p{index}.png", blobs(1, 40, 40), None)
    refused(
        "chip p2 is (3, 40, 40) uint8 and (1, 40, 40) uint8 (so are p4), but p0 is "
        "(3, 40, 40) uint8 and (3, 40, 40) uint8",
        tmp_path,
    )


def test_chips_of_another_type_are_named(tmp_path: Path) -> None:
    folder = pro(tmp_path / "pro", 3)
    write_image(folder / "images2" / "000000000009.tif", blobs(3, 32, 32).astype("uint16"), None)
    refused("chip 000000000009 is (3, 32, 32) uint8 and (3, 32, 32) uint16", folder)


def test_all_that_cannot_be_read_is_named_at_once(tmp_path: Path) -> None:
    folder = pro(tmp_path / "pro", 3)
    for index in (3, 9, 18):
        (folder / "images" / f"{index:012d}.tif").write_bytes(b"II*\0")
    narrower(folder / "images2" / "000000000024.tif")
    refused(
        "3 more are wrong: 000000000009, 000000000018, 000000000024",
        folder,
    )


# ------------------------------------------------------------------ the user's folder


def test_the_users_folders_stay_as_they_were(tmp_path: Path) -> None:
    folders = [pro(tmp_path / f"pro{n}", n, suffix=s) for n, s in ((2, ".png"), (3, ".tif"))]
    beside(tmp_path / "maps" / "p.jpg", blobs(3, 64, 64), blobs(3, 64, 64, 1))
    before = state(tmp_path)
    data = prepare_data(folders, batch_size=2)
    next(iter(data.train_dl))
    data.show_batch(1)
    prepare_data(tmp_path / "maps", chip_size=32)
    assert state(tmp_path) == before


def test_patches_share_the_memory_of_their_picture(tmp_path: Path) -> None:
    for index in range(3):
        beside(tmp_path / f"{index}.png", blobs(3, 96, 96, index), blobs(3, 96, 96, 9 + index))
    data = prepare_data(tmp_path, chip_size=32, stride=8)
    chips = [*data.chips[0], *data.chips[1]]
    assert len(chips) == 3 * 81
    bases = {id(chip.x.base): chip.x.base.nbytes for chip in chips}
    assert sum(bases.values()) == 3 * 3 * 96 * 192  # the pictures themselves, both halves
    assert {chip.x.dtype for chip in chips} == {np.dtype("uint8")}
