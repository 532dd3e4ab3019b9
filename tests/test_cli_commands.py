"""The commands: from two rasters to chips, a model, a mosaic and scores, by the words alone."""

import json
import subprocess
import sys
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
import rasterio
from conftest import run_command, write_raster
from PIL import Image
from rasterio.transform import from_origin
from rasterio.warp import transform_geom
from shapely import box
from shapely.geometry import mapping

from geo_p2p.card import RECIPES, TrainConfig
from geo_p2p.chips import ChipFolder, ExportConfig
from geo_p2p.cli.main import COMMANDS, main
from geo_p2p.errors import ModelError
from geo_p2p.networks import GENERATORS
from geo_p2p.predict import PredictConfig

ROOT = Path(__file__).resolve().parents[1]

CHIPS = ("--tile-size", 32, "--stride", 32)
TINY = ("--epochs", 1, "--halvings", 3, "--ngf", 2, "--ndf", 2, "--device", "cpu")

SCORES = {
    *("l1", "rmse", "psnr", "ssim", "ms_ssim", "hp_l1", "sam", "ergas"),
    *("data_range", "pixels", "split", "per_chip"),
}
CLASS_SCORES = {"accuracy", "miou", "iou", "classes", "confusion", "pixels", "split"}


@dataclass(frozen=True)
class Work:
    """What a user has after a first run: files, and what the commands said on stdout."""

    aerial: Path
    near_infrared: Path
    classes: Path
    chips: Path
    model: Path
    mosaic: Path
    said: dict[str, Any]


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Work:
    """Export, train and predict once, on 160 x 160 px in two coordinate systems."""
    home = tmp_path_factory.mktemp("work")
    rng = np.random.default_rng(5)
    aerial = rng.integers(0, 256, (3, 160, 160)).astype("uint8")
    write_raster(home / "aerial.tif", aerial)
    # Finer pixels, a margin all around, another kind of number.
    place = from_origin(499_980, 5_000_020, 0.5, 0.5)
    infrared = rng.integers(1000, 3000, (1, 400, 400)).astype("uint16")
    write_raster(home / "nir.tif", infrared, transform=place, nodata=65535, names=["nir"])
    palette = {1: (200, 0, 0), 4: (0, 120, 0)}
    classes = rng.choice([1, 4], (400, 400)).astype("uint8")
    write_raster(home / "classes.tif", classes, transform=place, colors=palette)
    names = ("aerial.tif", "nir.tif", "classes.tif", "chips", "model", "mosaic.tif")
    src, target, class_map, chips, model, mosaic = (home / name for name in names)
    commands = {
        "export": ("export-chips", src, target, chips, *CHIPS),
        "train": ("train", chips, model, *TINY),
        "predict": ("predict-raster", src, mosaic, "--model", model, "--block-size", 64),
    }
    said = {name: run_command(*words, "--json").json() for name, words in commands.items()}
    return Work(src, target, class_map, chips, model, mosaic, said)


def options_of(command: str) -> dict[str, click.Parameter]:
    found = main.get_command(click.Context(main), command)
    assert found is not None
    return {option.name or "": option for option in found.params}


@pytest.mark.parametrize(
    ("command", "config"), [("export-chips", ExportConfig), ("predict-raster", PredictConfig)]
)
def test_every_setting_is_an_option_with_the_default_of_its_dataclass(command, config) -> None:
    options = {"options" if n == "co" else n: o for n, o in options_of(command).items()}
    for field in fields(config):
        if field.name != "options":
            assert options[field.name].default in (field.default, click.core.UNSET), field.name


