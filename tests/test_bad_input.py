"""``geo-p2p train`` on what is wrong or odd: one line and nothing left behind, or a sound model."""

import csv
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from conftest import run_command, write_raster

from geo_p2p.pix2pix import fit as fitting

NETS = ("--halvings", 2, "--ngf", 4, "--ndf", 2, "--layers", 1, "--device", "cpu")
NOISE = np.random.default_rng(5).integers(0, 256, (1, 96, 96)).astype("uint8")


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Work in a folder of its own, and calibrate batch norm on little."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(fitting, "CALIBRATION", 3)


def export(home: Path, x: np.ndarray, y: np.ndarray, *words: object, **palette: Any) -> Path:
    write_raster(home / "a.tif", x)
    write_raster(home / "b.tif", y, **palette)
    size = ("--tile-size", 32, "--stride", 32)
    run_command("export-chips", home / "a.tif", home / "b.tif", home / "chips", *size, *words)
    return home / "chips"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with chips, and the model and run that come of them."""
    home = tmp_path_factory.mktemp("made")
    export(home, NOISE, 255 - NOISE)
    run_command("train", home / "chips", home / "model", "--epochs", 1, *NETS)
    return home


def images(chips: Path) -> list[Path]:
    return sorted((chips / "images").glob("*.tif"))


def another_size(chips: Path) -> None:
    path = images(chips)[3]
    with rasterio.open(path) as source:
        values, profile = source.read(), source.profile
    path.unlink()
    write_raster(path, values[:, :16, :16], transform=profile["transform"])


def another_band(chips: Path) -> None:
    path = images(chips)[3]
    with rasterio.open(path) as source:
        values, profile = source.read(), source.profile
    path.unlink()
    write_raster(path, np.concatenate([values, values]), transform=profile["transform"])


def blank(chips: Path) -> None:
    for path in images(chips):
        with rasterio.open(path, "r+") as chip:
            chip.write_mask(np.zeros(chip.shape, bool))


def as_it_is(chips: Path) -> None:
    pass


@pytest.mark.parametrize(
    ("damage", "words", "said"),
    [
        (another_size, (), "chip 000000000003 is (16, 16) in images/ and (32, 32) in images2/"),
        (another_band, (), "chip 000000000003 is (2, 32, 32) uint8"),
        (blank, (), "the split leaves no chip to train on"),
        (as_it_is, ("--lr", 0), "lr is 0.0: give a number above 0"),
        (as_it_is, ("--lr", -1), "lr is -1.0: give a number above 0"),
        (as_it_is, ("--lr", "nan"), "lr is nan: give a number above 0"),
        (as_it_is, ("--lr", "inf"), "lr is inf: give a number above 0"),
        (as_it_is, ("--lr", 1e6), "in epoch 1, step 1: training has diverged; lower the learning"),
        (as_it_is, ("--pixel-weight", "inf"), "pixel_weight is inf: give at least 0"),
        (as_it_is, ("--monitor", "valid_miou"), "but the target holds values: take valid_loss"),
        (as_it_is, ("--chip-size", 31), "stride 4"),
    ],
)
def test_what_cannot_be_trained_is_one_line_and_leaves_nothing(
    damage: Callable[[Path], None], words: tuple[object, ...], said: str, made: Path, runner: Any
) -> None:
    shutil.copytree(made / "chips", "chips")
    damage(Path("chips"))
    before = sorted(Path().rglob("*"))
    ran = runner("train", "chips", "model", "--epochs", 1, *NETS, *words, code=1)
    *_, last = ran.stderr.splitlines()
    assert last.startswith("Error: ")
    assert said in last
    assert ran.stderr.count("Error") == 1
    assert sorted(Path().rglob("*")) == before


def test_early_stopping_wants_something_to_watch(tmp_path: Path, runner: Any) -> None:
    export(tmp_path, NOISE, NOISE, "--val-pct", 0)
    words = ("train", "chips", "model", "--epochs", 1, *NETS)
    assert "there are no validation chips" in runner(*words, "--early-stopping", code=1).stderr
    assert not list(Path().glob("model*"))
    assert runner(*words, "--json").json()["val"] == 0


def test_chips_are_no_model_and_a_model_no_chips(made: Path, runner: Any) -> None:
    def refused(*words: object) -> str:
        *_, last = runner(*words, code=1).stderr.splitlines()
        return last

    chips, model, raster = made / "chips", made / "model", made / "a.tif"
    predict = ("predict-raster", raster, "out.tif", "--model")
    assert "describes exported chips, not a model" in refused(*predict, chips)
    assert "describes exported chips, not a model" in refused("evaluate", chips, chips)
    assert "a.tif: no model; give a model folder" in refused(*predict, raster)
    run = refused(*predict, made / "model.run")
    assert run.endswith(f"one of its checkpoints is {made / 'model.run/checkpoints/epoch_0001'}")
    for words in (("train", model, "m", *NETS), ("evaluate", model, model)):
        assert "model: holds a card (.emd) but no images/: a model, or chips" in refused(*words)
    assert not list(Path().iterdir())


# ------------------------------------------------------------------ odd, but nothing is wrong


def holed() -> np.ndarray:
    values = NOISE.astype("float32")
    values[:, ::7, ::5] = np.nan
    values[:, 10, 10] = np.inf
    return values


ODD: dict[str, tuple[np.ndarray, np.ndarray, dict[str, Any]]] = {
    "three chips": (NOISE[:, :32], NOISE[:, :32], {}),
    "one class": (NOISE, np.full_like(NOISE, 3), {"colors": {3: (1, 2, 3)}}),
    "constant target": (NOISE, np.full_like(NOISE, 7), {}),
    "constant target, floats": (NOISE, np.full(NOISE.shape, 7.5, "float32"), {}),
    "constant input": (np.full(NOISE.shape, 7.5, "float32"), NOISE, {}),
    "NaN and infinite": (holed(), NOISE.astype("float32"), {}),
}


@pytest.mark.parametrize("kind", ODD)
def test_what_is_odd_trains_and_its_losses_are_numbers(
    kind: str, tmp_path: Path, runner: Any
) -> None:
    x, y, palette = ODD[kind]
    chips = export(tmp_path, x, y, "--min-valid", 0, **palette)
    said = runner("train", chips, "model", "--epochs", 2, *NETS, "--json").json()
    assert said["train"] >= 1
    with Path("model.run/history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2
    losses = [float(row[name]) for row in rows for name in row if name.endswith("_loss")]
    assert all(map(math.isfinite, losses))
    scores = runner("evaluate", "model", chips, "--split", "all", "--json").json()
    assert math.isfinite(scores.get("l1", scores.get("accuracy")))
