"""``predict-raster`` by the words alone: many rasters, dry runs, masks, other lattices."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rasterio.windows import Window
from rasters import opened, utm, write
from shapely.geometry import box, mapping

from geo_p2p.card import ModelCard, Scaling
from geo_p2p.model_file import Translator, save_model
from geo_p2p.networks import build_generator
from geo_p2p.predict import Forecast
from geo_p2p.raster import RasterSource
from geo_p2p.translate import plan_raster

BYTES = Scaling("uint8", (0.0, 0.0), (255.0, 255.0))
HEIGHTS = Scaling("int16", (-500.0,), (900.0,), nodata=-32768, names=("dsm",))
FRAME = utm(60, 80)

MOSAIC = ("--processing-mode", "mosaic")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, and a folder of two rasters side by side and one that does not fit."""
    home = tmp_path_factory.mktemp("words")
    arguments = {"in_channels": 2, "out_channels": 1, "halvings": 2, "ngf": 2}
    net = build_generator("unet", **arguments)
    fields = {"size": 16, "network": "unet", "arguments": arguments, "tile_safe": True}
    place = {"stride": net.stride, "halo": net.halo, "pixel_size": (1.0, 1.0), "crs": "EPSG:32633"}
    model = Translator(net, ModelCard(BYTES, HEIGHTS, **fields, **place), "cpu", "fp32")
    save_model(home / "model", model.generator, model.card)
    values = np.random.default_rng(0).integers(0, 250, (2, 60, 80), "uint8")
    write(home / "whole.tif", values, FRAME)
    (home / "scenes").mkdir()
    for name, at in {"west": slice(0, 48), "east": slice(32, 80)}.items():
        part = FRAME.crop(Window(at.start, 0, at.stop - at.start, 60))
        write(home / "scenes" / f"{name}.tif", values[:, :, at], part)
    write(home / "odd.tif", values[:1], FRAME)
    for band in (0, 1):
        write(home / f"band{band}.tif", values[[band]], FRAME)
    return home


