"""An export is whole or not there; an interrupted one goes on; who cuts does not matter."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from conftest import write_raster
from rasterio.crs import CRS
from rasters import opened, seen_from

from geo_p2p import scatter
from geo_p2p.chips import ChipFolder, cut, export, export_chips, plan, workers
from geo_p2p.errors import ChipError, RasterError
from geo_p2p.raster import Frame

MakeRaster = Callable[..., Path]

HERE = Frame(96, 192, Affine(2, 0, 500_000, 0, -2, 5_300_000), CRS.from_epsg(32633))
THERE = seen_from(HERE, CRS.from_epsg(3035), 1.5)
SETTINGS = {"tile_size": 32, "stride": 16, "min_valid": 0.3, "val_pct": 20}
GROUPS = 8


class Interrupted(BaseException):
    """Stands for a KeyboardInterrupt, which pytest would take for its own."""


@pytest.fixture
def pair(make_raster: MakeRaster, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """A raster and one to be warped onto it, cut in eight groups."""
    monkeypatch.setattr(plan, "SPAN", 64)
    rng = np.random.default_rng(0)
    x, y = (rng.integers(0, 256, (2, *f.shape), dtype="uint8") for f in (HERE, THERE))
    made = (make_raster(v, crs=f.crs, transform=f.transform) for v, f in ((x, HERE), (y, THERE)))
    first, second = made
    return first, second


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def broken_off(monkeypatch: pytest.MonkeyPatch, after: int, error: BaseException) -> list[int]:
    """Let the export fail before it cuts more than so many groups; returns those it cuts."""
    cut_now: list[int] = []

    def count(job: plan.Job, group: plan.Group) -> int:
        if len(cut_now) == after:
            raise error
        cut_now.append(group.number)
        return cut.cut_group(job, group)

    monkeypatch.setattr(workers, "cut_group", count)
    return cut_now


def test_an_interrupted_export_goes_on_and_gives_the_same_bytes(
    pair: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = contents(export_chips(*pair, tmp_path / "whole", **SETTINGS))
    with monkeypatch.context() as patch:
        first = broken_off(patch, 3, Interrupted())
        with pytest.raises(Interrupted):
            export_chips(*pair, tmp_path / "chips", **SETTINGS)
    assert not (tmp_path / "chips").exists()
    half = sorted((tmp_path / "chips.parts" / "chips" / "images").glob("*.tif"))[-1]
    half.write_bytes(half.read_bytes()[:100])  # of a group that was being written
    (tmp_path / "chips.parts" / f"group_{first[-1]:06d}.json").unlink()
    with monkeypatch.context() as patch:
        later = broken_off(patch, GROUPS, Interrupted())
        told: list[tuple[int, int]] = []
        export_chips(
            *pair, tmp_path / "chips", **SETTINGS, progress=lambda *steps: told.append(steps)
        )
    assert len(first) == 3
    assert sorted(first[:2] + later) == list(range(GROUPS))
    assert 0 < told[0][0] < told[-1][0] == told[-1][1]
    assert contents(tmp_path / "chips") == whole
    assert {item.name for item in tmp_path.iterdir()} == {"chips", "whole"}


def test_two_processes_give_the_same_bytes_as_one(pair: tuple[Path, Path], tmp_path: Path) -> None:
    one = contents(export_chips(*pair, tmp_path / "one", **SETTINGS))
    two = contents(export_chips(*pair, tmp_path / "two", **SETTINGS, workers=2))
    assert one == two


def test_a_worker_s_refusal_is_the_export_s(pair: tuple[Path, Path], tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.tif"
    damaged.write_bytes(pair[0].read_bytes())
    size = damaged.stat().st_size
    os.truncate(damaged, size * 2 // 3)
    with pytest.raises(RasterError, match=r"damaged\.tif: cannot be read") as caught:
        export_chips(damaged, pair[1], tmp_path / "chips", **SETTINGS, workers=2)
    assert "\n" not in str(caught.value)
    assert [item.name for item in tmp_path.iterdir()] == ["damaged.tif"]


def test_this_process_is_one_of_those_that_cut(
    pair: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = broken_off(monkeypatch, GROUPS, Interrupted())
    told: list[tuple[int, int]] = []
    export_chips(
        *pair, tmp_path / "c", **SETTINGS, workers=2, progress=lambda *steps: told.append(steps)
    )
    assert 0 < len(here) < GROUPS  # the other one has cut at least what it took at once
    assert len(told) == GROUPS + 1
    assert told == sorted(told)
    assert told[-1][0] == told[-1][1]


def die(group: plan.Group) -> None:
    """Stand for a worker that runs out of memory."""
    os._exit(9)


def test_a_worker_that_dies_is_one_line_and_what_is_cut_stays(
    pair: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = contents(export_chips(*pair, tmp_path / "whole", **SETTINGS))
    with monkeypatch.context() as patch:
        patch.setattr(workers, "_cut", die)
        with pytest.raises(ChipError, match="a worker process died: .* fewer workers") as caught:
            export_chips(*pair, tmp_path / "chips", **SETTINGS, workers=2)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "chips").exists()
    assert contents(export_chips(*pair, tmp_path / "chips", **SETTINGS)) == whole


def test_who_is_stopped_here_stops_the_others(
    pair: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = contents(export_chips(*pair, tmp_path / "whole", **SETTINGS))

    def tell(done: int, total: int) -> None:
        if done:
            raise Interrupted

    with pytest.raises(Interrupted):
        export_chips(*pair, tmp_path / "chips", **SETTINGS, workers=2, progress=tell)
    parts = tmp_path / "chips.parts"
    assert 0 < len(list(parts.glob("group_*.json"))) < GROUPS
    later = broken_off(monkeypatch, GROUPS, Interrupted())
    assert contents(export_chips(*pair, tmp_path / "chips", **SETTINGS)) == whole
    assert 0 < len(later) < GROUPS


def test_a_dask_cluster_gives_the_same_bytes_too(pair: tuple[Path, Path], tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    one = contents(export_chips(*pair, tmp_path / "one", **SETTINGS))
    options = {"n_workers": 1, "threads_per_worker": 2, "processes": False}
    with distributed.LocalCluster(**options, dashboard_address=None, protocol="tcp") as cluster:
        address = cluster.scheduler_address
        two = export_chips(*pair, tmp_path / "two", **SETTINGS, scheduler=address)
    assert contents(two) == one


def test_without_a_scheduler_there_it_says_how_to_start_one(
    pair: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("distributed")
    monkeypatch.setattr(scatter, "PATIENCE", "1s")
    with pytest.raises(ChipError, match="no Dask scheduler answers"):
        export_chips(*pair, tmp_path / "chips", **SETTINGS, scheduler="tcp://127.0.0.1:9")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("change", [{"min_valid": 0.9}, {"seed": 7}, {"stride": 32}])
def test_what_another_plan_has_left_is_cut_anew(
    pair: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict
) -> None:
    with monkeypatch.context() as patch:
        broken_off(patch, 3, Interrupted())
        with pytest.raises(Interrupted):
            export_chips(*pair, tmp_path / "chips", **SETTINGS)
    settings = {**SETTINGS, **change}
    right = contents(export_chips(*pair, tmp_path / "right", **settings))
    assert contents(export_chips(*pair, tmp_path / "chips", **settings)) == right


def test_a_raster_that_has_changed_is_cut_anew(
    pair: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        broken_off(patch, 3, Interrupted())
        with pytest.raises(Interrupted):
            export_chips(*pair, tmp_path / "chips", **SETTINGS)
    os.utime(pair[0], ns=(1, 1))
    cut_now = broken_off(monkeypatch, GROUPS, Interrupted())
    export_chips(*pair, tmp_path / "chips", **SETTINGS)
    assert sorted(cut_now) == list(range(GROUPS))


def test_a_full_disk_is_one_line_and_what_is_cut_stays(
    pair: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = contents(export_chips(*pair, tmp_path / "whole", **SETTINGS))
    full = OSError(28, "No space left on device")
    with monkeypatch.context() as patch:
        broken_off(patch, 0, full)
        with pytest.raises(ChipError, match="No space left on device") as caught:
            export_chips(*pair, tmp_path / "chips", **SETTINGS)
    assert "check the folder" in str(caught.value)
    assert {item.name for item in tmp_path.iterdir()} == {"whole"}  # there is nothing to keep
    with monkeypatch.context() as patch:
        broken_off(patch, 2, full)
        with pytest.raises(ChipError, match=r"what is cut lies in chips\.parts") as caught:
            export_chips(*pair, tmp_path / "chips", **SETTINGS)
    assert "\n" not in str(caught.value)
    assert {item.name for item in tmp_path.iterdir()} == {"whole", "chips.parts"}
    assert contents(export_chips(*pair, tmp_path / "chips", **SETTINGS)) == whole


FULL_DISK = """
import resource, sys
from geo_p2p.chips import export_chips, plan
from geo_p2p.errors import ChipError

