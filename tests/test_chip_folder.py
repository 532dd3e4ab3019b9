"""Reading chip folders: ours, ArcGIS Pro's, and those that are not whole."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affine import Affine
from conftest import write_raster

from geo_p2p.chips import ChipFolder, export_chips
from geo_p2p.errors import ChipError
from geo_p2p.raster import RasterSource

MakeRaster = Callable[..., Path]

SIDE = 16


@pytest.fixture(scope="module")
def sources(make_raster: MakeRaster) -> tuple[Path, Path]:
    """Return an input with a hole, and a class raster with a palette that has another."""
    rng = np.random.default_rng(0)
    x = rng.integers(1, 900, (2, 48, 64)).astype("uint16")
    x[:, 2, 3] = 0
    y = rng.integers(1, 4, (48, 64), "uint8")
    y[5, 6] = 0
    colors = {0: (0, 0, 0, 0), 1: (255, 0, 0, 255), 2: (0, 255, 0, 255), 3: (0, 0, 255, 255)}
    return (
        make_raster(x, nodata=0, names=["red", "nir"]),
        make_raster(y, nodata=0, colors=colors),
    )


@pytest.fixture(scope="module")
def exported(sources: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("exported") / "chips"
    return export_chips(*sources, out, tile_size=SIDE, stride=SIDE, buffer=0)


@pytest.fixture
def ours(exported: Path, tmp_path: Path) -> Path:
    """Return a copy of an export, to damage."""
    return shutil.copytree(exported, tmp_path / "chips")


@pytest.fixture
def pro(tmp_path: Path) -> Path:
    """Return a folder as ArcGIS Pro leaves it: names with gaps, side-cars, none of our files."""
    folder = tmp_path / "pro"
    for side, seed in (("images", 1), ("images2", 2)):
        (folder / side).mkdir(parents=True)
        for index in (9, 0, 25, 3):
            values = np.random.default_rng([seed, index]).integers(0, 99, (1, SIDE, SIDE), "uint16")
            shift = Affine.translation(500_000 + SIDE * index, 5_000_000) * Affine.scale(1, -1)
            name = folder / side / f"{index:012d}"
            write_raster(name.with_suffix(".tif"), values, transform=shift, tiled=True)
            for junk in (".tfw", ".tif.aux.xml", ".tif.ovr"):
                name.with_suffix(junk).touch()
    for name in ("map.txt", "stats.txt", "esri_accumulated_stats.json"):
        (folder / name).touch()
    (folder / "esri_model_definition.emd").write_text('{"MetaDataMode": "Export_Tiles"}')
    return folder


def own(folder: Path, **changes: Any) -> None:
    """Change geo_p2p.json; None removes a key."""
    file = folder / "geo_p2p.json"
    plain = {**json.loads(file.read_text()), **changes}
    file.write_text(json.dumps({k: v for k, v in plain.items() if v is not None}))


def refused(folder: Path, words: str) -> None:
    with pytest.raises(ChipError) as caught:
        ChipFolder.open(folder)
    assert words in str(caught.value)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


# Ours


def test_pairs_come_back_as_the_rasters_hold_them(
    exported: Path, sources: tuple[Path, Path]
) -> None:
    folder = ChipFolder.open(exported)
    assert len(folder) == len(folder.names) == 12
    assert folder.names == tuple(sorted(folder.names))
    x, y = (RasterSource(path) for path in sources)
    for name in folder.names:
        chip = folder.read(name)
        row, col = divmod(int(name), 4)
        window = x.frame.window_of(chip.frame.bounds)
        assert (window.row_off, window.col_off) == (row * SIDE, col * SIDE)
        (x_values, x_valid), (y_values, y_valid) = x.read(window), y.read(window)
        np.testing.assert_array_equal(chip.x, x_values)
        np.testing.assert_array_equal(chip.y, y_values)
        np.testing.assert_array_equal(chip.valid, x_valid & y_valid)
        assert chip.frame == x.frame.crop(window)
        assert (chip.name, chip.x.dtype, chip.y.dtype) == (name, "uint16", "uint8")
    assert not folder.read("000000000000").valid.all()


def test_the_bands_are_those_of_the_rasters_not_of_the_chips(
    exported: Path, sources: tuple[Path, Path]
) -> None:
    bands = ChipFolder.open(exported).bands()
    assert bands == tuple(RasterSource(path).info for path in sources)
    assert bands[0].names == ("red", "nir")
    assert bands[1].categorical
    assert bands[1].nodata == 0


def test_the_split_is_the_one_that_was_saved(exported: Path) -> None:
    folder = ChipFolder.open(exported)
    assert folder.split["train"] and folder.split["val"]
    assert sorted(folder.split["train"] + folder.split["val"]) == list(folder.names)
    assert folder.split["method"] == "blocks"
    assert folder.own["settings"]["tile_size"] == SIDE


def test_a_pair_that_was_taken_out_is_in_no_part(ours: Path) -> None:
    lost = ChipFolder.open(ours).split["train"][0]
    for side in ("images", "images2"):
        (ours / side / f"{lost}.tif").unlink()
    folder = ChipFolder.open(ours)
    assert lost not in folder.names
    assert sorted(folder.split["train"] + folder.split["val"]) == list(folder.names)


# ArcGIS Pro's


def test_a_folder_of_pro_is_read_by_name_with_its_gaps(pro: Path) -> None:
    folder = ChipFolder.open(pro)
    assert [int(name) for name in folder.names] == [0, 3, 9, 25]
    for name in folder.names:
        chip = folder.read(name)
        for seed, values in ((1, chip.x), (2, chip.y)):
            rng = np.random.default_rng([seed, int(name)])
            np.testing.assert_array_equal(values, rng.integers(0, 99, (1, SIDE, SIDE), "uint16"))
        assert chip.frame.bounds[0] == 500_000 + SIDE * int(name)
        assert chip.valid.all()
    assert folder.own is None
    assert folder.split is None
    assert [(b.count, b.dtype) for b in folder.bands()] == [(1, "uint16")] * 2


def test_names_of_nine_digits_and_other_suffixes_are_read_too(pro: Path) -> None:
    for side, suffix in (("images", ".TIF"), ("images2", ".tiff")):
        for file in list((pro / side).glob("*.tif")):
            file.rename(file.with_name(file.stem[3:] + suffix))
    folder = ChipFolder.open(pro)
    assert folder.names == ("000000000", "000000003", "000000009", "000000025")
    assert folder.read("000000009").x.shape == (1, SIDE, SIDE)


def test_what_macos_puts_beside_a_chip_is_no_chip(pro: Path) -> None:
    (pro / "images" / "._000000000003.tif").write_bytes(b"\x00\x05\x16\x07")
    assert len(ChipFolder.open(pro)) == 4


# Not whole


def test_a_missing_folder_and_one_of_something_else_are_refused(tmp_path: Path) -> None:
    refused(tmp_path / "no", "no such folder")
    refused(tmp_path, "not a chip folder")
    (tmp_path / "images").mkdir()
    refused(tmp_path, "not a chip folder")


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    for side in ("images", "images2"):
        (tmp_path / side).mkdir()
        (tmp_path / side / "000000000000.tfw").touch()
    refused(tmp_path, "holds no images (chips) in images/ and images2/")


@pytest.mark.parametrize(("side", "other"), [("images", "images2"), ("images2", "images")])
def test_a_chip_without_partner_is_named(pro: Path, side: str, other: str) -> None:
    for index in (3, 9):
        (pro / side / f"{index:012d}.tif").unlink()
    refused(pro, f"2 images have no partner: 000000000003, 000000000009 (missing in {side}/)")
    assert (pro / other / "000000000003.tif").exists()


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", "3", '"text"', "{}", '{"format": 1}', '{"format": 1, "split": []}'],
)
def test_a_damaged_json_is_refused(ours: Path, text: str) -> None:
    (ours / "geo_p2p.json").write_text(text)
    refused(ours, "geo_p2p.json: is damaged")


@pytest.mark.parametrize(
    "change",
    [
        {"split": None},
        {"split": {"train": []}},
        {"split": {"train": [], "val": 3}},
        {"input": None},
        {"additional": {"bands": {}}},
        {"input": {"bands": {"colors": [], "classes": {}, "nodata": None}}},
    ],
    ids=str,
)
def test_a_json_with_a_part_missing_is_refused(ours: Path, change: dict[str, Any]) -> None:
    own(ours, **change)
    refused(ours, "is damaged")


def test_a_newer_format_is_refused_by_its_own_words(ours: Path) -> None:
    own(ours, format=2)
    refused(ours, "another version")


def test_halves_of_different_size_are_refused(pro: Path) -> None:
    write_raster(pro / "images2" / "000000000003.tif", np.zeros((1, SIDE, SIDE + 1), "uint16"))
    folder = ChipFolder.open(pro)
    with pytest.raises(ChipError, match=r"chip 000000000003 is \(16, 16\).*\(16, 17\)") as caught:
        folder.read("000000000003")
    assert "\n" not in str(caught.value)


def test_a_chip_that_is_gone_or_damaged_is_named(pro: Path) -> None:
    folder = ChipFolder.open(pro)
    (pro / "images" / "000000000003.tif").unlink()
    with pytest.raises(ChipError, match="chip 000000000003 is gone from images/"):
        folder.read("000000000003")
    (pro / "images2" / "000000000009.tif").write_bytes(b"II*\0")
    with pytest.raises(ChipError, match=r"chip 000000000009 cannot.*000000000009\.tif") as caught:
        folder.read("000000000009")
    assert "\n" not in str(caught.value)
