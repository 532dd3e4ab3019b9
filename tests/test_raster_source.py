"""Laws of RasterSource: bands in order, and a handle for each thread and process."""

import gc
import multiprocessing
import os
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from rasterio.crs import CRS
from rasterio.enums import ColorInterp
from rasterio.windows import Window
from rasters import declared, digest, opened, seen_from, utm, write

from geo_p2p.errors import AlignmentError, RasterError
from geo_p2p.raster import Bands, Frame, RasterSource

HERE = utm(64, 80)
THERE = seen_from(HERE, CRS.from_epsg(3035), 1.3)


def image(count: int, dtype: str = "uint8", seed: int = 0) -> np.ndarray:
    """Noise on `HERE`."""
    return np.random.default_rng(seed).integers(1, 250, (count, *HERE.shape)).astype(dtype)


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photo") / "photo.tif"
    layout = {"tiled": True, "blockxsize": 16, "blockysize": 16, "compress": "deflate"}
    return write(path, image(3), HERE, **layout)


# --- bands ---------------------------------------------------------------------------


@pytest.mark.parametrize("bands", [None, (1,), (3, 1), (2, 2, 1), (1, 2, 3)])
@pytest.mark.parametrize("like", [None, THERE], ids=["own", "warped"])
def test_bands_come_in_the_order_asked_for(
    photo: Path, bands: tuple[int, ...] | None, like: Frame | None
) -> None:
    every = RasterSource(photo, like=like).read()[0]
    source = RasterSource(photo, bands, like)
    picked = [band - 1 for band in bands or (1, 2, 3)]
    assert np.array_equal(source.read()[0], every[picked])
    assert source.count == len(picked)


def test_band_numbers_count_through_the_files(tmp_path: Path) -> None:
    one = write(tmp_path / "one.tif", image(3), HERE, names=("r", "g", "b"))
    two = write(tmp_path / "two.tif", image(2, "float32", 1), HERE, names=("h", "s"))
    stack = np.concatenate([image(3), image(2, "float32", 1)])
    whole = RasterSource([one, two])
    assert whole.count == 5
    assert whole.dtype == whole.read()[0].dtype == "float32"
    assert whole.info.names == ("r", "g", "b", "h", "s")
    assert np.array_equal(whole.read()[0], stack)
    for bands in [(4, 1), (5, 2, 4), (1, 4, 1), (5,), (2, 3)]:
        source = RasterSource([one, two], bands)
        picked = [band - 1 for band in bands]
        assert np.array_equal(source.read()[0], stack[picked])
        assert source.info.names == tuple("rgbhs"[i] for i in picked)
    assert RasterSource([one, two], (2, 3)).dtype == "uint8"  # the other is not read


def test_a_stack_is_valid_where_every_file_is(tmp_path: Path) -> None:
    one, two = image(1), image(1, "int16", 1)
    one[0, :10], two[0, :, :10] = 0, -1
    paths = [
        write(tmp_path / "one.tif", one, HERE, nodata=0),
        write(tmp_path / "two.tif", two, HERE, nodata=-1),
    ]
    source = RasterSource(paths)
    assert np.array_equal(source.read()[1], (one[0] != 0) & (two[0] != -1))
    assert source.info.nodata is None  # they share none
    assert RasterSource(paths, (2,)).info.nodata == -1


def test_a_stack_of_files_on_different_lattices_needs_a_common_one(tmp_path: Path) -> None:
    one = write(tmp_path / "one.tif", image(1), HERE)
    off = Frame(64, 80, HERE.transform * Affine.translation(0.1, 0), HERE.crs)
    two = write(tmp_path / "two.tif", image(1), off)
    with pytest.raises(AlignmentError, match=r"two\.tif.*one\.tif.*rio warp --like") as caught:
        RasterSource([one, two])
    assert "\n" not in str(caught.value)
    assert RasterSource([one, two], like=THERE).count == 2


def test_descriptions_are_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", image(2, "int16"), HERE, nodata=-5, names=("red", "nir"))
    with opened(path, mode="r+") as dataset:
        dataset.units, dataset.scales, dataset.offsets = ("", "K"), (1.0, 0.5), (0.0, -3.0)
    info = RasterSource(path).info
    assert info.names == ("red", "nir")
    assert info.units == ("", "K")
    assert (info.scales, info.offsets) == ((1.0, 0.5), (0.0, -3.0))
    assert (info.nodata, info.dtype, info.count) == (-5, "int16", 2)
    assert not info.categorical
    both = RasterSource([path, write(tmp_path / "b.tif", image(1), HERE)]).info
    assert (both.scales, both.offsets) == ((1.0, 0.5, 1.0), (0.0, -3.0, 0.0))


def test_a_palette_or_class_names_make_classes(tmp_path: Path) -> None:
    palette = write(tmp_path / "a.tif", image(1), HERE, colors={1: (255, 0, 0, 255)})
    assert RasterSource(palette).info.colors[1] == (255, 0, 0, 255)
    named = write(tmp_path / "b.tif", image(1, "int16"), HERE)
    Path(f"{named}.aux.xml").write_text(
        '<PAMDataset><PAMRasterBand band="1"><CategoryNames><Category></Category>'
        "<Category>Wald &amp; Wiese</Category></CategoryNames></PAMRasterBand></PAMDataset>"
    )
    assert RasterSource(named).info.classes == {1: "Wald & Wiese"}
    # GDAL calls it a palette, but there is none.
    empty = write(tmp_path / "c.tif", image(1, "uint16"), HERE)
    with opened(empty, mode="r+") as dataset:
        dataset.colorinterp = [ColorInterp.palette]
    for path in (palette, named, empty):
        assert RasterSource(path).info.categorical
        assert RasterSource(path, like=THERE).method == "nearest"
    assert not RasterSource(write(tmp_path / "d.tif", image(1), HERE)).info.categorical


