"""What can go wrong in a long run: it is killed, the disk fills up, the raster is damaged."""

import os
import random
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from plain import NUMBERS, Plain
from rasterio.windows import Window
from rasters import opened, utm, write

from geo_p2p.errors import ModelError, RasterError
from geo_p2p.grid import intersection
from geo_p2p.predict import PredictConfig, mosaic, predict
from geo_p2p.predict.parts import Parts
from geo_p2p.predict.reading import CELL, Reader
from geo_p2p.raster import Bands, RasterSource

HERE = Path(__file__).parent
CONFIG = PredictConfig(block_size=64)
TILE = 64
ROWS, COLS = 320, 400  # 35 blocks


@pytest.fixture
def src(tmp_path: Path) -> Path:
    """A raster in compressed tiles of 64 px."""
    values = np.random.default_rng(0).uniform(-1, 1, (1, ROWS, COLS)).astype("float32")
    layout = {"tiled": True, "blockxsize": TILE, "blockysize": TILE, "compress": "deflate"}
    return write(tmp_path / "src.tif", values, utm(ROWS, COLS), **layout)


def run(src: Path, dst: Path, overwrite: bool = False, **changes: Any) -> Any:
    config = replace(CONFIG, **changes)
    return predict(Plain(NUMBERS), RasterSource(src), dst, config, overwrite=overwrite)


def blocks(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("block_*.tif"))}


# ------------------------------------------------------------------ killed

KILLED = """
import os, signal, sys, threading, time
from plain import NUMBERS, Plain
from geo_p2p.predict import PredictConfig, predict
from geo_p2p.raster import Bands, RasterSource

model, source = Plain(NUMBERS, delay=0.01), RasterSource("src.tif")

def kill():
    time.sleep(float(sys.argv[1]))
    os.kill(os.getpid(), signal.SIGKILL)

started = time.perf_counter()
threading.Thread(target=kill, daemon=True).start()
predict(model, source, "o.tif", PredictConfig(block_size=64))
print(time.perf_counter() - started)
"""


def killed(folder: Path, after: float) -> subprocess.CompletedProcess[str]:
    """Run until a moment, seconds after the beginning; no signal is more sudden."""
    command = [sys.executable, "-c", KILLED, str(after)]
    environ = {**os.environ, "PYTHONPATH": str(HERE)}
    return subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True)