def test_a_training_option_not_given_leaves_its_setting_to_the_recipe(runner) -> None:
    options = options_of("train")
    settings = {field.name for field in fields(TrainConfig)} & options.keys()
    assert settings >= {"epochs", "batch_size", "lr", "ngf", "target", "precision", "seed"}
    for name in settings - {"recipe", "device"}:
        assert options[name].default in (None, click.core.UNSET), name
    text = " ".join(runner("train", "--help").stdout.split())
    for name in ("epochs", "batch_size", "norm", "lr"):
        paper, ours = (TrainConfig.of(recipe).to_json()[name] for recipe in ("paper", "seamless"))
        assert f"(by the recipe: seamless {ours}, paper {paper})" in text
    assert f"Width of the generator. [default: ({TrainConfig.ngf})]" in text
    assert isinstance(options["generator"].type, click.Choice)
    assert set(options["generator"].type.choices) == set(GENERATORS)


def test_help_of_a_command_loads_neither_torch_nor_fastai_nor_matplotlib() -> None:
    written = [path.stem.replace("_", "-") for path in (ROOT / "cli").glob("*.py")]
    code = (
        "import sys\nfrom contextlib import suppress\nfrom geo_p2p.cli.main import main\n"
        f"for name in {sorted(COMMANDS.keys() & set(written))}:\n"
        "    with suppress(SystemExit): main([name, '--help'])\n"
        "print(*sorted({'torch', 'fastai', 'matplotlib'} & sys.modules.keys()))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.count("Usage:") >= 6
    assert ran.stdout.splitlines()[-1] == ""


def test_loading_fastai_says_nothing_to_the_user() -> None:
    code = "import geo_p2p.pix2pix"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout + ran.stderr == ""


def test_export_says_what_it_has_made(work) -> None:
    said, folder = work.said["export"], ChipFolder.open(work.chips)
    assert said["folder"] == str(work.chips)
    assert said["chips"] == len(folder) == said["train"] + said["val"]
    assert said["val"] == len(folder.split["val"]) > 0
    assert (said["tile_size"], said["stride"]) == (32, 32)
    assert said["split"]["method"] == "blocks"


def test_export_hands_every_option_on(runner, work, tmp_path) -> None:
    ground = box(499_999, 4_999_839, 500_161, 5_000_001)
    area = transform_geom("EPSG:32633", "EPSG:4326", mapping(ground))
    (tmp_path / "area.geojson").write_text(json.dumps(area))
    given = {
        "tile_size": 24,
        "stride": 20,
        "min_valid": 0.5,
        "resampling": "nearest",
        "edges": "lattice",
        "placement": "random",
        "count": 30,
        "rotation_angle": 180.0,
        "min_content": 0.125,
        "min_std_x": 0.25,
        "min_std_y": 0.5,
        "max_per_stratum": 40,
        "split": "random-overlapping",
        "val_pct": 40.0,
        "test_pct": 10.0,
        "buffer": 3,
        "halo": 8,
        "folds": 3,
        "fold": 2,
        "start_index": 500,
        "processing_mode": "items",
        "all_touched": True,
        "quality_band": 2,
        "seed": 9,
        "mask": str(tmp_path / "area.geojson"),
    }
    words = [word for name, value in given.items() for word in ("--" + dashed(name), value)]
    words.remove(True)
    folder = tmp_path / "chips"
    words += ["--quality-values", "254,255", "--quality-bits", "0-7=253,1-7=0"]
    words += ["--bidx", "3,1", "--additional-bidx", "1"]
    runner("export-chips", work.aerial, work.near_infrared, folder, *words)
    chips = ChipFolder.open(folder)
    saved = {**given, "bidx": [3, 1], "additional_bidx": [1]}
    saved |= {"quality_values": [254, 255], "quality_bits": ["0-7=253", "1-7=0"]}
    assert {name: chips.own["settings"][name] for name in saved} == saved
    assert chips.own["additional"]["resampling"] == "nearest"
    chip = chips.read(chips.names[0])
    with rasterio.open(work.aerial) as raster:
        place = raster.window(*chip.frame.bounds).round_offsets().round_lengths()
        assert (chip.x == raster.read([3, 1], window=place)).all()


def dashed(name: str) -> str:
    return name.replace("_", "-")


def test_export_replaces_chips_only_when_told_to(runner, work, tmp_path) -> None:
    export = ("export-chips", work.aerial, work.near_infrared, tmp_path / "chips", *CHIPS)
    runner(*export)
    assert "overwrite" in runner(*export, code=1).stderr
    record = runner(*export, "--overwrite", "--split", "none", "--json").json()
    assert record["val"] == 0
    assert record["train"] == record["chips"] == 25


def test_train_saves_a_model_with_its_pictures_and_says_how_good_it_is(work) -> None:
    said = work.said["train"]
    assert said["model"] == str(work.model)
    assert sorted(path.name for path in work.model.iterdir()) == [
        "ModelCharacteristics",
        "history.csv",
        "model.discriminator.safetensors",
        "model.dlpk",
        "model.emd",
        "model.safetensors",
        "model_metrics.html",
    ]
    run = work.model.with_name("model.run")
    assert said["run"] == str(run)
    assert sorted(path.name for path in run.iterdir()) == ["checkpoints", "history.csv", "samples"]
    for name in ("losses", "results"):
        assert min(Image.open(said[name]).size) > 100
    assert said["scores"].keys() >= SCORES
    assert said["scores"]["split"] == "val"
    export = work.said["export"]
    assert (said["train"], said["val"]) == (export["train"], export["val"])
    assert (said["epochs"], said["tile_safe"], said["precision"]) == (1, True, "fp32")


def test_train_hands_every_option_on(runner, work, tmp_path, monkeypatch) -> None:
    import geo_p2p.data

    prepare, asked = geo_p2p.data.prepare_data, {}

    def prepare_data(path: str, **named: Any) -> Any:
        asked.update(named)
        return prepare(path, **named)

    monkeypatch.setattr(geo_p2p.data, "prepare_data", prepare_data)
    given = {
        "recipe": "paper",
        "target": "values",
        "epochs": 2,
        "batch_size": 3,
        "lr": 0.001,
        "generator": "resnet",
        "halvings": 2,
        "ngf": 3,
        "ndf": 4,
        "norm": "layer",
        "gan": "lsgan",
        "pixel_loss": "l2",
        "augment": "none",
        "precision": "fp32",
        "device": "cpu",
        "seed": 7,
    }
    words = [word for name, value in given.items() for word in ("--" + dashed(name), value)]
    ran = runner("train", work.chips, tmp_path / "m", *words)
    card = json.loads((tmp_path / "m" / "m.emd").read_text())["geo_p2p"]
    config = card["provenance"]["config"]
    assert {name: config[name] for name in given} == given
    assert config["jitter"] == RECIPES["paper"]["jitter"]  # what no option says
    assert asked == {"target": "values", "seed": 7}
    assert ran.stderr.count("epoch ") == 2
    assert "scores l1" in ran.stdout
    assert "made" not in ran.stdout  # JSON says that, a table need not


def test_train_reads_two_rasters_and_pictures_too(runner, work, tmp_path) -> None:
    words = ("--additional", work.near_infrared, "--chip-size", 32, *TINY, "--json")
    said = runner("train", work.aerial, tmp_path / "m", *words).json()
    chips = runner("info", work.chips, "--json").json()
    assert said["train"] >= chips["train"]
    assert runner("info", tmp_path / "m", "--json").json()["size"] == 32
    ran = runner("train", work.aerial, tmp_path / "n", *TINY, code=1)
    assert "name the other" in ran.stderr


def test_train_takes_a_bare_name_as_the_folder_it_names(
    runner, work, tmp_path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich: stderr is a terminal
    ran = runner("-q", "train", work.chips, "mine", *TINY, "--json")
    assert ran.json()["model"] == "mine"
    assert ran.stderr == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "mine.run"]
    assert (tmp_path / "mine" / "mine.emd").exists()


@pytest.fixture
def no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail where a training begins: everything that can be refused is refused before."""
    from geo_p2p.pix2pix import Pix2Pix

    monkeypatch.setattr(Pix2Pix, "fit", lambda *words, **named: pytest.fail("trained"))


def test_train_refuses_a_place_that_is_taken_before_it_trains(
    runner, work, tmp_path, no_training
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (tmp_path / "file").write_text("mine")
    before = listing(work.model.parent) | listing(tmp_path)
    for place, words in {
        work.model: [],
        work.chips: ["--overwrite"],
        other: ["--overwrite"],
        tmp_path / "file": ["--overwrite"],
        tmp_path / "file" / "m": [],
    }.items():
        ran = runner("train", work.chips, place, *TINY, *words, code=1)
        assert is_refusal(ran), place
    assert listing(work.model.parent) | listing(tmp_path) == before


def test_train_replaces_a_model_when_told_to(runner, work, tmp_path) -> None:
    train = ("train", work.chips, tmp_path / "m", *TINY)
    runner(*train)
    before = (tmp_path / "m" / "m.safetensors").read_bytes()
    runner(*train, "--overwrite", "--seed", 1)
    assert (tmp_path / "m" / "m.safetensors").read_bytes() != before


def test_a_refusal_amid_training_is_one_line_too(runner, work, tmp_path, monkeypatch) -> None:
    from geo_p2p.pix2pix import Pix2Pix

    def diverge(*words: object, **named: object) -> None:
        raise ModelError("fastai puts words\n\tbefore ours")

    monkeypatch.setattr(Pix2Pix, "fit", diverge)
    ran = runner("train", work.chips, tmp_path / "m", *TINY, code=1)
    assert ran.stderr.endswith("Error: fastai puts words before ours\n")
    assert listing(tmp_path) == set()


def test_predict_says_what_it_has_made_and_the_mosaic_lies_on_its_input(work) -> None:
    said = work.said["predict"]
    assert said.keys() >= {"mpx_per_s", "width", "height"}
    assert (said["output"], said["blocks"]) == (str(work.mosaic), 9)
    assert (said["tile_safe"], said["precision"]) == (True, "fp32")
    assert (said["width"], said["height"]) == (160, 160)
    assert said["mpx_per_s"] > 0
    with rasterio.open(work.mosaic) as out, rasterio.open(work.aerial) as src:
        assert (out.crs, out.transform, out.shape) == (src.crs, src.transform, src.shape)
        assert (out.dtypes, out.nodata) == (("uint16",), 65535)
        assert out.descriptions == ("nir",)
    assert not work.mosaic.with_name("mosaic.tif.parts").exists()


def test_shards_and_the_cluster_give_the_bytes_of_one_run(
    runner, work, tmp_path, monkeypatch
) -> None:
    out, again = tmp_path / "o.tif", tmp_path / "p.tif"
    words = ("predict-raster", work.aerial, out, "--model", work.model, "--block-size", 64)
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    said = runner(*words, "--shard", "auto", "--json").json()
    assert (said["output"], said["blocks"]) == (f"{out}.parts", 4)
    assert ", of shards 1/2 (" in runner("mosaic", f"{out}.parts", out, code=1).stderr
    assert runner(*words, "--shard", "1/2", "--resume", "--json").json()["blocks"] == 5
    runner("mosaic", f"{out}.parts", out)
    assert out.read_bytes() == work.mosaic.read_bytes()

    distributed = pytest.importorskip("distributed")
    options = {"processes": False, "dashboard_address": None, "protocol": "tcp"}
    with distributed.LocalCluster(1, threads_per_worker=2, **options) as cluster:
        address = ("--scheduler", cluster.scheduler_address)
        runner("predict-raster", work.aerial, again, "--model", work.model, *address, "--no-resume")
    assert again.read_bytes() != out.read_bytes()  # of another block size
    with rasterio.open(out) as first, rasterio.open(again) as second:
        assert abs(first.read(1).astype(int) - second.read(1)).max() <= 1


def test_predict_cuts_to_bounds_and_takes_type_options_and_bands(runner, work, tmp_path) -> None:
    out = tmp_path / "part.tif"
    said = runner(
        *("predict-raster", work.aerial, out, "--model", work.model, "--bidx", "1,2,3"),
        *("--bounds", "500010 4999900 500050 4999980", "--dtype", "float32"),
        *("--co", "COMPRESS=ZSTD", "--batch-size", 2, "--precision", "fp32", "--json"),
    ).json()
    assert (said["width"], said["height"]) == (40, 80)
    with rasterio.open(out) as part, rasterio.open(work.mosaic) as whole:
        assert part.transform == from_origin(500_010, 4_999_980, 1, 1)
        assert (part.dtypes, part.profile["compress"]) == (("float32",), "zstd")
        same = whole.read(1)[20:100, 10:50]
        assert abs(part.read(1) - same).max() <= 0.5  # of one quantum of the whole's type


def test_predict_without_names_says_which_model_and_writes_beside_nothing(
    runner, work, tmp_path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "ours").symlink_to(work.model)
    ran = runner("predict-raster", work.aerial, "--json")
    assert ran.json()["output"] == "aerial_translated.tif"
    assert "models/ours" in ran.stderr
    assert (tmp_path / "aerial_translated.tif").exists()
    by_name = runner("predict-raster", work.aerial, "named.tif", "--model", "ours")
    assert "ours" not in by_name.stderr
    assert runner("evaluate", "ours", work.chips, "--json").json()["split"] == "val"
    monkeypatch.setenv("GEO_P2P_MODEL", str(tmp_path / "gone"))
    assert "gone" in runner("predict-raster", work.aerial, "b.tif", code=1).stderr


def test_predict_keeps_parts_and_replaces_only_when_told_to(runner, work, tmp_path) -> None:
    predict = ("predict-raster", work.aerial, tmp_path / "o.tif", "--model", work.model)
    runner(*predict, "--keep-parts")
    assert len(list((tmp_path / "o.tif.parts").glob("*.tif"))) == 1
    assert "overwrite" in runner(*predict, code=1).stderr
    runner(*predict, "--overwrite")


def test_predict_never_writes_over_its_input(runner, work, tmp_path) -> None:
    held = work.aerial.read_bytes()
    (tmp_path / "link.tif").symlink_to(work.aerial)
    for name in (work.aerial, tmp_path / "link.tif"):
        words = ("predict-raster", work.aerial, name, "--model", work.model, "--overwrite")
        assert "is the raster to translate" in runner(*words, code=1).stderr
    assert work.aerial.read_bytes() == held


def test_a_model_and_its_mosaic_score_nearly_alike_on_the_same_ground(runner, work) -> None:
    chips = runner("evaluate", work.model, work.chips, "--json").json()
    ground = ("evaluate", work.mosaic, work.near_infrared, "--chips", work.chips, "--json")
    mosaic = runner(*ground).json()
    for scores in (chips, mosaic):
        assert scores.keys() >= SCORES
        assert scores["per_chip"]["l1"]["chips"] == work.said["export"]["val"]
        assert scores["per_chip"]["ssim"].keys() == {"mean", "min", "max", "sd", "chips"}
        assert scores["split"] == "val"
        assert scores["pixels"] == work.said["export"]["val"] * 32 * 32
    # They differ where a chip's edge hides from the model what the mosaic's blocks saw.
    assert mosaic["l1"] == pytest.approx(chips["l1"], rel=0.1)
    assert chips["l1"] == pytest.approx(work.said["train"]["scores"]["l1"])
    train = runner(*ground, "--split", "train").json()
    assert train["pixels"] == work.said["export"]["train"] * 32 * 32


def test_a_raster_equals_itself_on_the_whole(runner, work) -> None:
    scores = runner("evaluate", work.mosaic, work.mosaic, "--json").json()
    assert (scores["l1"], scores["psnr"], scores["split"]) == (0, None, "whole raster")
    assert scores["per_chip"] is None
    assert scores["pixels"] == 160 * 160
    bands = ("evaluate", work.mosaic, work.aerial)
    assert "--bidx" in runner(*bands, code=1).stderr
    assert runner(*bands, "--bidx", "2", "--json").json()["l1"] > 0


def test_classes_go_all_the_way(runner, work, tmp_path) -> None:
    chips, model, out = (tmp_path / name for name in ("chips", "model", "map.tif"))
    runner("export-chips", work.aerial, work.classes, chips, *CHIPS)
    said = runner("train", chips, model, *TINY, "--json").json()
    assert said["scores"].keys() >= CLASS_SCORES
    runner("predict-raster", work.aerial, out, "--model", model)
    with rasterio.open(out) as mosaic:
        assert set(np.unique(mosaic.read(1))) <= {1, 4}
        assert mosaic.colormap(1)[4] == (0, 120, 0, 255)
    scores = runner("evaluate", out, work.classes, "--chips", chips, "--json").json()
    assert scores.keys() >= CLASS_SCORES
    text = " ".join(runner("evaluate", model, chips).stdout.split())
    assert "iou 1 " in text
    assert "per chip mean min max sd chips accuracy 0." in text
    assert "confusion" not in text
    assert runner("info", model, "--json").json()["target"]["classes"].keys() == {"1", "4"}


def test_evaluate_refuses_options_of_the_other_kind(runner, work) -> None:
    for option in (("--chips", work.chips), ("--bidx", "1")):
        ran = runner("evaluate", work.model, work.chips, *option, code=2)
        assert option[0] in ran.stderr


def test_info_tells_chips_from_a_model(runner, work) -> None:
    (emd,) = work.chips.glob("*.emd")
    for path in (work.chips, emd):
        record = runner("info", path, "--json").json()
        assert record["kind"] == "chips"
        assert (record["train"], record["val"]) == tuple(
            work.said["export"][part] for part in ("train", "val")
        )
        assert (record["tile_size"], record["stride"], record["crs"]) == (32, 32, "EPSG:32633")
        assert (record["input"]["count"], record["target"]["dtype"]) == (3, "uint16")
        assert record["target"]["bands"][0]["name"] == "nir"
    for path in (work.model, work.model / "model.emd"):
        record = runner("info", path, "--json").json()
        assert record["kind"] == "model"
        assert (record["network"], record["stride"], record["tile_safe"]) == ("unet", 8, True)
        assert (record["recipe"], record["epochs"], record["size"]) == ("seamless", 1, 32)
        assert record["scores"] == work.said["train"]["scores"]
        assert record["target"]["dtype"] == "uint16"
    text = runner("info", work.model).stdout
    assert "scores l1" in text
    assert "made" not in text


def test_info_reads_chips_of_arcgis_pro(runner, work, tmp_path) -> None:
    runner("export-chips", work.aerial, work.near_infrared, tmp_path / "chips", *CHIPS)
    (tmp_path / "chips" / "geo_p2p.json").unlink()  # what Pro does not write
    record = runner("info", tmp_path / "chips", "--json").json()
    assert (record["chips"], record["train"], record["stride"]) == (
        work.said["export"]["chips"],
        None,
        None,
    )


def is_refusal(ran: Any) -> bool:
    """Tell whether a command said nothing but one line on stderr."""
    one_line = ran.stderr.startswith("Error: ") and ran.stderr.count("\n") == 1
    return ran.stdout == "" and one_line


def listing(folder: Path) -> set[tuple[Path, float]]:
    """Return everything below a folder with the time it was changed."""
    return {(path, path.stat().st_mtime) for path in folder.rglob("*")}


PREDICT = ("predict-raster", "{a}", "--model", "{model}")

BAD = {
    "a missing file": ("export-chips", "gone.tif", "{b}", "{out}"),
    "a missing second file": ("export-chips", "{a}", "gone.tif", "{out}"),
    "not a raster": ("export-chips", "{text}", "{b}", "{out}"),
    "not a raster beside one": ("export-chips", "{a}", "{text}", "{out}"),
    "no CRS": ("export-chips", "{bare}", "{b}", "{out}"),
    "no CRS beside one": ("export-chips", "{a}", "{bare}", "{out}"),
    "no overlap": ("export-chips", "{a}", "{far}", "{out}"),
    "too few bands": ("export-chips", "{a}", "{b}", "{out}", "--bidx", "4"),
    "too few bands beside": ("export-chips", "{a}", "{b}", "{out}", "--additional-bidx", "1,2"),
    "an empty AOI": ("export-chips", "{a}", "{b}", "{out}", "--mask", "{empty_aoi}"),
    "an AOI elsewhere": ("export-chips", "{a}", "{b}", "{out}", "--mask", "{far_aoi}"),
    "a missing AOI": ("export-chips", "{a}", "{b}", "{out}", "--mask", "gone.geojson"),
    "no vector file": ("export-chips", "{a}", "{b}", "{out}", "--mask", "{text}"),
    "chips exist": ("export-chips", "{a}", "{b}", "{chips}"),
    "a file is in the way": ("export-chips", "{a}", "{b}", "{text}", "--overwrite"),
    "no chip folder is replaced": ("export-chips", "{a}", "{b}", "{folder}", "--overwrite"),
    "no such place": ("export-chips", "{a}", "{b}", "{folder}/no/chips"),
    "larger than the raster": ("export-chips", "{a}", "{b}", "{out}", "--tile-size", 500),
    "stride beyond the chip": ("export-chips", "{a}", "{b}", "{out}", "--stride", 33),
    "no folder of chips": ("train", "gone", "{out}"),
    "a folder without chips": ("train", "{folder}", "{out}"),
    "an empty chip folder": ("train", "{hollow}", "{out}"),
    "a raster instead of chips": ("train", "{a}", "{out}"),
    "a model exists": ("train", "{chips}", "{model}"),
    "no epochs": ("train", "{chips}", "{out}", "--epochs", 0),
    "chips too small": ("train", "{chips}", "{out}", "--halvings", 6),
    "no such device": ("train", "{chips}", "{out}", "--device", "cuda:77"),
    "no model": ("predict-raster", "{a}", "{out}", "--model", "gone"),
    "no model anywhere": ("predict-raster", "{a}", "{out}"),
    "chips are no model": ("predict-raster", "{a}", "{out}", "--model", "{chips}"),
    "nothing to translate": ("predict-raster", "gone.tif", "{out}", "--model", "{model}"),
    "no raster to translate": ("predict-raster", "{text}", "{out}", "--model", "{model}"),
    "no place on Earth": ("predict-raster", "{bare}", "{out}", "--model", "{model}"),
    "too few for the model": ("predict-raster", "{a}", "{out}", "--model", "{model}", "--bidx", 1),
    "no such band": ("predict-raster", "{a}", "{out}", "--model", "{model}", "--bidx", "1,2,4"),
    "empty bounds": ("predict-raster", "{a}", "{out}", "--model", "{model}", "--bounds", "0 0 1 1"),
    "the output exists": ("predict-raster", "{a}", "{b}", "--model", "{model}"),
    "the output is a folder": ("predict-raster", "{a}", "{folder}", "--model", "{model}"),
    "no folder for it": ("predict-raster", "{a}", "{folder}/no/o.tif", "--model", "{model}"),
    "off the stride": ("predict-raster", "{a}", "{out}", "--model", "{model}", "--block-size", 60),
    "no such creation option": (*PREDICT, "{out}", "--co", "NONSENSE=1"),
    "no such compression": (*PREDICT, "{out}", "--co", "COMPRESS=BY_HAND"),
    "too small a type": (*PREDICT, "{out}", "--dtype", "uint8"),
    "no model to score": ("evaluate", "gone", "{chips}"),
    "no chips to score on": ("evaluate", "{model}", "gone"),
    "no ground in common": ("evaluate", "{b}", "{far}", "--bidx", "1"),
    "other bands": ("evaluate", "{a}", "{b}"),
    "no truth": ("evaluate", "{b}", "gone.tif"),
    "ground of no chips": ("evaluate", "{b}", "{b}", "--chips", "{folder}"),
    "nothing to tell of": ("info", "gone"),
    "nothing in it": ("info", "{folder}"),
    "no chips in it": ("info", "{hollow}"),
    "a demo in a place taken": ("demo", "{folder}"),
    "a demo nowhere": ("demo", "{folder}/no/demo"),
}


@pytest.fixture(scope="module")
def places(work: Work, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Name the things that the bad commands name."""
    home = tmp_path_factory.mktemp("bad")
    image = np.zeros((3, 64, 64), "uint8")
    write_raster(home / "bare.tif", image, crs=None, transform=from_origin(9, 9, 1, 1))
    write_raster(home / "far.tif", image, transform=from_origin(9, 9, 1, 1))
    (home / "text.tif").write_text("no raster")
    (home / "folder").mkdir()
    for side in ("images", "images2"):
        (home / "hollow" / side).mkdir(parents=True)
    square = {"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 0]]]}
    for name, found in {"empty_aoi": [], "far_aoi": [square]}.items():
        features = [{"type": "Feature", "properties": {}, "geometry": each} for each in found]
        collection = {"type": "FeatureCollection", "features": features}
        (home / f"{name}.geojson").write_text(json.dumps(collection))
    made = {path.stem: path for path in home.iterdir()}
    ours = {"a": work.aerial, "b": work.near_infrared, "chips": work.chips, "model": work.model}
    return {**made, **ours, "out": home / "out.tif"}


@pytest.mark.parametrize("words", BAD.values(), ids=BAD.keys())
def test_bad_input_ends_in_one_line_and_writes_nothing(
    runner, work, places, words, tmp_path, monkeypatch, no_training
) -> None:
    monkeypatch.chdir(tmp_path)
    filled = [str(word).format_map(places) for word in words]
    if words[0] == "export-chips" and "--tile-size" not in words:
        filled += ["--tile-size", "32"]
    folders = [tmp_path, places["text"].parent, work.model.parent]
    before = [listing(folder) for folder in folders]
    ran = runner(*filled, code=1)
    assert is_refusal(ran), ran
    assert [listing(folder) for folder in folders] == before


def test_the_demo_prints_scores_and_last_of_all_the_picture(runner, tmp_path, monkeypatch) -> None:
    import geo_p2p.demo

    names = ("translated", "median", "regression")
    scores = {name: dict.fromkeys(SCORES, 0.25) for name in names}
    made = {"picture": "d/demo.png", "mosaic": "d/o.tif", "model": "d/model", "scores": scores}
    asked = {}

    def run_demo(out_dir, config, *, overwrite, progress) -> dict[str, Any]:
        asked.update(out_dir=out_dir, seed=config.seed, overwrite=overwrite)
        for done in range(3):
            progress("chips", done, 2)
        return made

    monkeypatch.setattr(geo_p2p.demo, "run_demo", run_demo)
    ran = runner("demo")
    lines = [line.split() for line in ran.stdout.splitlines()]
    assert lines[-1] == ["d/demo.png"]
    assert [line[:2] for line in lines[1:4]] == [[name, "0.25"] for name in names]
    assert lines[0][:4] == ["l1", "rmse", "psnr", "ssim"]
    assert ran.stderr == "chips\n"
    assert asked == {
        "out_dir": "geo-p2p-demo",
        "seed": geo_p2p.demo.DemoConfig.seed,
        "overwrite": False,
    }
    assert runner("demo", tmp_path, "--seed", 3, "--overwrite", "--json").json() == made
    assert asked == {"out_dir": str(tmp_path), "seed": 3, "overwrite": True}
