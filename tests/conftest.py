"""Fixtures shared by every test: rasters made to measure, the command line, the real data."""

import json
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import hypothesis
import numpy as np
import pytest
import rasterio
from affine import Affine
from click.testing import CliRunner
from rasterio.enums import ColorInterp

IN_CI = os.environ.get("CI") == "true"

# Read once, here: the fixture below hides every GEO_P2P_* variable from the tests.
RUN_SLOW = os.environ.get("GEO_P2P_SLOW", "0") not in ("", "0")
REAL_DATA = Path(
    os.environ.get("GEO_P2P_REAL_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data"
)

# torch reads this when a test first imports it, so that nothing has to import torch here.
# Small convolutions gain nothing from more threads, and tests run side by side.
os.environ.setdefault("OMP_NUM_THREADS", "1")

hypothesis.settings.register_profile("tests", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.load_profile("ci" if IN_CI else "tests")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what uses the real data; leave slow tests out unless somebody asks for them."""
    asked = RUN_SLOW or "slow" in config.getoption("markexpr")
    leave_out = pytest.mark.skip(reason="slow: set GEO_P2P_SLOW=1 to run it")
    for item in items:
        if "real_data" in getattr(item, "fixturenames", ()):
            item.add_marker("real")
        if item.get_closest_marker("slow") and not asked:
            item.add_marker(leave_out)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test of the GPU where there is none; only such a test loads torch for it."""
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("gpu: there is no CUDA device")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Fail a test of the real data that CI skipped although the data are there."""
    report = yield
    left_out = item.get_closest_marker("slow") and not RUN_SLOW
    real = item.get_closest_marker("real") and REAL_DATA.is_dir()
    if report.skipped and real and IN_CI and not left_out:
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid}: skipped in CI, but {REAL_DATA} exists"
    return report


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the settings of the person who runs the tests."""
    installation = {"GDAL_DATA", "GDAL_DRIVER_PATH"}  # where GDAL lies, not how it behaves
    for name in os.environ.keys() - installation:
        if name.startswith(("GDAL_", "GEO_P2P_")):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Return the folder of the real rasters; the test is skipped where there is none."""
    if not REAL_DATA.is_dir():
        pytest.skip(f"real: no folder {REAL_DATA}; set GEO_P2P_REAL_DATA")
    return REAL_DATA


MakeRaster = Callable[..., Path]


@pytest.fixture(scope="session")
def make_raster(tmp_path_factory: pytest.TempPathFactory) -> MakeRaster:
    """Return a function that writes an array as a small GeoTIFF (see ``write_raster``).

    Every call has a folder of its own, so that it serves inside hypothesis tests too.
    """

    def make(values: np.ndarray, name: str = "raster.tif", **options: Any) -> Path:
        path = tmp_path_factory.mktemp("raster") / name
        write_raster(path, values, **options)
        return path

    return make


def write_raster(
    path: Path,
    values: np.ndarray,
    *,
    crs: str | None = "EPSG:32633",
    transform: Affine | None = None,
    nodata: float | None = None,
    alpha: np.ndarray | None = None,
    mask: np.ndarray | None = None,
    mask_inside: bool = True,
    colors: dict[int, tuple[int, ...]] | None = None,
    names: Sequence[str] = (),
    **profile: Any,
) -> None:
    """Write an array as a georeferenced raster.

    Parameters
    ----------
    path
        Its suffix chooses the format.
    values
        (bands, rows, cols), or (rows, cols) for one band.
    crs, transform
        Where it lies; by default one-metre pixels, north up, upper left corner at
        (500000, 5000000). ``crs=None`` leaves out both unless a transform is given.
    nodata
        The value declared as nodata.
    alpha
        Bool (rows, cols), True = valid: a further band of 0 and 255, told as alpha.
    mask
        Bool (rows, cols), True = valid: a mask inside the file, or beside it (``.msk``)
        where ``mask_inside`` is false.
    colors
        {value: (r, g, b) or (r, g, b, a)}, the palette of the first band.
    names
        The descriptions of the bands.
    profile
        Anything else that ``rasterio.open`` takes: ``tiled=True``, ``dtype="float32"``.
    """
    bands = values[np.newaxis] if values.ndim == 2 else values
    if alpha is not None:
        opaque = np.iinfo(bands.dtype).max
        bands = np.concatenate([bands, np.where(alpha, opaque, 0)[np.newaxis].astype(bands.dtype)])
    if transform is None and crs is not None:
        transform = Affine(1, 0, 500_000, 0, -1, 5_000_000)
    count, height, width = bands.shape
    shape = {"count": count, "height": height, "width": width, "dtype": bands.dtype}
    place = {"crs": crs, "transform": transform, "nodata": nodata}
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=mask_inside),
        rasterio.open(path, "w", **{**shape, **place, **profile}) as dst,
    ):
        if alpha is not None:
            dst.colorinterp = [*dst.colorinterp[:-1], ColorInterp.alpha]
        if colors is not None:
            dst.write_colormap(1, colors)
        for number, name in enumerate(names, start=1):
            dst.set_band_description(number, name)
        dst.write(bands)
        if mask is not None:
            dst.write_mask(mask)


@dataclass(frozen=True)
class Ran:
    """What a command left behind."""

    code: int
    stdout: str
    stderr: str

    def json(self) -> Any:
        """Return the one JSON object on stdout."""
        return json.loads(self.stdout)


def run_command(
    *arguments: object, code: int | None = 0, command: click.Command | None = None
) -> Ran:
    """Run ``geo-p2p`` in this process, check its exit code and give the loggers back.

    ``code=None`` takes any.
    """
    from geo_p2p.cli.main import main

    words = [str(argument) for argument in arguments]
    loggers = [logging.getLogger(name) for name in ("geo_p2p", "rasterio")]
    kept = [(logger.handlers, logger.level, logger.propagate) for logger in loggers]
    try:
        result = CliRunner().invoke(command or main, words, catch_exceptions=False)
    finally:
        for logger, (handlers, level, propagate) in zip(loggers, kept, strict=True):
            logger.handlers, logger.propagate = handlers, propagate
            logger.setLevel(level)
    wrong = code is not None and result.exit_code != code
    assert not wrong, f"exit {result.exit_code}, not {code}:\n{result.output}"
    return Ran(result.exit_code, result.stdout, result.stderr)


@pytest.fixture
def runner() -> Callable[..., Ran]:
    """Return a function that runs ``geo-p2p`` in this process and checks its exit code.

    ``runner("info", path, code=1).stderr``; arguments may be paths and numbers. A bug in
    the command reaches the test as the exception it is. Fixtures of a wider scope take
    ``run_command`` itself.
    """
    return run_command
