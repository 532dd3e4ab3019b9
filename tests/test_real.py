"""Real rasters, as a user would use them: two pairs from export to mosaic, and odd files."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import rasterio
from conftest import REAL_DATA, run_command, write_raster
from rasterio.enums import ColorInterp
from rasterio.warp import transform_geom
from rasterio.windows import Window
from rasterio.windows import bounds as bounds_of
from shapely import box
from shapely.geometry import mapping

from geo_p2p import export_chips, prepare_data
from geo_p2p.chips import ChipFolder, ExportConfig
from geo_p2p.chips.live import cut

TINY = ("--epochs", 1, "--halvings", 3, "--ngf", 2, "--ndf", 2, "--device", "cpu", "--json")


class Pair(NamedTuple):
    """Two rasters of one place, the options they need, and the px of the input to work on."""

    src: str
    target: str
    export: tuple[str, ...]
    evaluate: tuple[str, ...]
    col: int
    row: int


PAIRS = {
    "banepa: photo to map": Pair(
        "banepa/ortho.tif", "banepa/osm_map_rgba.tif", (), (), col=700, row=1700
    ),
    "banepa: photo to classes": Pair(
        "banepa/ortho.tif", "banepa/osm_classes.tif", (), (), col=700, row=1700
    ),
    "zion: red, green, blue to near infrared": Pair(
        "zion/zion_landsat8_rgbn.tif",
        "zion/zion_landsat8_rgbn.tif",
        ("--bidx", "1,2,3", "--additional-bidx", "4"),
        ("--bidx", "4"),
        col=300,
        row=500,
    ),
    "zion: four bands to land cover": Pair(
        "zion/zion_landsat8_rgbn.tif", "zion/nlcd.tif", (), (), col=300, row=500
    ),
}

SIDE = 512


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS.keys())
def test_a_pair_goes_from_export_to_a_mosaic_on_its_input(runner, real_data, tmp_path, pair):
    src, target = real_data / pair.src, real_data / pair.target
    chips, model, out = (tmp_path / name for name in ("chips", "model", "mosaic.tif"))
    with rasterio.open(src) as raster:
        frame, crs = raster.transform, raster.crs
        area = box(*bounds_of(Window(pair.col, pair.row, SIDE + 64, SIDE + 64), frame))
    aoi = tmp_path / "area.geojson"
    aoi.write_text(json.dumps(transform_geom(crs, "EPSG:4326", mapping(area))))

    words = ("--tile-size", 64, "--stride", 64, "--mask", aoi, *pair.export, "--json")
    said = runner("export-chips", src, target, chips, *words).json()
    assert said["train"] > said["val"] > 0
    said = runner("train", chips, model, *TINY).json()
    assert said["scores"]["pixels"] > 0

    # Off the chips' grid and across the edge of their area; 3 and 7 px from a block's corner.
    window = Window(pair.col + 515, pair.row + 263, 200, 150)
    bounds = " ".join(repr(edge) for edge in bounds_of(window, frame))
    run = ("predict-raster", src, out, "--model", model, "--bounds", bounds, "--block-size", 256)
    said = runner(*run, "--json").json()
    assert (said["width"], said["height"]) == (200, 150)
    assert_like_target_on_input(out, src, target, window, pair)
    scores = runner("evaluate", out, target, *pair.evaluate, "--json").json()
    assert 0 < scores["pixels"] <= 200 * 150


def assert_like_target_on_input(
    out: Path, src: Path, target: Path, window: Window, pair: Pair
) -> None:
    with rasterio.open(out) as mosaic, rasterio.open(src) as raster:
        place = ~raster.transform * mosaic.transform
        assert place.almost_equals(place.translation(window.col_off, window.row_off), 1e-6)
        assert mosaic.crs == raster.crs
        bands = [int(b) for b in pair.export[1].split(",")] if pair.export else None
        seen = raster.read_masks(bands, window=window).all(axis=0)
        assert (mosaic.read_masks(1).astype(bool) == seen).all()
        values = set(np.unique(mosaic.read(masked=True).compressed()).tolist())
        told, colors = description(mosaic)
    with rasterio.open(target) as truth:
        indexes = [int(b) for b in pair.evaluate[1].split(",")] if pair.evaluate else None
        wanted, palette = description(truth, indexes)
        assert told == wanted
        assert colors.items() <= palette.items()
        if palette:
            assert values <= colors.keys() & set(np.unique(truth.read(1)).tolist())


def description(
    raster: Any, indexes: list[int] | None = None
) -> tuple[dict[str, Any], dict[int, Any]]:
    """Return what a raster's bands are, alpha left out (it is a mask), and their palette."""
    kept = [i for i in indexes or raster.indexes if raster.colorinterp[i - 1].name != "alpha"]
    told = {
        "dtype": [raster.dtypes[i - 1] for i in kept],
        "nodata": raster.nodata,
        "names": [raster.descriptions[i - 1] for i in kept],
        # The one band of a TIFF cannot be undefined.
        "interp": [raster.colorinterp[i - 1].name.replace("undefined", "gray") for i in kept],
    }
    if raster.colorinterp[kept[0] - 1] is not ColorInterp.palette:
        return told, {}
    # A colour table has no gaps: GDAL fills them with black.
    table = raster.colormap(kept[0])
    return told, {value: color for value, color in table.items() if any(color[:3])}


