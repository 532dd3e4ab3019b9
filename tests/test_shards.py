"""Runs in shards: who makes which block does not matter, and what is missing is found."""

import json
import os
import random
import runpy
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Ran
from hypothesis import given
from hypothesis import strategies as st
from plain import NUMBERS, Plain
from rasterio.windows import Window
from rasters import utm, write

from geo_p2p.card import Category, Scaling
from geo_p2p.errors import GridError, RasterError
from geo_p2p.predict import PredictConfig, locks, mosaic, parts, predict
from geo_p2p.predict.locks import Lock
from geo_p2p.predict.parts import Parts
from geo_p2p.predict.shards import Shard
from geo_p2p.raster import RasterSource

CONFIG = PredictConfig(block_size=16)
BLOCKS = 12


def noise(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, (1, 40, 56)).astype("float32")


@pytest.fixture
def src(tmp_path: Path) -> RasterSource:
    """A raster of 12 blocks, with holes."""
    values = noise()
    values[0, 5:30, 3:20] = -5
    return RasterSource(write(tmp_path / "src.tif", values, utm(40, 56), nodata=-5))


def run(src: RasterSource, dst: Path, shard: str | None = None, **changes: Any) -> Any:
    overwrite, model = (changes.pop(k, d) for k, d in (("overwrite", False), ("model", None)))
    config = replace(CONFIG, shard=shard, **changes)
    return predict(model or Plain(NUMBERS), src, dst, config, overwrite=overwrite)


