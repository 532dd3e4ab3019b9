"""Laws of the mosaic: a Cloud Optimized GeoTIFF that has lost nothing on the way."""

import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio.shutil
from rasterio._env import get_gdal_config
from rasterio.crs import CRS
from rasterio.enums import ColorInterp
from rasters import opened, tiles, utm

from geo_p2p.errors import RasterError
from geo_p2p.raster import Bands, Frame, RasterSink, RasterSource, mosaic, write_mosaic
from geo_p2p.raster.mosaic import check_options
from geo_p2p.raster.statistics import Statistics

cog_validate = pytest.importorskip("rio_cogeo").cog_validate

SITE = CRS.from_wkt(
    'PROJCS["site grid of the dam",GEOGCS["WGS 84",DATUM["WGS_1984",SPHEROID["WGS 84",6378137,'
    '298.257223563]],PRIMEM["Greenwich",0],UNIT["degree",0.0174532925199433]],'
    'PROJECTION["Transverse_Mercator"],PARAMETER["latitude_of_origin",47.2],'
    'PARAMETER["central_meridian",13.7],PARAMETER["scale_factor",1],PARAMETER["false_easting",'
    '1000],PARAMETER["false_northing",2000],UNIT["metre",1]]'
)
PLAIN, TURNED = utm(600, 700), utm(600, 700, turn=12)
COLOURS = {0: (0, 0, 0, 255), 11: (70, 107, 159, 255), 42: (28, 95, 44, 255)}
TAGS = {"MODEL": "aerial → map", "SEED": "7"}

KINDS: dict[str, tuple[Bands, Frame]] = {
    "classes": (
        Bands(1, "uint8", colors=COLOURS, classes={11: "Wasser & Moor", 42: "Wald"}),
        Frame(600, 700, PLAIN.transform, SITE),
    ),
    "colour": (Bands(3, "uint8", interp=("red", "green", "blue")), TURNED),
    "heights": (
        Bands(
            2, "float32", nodata=np.nan, names=("dsm", "dtm"), units=("m", "ft"),
            interp=("gray", "undefined"), scales=(1.0, 0.5), offsets=(0.0, -3.5),
        ),
        PLAIN,
    ),
    "counts": (Bands(1, "int16", nodata=-32768, names=("höhe",), interp=("gray",)), PLAIN),
}  # fmt: skip

VALUES = {"classes": [0, 11, 42], "colour": [0, 9, 200], "heights": [-1.5, 2.25], "counts": [-1, 7]}