@pytest.mark.parametrize("moments", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_a_run_that_is_killed_again_and_again_gives_the_same_bytes(
    src: Path, tmp_path: Path, moments: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    draw, out = random.Random(moments), Path("o.tif")
    undisturbed = killed(tmp_path, 600)
    assert undisturbed.returncode == 0, undisturbed.stderr
    expected, length = out.read_bytes(), float(undisturbed.stdout)
    out.unlink()
    reached = []
    for _ in range(moments):
        ran = killed(tmp_path, draw.uniform(0, 0.6 * length))
        assert ran.returncode in (0, -signal.SIGKILL), ran.stderr
        reached.append(len(Parts.of(out).written()))
        if out.exists():  # finished, or killed while it removed its parts
            assert out.read_bytes() == expected
            out.unlink()
    run(Path("src.tif"), out)
    assert out.read_bytes() == expected
    assert sorted(path.name for path in tmp_path.iterdir()) == ["o.tif", "src.tif"]
    assert any(0 < count < 35 for count in reached), "never killed in the middle"


# ------------------------------------------------------------------ a full disk

FULL_DISK = """
import resource, sys
from plain import NUMBERS, Plain
from geo_p2p.errors import RasterError
from geo_p2p.predict import PredictConfig, predict
from geo_p2p.raster import Bands, RasterSource

def fill(done, total):
    if done >= float(sys.argv[1]) * total:
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))

try:
    predict(Plain(NUMBERS), RasterSource("src.tif"), "o.tif", PredictConfig(64), progress=fill)
    print("written")
except RasterError as error:
    print(error)
"""


@pytest.mark.parametrize(("share", "limit"), [(0, 300), (0.5, 300), (0.5, 9000), (1, 40_000)])
def test_a_disk_that_fills_up_is_one_line_and_what_is_done_goes_on(
    src: Path, tmp_path: Path, share: float, limit: int
) -> None:
    """The system itself cuts a file off: a block at its start or its end, or the mosaic."""
    pytest.importorskip("resource")
    run(src, tmp_path / "whole.tif")
    command = [sys.executable, "-c", FULL_DISK, str(share), str(limit)]
    environ = {**os.environ, "PYTHONPATH": str(HERE)}
    ran = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True)
    said = r"o\.tif.*: cannot be written \(.+\); check the folder and the space left.*\n"
    assert re.fullmatch(said, ran.stdout), ran.stdout + ran.stderr
    done = len(blocks(tmp_path / "o.tif.parts"))
    assert share * 35 / 2 <= done <= 35
    if 0 < done < 35:
        again = f"; {done} blocks are done and lie in o.tif.parts: say the same again to go on"
        assert again in ran.stdout
    left = {path.name for path in (tmp_path / "o.tif.parts").iterdir()}
    assert left == {"plan.json", *blocks(tmp_path / "o.tif.parts")}
    assert not list(tmp_path.glob(".o.tif*"))
    run(src, tmp_path / "o.tif", resume=True)
    assert (tmp_path / "o.tif").read_bytes() == (tmp_path / "whole.tif").read_bytes()


# ------------------------------------------------------------------ a damaged raster


@pytest.fixture
def damage(src: Path) -> Callable[[int, int], Callable[[], None]]:
    """Return a function that damages a tile of the raster, and returns one that mends it.

    Size and time of the file stay as they are, as on a disk or a network that fails for a while.
    """

    def spoil(row: int, col: int) -> Callable[[], None]:
        whole, stat = src.read_bytes(), src.stat()
        with opened(src) as dataset:
            tags = (f"BLOCK_{what}_{col}_{row}" for what in ("OFFSET", "SIZE"))
            start, size = (int(dataset.get_tag_item(tag, "TIFF", bidx=1)) for tag in tags)

        def put(data: bytes) -> None:
            src.write_bytes(data)
            os.utime(src, ns=(stat.st_atime_ns, stat.st_mtime_ns))

        put(whole[:start] + bytes(size) + whole[start + size :])
        return lambda: put(whole)

    return spoil


def test_a_tile_that_cannot_be_read_is_one_line_and_a_run_to_go_on_with(
    src: Path, tmp_path: Path, damage: Any
) -> None:
    run(src, tmp_path / "whole.tif")
    mend = damage(3, 4)
    for _ in range(2):
        with pytest.raises(RasterError, match=r"src\.tif: cannot be read at row 1\d\d") as told:
            run(src, tmp_path / "o.tif")
        assert "\n" not in str(told.value)
    done = len(blocks(tmp_path / "o.tif.parts"))
    assert f"; {done} blocks are done and lie in {tmp_path}/o.tif.parts: say" in str(told.value)
    assert done > 0
    mend()
    run(src, tmp_path / "o.tif", resume=True)
    assert (tmp_path / "o.tif").read_bytes() == (tmp_path / "whole.tif").read_bytes()


def test_pixels_that_cannot_be_read_become_nodata_if_asked_and_no_others(
    src: Path, tmp_path: Path, damage: Any, caplog: pytest.LogCaptureFixture
) -> None:
    run(src, tmp_path / "whole.tif")
    whole, mend = RasterSource(tmp_path / "whole.tif").read()[0], damage(3, 4)
    rows, cols = slice(3 * TILE, 4 * TILE), slice(4 * TILE, 5 * TILE)
    done = run(src, tmp_path / "o.tif", on_error="nodata")
    out, valid = RasterSource(tmp_path / "o.tif").read()
    assert not valid[rows, cols].any()
    assert valid.sum() == valid.size - TILE**2
    assert done.lost == TILE**2
    # What lies farther off than the halo is untouched.
    far = np.ones_like(valid)
    far[rows.start - 8 : rows.stop + 8, cols.start - 8 : cols.stop + 8] = False
    assert np.array_equal(out[:, far], whole[:, far])
    assert "o.tif: 4096 px in 1 of 35 blocks are nodata, because the raster could" in caplog.text
    with opened(tmp_path / "o.tif") as dataset:
        assert dataset.tags()["GEO_P2P_LOST"] == "4096"
    # Another day only that block is run again.
    mend()
    model = Plain(NUMBERS)
    again = PredictConfig(block_size=64, resume=True)
    predict(model, RasterSource(src), tmp_path / "o.tif", again, overwrite=True)
    assert 1 <= model.calls <= 9
    assert not (tmp_path / "o.tif.parts").exists()


def test_a_damaged_block_is_tried_again_until_it_is_whole(
    src: Path, tmp_path: Path, damage: Any
) -> None:
    run(src, tmp_path / "whole.tif")
    mend = damage(0, 0)
    run(src, tmp_path / "o.tif", on_error="nodata")
    with pytest.raises(RasterError, match="cannot be read at row 0, column 0"):
        run(src, tmp_path / "o.tif", overwrite=True)
    assert run(src, tmp_path / "o.tif", overwrite=True, on_error="nodata").lost == TILE**2
    mend()
    assert run(src, tmp_path / "o.tif", overwrite=True).lost == 0
    assert (tmp_path / "o.tif").read_bytes() == (tmp_path / "whole.tif").read_bytes()


def test_which_pixels_are_given_up_depends_on_nobody(
    src: Path, tmp_path: Path, damage: Any
) -> None:
    damage(1, 2)
    damage(4, 6)
    run(src, tmp_path / "one.tif", on_error="nodata")
    for number in (2, 3, 1):
        run(src, tmp_path / "two.tif", shard=f"{number}/3", on_error="nodata", batch_size=2)
    done = mosaic(tmp_path / "two.tif.parts", tmp_path / "two.tif")
    assert done.lost == TILE**2 + TILE * (COLS - 6 * TILE)
    assert (tmp_path / "one.tif").read_bytes() == (tmp_path / "two.tif").read_bytes()
    run(src, tmp_path / "three.tif", on_error="nodata", block_size=40)
    first, other = (RasterSource(tmp_path / f"{name}.tif").read() for name in ("one", "three"))
    assert np.array_equal(first[1], other[1])
    assert np.array_equal(first[0][:, first[1]], other[0][:, first[1]])


def test_a_mosaic_takes_the_whole_one_of_two_blocks(src: Path, tmp_path: Path, damage: Any) -> None:
    for name in "abc":
        (tmp_path / name).mkdir()
    run(src, tmp_path / "b" / "o.tif", shard="1/1")
    mend = damage(2, 2)
    run(src, tmp_path / "a" / "o.tif", shard="1/1", on_error="nodata")
    mend()
    folders = [tmp_path / name / "o.tif.parts" for name in "ab"]
    assert mosaic(folders[0], tmp_path / "c" / "a.tif").lost == TILE**2
    assert mosaic(folders, tmp_path / "c" / "ab.tif").lost == 0


class Holed:
    """A raster of which no window can be read that touches a hole."""

    info = Bands(1, "float32")
    values = np.random.default_rng(0).uniform(1, 2, (1, ROWS, COLS)).astype("float32")

    def __init__(self, hole: Window) -> None:
        self.frame, self.hole = utm(ROWS, COLS), hole

    def read(self, window: Window) -> tuple[np.ndarray, np.ndarray]:
        """Read a window."""
        if intersection(window, self.hole):
            raise RasterError("cannot be read")
        part = self.values[:, *window.toslices()]
        return part, part[0] > 1.1


@st.composite
def windows(draw: st.DrawFn) -> Window:
    row, col = draw(st.integers(0, ROWS - 1)), draw(st.integers(0, COLS - 1))
    return Window(col, row, draw(st.integers(1, COLS - col)), draw(st.integers(1, ROWS - row)))


@given(windows(), st.lists(windows(), min_size=1, max_size=3))
def test_squares_with_any_part_that_cannot_be_read_are_given_up_whatever_is_read(
    hole: Window, read: list[Window]
) -> None:
    source = Holed(hole)
    reader = Reader(source, lenient=True)  # type: ignore[arg-type]
    lost = np.zeros((ROWS, COLS), bool)
    row, col = hole.row_off // CELL * CELL, hole.col_off // CELL * CELL
    stop = [-(-(hole.row_off + hole.height) // CELL), -(-(hole.col_off + hole.width) // CELL)]
    lost[row : stop[0] * CELL, col : stop[1] * CELL] = True
    for window in read:
        values, valid = reader.read(window)
        gone = lost[window.toslices()]
        assert np.array_equal(valid, ~gone & (source.values[0][window.toslices()] > 1.1))
        assert np.array_equal(values[0][~gone], source.values[0][window.toslices()][~gone])
        assert reader.lost(window) == gone.sum()


def test_parts_that_are_killed_while_they_are_removed_can_still_be_gone_on_with(
    src: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(src, tmp_path / "one.tif", block_size=160)
    unlink, left = Path.unlink, [0]

    class Killed(BaseException):
        """Stands for a signal that leaves no time for anything."""

    def die(self: Path, missing_ok: bool = False) -> None:
        if (tmp_path / "o.tif").exists() and self.name.startswith(("block_", "plan")):
            left[0] -= 1
            if left[0] < 0:
                raise Killed
        unlink(self, missing_ok)

    for after in range(7):  # six blocks and the plan
        left[0] = after
        with monkeypatch.context() as patch:
            patch.setattr(Path, "unlink", die)
            with pytest.raises(Killed):
                run(src, tmp_path / "o.tif", block_size=160)
        (tmp_path / "o.tif").unlink()
        run(src, tmp_path / "o.tif", block_size=160)
        assert (tmp_path / "o.tif").read_bytes() == (tmp_path / "one.tif").read_bytes()
        (tmp_path / "o.tif").unlink()


def test_an_unknown_way_with_errors_is_refused() -> None:
    with pytest.raises(ModelError, match="on_error 'skip': choose one of stop, nodata"):
        PredictConfig(on_error="skip")
