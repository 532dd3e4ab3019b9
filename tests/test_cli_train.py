"""``geo-p2p train``: runs that are interrupted, carried on, kept apart and replaced."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import run_command, write_raster
from safetensors.numpy import load_file

from geo_p2p.pix2pix import Pix2Pix
from geo_p2p.pix2pix import fit as fitting

NETS = ("--halvings", 2, "--ngf", 4, "--ndf", 2, "--device", "cpu", "--json", "--augment", "mirror")


@pytest.fixture(scope="module")
def chips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of small chips."""
    home = tmp_path_factory.mktemp("chips")
    image = np.random.default_rng(5).integers(0, 256, (1, 160, 160)).astype("uint8")
    write_raster(home / "a.tif", image)
    write_raster(home / "b.tif", 255 - image)
    words = ("--tile-size", 32, "--stride", 32)
    run_command("export-chips", home / "a.tif", home / "b.tif", home / "chips", *words)
    return home / "chips"


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Work in a folder of its own, and calibrate batch norm on little."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(fitting, "CALIBRATION", 3)


def weights(folder: str) -> dict[str, Any]:
    return load_file(Path(folder) / f"{folder}.safetensors")


def equal(one: dict[str, Any], two: dict[str, Any]) -> bool:
    return one.keys() == two.keys() and all((one[name] == two[name]).all() for name in one)


def epochs(run: str) -> list[str]:
    return [line.split(",")[0] for line in Path(run, "history.csv").read_text().splitlines()][1:]


@pytest.fixture
def interrupted(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that trains and is interrupted after some epochs."""

    def run(runner: Any, after: int, *words: object) -> Any:
        fit = Pix2Pix.fit

        def stopped(self: Pix2Pix, *args: Any, **named: Any) -> None:
            def progress(done: int, total: int) -> None:
                if done == after:
                    raise KeyboardInterrupt

            fit(self, *args, **{**named, "progress": progress})

        with monkeypatch.context() as patch:
            patch.setattr(Pix2Pix, "fit", stopped)
            return runner(*words, code=130)

    return run


def test_an_interrupted_training_goes_on_with_the_same_command(runner, chips, interrupted) -> None:
    whole = ("train", chips, "whole", "--epochs", 4, *NETS)
    part = ("train", chips, "part", "--epochs", 4, *NETS)
    runner(*whole)
    interrupted(runner, 2, *part)
    assert not Path("part").exists()
    assert epochs("part.run") == ["1", "2"]
    refused = runner(*part, code=1).stderr
    assert "say --resume to go on with it, --overwrite to begin anew" in refused
    said = runner(*part, "--resume").json()
    assert (said["epochs"], said["run"]) == (4, "part.run")
    assert equal(weights("part"), weights("whole"))
    assert epochs("part.run") == ["1", "2", "3", "4"]
    assert runner(*part, "--resume").json()["epochs"] == 4  # done, and done again
    assert equal(weights("part"), weights("whole"))


def test_resume_begins_what_has_not_begun(runner, chips, interrupted) -> None:
    words = ("train", chips, "m", "--epochs", 1, *NETS)
    runner(*words, "--resume")
    assert epochs("m.run") == ["1"]
    again = runner("train", chips, "n", "--epochs", 1, "--checkpoint", "none", *NETS)
    assert again.json()["epochs"] == 1
    assert not Path("n.run/checkpoints").exists()
    refused = runner("train", chips, "n", "--epochs", 2, *NETS, "--resume", code=1)
    assert "holds no checkpoint to go on from; train anew with --overwrite" in refused.stderr


def test_a_finished_run_takes_more_epochs_and_no_other_settings(runner, chips) -> None:
    words = ("train", chips, "m", *NETS, "--checkpoint", "all")
    runner(*words, "--epochs", 2)
    said = runner(*words, "--epochs", 3, "--resume").json()
    assert said["epochs"] == 3
    assert sorted(path.name for path in Path("m.run/checkpoints").iterdir()) == [
        f"epoch_000{n}" for n in (1, 2, 3)
    ]
    for other, told in {
        ("--lr", 0.5): "has --lr 0.001, not 0.5",
        ("--recipe", "paper"): "has --recipe seamless, not paper",
        ("--monitor", "valid_ssim"): "has --monitor valid_loss, not valid_ssim",
        ("--checkpoint", "best"): "has --checkpoint all, not best",
    }.items():
        ran = runner(*words, "--epochs", 4, "--resume", *other, code=1)
        assert told in ran.stderr


def test_overwrite_begins_anew_and_touches_nothing_else(runner, chips) -> None:
    words = ("train", chips, "m", "--epochs", 2, *NETS)
    runner(*words)
    runner(*words[:3], "--epochs", 1, *NETS, "--overwrite")
    assert epochs("m.run") == ["1"]
    assert [path.name for path in Path("m.run/checkpoints").iterdir()] == ["epoch_0001"]
    Path("m.run/notes.txt").write_text("mine")
    refused = runner(*words, "--overwrite", code=1).stderr
    assert "m.run: holds more than a run leaves" in refused
    assert Path("m.run/notes.txt").read_text() == "mine"


def test_options_of_the_fit_reach_it(runner, chips) -> None:
    words = ("--one-cycle", "--early-stopping", "--monitor", "valid_psnr", "--checkpoint", 2)
    runner("train", chips, "m", "--epochs", 3, *NETS, *words, "--ema", 0.9)
    plan = json.loads(Path("m.run/checkpoints/epoch_0003/state.json").read_text())["plan"]
    asked = {"one_cycle": True, "early_stopping": True, "monitor": "valid_psnr", "checkpoint": 2}
    assert plan.items() >= asked.items()
    card = json.loads(Path("m/m.emd").read_text())["geo_p2p"]
    assert card["provenance"]["config"]["ema"] == 0.9
    assert (
        "none of best, all, none"
        in runner("train", chips, "n", "--checkpoint", "some", code=2).stderr
    )


def test_a_package_is_a_model_for_every_command(runner, chips) -> None:
    runner("train", chips, "m", "--epochs", 1, *NETS)
    package = Path("m/m.dlpk").replace("town.dlpk")
    assert runner("info", package, "--json").json()["kind"] == "model"
    one, two = (runner("evaluate", m, chips, "--json").json() for m in (package, "m"))
    assert one == two
    image = chips.parent / "a.tif"
    runner("predict-raster", image, "out.tif", "--model", package)
    assert Path("out.tif").exists()


def test_every_option_on_the_page_of_training_is_one(runner) -> None:
    page = (Path(__file__).resolve().parents[1] / "docs" / "train.md").read_text("utf-8")
    told = set(re.findall(r"(?<![-|])--[a-z][a-z-]+", page))
    known = set(re.findall(r"--[a-z][a-z-]+", runner("train", "--help").stdout))
    known |= {"--standalone", "--nnodes", "--rdzv-backend", "--rdzv-endpoint"}  # torchrun's own
    assert len(told) > 5
    assert told <= known