def ground(kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Values and mask of a whole raster."""
    bands, frame = KINDS[kind]
    rng = np.random.default_rng(0)
    values = rng.choice(np.array(VALUES[kind], bands.dtype), (bands.count, *frame.shape))
    valid = rng.random(frame.shape) > 0.02
    valid[100:400, 150:600] = False
    valid[512:, 512:] = True  # a part without a mask
    return values, valid


def cut(folder: Path, kind: str) -> list:
    """Write the parts of a raster; their folder has a name that wants quoting."""
    folder = folder / "parts & Stücke"
    folder.mkdir()
    bands, frame = KINDS[kind]
    values, valid = ground(kind)
    parts = []
    for window in tiles(frame, 512):
        path, at = folder / f"{window.row_off} {window.col_off}.tif", window.toslices()
        with RasterSink(path, frame.crop(window), bands) as sink:
            sink.write(values[:, *at], valid=valid[at])
        parts.append((path, window))
    return parts


def lost(path: Path, kind: str) -> set[str]:
    """Name what a mosaic does not carry."""
    bands, frame = KINDS[kind]
    values, valid = ground(kind)
    source = RasterSource(path)
    got, got_valid = source.read()
    info = source.info
    with opened(path) as dataset:
        tags = dataset.tags().items() >= TAGS.items()
    kept = {
        "values": np.array_equal(got[:, valid], values[:, valid]),
        "mask": np.array_equal(got_valid, valid),
        "place": source.frame.same_lattice(frame, 1e-9),
        "tags": tags,
        "names": info.names == (bands.names or ("",) * bands.count),
        "units": info.units == (bands.units or ("",) * bands.count),
        "nodata": str(info.nodata) == str(None if bands.nodata is None else float(bands.nodata)),
        "scale": (info.scales, info.offsets) == (bands.scales, bands.offsets),
        "colours": info.colors.items() >= bands.colors.items(),
        "interp": not bands.interp or info.interp == bands.interp,
        "classes": info.classes == bands.classes,
    }
    return {name for name, same in kept.items() if not same}


@pytest.mark.parametrize("kind", KINDS)
def test_a_mosaic_loses_nothing(tmp_path: Path, kind: str) -> None:
    bands, frame = KINDS[kind]
    path, parts = tmp_path / "Mosaik ü.tif", cut(tmp_path, kind)
    assert write_mosaic(parts, path, frame, bands, tags=TAGS) == path
    assert lost(path, kind) == set()
    valid, errors, warnings = cog_validate(path, quiet=True)
    assert (valid, errors, warnings) == (True, [], [])
    side = ["Mosaik ü.tif.aux.xml"] if bands.classes else []
    assert files(tmp_path) == ["Mosaik ü.tif", *side, "parts & Stücke"]


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


ITEMS = {
    "MaskBand": ("colour", {"mask"}),
    "GeoTransform": ("counts", {"place"}),
    "Metadata": ("counts", {"tags"}),
    "Description": ("counts", {"names"}),
    "UnitType": ("heights", {"units"}),
    "Scale": ("heights", {"scale"}),
    "Offset": ("heights", {"scale"}),
    "NoDataValue": ("counts", {"nodata", "mask"}),
    "ColorInterp": ("colour", {"interp"}),
    "ColorTable": ("classes", {"colours"}),
    "CategoryNames": ("classes", {"classes"}),
    "SimpleSource": ("counts", {"values", "mask"}),
}


@pytest.mark.parametrize("item", ITEMS)
def test_each_item_of_the_vrt_is_needed(
    tmp_path: Path, item: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A VRT knows of its sources only what it is told."""
    kind, missed = ITEMS[item]
    whole = mosaic.vrt_of

    def without(*arguments: object) -> str:
        root = ElementTree.fromstring(whole(*arguments))
        for parent in list(root.iter()):
            for child in parent.findall(item):
                parent.remove(child)
        return ElementTree.tostring(root, encoding="unicode")

    monkeypatch.setattr(mosaic, "vrt_of", without)
    bands, frame = KINDS[kind]
    path, parts = tmp_path / "a.tif", cut(tmp_path, kind)
    try:
        write_mosaic(parts, path, frame, bands, tags=TAGS)
        assert lost(path, kind) >= missed
    except RasterError:
        assert item == "GeoTransform"  # without it there is nothing to read


def test_every_colour_interpretation_comes_through(tmp_path: Path) -> None:
    names = {interp.name for interp in ColorInterp} - {"alpha", "palette", "undefined", "gray"}
    bands = Bands(len(names), "uint8", interp=tuple(sorted(names)))
    frame, part = utm(16, 16), tmp_path / "part.tif"
    with RasterSink(part, frame, bands) as sink:
        sink.write(np.ones((bands.count, 16, 16), "uint8"))
    path = write_mosaic([(part, frame.window)], tmp_path / "a.tif", frame, bands)
    assert RasterSource(part).info.interp == RasterSource(path).info.interp == bands.interp


def test_a_mosaic_may_be_written_again(tmp_path: Path) -> None:
    """It is the last step of a run that may be interrupted; an old one is not left half."""
    (bands, frame), parts = KINDS["classes"], cut(tmp_path, "classes")
    path = tmp_path / "a.tif"
    write_mosaic(parts, path, frame, bands, tags=TAGS)
    first = path.read_bytes()
    with pytest.raises(RasterError, match=r"a\.tif: exists already.*say overwrite"):
        write_mosaic(parts, path, frame, bands)
    write_mosaic(parts, path, frame, bands, tags=TAGS, overwrite=True)
    assert path.read_bytes() == first
    plain = Bands(1, "uint8")
    write_mosaic(parts, path, frame, plain, overwrite=True)
    assert files(tmp_path) == ["a.tif", "parts & Stücke"]  # class names went with the old one
    assert RasterSource(path).info.classes == {}


def test_the_memory_of_a_mosaic_is_bounded_whatever_its_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GDAL would take a twentieth of the machine's memory for its cache, and be slower for it."""
    monkeypatch.delenv("GDAL_CACHEMAX", raising=False)
    seen, copy = [], rasterio.shutil.copy

    def noted(*paths: Any, **options: Any) -> None:
        seen.append(int(get_gdal_config("GDAL_CACHEMAX")))
        copy(*paths, **options)

    monkeypatch.setattr(rasterio.shutil, "copy", noted)
    bands, frame = KINDS["counts"]
    write_mosaic(cut(tmp_path, "counts"), tmp_path / "o.tif", frame, bands)
    assert set(seen) == {64 * 2**20}


@pytest.mark.parametrize("kind", KINDS)
def test_a_part_that_says_it_is_blank_is_not_read_and_the_mosaic_is_the_same(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (bands, frame), ((_, window), *others) = KINDS[kind], cut(tmp_path, kind)
    none, laid, made = np.zeros((window.height, window.width), bool), [], []
    vrt_of = mosaic.vrt_of
    monkeypatch.setattr(mosaic, "vrt_of", lambda *args: laid.append(args[0]) or vrt_of(*args))
    for name, tags in (("told", Statistics(none.size).tags), ("untold", {})):
        path = tmp_path / f"{name} blank.tif"
        with RasterSink(path, frame.crop(window), bands, tags=tags) as sink:
            sink.write(np.zeros((bands.count, *none.shape), bands.dtype), valid=none)
        parts = [(path, window), *others]
        made.append(write_mosaic(parts, tmp_path / f"{name}.tif", frame, bands).read_bytes())
    assert laid == [others, parts]
    assert made[0] == made[1]


@pytest.mark.parametrize("damage", ["missing", "truncated"])
def test_a_damaged_part_is_an_error_and_leaves_the_old_mosaic(tmp_path: Path, damage: str) -> None:
    (bands, frame), parts = KINDS["counts"], cut(tmp_path, "counts")
    path = tmp_path / "a.tif"
    path.write_bytes(b"old")
    if damage == "missing":
        parts[1][0].unlink()
    else:
        parts[1][0].write_bytes(parts[1][0].read_bytes()[:2000])
    named = r"a\.tif: cannot be written \(.+\)|0 512\.tif: cannot be read"
    with pytest.raises(RasterError, match=named) as caught:
        write_mosaic(parts, path, frame, bands, overwrite=True)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == b"old"
    assert files(tmp_path) == ["a.tif", "parts & Stücke"]


# --- overviews -----------------------------------------------------------------------


def test_overviews_of_classes_hold_no_other_class(tmp_path: Path) -> None:
    (bands, frame), path = KINDS["classes"], tmp_path / "a.tif"
    write_mosaic(cut(tmp_path, "classes"), path, frame, bands)
    with opened(path) as dataset:
        assert dataset.overviews(1) == [2]
    with opened(path, overview_level=0) as overview:
        values, valid = overview.read(1), overview.read_masks(1) > 0
    assert set(np.unique(values[valid])) == {0, 11, 42}
    # The most frequent of four: never a class that none of them is.
    fine = ground("classes")[0][0].reshape(300, 2, 350, 2)
    assert (values[:, :, None, None] == fine.transpose(0, 2, 1, 3)).any((2, 3))[valid].all()


@pytest.mark.parametrize("nodata", [None, 0])
def test_overviews_of_values_are_means_that_holes_do_not_darken(
    tmp_path: Path, nodata: int | None
) -> None:
    bands, frame, path = Bands(1, "uint8", nodata), utm(600, 700), tmp_path / "a.tif"
    rng = np.random.default_rng(0)
    valid = rng.random(frame.shape) > 0.3
    values = np.where(valid, rng.choice(np.array([100, 140], "uint8"), frame.shape), 0)[None]
    part = tmp_path / "part.tif"
    with RasterSink(part, frame, bands) as sink:
        sink.write(values.astype("uint8"), valid=valid)
    write_mosaic([(part, frame.window)], path, frame, bands)
    with opened(path, overview_level=0) as overview:
        coarse, known = overview.read(1), overview.read_masks(1) > 0
    assert known.mean() > 0.95
    assert coarse[known].min() >= 100
    assert {100, 120, 140} <= set(np.unique(coarse[known]))  # means, not picks


# --- options -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "compression", "side"),
    [
        (None, "deflate", 512),
        ({"COMPRESS": "ZSTD"}, "zstd", 512),
        ({"compress": "lzw", "blocksize": "256"}, "lzw", 256),
    ],
)
def test_options_go_over_the_defaults(
    tmp_path: Path, options: dict | None, compression: str, side: int
) -> None:
    (bands, frame), path = KINDS["counts"], tmp_path / "a.tif"
    write_mosaic(cut(tmp_path, "counts"), path, frame, bands, options=options, tags=TAGS)
    assert lost(path, "counts") == set()
    with opened(path) as dataset:
        assert dataset.profile["compress"] == compression
        assert dataset.block_shapes == [(side, side)]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"COMPRES": "ZSTD"}, "COMPRES=ZSTD.* does not support creation option COMPRES"),
        ({"COMPRESS": "FOO"}, "COMPRESS=FOO.*'FOO' is an unexpected value"),
        ({"compress": "webp"}, "compress=webp.*1 bands"),
        ({"LEVEL": "99"}, "LEVEL=99"),
        ({"OVERVIEW_RESAMPLING": "BEST"}, "BEST"),
        ({"BLOCKSIZE": "0"}, "BLOCKSIZE=0: give a multiple of 16"),  # GDAL would abort
        ({"blocksize": "big"}, "BLOCKSIZE=big: give a multiple of 16"),
        ({"PREDICTOR": "FLOATING_POINT"}, "PREDICTOR=3"),
    ],
)
def test_an_option_that_gdal_would_ignore_or_die_of_is_refused(
    tmp_path: Path, options: dict[str, str], words: str
) -> None:
    (bands, frame), path = KINDS["counts"], tmp_path / "a.tif"
    with pytest.raises(RasterError, match=words) as caught:
        write_mosaic([], path, frame, bands, options=options)
    assert "\n" not in str(caught.value)
    assert files(tmp_path) == []
    with pytest.raises(RasterError, match=words):
        check_options(bands, options)  # hours earlier, if asked
    check_options(bands)