LIVE = {
    "banepa: photo to map": (
        ("banepa/ortho.tif", "banepa/osm_map_rgba.tif"),
        {"chip_size": 256, "stride": 256, "test_pct": 10.0, "min_valid": 0.5},
    ),
    "banepa: photo to classes, turned": (
        ("banepa/ortho.tif", "banepa/osm_classes.tif"),
        {"chip_size": 256, "stride": 256, "rotation_angle": 180.0},
    ),
}


@pytest.mark.parametrize("pair", LIVE.values(), ids=LIVE.keys())
def test_two_rasters_give_the_chips_of_their_export(real_data, tmp_path, pair):
    (src, target), settings = pair
    src, target = real_data / src, real_data / target
    live = prepare_data(src, additional=target, seed=5, **settings)
    how = {**settings, "tile_size": settings["chip_size"], "seed": 5}
    del how["chip_size"]
    exported = prepare_data(export_chips(src, target, tmp_path / "chips", **how), seed=5)

    assert live.scalings == exported.scalings
    assert live.origin.split == exported.origin.split
    assert len(live.chips[0]) > len(live.chips[1]) > 0
    for ours, theirs in zip(live.chips, exported.chips, strict=True):
        assert [chip.name for chip in ours] == [chip.name for chip in theirs]
        for a, b in zip(ours, theirs, strict=True):
            assert a.frame.same_lattice(b.frame)
            for name in ("x", "y", "valid"):
                one, two = getattr(a, name), getattr(b, name)
                assert one.dtype == two.dtype
                assert one.tobytes() == two.tobytes()
    assert not all(chip.valid.all() for chip in live.chips[0]), "no longer a case with holes"


ODD = sorted(path for path in (REAL_DATA / "odd").rglob("*") if path.suffix == ".tif")


