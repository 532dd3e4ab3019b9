"""Laws of RasterSink: what is written is read back, and a file is whole or not there."""

from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from rasterio.enums import MaskFlags
from rasters import opened, tiles, utm

from geo_p2p.errors import RasterError
from geo_p2p.raster import Bands, Frame, RasterSink, RasterSource, partial_path

HERE = utm(70, 90)
DTYPES = ["uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64"]
FRAMES = {
    "north up": HERE,
    "rotated": utm(70, 90, turn=25),
    "south up": Frame(70, 90, Affine(2, 0, 5e5, 0, 3, 5e6), HERE.crs),
}


def noise(bands: Bands, frame: Frame = HERE) -> np.ndarray:
    """Values over the full range of a type."""
    rng = np.random.default_rng(0)
    shape = (bands.count, *frame.shape)
    if np.dtype(bands.dtype).kind == "f":
        return rng.normal(0, 1e3, shape).astype(bands.dtype)
    return rng.integers(*map(int, bands.full_range), shape, endpoint=True).astype(bands.dtype)


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def half(frame: Frame = HERE) -> np.ndarray:
    """Return a mask with a ragged hole."""
    valid = np.random.default_rng(1).random(frame.shape) > 0.1
    valid[20:50, 30:80] = False
    return valid


def put(
    path: Path, bands: Bands, frame: Frame = HERE, valid: np.ndarray | None = None
) -> np.ndarray:
    """Write noise and return it."""
    values = noise(bands, frame)
    with RasterSink(path, frame, bands) as sink:
        sink.write(values, valid=valid)
    return values


# --- what is written is read back ----------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("nodata", [None, 0, 100.0])
def test_values_masks_and_place_come_back(tmp_path: Path, dtype: str, nodata: float | None) -> None:
    path, valid = tmp_path / "a.tif", half()
    values = put(path, Bands(2, dtype, nodata), valid=valid)
    source = RasterSource(path)
    got, got_valid = source.read()
    assert source.frame == HERE
    assert got.dtype == dtype
    assert source.info.nodata == nodata
    assert np.array_equal(got[:, valid], values[:, valid])
    chance = (values == nodata).any(0)  # a valid value that equals nodata: see the predictor
    assert np.array_equal(got_valid, valid & ~chance)
    assert files(tmp_path) == ["a.tif"]


@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES)
@pytest.mark.parametrize("nodata", [None, np.nan, -1.5])
def test_any_frame_and_nodata_come_back(tmp_path: Path, frame: Frame, nodata: float | None) -> None:
    path, valid = tmp_path / "a.tif", half(frame)
    values = put(path, Bands(1, "float32", nodata), frame, valid)
    source = RasterSource(path)
    got, got_valid = source.read()
    assert source.frame.same_lattice(frame, 1e-9)
    assert str(source.info.nodata) == str(nodata)
    assert np.array_equal(got_valid, valid)
    assert np.array_equal(got[:, valid], values[:, valid])


def test_descriptions_come_back(tmp_path: Path) -> None:
    bands = Bands(
        4, "uint16", nodata=0, names=("red", "", "blå", "nir"), units=("DN", "", "", "W/m2"),
        interp=("red", "green", "blue", "undefined"), scales=(1.0, 0.5, 1.0, 1.0),
        offsets=(0.0, 0.0, -3.0, 0.0),
    )  # fmt: skip
    with RasterSink(tmp_path / "a.tif", HERE, bands, tags={"MODEL": "a → b", "SEED": "7"}) as sink:
        sink.write(noise(bands))
    assert RasterSource(tmp_path / "a.tif").info == bands
    with opened(tmp_path / "a.tif") as dataset:
        assert dataset.tags().items() >= {"MODEL": "a → b", "SEED": "7"}.items()


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_a_palette_comes_back(tmp_path: Path, dtype: str) -> None:
    colors = {0: (0, 0, 0, 255), 11: (70, 107, 159, 255), 255: (255, 0, 9, 255)}
    values = put(tmp_path / "a.tif", Bands(1, dtype, colors=colors))
    source = RasterSource(tmp_path / "a.tif")
    assert source.info.colors.items() >= colors.items()
    assert source.info.interp == ("palette",)
    assert source.info.categorical
    assert np.array_equal(source.read()[0], values)


def test_a_palette_that_a_geotiff_cannot_hold_is_left_out(tmp_path: Path) -> None:
    bands = Bands(1, "int16", colors={1: (255, 0, 0, 255)}, interp=("palette",))
    values = put(tmp_path / "a.tif", bands)
    assert np.array_equal(RasterSource(tmp_path / "a.tif").read()[0], values)


def test_files_are_tiled_and_compressed(tmp_path: Path) -> None:
    frame, bands = utm(600, 700), Bands(3, "uint8")
    with RasterSink(tmp_path / "a.tif", frame, bands) as sink:
        sink.write(noise(bands, frame))
    with opened(tmp_path / "a.tif") as dataset:
        assert dataset.block_shapes == [(512, 512)] * 3
        assert dataset.profile["compress"] == "deflate"
        assert dataset.profile["interleave"] == "pixel"


# --- masks and windows ---------------------------------------------------------------


