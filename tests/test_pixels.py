"""Laws of PixelSource: images pixel on pixel, wherever they lie and whether they lie anywhere."""

import pickle
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affine import Affine
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.errors import NotGeoreferencedWarning
from rasterio.windows import Window
from rasters import utm, write, write_unplaced

from geo_p2p.chips.chip import ChipRecord
from geo_p2p.chips.outline import feature_collection
from geo_p2p.chips.stats import BandStats
from geo_p2p.errors import AlignmentError, RasterError
from geo_p2p.raster import Frame, PixelSource, RasterSink, RasterSource, encode

IMAGE = np.random.default_rng(0).integers(1, 250, (3, 40, 60)).astype("uint8")


def unplaced(path: Path, values: np.ndarray = IMAGE, **options: Any) -> Path:
    return write_unplaced(path, values, **options)


def test_an_image_without_a_place_is_read_as_it_is(tmp_path: Path) -> None:
    path = unplaced(tmp_path / "a.tif")
    with pytest.raises(RasterError, match="no coordinate reference system"):
        RasterSource(path)
    source = PixelSource(path)
    values, valid = source.read(Window(10, 5, 20, 30))
    assert np.array_equal(values, IMAGE[:, 5:35, 10:30])
    assert valid.all()
    assert source.frame == Frame.of_pixels(40, 60)
    assert (source.method, source.warped_to_map) == ("none", False)


def test_a_place_does_not_count(tmp_path: Path) -> None:
    """Neither a transform nor control points warp anything."""
    placed = write(tmp_path / "a.tif", IMAGE, utm(40, 60, 3.0, 20.0))
    points = [
        GroundControlPoint(row, col, 5e5 + 7 * col + row, 5e6 - row)
        for row, col in [(0, 0), (0, 60), (40, 0), (40, 60)]
    ]
    pointed = unplaced(tmp_path / "b.tif", gcps=(points, CRS.from_epsg(32633)))
    x = PixelSource(placed)
    for path in (placed, pointed):
        values, _ = PixelSource(path, like=x.frame).read()
        assert np.array_equal(values, IMAGE)


@pytest.mark.parametrize("kind", ["nodata", "mask", "alpha", "nan"])
def test_masks_are_those_of_the_file(tmp_path: Path, kind: str) -> None:
    hole = np.zeros((40, 60), bool)
    hole[3:9, 4:30] = True
    values = IMAGE[:1].astype("float32" if kind == "nan" else "uint8")
    options: dict[str, Any] = {"mask": ~hole} if kind == "mask" else {}
    if kind == "alpha":
        options = {"alpha": ~hole}
    elif kind in ("nodata", "nan"):
        values[:, hole] = np.nan if kind == "nan" else 0
        options = {"nodata": 0} if kind == "nodata" else {}
    path = write(tmp_path / "a.tif", values, utm(40, 60), **options)
    _, valid = PixelSource(path).read()
    assert np.array_equal(valid, ~hole)


def test_two_sizes_are_refused_by_name(tmp_path: Path) -> None:
    x, y = unplaced(tmp_path / "x.tif"), unplaced(tmp_path / "y.tif", IMAGE[:, :30])
    with pytest.raises(AlignmentError, match=r"y.tif is 60 x 30 px, but .* is 60 x 40") as error:
        PixelSource(y, like=PixelSource(x).frame)
    assert "\n" not in str(error.value)
    with pytest.raises(AlignmentError, match=r"y\.tif"):
        PixelSource([x, y])


@pytest.mark.parametrize("window", [Window(0, 0, 32, 32), Window(20, 7, 32, 32)], ids=str)
def test_a_chip_in_pixels_reads_back(tmp_path: Path, window: Window) -> None:
    source = PixelSource(unplaced(tmp_path / "a.tif"))
    frame = source.frame.crop(window)
    values, valid = source.read(window)
    with warnings.catch_warnings():
        warnings.simplefilter("error", NotGeoreferencedWarning)
        with RasterSink(tmp_path / "chip.tif", frame, source.info) as sink:
            sink.write(values, valid=valid)
        back = RasterSource(tmp_path / "chip.tif")
        encode("TIFF", values, valid, frame)
    assert (
        back.frame.transform
        == frame.transform
        == Affine(1, 0, window.col_off, 0, -1, -window.row_off)
    )
    assert back.frame.same_lattice(frame)
    assert np.array_equal(back.read()[0], values)
    assert source.frame.crs_name == back.frame.crs_name == "pixels"


def test_in_pixel_space_nothing_turns(tmp_path: Path) -> None:
    source = PixelSource(unplaced(tmp_path / "a.tif"))
    assert source.warped(Frame.of_pixels(40, 60)) is source
    with pytest.raises(RasterError, match=r"a\.tif: .* neither warped nor turned"):
        source.warped(source.frame.rotated(30))


def test_a_source_is_a_value_that_threads_read(tmp_path: Path) -> None:
    source = PixelSource([unplaced(tmp_path / "a.tif")], (3, 1), Frame.of_pixels(40, 60))
    copy = pickle.loads(pickle.dumps(source))
    assert type(copy) is PixelSource
    assert copy == source
    windows = [Window(n, n, 20, 10) for n in range(20)] * 5
    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(copy.read, windows))
    for window, (values, _) in zip(windows, got, strict=True):
        assert np.array_equal(values, IMAGE[[2, 0]][:, *window.toslices()])


def test_a_chip_in_pixels_is_a_feature_without_a_place() -> None:
    stats = BandStats.of(IMAGE, np.ones((40, 60), bool))
    records = [ChipRecord("a", "here", Window(0, 0, 32, 32), 0.0, 1.0, stats, stats)]
    for frame, kind in ((Frame.of_pixels(40, 60), None), (utm(40, 60), "Polygon")):
        document = feature_collection(records, {"a": "train"}, {"here": frame})
        geometry = document["features"][0]["geometry"]
        assert (geometry and geometry["type"]) == kind


def test_pixels_lead_to_no_map(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", IMAGE, utm(40, 60))
    with pytest.raises(AlignmentError, match=r"EPSG:32633.*pixels|pixels.*EPSG:32633"):
        RasterSource(path, like=Frame.of_pixels(40, 60))