@pytest.fixture
def predict(runner: Any, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that runs the command in an empty folder; {home} stands for the rasters."""
    monkeypatch.chdir(tmp_path)

    def run(*words: object, code: int = 0) -> Any:
        filled = [str(word).replace("{home}", str(home)) for word in words]
        how = ("--model", home / "model", "--block-size", 16, "--device", "cpu")
        return runner("predict-raster", *filled, *how, code=code)

    return run


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def values(path: Path) -> np.ndarray:
    return RasterSource(path).read()[0]


def test_a_folder_becomes_a_folder(predict: Any, tmp_path: Path) -> None:
    said = predict("{home}/scenes", "out", "--json").json()
    names = ["out/east_translated.tif", "out/west_translated.tif"]
    assert files(tmp_path) == names
    assert [each["output"] for each in said["rasters"]] == names
    assert said["failed"] == []


def test_many_rasters_may_follow_a_template_or_none(predict: Any, tmp_path: Path) -> None:
    predict("{home}/scenes/*.tif", "{stem}_map.tif")
    predict("{home}/scenes/west.tif", "{home}/scenes/east.tif", "here")
    assert files(tmp_path) == [
        *("east_map.tif", "here/east_translated.tif", "here/west_translated.tif", "west_map.tif"),
    ]
    predict("{home}/scenes")
    assert {"east_translated.tif", "west_translated.tif"} <= set(files(tmp_path))


def test_one_that_fails_holds_up_no_other_and_the_code_tells(predict: Any, tmp_path: Path) -> None:
    ran = predict("{home}/odd.tif", "{home}/whole.tif", "{home}/gone.tif", "out", "--json", code=1)
    assert files(tmp_path) == ["out/whole_translated.tif"]
    assert [Path(each["raster"]).name for each in ran.json()["failed"]] == ["odd.tif", "gone.tif"]
    assert ran.stderr.count("Error: ") == 2
    assert "1 bands, but the model takes 2" in ran.stderr


def test_several_may_make_one_mosaic(predict: Any, tmp_path: Path) -> None:
    predict("{home}/whole.tif", "whole.tif")
    said = predict("{home}/scenes/w*.tif", "{home}/scenes", "one.tif", *MOSAIC, "--json").json()
    assert (said["width"], said["height"]) == (80, 60)
    assert np.array_equal(values(tmp_path / "one.tif"), values(tmp_path / "whole.tif"))
    frames = [RasterSource(tmp_path / name).frame for name in ("one.tif", "whole.tif")]
    assert frames[0].same_lattice(frames[1])
    predict("{home}/scenes", "coarse.tif", *MOSAIC, "--res", 2, "--resampling", "nearest")
    with opened(tmp_path / "coarse.tif") as dataset:
        assert (dataset.res, dataset.tags()["GEO_P2P_RESAMPLING"]) == ((2.0, 2.0), "nearest")


def test_several_may_be_bands_of_one(predict: Any, tmp_path: Path) -> None:
    predict("{home}/whole.tif", "whole.tif")
    predict("{home}/band0.tif", "{home}/band1.tif", "one.tif", "--processing-mode", "bands")
    assert np.array_equal(values(tmp_path / "one.tif"), values(tmp_path / "whole.tif"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("{home}/scenes", "one.tif"), "one file for 2 rasters; name a folder or a template"),
        (("{home}/scenes", "no/such/place"), "its folder does not exist; make it first"),
        (("{home}/whole.tif", "{home}/whole.tif", "out"), "would be the output of"),
        (("{home}/whole.tif", "o.tif", "--dst-crs", "EPSG:0"), "not a coordinate reference system"),
        (("{home}/whole.tif", "o.tif", "--mask", "gone.geojson"), "no such file"),
        (("{home}/scenes", "{home}/odd.tif", "o.tif", *MOSAIC), "differ in their number of bands"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    predict: Any, tmp_path: Path, words: Any, said: str
) -> None:
    for more in ((), ("--dry-run",)):
        ran = predict(*words, *more, code=1)
        assert said in ran.stderr
        assert ran.stderr.count("\n") == 1
        assert files(tmp_path) == []


def test_a_pixel_size_that_is_none_is_wrong_usage(predict: Any) -> None:
    for size in ("0", "-1", "1,2,3", "fine", "nan"):
        assert "is no pixel size" in predict("{home}/whole.tif", f"--res={size}", code=2).stderr


def test_a_place_that_cannot_be_written_is_refused_before_any_work(
    predict: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(path: Path, *arguments: Any, **how: Any) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "mkdir", denied)
    ran = predict("{home}/whole.tif", "o.tif", code=1)
    assert "cannot be written" in ran.stderr and ran.stderr.count("\n") == 1


@pytest.mark.parametrize("mode", ["items", "mosaic"])
def test_the_seams_of_each_output_are_measured(predict: Any, tmp_path: Path, mode: str) -> None:
    (tmp_path / "out").mkdir()
    dst = "out" if mode == "items" else "one.tif"
    words = ("{home}/scenes", dst, "--processing-mode", mode, "--check-seams")
    said = predict(*words, "--json").json()
    checked = [each["seams"] for each in said.get("rasters", [said])]
    assert len(checked) == (2 if mode == "items" else 1)
    for seams in checked:
        assert seams["tile_size"] == 16
        assert seams["whole"]["scaled_max"] < 5e-6
    assert "seams r" in predict(*words, "--overwrite").stdout


def test_a_shard_has_no_seams_to_measure(predict: Any) -> None:
    ran = predict("{home}/whole.tif", "o.tif", "--shard", "1/2", "--check-seams", code=2)
    assert "--check-seams wants a mosaic" in ran.stderr


# ------------------------------------------------------------------ dry runs


def test_a_dry_run_writes_nothing_and_tells_what_the_run_does(predict: Any, tmp_path: Path) -> None:
    words = ("{home}/whole.tif", "o.tif")
    said = predict(*words, "--dry-run", "--json").json()
    assert files(tmp_path) == []
    done = predict(*words, "--json").json()
    for name in ("output", "width", "height", "blocks", "precision"):
        assert said[name] == done[name], name
    assert (said["exact"], said["block_size"]) == (True, 16)
    assert said["raw_bytes"] == 60 * 80 * 2
    assert 0 < said["parts_bytes"] <= said["raw_bytes"]
    assert said["output_bytes"] == pytest.approx(said["parts_bytes"] * 4 / 3, abs=2)
    assert said["seconds"] > 0
    assert said["memory_bytes"] > 50e6  # the framework alone
    table = predict("{home}/whole.tif", "p.tif", "--dry-run").stdout
    assert "blocks" in table and "seconds" in table


def test_a_dry_run_of_many_makes_no_folder(predict: Any, tmp_path: Path) -> None:
    said = predict("{home}/scenes", "out", "--dry-run", "--json").json()
    assert [each["output"] for each in said["rasters"]] == [
        "out/east_translated.tif",
        "out/west_translated.tif",
    ]
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_in_python(home: Path, tmp_path: Path) -> None:
    plan = plan_raster(home / "whole.tif", tmp_path / "o.tif", model=home / "model", res=2.0)
    assert isinstance(plan, Forecast)
    assert (plan.width, plan.height, plan.res, plan.crs) == (40, 30, (2.0, 2.0), "EPSG:32633")
    assert list(tmp_path.iterdir()) == []


def test_a_block_without_a_valid_pixel_is_timed_only_where_there_is_no_other(
    home: Path, tmp_path: Path
) -> None:
    image = np.full((2, 64, 64), 9, "uint8")
    image[:, :16, :16] = 1
    src = write(tmp_path / "src.tif", image, utm(64, 64), nodata=9)
    plan = plan_raster(src, tmp_path / "o.tif", model=home / "model", block_size=16)
    assert plan.seconds > 0
    write(src, np.full((2, 64, 64), 9, "uint8"), utm(64, 64), nodata=9)
    assert plan_raster(src, tmp_path / "o.tif", model=home / "model").blocks == 1


# ------------------------------------------------------------------ every option arrives


def test_masks_views_and_lattices_arrive(predict: Any, tmp_path: Path) -> None:
    crs = {"type": "name", "properties": {"name": "EPSG:32633"}}
    left, bottom, right, top = FRAME.bounds
    ground = mapping(box(left, bottom, left + 40, top))
    feature = {"type": "Feature", "properties": {}, "geometry": ground}
    area = {"type": "FeatureCollection", "crs": crs, "features": [feature]}
    (tmp_path / "area.geojson").write_text(json.dumps(area))
    src = "{home}/whole.tif"
    predict(src, "plain.tif")
    predict(src, "mask.tif", "--mask", "area.geojson")
    predict(src, "views.tif", "--tta")
    predict(src, "coarse.tif", "--res", "2,4", "--resampling", "nearest", "--dst-crs", "EPSG:3035")
    plain, mask, views = (values(tmp_path / f"{name}.tif") for name in ("plain", "mask", "views"))
    assert np.array_equal(mask[:, :, :40], plain[:, :, :40])
    assert (mask[:, :, 40:] == -32768).all()
    assert not np.array_equal(views, plain)
    coarse = RasterSource(tmp_path / "coarse.tif").frame
    assert (coarse.crs_name, coarse.res) == ("EPSG:3035", (2.0, 4.0))
    tags = {}
    for name in ("plain", "mask", "views", "coarse"):
        with opened(tmp_path / f"{name}.tif") as dataset:
            tags[name] = dataset.tags()
    assert tags["mask"]["GEO_P2P_MASK"] == "area.geojson"
    assert tags["views"]["GEO_P2P_TTA"] == "mean of 8 views"
    assert tags["coarse"]["GEO_P2P_RESAMPLING"] == "nearest"
    assert not {"GEO_P2P_MASK", "GEO_P2P_TTA", "GEO_P2P_RESAMPLING"} & tags["plain"].keys()


def test_far_pixels_are_warned_of_with_both_figures(predict: Any) -> None:
    ran = predict("{home}/whole.tif", "o.tif", "--res", 4)
    assert "pixels of 4 are 4 times those the model was trained on (1)" in ran.stderr
    assert "trained on" not in predict("{home}/whole.tif", "p.tif", "--res", "model").stderr
