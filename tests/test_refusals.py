"""What RasterSource does with files that are damaged, misplaced or at the edge of the Earth."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from conftest import REAL_DATA, write_raster
from rasterio.crs import CRS
from rasterio.enums import ColorInterp
from rasterio.windows import Window
from rasters import opened, ramps, seen_from, utm, write, write_unplaced

from geo_p2p.errors import AlignmentError, GeoP2PError, RasterError
from geo_p2p.raster import Frame, RasterSource

HERE = utm(40, 50)
ONES = np.ones((1, 40, 50), "uint8")
DEGREES = CRS.from_epsg(4326)


def no_crs(folder: Path) -> Path:
    write_raster(folder / "a.tif", ONES, crs=None, transform=HERE.transform)
    return folder / "a.tif"


def truncated(folder: Path) -> Path:
    noise = np.random.default_rng(0).integers(0, 255, (1, 200, 200), dtype="uint8")
    path = write(folder / "a.tif", noise, utm(200, 200))
    os.truncate(path, 20_000)
    return path


def container(folder: Path) -> Path:
    write(folder / "a.tif", ONES, HERE)
    write(folder / "a.tif", ONES, HERE, APPEND_SUBDATASET="YES")
    return folder / "a.tif"


def text(folder: Path) -> Path:
    (folder / "a.tif").write_text("no raster\n")
    return folder / "a.tif"


def nothing_but_alpha(folder: Path) -> Path:
    path = write(folder / "a.tif", ONES, HERE)
    with opened(path, mode="r+") as dataset:
        dataset.colorinterp = [ColorInterp.alpha]
    return path


REFUSED: dict[str, tuple[Callable[[Path], Path], str]] = {
    "no CRS": (no_crs, r"no coordinate reference system.*rio edit-info --crs"),
    "no transform": (
        lambda folder: write_unplaced(folder / "a.tif", ONES, crs=HERE.crs),
        r"no transform.*rio edit-info --transform",
    ),
    "neither": (
        lambda folder: write_unplaced(folder / "a.tif", ONES),
        r"no coordinate reference system",
    ),
    "complex": (
        lambda folder: write(folder / "a.tif", ONES.astype("complex64"), HERE),
        r"complex numbers.*convert to amplitude or phase",
    ),
    "container": (container, r"2 subdatasets; name one of them: GTIFF_DIR:1:.*, GTIFF_DIR:2:"),
    "missing": (lambda folder: folder / "a.tif", r"no such file"),
    "text": (text, r"not a raster that can be opened"),
    "folder": (lambda folder: folder, r"not a raster that can be opened"),
    "alpha alone": (nothing_but_alpha, r"nothing but an alpha band"),
}


def one_line(message: str) -> bool:
    return "\n" not in message and "See previous" not in message


@pytest.mark.parametrize("kind", REFUSED)
def test_a_refusal_names_the_file_and_the_remedy_in_one_line(tmp_path: Path, kind: str) -> None:
    make, words = REFUSED[kind]
    path = make(tmp_path)
    with pytest.raises(RasterError, match=words) as caught:
        RasterSource(path)
    assert str(caught.value).startswith(str(path))
    assert one_line(str(caught.value))


def test_a_subdataset_can_be_named(tmp_path: Path) -> None:
    path = container(tmp_path)
    assert np.array_equal(RasterSource(f"GTIFF_DIR:2:{path}").read()[0], ONES)
    with pytest.raises(RasterError, match="GTIFF_DIR:3"):
        RasterSource(f"GTIFF_DIR:3:{path}")


@pytest.mark.parametrize("like", [None, utm(90, 90, 2.2)], ids=["own", "warped"])
def test_a_truncated_file_is_never_half_read(tmp_path: Path, like: Frame | None) -> None:
    path = truncated(tmp_path)
    source = RasterSource(path, like=like)
    with pytest.raises(RasterError, match=r"a\.tif: cannot be read at row 0.*damaged") as caught:
        source.read()
    assert one_line(str(caught.value))
    if like is None:
        assert source.read(Window(0, 0, 5, 5))[1].all()  # what is there can be read


@pytest.mark.parametrize(
    ("bands", "words"),
    [
        ((5,), r"no band 5; it has 4, counted from 1"),
        ((0,), r"no band 0; it has 4"),
        ((1, 7, -1), r"no band -1, 7"),
        ((4,), r"band 4 is the alpha band, which is a mask"),
        ((), r"no band chosen"),
    ],
)
def test_a_band_that_cannot_be_read_is_named(
    tmp_path: Path, bands: tuple[int, ...], words: str
) -> None:
    path = tmp_path / "a.tif"
    write_raster(path, ONES.repeat(3, axis=0), alpha=ONES[0] > 0)
    with pytest.raises(RasterError, match=words) as caught:
        RasterSource(path, bands)
    assert str(path) in str(caught.value)


def test_arguments_that_mean_nothing_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RasterError, match="'best': choose one of auto, nearest"):
        RasterSource(write(tmp_path / "a.tif", ONES, HERE), resampling="best")
    with pytest.raises(RasterError, match="at least one path"):
        RasterSource([])


def test_rasters_without_common_ground_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", ONES, HERE)
    elsewhere = [
        Frame(40, 50, HERE.transform * Affine.translation(60, 0), HERE.crs),
        Frame(40, 50, Affine(0.01, 0, -70, 0, -0.01, 10), DEGREES),
        Frame(40, 50, HERE.transform, CRS.from_epsg(32733)),
    ]
    for like in elsewhere:
        with pytest.raises(AlignmentError, match=r"a\.tif.*shares no ground.*same place"):
            RasterSource(path, like=like)


def test_a_crs_that_is_nowhere_on_earth_is_refused(tmp_path: Path) -> None:
    site = CRS.from_wkt('LOCAL_CS["site",UNIT["metre",1]]')
    path = write(tmp_path / "a.tif", ONES, Frame(40, 50, HERE.transform, site))
    assert RasterSource(path).read()[1].all()
    with pytest.raises(
        AlignmentError, match=r"a\.tif: no transformation leads .* assign another CRS"
    ):
        RasterSource(path, like=seen_from(HERE, DEGREES, 1))


# --- the edge of the Earth -----------------------------------------------------------

GLOBE = Frame(90, 180, Affine(2, 0, -180, 0, -2, 90), DEGREES)

EDGES = {
    "mercator": Frame(80, 80, Affine(5e5, 0, -2e7, 0, -5e5, 2e7), CRS.from_epsg(3857)),
    "pole": Frame(80, 80, Affine(1e5, 0, -4e6, 0, -1e5, 4e6), CRS.from_epsg(3413)),
    "half a globe": Frame(
        80, 80, Affine(2e5, 0, -8e6, 0, -2e5, 8e6), CRS.from_string("+proj=ortho +lat_0=40")
    ),
    "beyond the globe": Frame(
        80, 80, Affine(2e5, 0, -1.8e7, 0, -2e5, 8e6), CRS.from_string("+proj=ortho +lat_0=40")
    ),
    "ellipse": Frame(80, 80, Affine(5e5, 0, -2e7, 0, -3e5, 1.2e7), CRS.from_string("+proj=moll")),
    "antimeridian": Frame(80, 80, Affine(2e4, 0, 2e6, 0, -2e4, -1e6), CRS.from_epsg(3832)),
    "beyond 180 degrees": Frame(40, 80, Affine(0.5, 0, 160, 0, -0.5, 10), DEGREES),
}


@pytest.mark.parametrize("edge", EDGES)
def test_at_the_edge_of_the_earth_pixels_are_invalid(tmp_path: Path, edge: str) -> None:
    """Not an error, not a wrong value: what can be reached is right, the rest is invalid."""
    like = EDGES[edge]
    source = RasterSource(
        write(tmp_path / "globe.tif", ramps(GLOBE), GLOBE), like=like, resampling="nearest"
    )
    values, valid = source.read()
    rows, cols = np.indices(like.shape) + 0.5
    where = like.pixels_in(GLOBE, cols.ravel(), rows.ravel()).reshape(2, *like.shape)
    with np.errstate(invalid="ignore"):
        inside = (where > 0).all(0) & (where[0] < GLOBE.width) & (where[1] < GLOBE.height)
    assert (valid != inside).mean() < 0.03  # a rim, where the warp interpolates positions
    assert inside.mean() > 0.1
    both = valid & inside
    off = np.abs(values - where)[:, both]
    off[0] = np.minimum(off[0], GLOBE.width - off[0])  # around the globe
    assert np.quantile(off, 0.99) < 0.6


COUNTED = {
    "-180 to 180": Frame(300, 3600, Affine(0.1, 0, -180, 0, -0.1, 15), DEGREES),
    "0 to 360": Frame(300, 3600, Affine(0.1, 0, 0, 0, -0.1, 15), DEGREES),
    "170 to 190": Frame(300, 200, Affine(0.1, 0, 170, 0, -0.1, 15), DEGREES),
    "-190 to -170": Frame(300, 200, Affine(0.1, 0, -190, 0, -0.1, 15), DEGREES),
}
GROUNDS = {
    "across 180": Frame(60, 80, Affine(1e4, 0, 6e5, 0, -1e4, 2e5), CRS.from_epsg(32660)),
    "the west": Frame(60, 80, Affine(1e4, 0, 1e5, 0, -1e4, 2e5), CRS.from_epsg(32601)),
    "across 0": Frame(60, 80, Affine(1e4, 0, -4e5, 0, -1e4, 2e5), CRS.from_epsg(32631)),
    "a far west": Frame(60, 80, Affine(1e4, 0, 2e5, 0, -1e4, 2e5), CRS.from_epsg(32618)),
}


@pytest.mark.parametrize("resampling", ["nearest", "bilinear", "cubic"])
@pytest.mark.parametrize("ground", GROUNDS)
@pytest.mark.parametrize("counted", COUNTED)
def test_longitudes_may_be_counted_beyond_180(
    tmp_path: Path, counted: str, ground: str, resampling: str
) -> None:
    """All ground that the raster has is found, and nothing is taken from the other side."""
    src, like = COUNTED[counted], GROUNDS[ground]
    rows, cols = np.indices(like.shape) + 0.5
    where = like.pixels_in(src, cols.ravel(), rows.ravel()).reshape(2, *like.shape)
    inside = (where[0] > 0) & (where[0] < src.width)
    path = write(tmp_path / "a.tif", ramps(src), src, nodata=-1)
    try:
        source = RasterSource(path, like=like, resampling=resampling)
    except AlignmentError:
        assert not inside.any()
        return
    values, valid = source.read()
    if not inside.any():
        assert not valid.any()
        return
    off = np.abs(values - where)
    assert valid[inside].all()
    # Half a pixel beyond the last one some methods still have a value, but no neighbour.
    assert (where[0][valid] > -1).all() and (where[0][valid] < src.width + 1).all()
    near = (where[0] > 1) & (where[0] < src.width - 1) & valid
    assert off[:, near].max() < (0.51 if resampling == "nearest" else 0.02)
    part = Window(30, 20, 21, 22)
    again, there = source.read(part)
    assert np.array_equal(there, valid[part.toslices()])
    assert np.array_equal(again[:, there], values[:, *part.toslices()][:, there])


def test_a_tile_at_the_pole_is_found(tmp_path: Path) -> None:
    """None of its corners, and no box around the other raster, tells that it lies inside."""
    polar = Frame(100, 100, Affine(3e4, 0, -1.6e6, 0, -3e4, 1.4e6), CRS.from_epsg(3413))
    path = write(tmp_path / "polar.tif", np.ones((1, 100, 100), "uint8"), polar)
    tile = Frame(10, 10, Affine(1, 0, 40, 0, -0.01, 90), DEGREES)
    assert RasterSource(path, like=tile).read()[1].all()


def test_two_sides_of_the_antimeridian_are_not_everywhere_between() -> None:
    fiji = Frame(100, 100, Affine(6000, 0, 300_000, 0, -6000, 8_300_000), CRS.from_epsg(32760))
    assert fiji.bounds[2] > 833_000  # it reaches over 180 degrees
    africa = Frame(50, 50, Affine(0.1, 0, 20, 0, -0.1, -15), DEGREES)
    tonga = Frame(50, 50, Affine(0.1, 0, -179.9, 0, -0.1, -16), DEGREES)
    assert not fiji.overlaps(africa)
    assert not africa.overlaps(fiji)
    assert fiji.overlaps(tonga)
    assert tonga.overlaps(fiji)


# --- real files ----------------------------------------------------------------------

ODD = sorted((REAL_DATA / "odd").rglob("*.tif"))


@pytest.mark.real
@pytest.mark.parametrize("path", ODD, ids=[path.name for path in ODD])
def test_an_odd_file_is_read_or_refused_in_one_line(real_data: Path, path: Path) -> None:
    try:
        source = RasterSource(path)
        height, width = (min(n, 700) for n in source.frame.shape)
        for window in (Window(0, 0, width, height), source.frame.window_of(source.frame.bounds)):
            if window.width * window.height > 4e6:
                continue
            values, valid = source.read(window)
            assert values.shape == (source.count, window.height, window.width)
            assert values.dtype == source.dtype
            assert np.isfinite(values[:, valid]).all()
        assert not path.name.startswith("bad_"), "a damaged file was read"
    except GeoP2PError as error:
        assert one_line(str(error))
        assert path.name in str(error)


@pytest.mark.real
@pytest.mark.parametrize("path", ODD, ids=[path.name for path in ODD])
def test_an_odd_file_warps_or_is_refused_in_one_line(real_data: Path, path: Path) -> None:
    try:
        frame = RasterSource(path).frame
        part = frame.crop(Window(0, 0, *(min(n, 200) for n in frame.shape[::-1])))
        like = seen_from(part, CRS.from_epsg(3857), 1.5)
        values, valid = RasterSource(path, like=like).read()
        assert np.isfinite(values[:, valid]).all()
    except GeoP2PError as error:
        assert one_line(str(error))