def blocks(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.tif"))}


# ------------------------------------------------------------------ which shard


@given(st.integers(0, 200), st.integers(1, 40))
def test_shards_part_the_blocks_evenly(count: int, shards: int) -> None:
    shares = [Shard(number + 1, shards).share(range(count)) for number in range(shards)]
    assert sorted(block for share in shares for block in share) == list(range(count))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


SLURM = {"SLURM_PROCID": "0", "SLURM_NTASKS": "1"}  # of a step with one task, as of a batch script
ARRAY = {
    **{"SLURM_ARRAY_TASK_MIN": "3", "SLURM_ARRAY_TASK_MAX": "9", "SLURM_ARRAY_TASK_STEP": "2"},
    **{"SLURM_ARRAY_TASK_ID": "7", "SLURM_ARRAY_TASK_COUNT": "4"},
}

TOLD: list[tuple[str, dict[str, str], tuple[int, int]]] = [
    ("2/8", {"RANK": "0", "WORLD_SIZE": "4"}, (2, 8)),
    ("auto", {"RANK": "3", "WORLD_SIZE": "4"}, (4, 4)),
    ("auto", {"SLURM_PROCID": "2", "SLURM_NTASKS": "3"}, (3, 3)),
    ("auto", {**SLURM, "RANK": "1", "WORLD_SIZE": "2"}, (2, 2)),
    ("auto", ARRAY, (3, 4)),
    ("auto", {**ARRAY, **SLURM}, (3, 4)),
    ("auto", {**ARRAY, "SLURM_PROCID": "1", "SLURM_NTASKS": "2"}, (6, 8)),
    ("auto/4", ARRAY, (3, 4)),
    ("auto", {"AWS_BATCH_JOB_ARRAY_INDEX": "0", "AWS_BATCH_JOB_ARRAY_SIZE": "5"}, (1, 5)),
    ("auto/5", {"AWS_BATCH_JOB_ARRAY_INDEX": "4"}, (5, 5)),
    ("auto/6", {"JOB_COMPLETION_INDEX": "5"}, (6, 6)),
]


@pytest.mark.parametrize(("text", "environ", "expected"), TOLD)
def test_a_launcher_tells_which_shard_this_is(
    text: str, environ: dict[str, str], expected: tuple[int, int]
) -> None:
    assert Shard.parse(text, environ) == Shard(*expected)


GAPS = {**ARRAY, "SLURM_ARRAY_TASK_STEP": "1", "SLURM_ARRAY_TASK_ID": "9"}

NOT_TOLD: list[tuple[str, dict[str, str], str]] = [
    ("0/8", {}, "shard 0/8: shards are counted from 1/8 on"),
    ("9/8", {}, "shard 9/8"),
    ("1/0", {}, "shard 1/0"),
    ("3", {}, "'3': give i/n"),
    ("-1/4", {}, "'-1/4': give i/n"),
    ("auto", {}, "neither torchrun, Slurm, AWS Batch nor Kubernetes has said"),
    ("auto", {"JOB_COMPLETION_INDEX": "2"}, "process 2, counted from 0, but not of how many"),
    ("auto/3", {"RANK": "0", "WORLD_SIZE": "4"}, "the launcher has started 4, not 3"),
    ("auto", GAPS, r"leave gaps \(4 from 3 on, and this is 9\)"),
    ("auto", {"SLURM_PROCID": "x", "SLURM_NTASKS": "2"}, "SLURM_PROCID is 'x', no number"),
    ("auto", {"SLURM_ARRAY_TASK_ID": "2"}, "SLURM_ARRAY_TASK_COUNT is '', no number"),
]


@pytest.mark.parametrize(("text", "environ", "said"), NOT_TOLD)
def test_what_no_launcher_has_said_is_refused_in_one_line(
    text: str, environ: dict[str, str], said: str
) -> None:
    with pytest.raises(GridError, match=said) as refused:
        Shard.parse(text, environ)
    assert "\n" not in str(refused.value)


def test_a_plain_run_inside_an_allocation_is_a_whole_run(
    src: RasterSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"SLURM_PROCID": "1", "SLURM_NTASKS": "8", "RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    assert run(src, tmp_path / "o.tif").blocks == BLOCKS
    assert (tmp_path / "o.tif").exists()


# ------------------------------------------------------------------ equal bytes

NAMES = tuple(Category(v, f"class {v}", (10 * v, 0, 99, 255), 0.5) for v in (1, 7))
TARGETS = {
    "numbers": NUMBERS,
    "nan": replace(NUMBERS, nodata=float("nan"), names=("höhe",), units=("m",)),
    "heights": Scaling(
        "int16", (-100.0, 0.0), (900.0, 50.0), nodata=-32768, names=("dsm", "höhe"),
        units=("m", "ft"), interp=("gray", "undefined"), scales=(0.5, 1.0), offsets=(10.0, 0.0),
    ),
    "classes": Scaling("uint8", classes=NAMES),
}  # fmt: skip


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("count", [1, 5, 13])
def test_shards_in_any_order_give_the_bytes_of_one_run(
    src: RasterSource, tmp_path: Path, target: str, count: int
) -> None:
    model, options = Plain(TARGETS[target]), {"compress": "LZW"}
    config = replace(CONFIG, options=options, keep_parts=True)
    predict(model, src, tmp_path / "one.tif", config)
    numbers = list(range(1, count + 1))
    random.Random(count).shuffle(numbers)
    for number in numbers:
        share = replace(config, shard=f"{number}/{count}", batch_size=number % 3 + 1)
        done = predict(model, src, tmp_path / "two.tif", share)
        assert done.output == tmp_path / "two.tif.parts"
        assert done.blocks == len(range(number - 1, BLOCKS, count))
    assert not (tmp_path / "two.tif").exists()
    Path(src.paths[0]).unlink()  # the last step wants neither raster nor model
    done = mosaic(tmp_path / "two.tif.parts", tmp_path / "two.tif")
    assert (done.width, done.height, done.blocks, done.lost) == (56, 40, BLOCKS, 0)
    assert blocks(tmp_path / "one.tif.parts") == blocks(tmp_path / "two.tif.parts")
    assert (tmp_path / "one.tif").read_bytes() == (tmp_path / "two.tif").read_bytes()


def test_shards_of_a_part_of_the_raster_fit_together(src: RasterSource, tmp_path: Path) -> None:
    bounds = src.frame.crop(Window(9, 3, 40, 30)).bounds
    run(src, tmp_path / "one.tif", bounds=bounds)
    for number in (2, 1):
        run(src, tmp_path / "two.tif", f"{number}/2", bounds=bounds)
    mosaic(tmp_path / "two.tif.parts", tmp_path / "two.tif")
    assert (tmp_path / "one.tif").read_bytes() == (tmp_path / "two.tif").read_bytes()


def test_shards_of_machines_that_share_no_folder_fit_together(
    src: RasterSource, tmp_path: Path
) -> None:
    run(src, tmp_path / "one.tif")
    for number in (1, 2, 3):
        (tmp_path / f"node{number}").mkdir()
        run(src, tmp_path / f"node{number}" / "o.tif", f"{number}/3")
    folders = [tmp_path / f"node{number}" / "o.tif.parts" for number in (3, 1, 2)]
    with pytest.raises(RasterError, match="4 of 12 blocks are missing, of shards 2/3 "):
        mosaic(folders[:2], tmp_path / "two.tif")
    mosaic(folders, tmp_path / "two.tif")
    assert (tmp_path / "one.tif").read_bytes() == (tmp_path / "two.tif").read_bytes()


def test_a_plain_run_finishes_what_shards_have_begun(src: RasterSource, tmp_path: Path) -> None:
    run(src, tmp_path / "one.tif")
    run(src, tmp_path / "two.tif", "2/3")
    model = Plain(NUMBERS)
    run(src, tmp_path / "two.tif", model=model, block_size=None)  # of which shards are made of
    assert model.calls <= BLOCKS - 4
    assert (tmp_path / "one.tif").read_bytes() == (tmp_path / "two.tif").read_bytes()
    assert not (tmp_path / "two.tif.parts").exists()


def test_shards_may_be_fewer_the_second_time(src: RasterSource, tmp_path: Path) -> None:
    run(src, tmp_path / "one.tif")
    run(src, tmp_path / "two.tif", "2/5")
    for number in (1, 2):
        run(src, tmp_path / "two.tif", f"{number}/2")
    mosaic(tmp_path / "two.tif.parts", tmp_path / "two.tif")
    assert (tmp_path / "one.tif").read_bytes() == (tmp_path / "two.tif").read_bytes()


# ------------------------------------------------------------------ the last step


def test_the_mosaic_names_what_is_missing_and_whose_it_is(
    src: RasterSource, tmp_path: Path
) -> None:
    run(src, tmp_path / "o.tif", "2/5")
    run(src, tmp_path / "o.tif", "4/5")
    (tmp_path / "o.tif.parts" / "block_00000_00003.tif").unlink()  # the fourth, of shard 4
    with pytest.raises(RasterError) as refused:
        mosaic(tmp_path / "o.tif.parts", tmp_path / "o.tif")
    assert re_words(str(refused.value)) == (
        "o.tif.parts: 8 of 12 blocks are missing, of shards 1/5, 3/5, 4/5, 5/5 "
        "(block_00000_00000.tif, block_00000_00002.tif, block_00000_00003.tif, "
        "block_00001_00000.tif, block_00001_00001.tif, ...); run those again, or wait for them"
    )
    assert not (tmp_path / "o.tif").exists()
    for number in (1, 3, 4, 5):
        run(src, tmp_path / "o.tif", f"{number}/5")
    mosaic(tmp_path / "o.tif.parts", tmp_path / "o.tif")


def re_words(text: str) -> str:
    """Leave out the folder in front."""
    return text[text.index("o.tif.parts") :]


def test_the_mosaic_can_be_made_again(src: RasterSource, tmp_path: Path) -> None:
    run(src, tmp_path / "o.tif", "1/1")
    mosaic(tmp_path / "o.tif.parts", tmp_path / "o.tif")
    first = (tmp_path / "o.tif").read_bytes()
    with pytest.raises(RasterError, match="exists already"):
        mosaic(tmp_path / "o.tif.parts", tmp_path / "o.tif")
    mosaic(tmp_path / "o.tif.parts", tmp_path / "o.tif", overwrite=True, remove=True)
    assert (tmp_path / "o.tif").read_bytes() == first
    assert sorted(path.name for path in tmp_path.iterdir()) == ["o.tif", "src.tif"]


def test_options_of_the_mosaic_come_over_those_of_the_plan(
    src: RasterSource, tmp_path: Path
) -> None:
    run(src, tmp_path / "o.tif", "1/1", options={"COMPRESS": "LZW", "BLOCKSIZE": "256"})
    with pytest.raises(RasterError, match="GDAL says"):
        mosaic(tmp_path / "o.tif.parts", tmp_path / "o.tif", options={"COMPRESS": "NO-SUCH"})
    mosaic(tmp_path / "o.tif.parts", tmp_path / "o.tif", options={"COMPRESS": "ZSTD"})
    run(src, tmp_path / "p.tif", options={"COMPRESS": "ZSTD", "BLOCKSIZE": "256"})
    assert (tmp_path / "o.tif").read_bytes() == (tmp_path / "p.tif").read_bytes()


def test_parts_of_different_plans_make_no_mosaic(src: RasterSource, tmp_path: Path) -> None:
    run(src, tmp_path / "o.tif", "1/2")
    run(src, tmp_path / "p.tif", "2/2", block_size=24)
    folders = [tmp_path / "o.tif.parts", tmp_path / "p.tif.parts"]
    with pytest.raises(
        RasterError, match="p.tif.parts: is not of the plan of .*block size 16, now 24"
    ):
        mosaic(folders, tmp_path / "q.tif")
    with pytest.raises(RasterError, match="src.tif: holds no plan of a prediction"):
        mosaic(src.paths[0], tmp_path / "q.tif")


# ------------------------------------------------------------------ resume


def changed(case: dict[str, Any], what: str) -> None:
    src, changes = case["src"], case["changes"]
    if what == "source":
        os.utime(src.paths[0], ns=(1, 1))
    elif what == "bounds":
        changes["bounds"] = src.frame.crop(Window(0, 0, 50, 39)).bounds
    elif what == "model":
        changes["model"] = Plain(NUMBERS, "trained again")
    elif what == "block size":
        changes["block_size"] = 24
    elif what == "type":
        changes["dtype"] = "float64"
    elif what == "nothing readable":
        (case["parts"] / "plan.json").write_text('{"recipe": ')


DIFFERENCES = {
    "source": "it differs in the raster",
    "bounds": "it differs in the bounds",
    "model": "it differs in the model or its precision",
    "block size": "it differs in block size 16, now 24",
    "type": "it differs in the type or scale of the output",
    "nothing readable": "its plan cannot be read",
}


@pytest.mark.parametrize("what", DIFFERENCES)
def test_unfinished_work_of_another_plan_is_not_thrown_away_unasked(
    src: RasterSource, tmp_path: Path, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    run(src, tmp_path / "o.tif", "1/2")
    parts = tmp_path / "o.tif.parts"
    case: dict[str, Any] = {"src": src, "changes": {}, "parts": parts}
    changed(case, what)
    before, changes = blocks(parts), case["changes"]
    refusals = (
        ({"resume": None}, f"unfinished work of another plan: {DIFFERENCES[what]}; say no-resume"),
        ({"resume": True}, f"cannot be gone on with: {DIFFERENCES[what]}; say no-resume"),
        ({"shard": "2/2"}, f"blocks of another plan: {DIFFERENCES[what]}; remove that folder"),
        ({"shard": "2/2", "resume": False}, "remove that folder, which other shards may be at"),
    )
    for asked, said in refusals:
        with pytest.raises(RasterError, match=said) as refused:
            run(src, tmp_path / "o.tif", **{**changes, **asked})
        assert "\n" not in str(refused.value)
        assert blocks(parts) == before
    run(src, tmp_path / "o.tif", **changes, resume=False)
    assert f"is thrown away: {DIFFERENCES[what]}" in caplog.text
    run(src, tmp_path / "p.tif", **changes)
    assert (tmp_path / "o.tif").read_bytes() == (tmp_path / "p.tif").read_bytes()


def test_overwrite_throws_unfinished_work_of_another_plan_away(
    src: RasterSource, tmp_path: Path
) -> None:
    run(src, tmp_path / "o.tif", "1/2")
    model = Plain(NUMBERS)
    run(src, tmp_path / "o.tif", overwrite=True, block_size=40, model=model)
    assert model.calls == 2


def test_resume_wants_something_to_go_on_with(src: RasterSource, tmp_path: Path) -> None:
    with pytest.raises(RasterError, match=r"o\.tif\.parts: there is no run to go on with"):
        run(src, tmp_path / "o.tif", resume=True)
    assert [path.name for path in tmp_path.iterdir()] == ["src.tif"]
    run(src, tmp_path / "o.tif", "1/2")
    model = Plain(NUMBERS)
    run(src, tmp_path / "o.tif", resume=True, model=model)
    assert 0 < model.calls <= BLOCKS // 2


def test_no_resume_runs_all_blocks_again_but_for_those_of_other_shards(
    src: RasterSource, tmp_path: Path
) -> None:
    run(src, tmp_path / "o.tif", "1/2")
    run(src, tmp_path / "o.tif", "2/2")
    parts = tmp_path / "o.tif.parts"
    for path in parts.glob("block_*.tif"):
        path.write_bytes(b"of old")
    run(src, tmp_path / "o.tif", "1/2", resume=False)
    assert sum(data == b"of old" for data in blocks(parts).values()) == BLOCKS // 2
    run(src, tmp_path / "o.tif", resume=False)
    run(src, tmp_path / "p.tif")
    assert (tmp_path / "o.tif").read_bytes() == (tmp_path / "p.tif").read_bytes()


def test_who_goes_on_takes_the_block_size_of_who_began(src: RasterSource, tmp_path: Path) -> None:
    run(src, tmp_path / "o.tif", "1/2", block_size=24)
    assert run(src, tmp_path / "o.tif", "2/2", block_size=None).blocks == 3
    assert Parts.of(tmp_path / "o.tif").recipe["plan"]["size"] == 24
    assert mosaic(tmp_path / "o.tif.parts", tmp_path / "o.tif").blocks == 6
    # Begun anew, it is the size that would be chosen otherwise.
    assert run(src, tmp_path / "o.tif", block_size=None, resume=False, overwrite=True).blocks == 1


@pytest.mark.parametrize("moment", ["parts.Parts.begin", "parts._place"])
def test_a_shard_that_is_a_moment_late_takes_the_block_size_of_the_quicker_one(
    src: RasterSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """Both find an empty folder, plan for themselves, and would choose another size."""
    owner = parts.Parts if moment.endswith("begin") else parts
    step, quicker = getattr(owner, moment.rpartition(".")[2]), []

    def late(*arguments: Any) -> Any:
        if not quicker:
            quicker.append(True)
            run(src, tmp_path / "o.tif", "1/2", block_size=24)
        return step(*arguments)

    monkeypatch.setattr(f"geo_p2p.predict.{moment}", late)
    assert run(src, tmp_path / "o.tif", "2/2", block_size=None).blocks == 3
    assert mosaic(tmp_path / "o.tif.parts", tmp_path / "o.tif").blocks == 6


# ------------------------------------------------------------------ one at a time


def test_two_runs_on_one_output_refuse_each_other(src: RasterSource, tmp_path: Path) -> None:
    folder = Parts.of(tmp_path / "o.tif")
    said = rf"o\.tif\.parts: another run is at work on it \(process {os.getpid()} on .+\); wait for"
    with folder.held():
        with pytest.raises(RasterError, match=said) as refused:
            run(src, tmp_path / "o.tif")
        assert "\n" not in str(refused.value)
    assert not folder.folder.exists()
    run(src, tmp_path / "o.tif")


def test_shards_do_not_refuse_one_another_but_the_same_one_twice(
    src: RasterSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("geo_p2p.predict.locks.PATIENCE", 0.1)
    parts = Parts.of(tmp_path / "o.tif")
    with parts.held(Shard(1, 3)), parts.held(Shard(2, 3)):
        with pytest.raises(RasterError, match="another run is at work"):
            run(src, tmp_path / "o.tif", "2/3")
        with pytest.raises(RasterError, match="another run is at work on it; wait"):
            run(src, tmp_path / "o.tif")
        run(src, tmp_path / "o.tif", "3/3")
        with pytest.raises(RasterError, match="another run is at work"):
            mosaic(parts.folder, tmp_path / "o.tif")
    with parts.held(), pytest.raises(RasterError, match=f"process {os.getpid()}"):
        run(src, tmp_path / "o.tif", "3/3")
    run(src, tmp_path / "o.tif", "2/3")
    left = {path.name for path in parts.folder.iterdir()}
    assert all(name == "plan.json" or name.endswith(".tif") for name in left)


HOLD = """
import sys, time
from pathlib import Path
from geo_p2p.predict.parts import Parts
from geo_p2p.predict.shards import Shard
with Parts(Path(sys.argv[1])).held(Shard.parse(sys.argv[2]) if sys.argv[2:] else None):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("shard", [None, "1/2"])
def test_a_lock_dies_with_its_process(
    src: RasterSource, tmp_path: Path, shard: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("geo_p2p.predict.locks.PATIENCE", 0.1)
    command = [
        sys.executable,
        "-c",
        HOLD,
        str(tmp_path / "o.tif.parts"),
        *([shard] if shard else []),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(RasterError, match="another run is at work"):
            run(src, tmp_path / "o.tif", shard)
        other.send_signal(signal.SIGKILL)
    run(src, tmp_path / "o.tif", shard)


def test_a_lock_is_never_held_on_a_file_that_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between opening and locking it, the last holder removes the file."""
    once, try_now = [True], locks._try

    def slow(file: int, shared: bool) -> None:
        if once.pop() if once else False:
            (tmp_path / "lock").unlink()
        try_now(file, shared)

    monkeypatch.setattr(locks, "_try", slow)
    first, second = Lock(tmp_path / "lock"), Lock(tmp_path / "lock")
    assert first.take()
    assert (tmp_path / "lock").exists()
    assert not second.take()
    first.release()
    assert not (tmp_path / "lock").exists()
    assert second.take(shared=True)
    assert first.take(shared=True)
    first.release()
    assert (tmp_path / "lock").exists()
    assert not first.take()
    second.release()
    assert not list(tmp_path.iterdir())


class Windows:
    """Stands for ``msvcrt``: ranges of bytes that may not overlap, let go with their file."""

    LK_NBLCK = 2

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.held: dict[int, tuple[int, range]] = {}
        close, unlink = os.close, Path.unlink

        def let_go(file: int) -> None:
            self.held.pop(file, None)
            close(file)

        def refuse(path: Path, missing_ok: bool = False) -> None:
            if path.stat().st_ino in {inode for inode, _ in self.held.values()}:
                raise PermissionError(13, "used by another process")
            unlink(path, missing_ok)

        monkeypatch.setattr(os, "close", let_go)
        monkeypatch.setattr(Path, "unlink", refuse)

    def locking(self, file: int, mode: int, count: int) -> None:
        """Lock bytes from where the file stands."""
        start, inode = os.lseek(file, 0, os.SEEK_CUR), os.fstat(file).st_ino
        for other, taken in self.held.values():
            if inode == other and start < taken.stop and taken.start < start + count:
                raise PermissionError(13, "Permission denied")
        self.held[file] = inode, range(start, start + count)


def test_locks_of_windows_keep_the_same_law(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a stand-in: the module is run as it would be there."""
    monkeypatch.setitem(sys.modules, "msvcrt", Windows(monkeypatch))
    monkeypatch.setattr(sys, "platform", "win32")
    kind = runpy.run_path(str(Path(locks.__file__)))["Lock"]
    one, two, three = (kind(tmp_path / "lock") for _ in range(3))
    assert one.take()
    one.sign("process 7")
    assert two.holder == "process 7"
    assert not two.take()
    assert not two.take(shared=True)
    one.release()
    assert not (tmp_path / "lock").exists()
    assert two.take(shared=True)
    assert three.take(shared=True)
    assert not one.take()
    two.release()
    assert not one.take()
    three.release()
    assert one.take()
    one.release()
    assert not (tmp_path / "lock").exists()


def test_a_file_system_without_locks_is_no_reason_to_stop(
    src: RasterSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    def refuse(file: int, shared: bool) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr("geo_p2p.predict.locks._try", refuse)
    run(src, tmp_path / "o.tif")
    assert (
        "this file system knows no locks; see to it that no two runs have one output" in caplog.text
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["o.tif", "src.tif"]


# ------------------------------------------------------------------ the command


def test_the_command_finishes_a_run_and_says_what_is_missing(
    src: RasterSource, tmp_path: Path, runner: Callable[..., Ran]
) -> None:
    run(src, tmp_path / "o.tif", "1/2")
    parts, out = tmp_path / "o.tif.parts", tmp_path / "o.tif"
    said = runner("mosaic", parts, out, code=1).stderr
    assert said.startswith(f"Error: {parts}: 6 of 12 blocks are missing, of shards 2/2 (")
    assert said.count("\n") == 1
    run(src, tmp_path / "o.tif", "2/2")
    done = runner("mosaic", parts, out, "--remove-parts", "--co", "compress=zstd", "--json").json()
    assert done == {
        **{"output": str(out), "width": 56, "height": 40, "blocks": 12},
        **{"tile_safe": True, "lost": 0, "rounding": None, "disagreement": None},
        **{"confidence": None, "outside": []},
    }
    assert not parts.exists()
    assert runner("mosaic", parts, code=2).code == 2


def test_the_plan_is_whole_whenever_it_is_there(src: RasterSource, tmp_path: Path) -> None:
    run(src, tmp_path / "o.tif", "1/2")
    kept = json.loads((tmp_path / "o.tif.parts" / "plan.json").read_text())
    assert kept["layout"]["shards"] == 2
    assert len(kept["layout"]["blocks"]) == BLOCKS