def test_a_mask_appears_only_when_something_is_invalid(tmp_path: Path) -> None:
    bands = Bands(1, "uint8")
    put(tmp_path / "all.tif", bands, valid=np.ones(HERE.shape, bool))
    put(tmp_path / "none.tif", bands)
    put(tmp_path / "hole.tif", bands, valid=half())
    put(tmp_path / "nodata.tif", Bands(1, "uint8", 0), valid=half())
    flags = {}
    for path in tmp_path.iterdir():
        with opened(path) as dataset:
            flags[path.stem] = dataset.mask_flag_enums[0]
    assert flags == {
        "all": [MaskFlags.all_valid],
        "none": [MaskFlags.all_valid],
        "hole": [MaskFlags.per_dataset],
        "nodata": [MaskFlags.nodata],
    }


@given(order=st.permutations(range(6)), holes=st.sets(st.integers(0, 5)), silent=st.booleans())
def test_windows_may_come_in_any_order(
    tmp_path_factory: pytest.TempPathFactory, order: list[int], holes: set[int], silent: bool
) -> None:
    """A mask that begins with a late window knows of the earlier ones."""
    path = tmp_path_factory.mktemp("sink") / "a.tif"
    bands, valid, windows = Bands(2, "int16"), np.ones(HERE.shape, bool), list(tiles(HERE, 35))
    values = noise(bands)
    for index in holes:
        valid[windows[index].toslices()] = half()[windows[index].toslices()]
    with RasterSink(path, HERE, bands) as sink:
        for index in order:
            at = windows[index].toslices()
            known = None if silent and index not in holes else valid[at]
            sink.write(values[:, *at], windows[index], known)
    got, got_valid = RasterSource(path).read()
    assert np.array_equal(got_valid, valid)
    assert np.array_equal(got, values)


@pytest.mark.parametrize("nodata", [None, 7])
def test_pixels_that_no_window_covers_are_invalid(tmp_path: Path, nodata: int | None) -> None:
    """They are where anything is: without nodata and holes there is no mask to say it."""
    valid = half()
    valid[:35] = True  # the mask begins with the last window
    with RasterSink(tmp_path / "a.tif", HERE, Bands(1, "uint8", nodata)) as sink:
        for window in list(tiles(HERE, 35))[:4]:
            at = window.toslices()
            sink.write(np.full((1, *valid[at].shape), 9, "uint8"), window, valid[at])
    valid[35:, 35:] = False
    assert np.array_equal(RasterSource(tmp_path / "a.tif").read()[1], valid)


# --- whole or not there --------------------------------------------------------------


def test_a_file_appears_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    with RasterSink(path, HERE, Bands(1, "uint8")) as sink:
        sink.write(noise(Bands(1, "uint8")))
        assert not path.exists()
        assert partial_path(path).exists()
    assert files(tmp_path) == ["a.tif"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, RasterError])
def test_an_error_leaves_nothing_but_the_old_file(
    tmp_path: Path, error: type[BaseException]
) -> None:
    path = tmp_path / "a.tif"
    old = put(path, Bands(1, "uint8"))
    with pytest.raises(error), RasterSink(path, HERE, Bands(3, "int16"), overwrite=True) as sink:
        sink.write(noise(Bands(3, "int16")), valid=half())
        raise error
    assert files(tmp_path) == ["a.tif"]
    assert np.array_equal(RasterSource(path).read()[0], old)


def test_an_old_file_goes_with_what_described_it(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    put(path, Bands(1, "uint8"))
    Path(f"{path}.aux.xml").write_text("<PAMDataset />")
    for suffix in (".msk", ".ovr"):
        Path(f"{path}{suffix}").write_bytes(path.read_bytes())
    with RasterSink(path, HERE, Bands(1, "uint8"), overwrite=True) as sink:
        sink.write(noise(Bands(1, "uint8")))
    assert files(tmp_path) == ["a.tif"]


def test_what_a_killed_process_left_is_not_in_the_way(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    partial_path(path).write_bytes(b"II*\0 broken")
    values = put(path, Bands(1, "uint8"))
    assert np.array_equal(RasterSource(path).read()[0], values)
    assert files(tmp_path) == ["a.tif"]


@pytest.mark.parametrize(
    ("name", "bands", "words"),
    [
        ("taken.tif", Bands(1, "uint8"), "exists already; choose another name or say overwrite"),
        ("folder", Bands(1, "uint8"), "is a folder; name a file"),
        ("none/a.tif", Bands(1, "uint8"), "its folder does not exist; make it first"),
        ("a.tif", Bands(1, "uint8", -9999), "nodata -9999 is no uint8"),
        ("a.tif", Bands(1, "int64", -(2.0**63)), "nodata .* is no int64"),
    ],
)
def test_an_impossible_file_is_refused_by_name(
    tmp_path: Path, name: str, bands: Bands, words: str
) -> None:
    (tmp_path / "taken.tif").touch()
    (tmp_path / "folder").mkdir()
    with (
        pytest.raises(RasterError, match=words) as caught,
        RasterSink(tmp_path / name, HERE, bands),
    ):
        pass
    assert str(caught.value).startswith(str(tmp_path / name))
    assert files(tmp_path) == ["folder", "taken.tif"]