@pytest.fixture(scope="module")
def one_band_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train a model of one band in, one band out."""
    home = tmp_path_factory.mktemp("one")
    image = np.random.default_rng(1).integers(0, 256, (1, 128, 128)).astype("uint8")
    write_raster(home / "a.tif", image)
    write_raster(home / "b.tif", 255 - image)
    run_command("export-chips", home / "a.tif", home / "b.tif", home / "chips", "--tile-size", 32)
    run_command("train", home / "chips", home / "model", *TINY)
    return home / "model"


@pytest.mark.parametrize("path", ODD, ids=[path.name for path in ODD])
def test_an_odd_file_is_used_well_or_refused_in_one_line(real_data, one_band_model, tmp_path, path):
    chips, out = tmp_path / "chips", tmp_path / "out.tif"
    info = attempt("info", path, "--json")
    part, bounds, ground = [], [], []
    if path.name.startswith("big"):  # a corner of the world, or it would take an hour
        area = {"type": "Feature", "properties": {}, "geometry": mapping(box(3, 5, 8, 10))}
        (tmp_path / "area.geojson").write_text(json.dumps(area))
        part, bounds = ["--mask", tmp_path / "area.geojson"], ["--bounds", "3 5 8 10"]
        ground = ["--chips", chips, "--split", "all"]
    size = min(128, info["height"], info["width"]) if info else 128
    words = ["--tile-size", size, "--stride", size, "--split", "none", *part, "--json"]
    cut = attempt("export-chips", path, path, chips, *words)
    model = ("--model", one_band_model, "--bidx", 1)
    translated = attempt("predict-raster", path, out, *model, *bounds, "--json")
    scored = attempt("evaluate", path, path, *ground, "--json")

    assert chips.exists() == (cut is not None)
    assert out.exists() == (translated is not None)
    if path.name.startswith("bad_"):
        assert cut is translated is scored is None
    if translated is not None and not part:
        there = attempt("info", out, "--json")
        same = ("crs", "width", "height", "res")
        assert {key: there[key] for key in same} == {key: info[key] for key in same}
        assert there["bounds"] == pytest.approx(info["bounds"])
    if scored is not None:
        assert scored.get("l1", 0) == 0
        assert scored.get("accuracy", 1) == 1


def test_what_gdal_warns_of_goes_to_a_log_and_not_to_the_user(real_data):
    # In a process of its own: the first command tells GDAL for all that follow.
    path = real_data / "odd" / "bad_huge4GB_header.tif"
    command = [sys.executable, "-m", "geo_p2p.cli"]
    quiet, told = (
        subprocess.run([*command, *words, "info", path], capture_output=True, text=True).stderr
        for words in ([], ["-v"])
    )
    assert quiet.count("\n") == 1
    assert quiet.startswith("Error: ")
    assert "Warning: " in told
    assert "StripByteCounts" in told


def attempt(*words: object) -> dict[str, Any] | None:
    """Run a command; return what it says, or None if it refuses in one line."""
    ran = run_command(*words, code=None)
    if ran.code == 0:
        return ran.json()
    assert (ran.code, ran.stdout) == (1, "")
    # What is to be done, and what is unusual about it, may be told before it fails.
    *told, refusal = ran.stderr.splitlines()
    assert refusal.startswith("Error: ")
    assert not any(line.startswith(("Error", "Traceback")) for line in told)
    return None


@pytest.mark.parametrize(
    ("target", "bands"),
    [
        ("zion_landsat8_rgbn.tif", {"bidx": (1, 2, 3), "additional_bidx": (4,)}),
        ("nlcd.tif", {}),
    ],
)
def test_chips_cut_on_the_fly_are_those_of_the_export(real_data, tmp_path, target, bands):
    """Land cover comes from another CRS and pixel size; strides so long that there are few."""
    src, to = real_data / "zion" / "zion_landsat8_rgbn.tif", real_data / "zion" / target
    exported = ChipFolder.open(
        export_chips(src, to, tmp_path / "chips", tile_size=128, stride=128, seed=3, **bands)
    )
    config = ExportConfig(tile_size=128, stride=128, seed=3, **bands)
    live = cut(src, to, config)
    used = [name for part in ("train", "val", "test") for name in exported.split[part]]
    assert len(used) > 20
    assert sorted(live.names) == sorted(used) == sorted(exported.names)
    assert {p: live.split[p] for p in ("train", "val")} == {
        p: exported.split[p] for p in ("train", "val")
    }
    for name in exported.names:
        one, two = live.read(name), exported.read(name)
        assert one.x.dtype == two.x.dtype
        assert one.y.dtype == two.y.dtype
        assert np.array_equal(one.valid, two.valid)
        assert one.x.tobytes() == two.x.tobytes()
        assert one.y.tobytes() == two.y.tobytes()
        assert one.frame.same_lattice(two.frame)
    settings = {"stride": 128, "seed": 3, "val_split_pct": config.val_pct / 100, **bands}
    data = prepare_data(src, additional=to, chip_size=128, **settings)
    again = prepare_data(tmp_path / "chips")
    for ours, theirs in zip(data.chips, again.chips, strict=True):
        assert len(ours) == len(theirs) > 0
        for one, two in zip(ours, theirs, strict=True):
            assert np.array_equal(one.x, two.x)
            assert np.array_equal(one.y, two.y)
            assert np.array_equal(one.valid, two.valid)
    assert data.scalings == again.scalings