path, share, workers = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
plan.SPAN = 64

def fill(done, total):
    if done >= share * total:
        resource.setrlimit(resource.RLIMIT_FSIZE, (300, resource.RLIM_INFINITY))

try:
    how = {"workers": workers, "progress": fill}
    print("written", export_chips(path, path, "chips", tile_size=32, stride=16, **how))
except ChipError as error:
    print(error)
"""


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("share", [0, 0.4, 1])
def test_a_disk_that_fills_up_is_one_line_and_what_is_cut_goes_on(
    make_raster: MakeRaster,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    share: float,
    workers: int,
) -> None:
    """The system itself cuts a file off: the first chip, one later, or what describes them all."""
    pytest.importorskip("resource")
    monkeypatch.setattr(plan, "SPAN", 64)
    path = make_raster(np.random.default_rng(0).integers(0, 256, (2, 96, 192), dtype="uint8"))
    command = [sys.executable, "-c", FULL_DISK, str(path), str(share), str(workers)]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    said = r"chips: cannot be written \(File too large\); .+\n"
    assert re.fullmatch(said, ran.stdout), ran.stdout + ran.stderr
    assert not (tmp_path / "chips").exists()
    groups = list((tmp_path / "chips.parts").glob("group_*.json"))
    assert len(groups) == GROUPS if share == 1 else len(groups) >= share * GROUPS / 2
    assert ("say the same again" in ran.stdout) == bool(groups)
    assert (tmp_path / "chips.parts").exists() == bool(groups)
    settings = {"tile_size": 32, "stride": 16}
    whole = contents(export_chips(path, path, tmp_path / "whole", **settings))
    later = broken_off(monkeypatch, GROUPS, Interrupted())
    assert contents(export_chips(path, path, tmp_path / "chips", **settings)) == whole
    assert len(later) == GROUPS - len(groups)


@pytest.mark.parametrize("side", ["input", "additional"])
def test_an_unreadable_block_in_the_middle_leaves_nothing(
    make_raster: MakeRaster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, side: str
) -> None:
    monkeypatch.setattr(plan, "SPAN", 64)
    monkeypatch.setattr(export, "MEASURED", 0)  # or it would be found before anything is cut
    values = np.random.default_rng(0).integers(0, 256, (1, 96, 192), dtype="uint8")
    layout = {"tiled": True, "blockxsize": 32, "blockysize": 32, "compress": "deflate"}
    whole, damaged = make_raster(values, **layout), make_raster(values, **layout)
    with opened(damaged) as dataset:
        offset = int(dataset.get_tag_item("BLOCK_OFFSET_4_1", "TIFF", bidx=1))
    with damaged.open("r+b") as file:
        file.seek(offset)
        file.write(b"\xff" * 64)
    pair = (damaged, whole) if side == "input" else (whole, damaged)
    done: list[int] = []
    with pytest.raises(RasterError, match=f"{damaged}: cannot be read at row") as caught:
        export_chips(*pair, tmp_path / "c", **SETTINGS, progress=lambda *now: done.append(now[0]))
    assert "\n" not in str(caught.value)
    assert done[-1] > 0, "no longer a case in the middle"
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_take_its_place_leaves_the_former_one_there(
    pair: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = export_chips(*pair, tmp_path / "chips", **SETTINGS)
    before = contents(folder)
    move = Path.replace

    def jammed(self: Path, target: Path) -> Path:
        if self.parent.name == "chips.parts" and self.name == "chips":
            raise OSError(16, "Device or resource busy")
        return move(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", jammed)
        with pytest.raises(ChipError, match="Device or resource busy"):
            export_chips(*pair, folder, overwrite=True, **SETTINGS, seed=3)
    assert contents(folder) == before
    export_chips(*pair, folder, overwrite=True, **SETTINGS, seed=3)
    assert json.loads((folder / "geo_p2p.json").read_text())["settings"]["seed"] == 3
    assert [item.name for item in tmp_path.iterdir()] == ["chips"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_an_earlier_crash_left_does_not_get_in_the_way(
    pair: tuple[Path, Path], tmp_path: Path, overwrite: bool
) -> None:
    if overwrite:
        export_chips(*pair, tmp_path / "chips", **SETTINGS)
    former = tmp_path / ".chips.former" / "images"
    former.mkdir(parents=True)
    (former / "old.tif").touch()
    # All but its last step: the chips have been published, the plan is still there.
    job = json.dumps({"settings": "of another time"})
    (tmp_path / "chips.parts").mkdir()
    (tmp_path / "chips.parts" / "plan.json").write_text(job)
    export_chips(*pair, tmp_path / "chips", overwrite=overwrite, **SETTINGS)
    assert [item.name for item in tmp_path.iterdir()] == ["chips"]
    assert not (tmp_path / "chips" / "images" / "old.tif").exists()


def test_parts_of_a_published_export_are_not_taken_for_chips(
    pair: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = contents(export_chips(*pair, tmp_path / "right", **SETTINGS))
    monkeypatch.setattr("shutil.rmtree", lambda *args, **options: None)
    export_chips(*pair, tmp_path / "chips", **SETTINGS)
    monkeypatch.undo()
    monkeypatch.setattr(plan, "SPAN", 64)
    assert (tmp_path / "chips.parts" / "plan.json").exists()
    again = export_chips(*pair, tmp_path / "chips", overwrite=True, **SETTINGS)
    assert contents(again) == right


def test_a_folder_of_parts_with_something_else_in_it_is_left_alone(
    pair: tuple[Path, Path], tmp_path: Path
) -> None:
    mine = tmp_path / "chips.parts" / "mine.txt"
    mine.parent.mkdir()
    mine.write_text("years of work")
    with pytest.raises(ChipError, match=r"holds mine\.txt, which is not of an export"):
        export_chips(*pair, tmp_path / "chips", **SETTINGS)
    assert mine.read_text() == "years of work"
    assert [path.name for path in tmp_path.iterdir()] == ["chips.parts"]


def test_a_damaged_block_in_the_middle_stops_the_export_until_it_is_mended(
    tmp_path: Path,
) -> None:
    """One block in the middle is damaged, and all that comes after it is whole."""
    values = np.random.default_rng(0).integers(1, 255, (1, 192, 192), "uint8")
    tiles: dict[str, Any] = {"tiled": True, "blockxsize": 64, "blockysize": 64}
    x, y = tmp_path / "x.tif", tmp_path / "y.tif"
    write_raster(x, values, compress="deflate", **tiles)
    write_raster(y, values)
    whole = x.read_bytes()
    with rasterio.open(x) as raster:
        tags = (f"BLOCK_{what}_1_1" for what in ("OFFSET", "SIZE"))
        offset, size = (int(raster.get_tag_item(tag, "TIFF", bidx=1)) for tag in tags)
    x.write_bytes(whole[:offset] + bytes(size) + whole[offset + size :])
    settings = {"tile_size": 32, "stride": 32, "split": "none"}
    with pytest.raises(RasterError, match=r"x\.tif: cannot be read at row \d+, column \d+") as told:
        export_chips(x, y, tmp_path / "chips", **settings)
    assert "\n" not in str(told.value)
    assert not (tmp_path / "chips").exists()
    x.write_bytes(whole)
    chips = ChipFolder.open(export_chips(x, y, tmp_path / "chips", **settings))
    assert len(chips) == 36
    assert {item.name for item in tmp_path.iterdir()} == {"x.tif", "y.tif", "chips"}
    assert all(np.array_equal(chips.read(name).x, chips.read(name).y) for name in chips.names)
