"""The demo, small: all of the way, and no folder but its own is touched."""

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
from PIL import Image

from geo_p2p.demo import MADE, MARK, DemoConfig, run_demo
from geo_p2p.errors import GeoP2PError
from geo_p2p.raster import RasterSource

SMALL = DemoConfig(size=320, tile_size=64, stride=32, epochs=2, ngf=4, ndf=4)


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """A folder, what the demo said of it, and the stages it went through."""
    folder = tmp_path_factory.mktemp("demo") / "town"
    stages: dict[str, tuple[int, int]] = {}
    said = run_demo(folder, SMALL, progress=lambda name, *steps: stages.update({name: steps}))
    return folder, said, stages


def test_it_leaves_what_it_says_and_nothing_else(demo) -> None:
    folder, said, _ = demo
    assert {path.name for path in folder.iterdir()} == {*MADE, MARK}
    assert said["picture"] == str(folder / "demo.png")
    assert said["mosaic"] == str(folder / "translated.tif")
    assert said["model"] == str(folder / "model")
    assert json.loads((folder / "scores.json").read_text()) == said["scores"]
    mark = json.loads((folder / MARK).read_text())
    assert mark["settings"]["size"] == 320
    assert "torch" in mark["versions"]


def test_every_stage_is_told_to_its_end(demo) -> None:
    stages = demo[2]
    assert list(stages)[:3] == ["scene", "chips", "training"]
    assert {name.removeprefix("predicting: ") for name in list(stages)[3:]} == {
        *("translated", "median", "regression")
    }
    assert all(done == total for done, total in stages.values())


def test_all_three_are_scored_on_the_same_held_out_ground(demo) -> None:
    folder, said, _ = demo
    assert set(said["scores"]) == {"translated", "median", "regression"}
    grounds = {(s["split"], s["pixels"], *s["data_range"]) for s in said["scores"].values()}
    assert len(grounds) == 1
    split, pixels, *_ = grounds.pop()
    own = json.loads((folder / "chips" / "geo_p2p.json").read_text())["split"]
    inside = np.zeros((320, 320), bool)
    for col, row, width, height in own["blocks"]:
        inside[int(row) : int(row + height), int(col) : int(col + width)] = True
    assert split == "val"
    assert 0 < pixels <= inside.sum()


def test_every_mosaic_lies_on_the_photograph(demo) -> None:
    folder = demo[0]
    frame = RasterSource(folder / "scene" / "aerial.tif").frame
    for name in ("translated", "median", "regression"):
        assert RasterSource(folder / f"{name}.tif").frame.same_lattice(frame)
    with rasterio.open(folder / "median.tif") as median:
        assert (median.read().reshape(3, -1).std(1) == 0).all()


def test_the_picture_shows_photograph_truth_and_translation_side_by_side(demo) -> None:
    folder = demo[0]
    with Image.open(folder / "demo.png") as picture:
        seen = np.asarray(picture.convert("RGB"))
    own = json.loads((folder / "chips" / "geo_p2p.json").read_text())["split"]
    col, row, width, height = map(int, own["blocks"][0])
    shown = slice(row, min(row + height, 320)), slice(col, min(col + width, 320))
    for name in ("scene/aerial", "translated"):
        with rasterio.open(folder / f"{name}.tif") as raster:
            window = np.moveaxis(raster.read()[:, *shown], 0, -1)
        views = np.lib.stride_tricks.sliding_window_view(seen[..., 0], window.shape[:2])
        places = np.argwhere((views[:, :, 0] == window[0, :, 0]).all(-1))
        assert any(
            np.array_equal(seen[r : r + window.shape[0], c : c + window.shape[1]], window)
            for r, c in places
        ), name


def test_a_folder_that_is_there_is_left_alone(tmp_path: Path) -> None:
    mine = tmp_path / "chips" / "mine.txt"
    mine.parent.mkdir()
    mine.write_text("years of work")
    with pytest.raises(GeoP2PError, match="exists already"):
        run_demo(tmp_path, SMALL)
    with pytest.raises(GeoP2PError, match="not the folder of a demo"):
        run_demo(tmp_path, SMALL, overwrite=True)
    assert [path.name for path in tmp_path.rglob("*")] == ["chips", "mine.txt"]
    with pytest.raises(GeoP2PError, match="parent folder"):
        run_demo(tmp_path / "no" / "demo", SMALL)


def test_overwriting_makes_the_same_again_and_keeps_what_is_not_the_demos(demo) -> None:
    folder, said, _ = demo
    (folder / "notes.txt").write_text("mine")
    again = run_demo(folder, SMALL, overwrite=True)
    assert again["scores"] == said["scores"]
    assert (folder / "notes.txt").read_text() == "mine"
    (folder / "notes.txt").unlink()
