"""The tests' own rules: what is skipped, when that is an error, and what the fixtures make."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.enums import ColorInterp, MaskFlags

# A project of four tests that lives by the rules of this folder.
TESTS = """
import os
import pytest

def test_of_the_data(real_data):
    assert real_data.is_dir()

@pytest.mark.real
def test_that_skips_by_itself():
    if "SKIP" in os.environ:
        pytest.skip("it does not feel like it")

@pytest.mark.slow
def test_that_takes_minutes():
    pass

def test_of_the_environment():
    assert not [name for name in os.environ if name.startswith(("GDAL_", "GEO_P2P_"))]
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a folder with this folder's conftest, the settings and a few tests."""
    here = Path(__file__).resolve().parent
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_few.py").write_text(TESTS)
    shutil.copy(here / "conftest.py", tmp_path / "tests")
    shutil.copy(here.parent / "pyproject.toml", tmp_path)
    return tmp_path


def outcome(project: Path, **variables: str) -> tuple[int, str]:
    """Run the tests of a project; return the exit code and what pytest said."""
    variables.setdefault("GEO_P2P_REAL_DATA", str(project))
    kept = {name: value for name, value in os.environ.items() if name not in ("CI", "SKIP")}
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider"],
        cwd=project,
        env={**kept, "GDAL_CACHEMAX": "7", **variables},
        capture_output=True,
        text=True,
    )
    return ran.returncode, ran.stdout


def test_slow_tests_run_where_they_are_asked_for(project) -> None:
    code, text = outcome(project)
    assert (code, "3 passed, 1 skipped" in text) == (0, True), text
    assert "GEO_P2P_SLOW=1" in text
    code, text = outcome(project, GEO_P2P_SLOW="1", CI="true")
    assert (code, "4 passed" in text) == (0, True), text


def test_without_the_real_data_a_test_of_them_is_skipped_and_says_so(project) -> None:
    code, text = outcome(project, GEO_P2P_REAL_DATA="/nowhere", CI="true", SKIP="1")
    assert (code, "1 passed, 3 skipped" in text) == (0, True), text
    assert "no folder /nowhere" in text


def test_ci_fails_where_a_test_of_the_real_data_is_skipped_beside_them(project) -> None:
    code, text = outcome(project, SKIP="1")
    assert (code, "2 passed, 2 skipped" in text) == (0, True), text
    code, text = outcome(project, SKIP="1", CI="true")
    assert (code, "1 failed, 2 passed, 1 skipped" in text) == (1, True), text
    assert f"skipped in CI, but {project} exists" in text


VALID = np.array([[True, False], [True, True]])


def test_a_raster_lies_north_up_on_one_metre_pixels(make_raster) -> None:
    values = np.arange(12, dtype="int16").reshape(2, 2, 3)
    with rasterio.open(make_raster(values, nodata=3, names=["a", "b"])) as src:
        assert src.crs == "EPSG:32633"
        assert src.bounds == (500_000, 4_999_998, 500_003, 5_000_000)
        assert (src.nodata, src.descriptions, src.dtypes) == (3, ("a", "b"), ("int16", "int16"))
        assert (src.read() == values).all()


def test_two_rasters_never_share_a_path(make_raster) -> None:
    values = np.zeros((2, 2), "uint8")
    assert make_raster(values) != make_raster(values)


def test_an_alpha_band_comes_last_and_is_told_as_alpha(make_raster) -> None:
    with rasterio.open(make_raster(np.zeros((3, 2, 2), "uint16"), alpha=VALID)) as src:
        assert src.colorinterp[-1] is ColorInterp.alpha
        assert ((src.read(4) == 65535) == VALID).all()


@pytest.mark.parametrize("inside", [True, False])
def test_a_mask_lies_inside_the_file_or_beside_it(make_raster, inside) -> None:
    path = make_raster(np.zeros((2, 2), "uint8"), mask=VALID, mask_inside=inside)
    assert path.with_name(f"{path.name}.msk").exists() is not inside
    with rasterio.open(path) as src:
        assert src.mask_flag_enums == ([MaskFlags.per_dataset],)
        assert ((src.read_masks(1) > 0) == VALID).all()


def test_a_palette_is_written(make_raster) -> None:
    colors = {0: (1, 2, 3), 7: (9, 8, 7, 255)}
    with rasterio.open(make_raster(np.zeros((2, 2), "uint8"), colors=colors)) as src:
        assert src.colorinterp == (ColorInterp.palette,)
        assert src.colormap(1)[0] == (1, 2, 3, 255)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_a_raster_may_have_no_place(make_raster) -> None:
    with rasterio.open(make_raster(np.zeros((2, 2), "uint8"), crs=None)) as src:
        assert src.crs is None
        assert src.transform.is_identity