def test_bands_of_several_types_are_read_in_one_that_holds_all(tmp_path: Path) -> None:
    path = declared(tmp_path, image(2, "int16"), HERE, [("Byte", 0), ("Int16", 0)])
    for like in (None, THERE):
        source = RasterSource(path, like=like)
        values, valid = source.read()
        assert source.dtype == values.dtype == "int16"
        assert (values[:, valid] > 0).all()


FULL = [("uint8", 0, 255), ("int16", -32768, 32767), ("float32", -np.inf, np.inf)]


@pytest.mark.parametrize(("dtype", "low", "high"), FULL)
def test_a_type_has_a_full_range(dtype: str, low: float, high: float) -> None:
    assert Bands(1, dtype).full_range == (low, high)


# --- windows and handles -------------------------------------------------------------


@pytest.mark.parametrize("like", [None, THERE], ids=["own", "warped"])
def test_a_window_that_leaves_the_raster_is_refused(photo: Path, like: Frame | None) -> None:
    """GDAL would return fewer pixels, and say nothing."""
    source = RasterSource(photo, like=like)
    height, width = source.frame.shape
    assert source.read(Window(width - 3, height - 2, 3, 2))[1].shape == (2, 3)
    for window in [(width - 3, 0, 4, 1), (0, height, 1, 1), (-1, 0, 2, 2), (0, 0, 0, 5)]:
        with pytest.raises(RasterError, match=r"photo\.tif: rows .* lie outside its"):
            source.read(Window(*window))


@pytest.mark.parametrize("like", [None, THERE], ids=["own", "warped"])
def test_eight_threads_read_what_one_reads(photo: Path, like: Frame | None) -> None:
    source = RasterSource(photo, like=like)
    rng = np.random.default_rng(0)
    windows = [Window(*rng.integers(0, 20, 2), *rng.integers(1, 25, 2)) for _ in range(20)]
    serial = [source.read(window) for window in windows]

    def reads(seed: int) -> bool:
        picks = np.random.default_rng(seed).integers(0, len(windows), 300)
        return all(
            np.array_equal(got, expected)
            for pick in picks
            for got, expected in zip(source.read(windows[pick]), serial[pick], strict=True)
        )

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(reads, range(8)))


def test_a_handle_belongs_to_one_thread(photo: Path) -> None:
    source = RasterSource(photo)
    everyone = threading.Barrier(3)

    def handle(_: int) -> object:
        everyone.wait()
        assert source._layers[0].dataset is source._layers[0].dataset
        return source._layers[0].dataset

    with ThreadPoolExecutor(3) as pool:
        handles = [source._layers[0].dataset, *pool.map(handle, range(3))]
    assert len(set(map(id, handles))) == 4


def test_handles_are_closed_with_their_source_or_thread(photo: Path) -> None:
    def files() -> int:
        gc.collect()
        return sum(f.resolve().name == photo.name for f in Path("/proc/self/fd").iterdir())

    if not Path("/proc/self/fd").is_dir():
        pytest.skip("no /proc to count open files in")
    before = files()
    source = RasterSource(photo, like=THERE)
    threads = [threading.Thread(target=source.read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert files() == before + 1
    for _ in range(3):
        with pytest.raises(RasterError):
            RasterSource([photo, "missing.tif"])
    assert files() == before + 1
    del source
    assert files() == before


def test_a_source_is_a_value(photo: Path) -> None:
    source = RasterSource([photo], (3, 1), THERE, "cubic")
    assert source == RasterSource(str(photo), [3, 1], THERE, "cubic")
    assert hash(source) == hash(RasterSource(photo, [3, 1], THERE, "cubic"))
    assert source != RasterSource(photo, (1, 3), THERE, "cubic")
    copy = pickle.loads(pickle.dumps(source))
    assert copy == source
    assert all(np.array_equal(a, b) for a, b in zip(copy.read(), source.read(), strict=True))
    assert str(photo) in repr(source)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_fork_opens_handles_of_its_own(photo: Path) -> None:
    """Two processes on one handle would move each other's place in the file."""
    source = RasterSource(photo)
    ours, expected = source._layers[0].dataset, source.read()
    context = multiprocessing.get_context("fork")

    def child() -> None:
        own = source._layers[0].dataset is not ours
        same = all(np.array_equal(a, b) for a, b in zip(source.read(), expected, strict=True))
        os._exit(0 if own and same else 1)

    process = context.Process(target=child)
    process.start()
    process.join()
    assert process.exitcode == 0
    assert source._layers[0].dataset is ours


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.parametrize("like", [None, THERE], ids=["own", "warped"])
def test_other_processes_read_the_same(photo: Path, method: str, like: Frame | None) -> None:
    """The handle opened here is not used there, however the process came to be."""
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {method} here")
    source = RasterSource(photo, like=like)
    windows = [Window(5 * i, 3 * i, 20, 10) for i in range(6)]
    here = [digest(source, window) for window in windows]
    with multiprocessing.get_context(method).Pool(2) as pool:
        there = pool.starmap(digest, [(source, window) for window in windows])
    assert there == here
