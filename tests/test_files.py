"""Laws of files in the making: what GDAL keeps to itself is heard, and a torso is told."""

import logging
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from rasters import utm, write

from geo_p2p.raster.files import Reports, publish, require_whole

LOG = logging.getLogger("rasterio._env")
SIGNAL = "GDAL signalled an error: err_no=1, msg='disk full'"


def test_errors_and_warnings_of_this_thread_are_heard() -> None:
    with Reports() as gdal:
        LOG.info(SIGNAL)
        LOG.info("something else")
        LOG.warning("CPLE_NotSupported in %s", "COMPRES")
        other = threading.Thread(target=LOG.info, args=[SIGNAL])
        other.start()
        other.join()
    LOG.info(SIGNAL)
    assert gdal.errors == ["disk full"]
    assert gdal.warnings == ["CPLE_NotSupported in COMPRES"]


def test_who_else_listens_hears_no_more_than_before(caplog: pytest.LogCaptureFixture) -> None:
    with Reports():
        LOG.info(SIGNAL)
        LOG.warning("a warning")
    assert [record.message for record in caplog.records] == ["a warning"]


@pytest.mark.parametrize("level", [logging.NOTSET, logging.DEBUG, logging.ERROR])
def test_listening_leaves_the_log_as_it_was(level: int) -> None:
    """Also where several threads begin and end in turn."""
    LOG.setLevel(level)
    try:
        first, second = Reports(), Reports()
        for step in (first.__enter__, second.__enter__, first.__exit__):
            step()
            assert LOG.isEnabledFor(logging.INFO)
        second.__exit__()
        assert LOG.level == level
        assert first not in LOG.filters
        assert second not in LOG.filters
    finally:
        LOG.setLevel(logging.NOTSET)


@pytest.mark.parametrize("masked", [False, True])
def test_a_file_without_its_end_is_a_torso(tmp_path: Path, masked: bool) -> None:
    here = utm(300, 300)
    noise = np.random.default_rng(0).integers(0, 256, (2, *here.shape), dtype="uint8")
    mask = noise[0] > 100 if masked else None
    path = write(tmp_path / "a.tif", noise, here, mask=mask, tiled=True, interleave="pixel")
    require_whole(path)
    os.truncate(path, path.stat().st_size - 1)
    with pytest.raises(OSError, match="its end did not reach the disk"):
        require_whole(path)
    with pytest.raises(OSError, match="its end did not reach the disk"):
        publish(path, tmp_path / "b.tif")
    assert not (tmp_path / "b.tif").exists()


def test_blocks_left_out_on_purpose_are_not_missed(tmp_path: Path) -> None:
    here = utm(300, 300)
    empty = np.zeros((1, *here.shape), "uint8")
    require_whole(write(tmp_path / "a.tif", empty, here, tiled=True, sparse_ok=True))


FULL_DISK = """
import os, resource, sys
import numpy as np
from affine import Affine
from rasterio.crs import CRS
from rasterio.windows import Window
from geo_p2p.errors import RasterError
from geo_p2p.raster import Bands, Frame, RasterSink

limit, masked = int(sys.argv[1]), sys.argv[2] == "True"
frame = Frame(512, 512, Affine(1, 0, 5e5, 0, -1, 5e6), CRS.from_epsg(32633))
values = np.random.default_rng(0).integers(0, 256, (3, 512, 512), dtype="uint8")
valid = values[0] > 100 if masked else None
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
try:
    with RasterSink("a.tif", frame, Bands(3, "uint8")) as sink:
        for row in range(0, 512, 128):
            part = None if valid is None else valid[row : row + 128]
            sink.write(values[:, row : row + 128], Window(0, row, 512, 128), part)
    print("written", os.listdir())
except RasterError as error:
    print(error, os.listdir())
sys.stdout.flush()
os._exit(0)  # GDAL may stumble over the remains
"""


def on_a_disk_of(folder: Path, size: int, masked: bool) -> str:
    """Write 512 x 512 px of noise where files cannot grow beyond a size, bytes."""
    command = [sys.executable, "-c", FULL_DISK, str(size), str(masked)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, int]:
    """Sizes of the file with and without a mask, bytes."""
    pytest.importorskip("resource")
    sizes = {}
    for masked in (False, True):
        folder = tmp_path_factory.mktemp("disk")
        assert on_a_disk_of(folder, 10**8, masked) == "written ['a.tif']\n"
        sizes[masked] = (folder / "a.tif").stat().st_size
    return sizes


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("share", [0.001, 0.98, 0.99999])
def test_a_full_disk_is_an_error_and_leaves_nothing(
    tmp_path: Path, whole: dict[bool, int], masked: bool, share: float
) -> None:
    """GDAL reports it at closing, where rasterio does not raise, or not at all."""
    said = on_a_disk_of(tmp_path, int(whole[masked] * share), masked)
    assert re.fullmatch(r"a\.tif: cannot be written \(.+\); check .+ space left \[\]\n", said)
