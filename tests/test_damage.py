"""No damaged file is half read: cut off anywhere, or with bytes in its middle that say nothing."""

import gzip
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio.shutil
from affine import Affine
from rasterio.crs import CRS
from rasterio.drivers import raster_driver_extensions
from rasters import declared, opened, tiles, utm, write

from geo_p2p.errors import RasterError
from geo_p2p.raster import Frame, PixelSource, PlainImage, RasterSource

HERE = utm(90, 120)
THERE = utm(150, 150, turn=3.0)
THERE = Frame(150, 150, THERE.transform * Affine.translation(-10, -20), THERE.crs)
NOISE = np.random.default_rng(0).integers(1, 255, (3, *HERE.shape), dtype="uint8")

KINDS: dict[str, tuple[str, int, dict[str, Any]]] = {
    "png": ("a.png", 3, {"driver": "PNG"}),
    "png gray": ("a.png", 1, {"driver": "PNG"}),
    "png 16 bit": ("a.png", 1, {"driver": "PNG", "dtype": "uint16"}),
    "jpeg": ("a.jpg", 3, {"driver": "JPEG"}),
    "progressive jpeg": ("a.jpg", 3, {"driver": "JPEG", "PROGRESSIVE": "ON"}),
    "jpeg 2000": ("a.jp2", 3, {"driver": "JP2OpenJPEG", "QUALITY": 100, "REVERSIBLE": "YES"}),
    "webp": ("a.webp", 3, {"driver": "WEBP"}),
    "bmp": ("a.bmp", 3, {"driver": "BMP"}),
    "ascii": ("a.asc", 1, {"driver": "AAIGrid"}),
    "bil": ("a.bil", 3, {"driver": "EHdr"}),
    "envi": ("a.dat", 3, {"driver": "ENVI", "dtype": "float32"}),
    "tiff strips": ("a.tif", 3, {}),
    "tiff deflate": ("a.tif", 3, {"compress": "deflate", "interleave": "pixel"}),
    "tiff tiles": ("a.tif", 3, {"tiled": True, "blockxsize": 32, "blockysize": 32}),
    "tiff jpeg": ("a.tif", 3, {"compress": "jpeg", "photometric": "ycbcr"}),
    "netcdf": ("a.nc", 1, {"driver": "netCDF"}),
    "pcraster": ("a.map", 1, {"driver": "PCRaster", "dtype": "float32"}),
    "geopackage": ("a.gpkg", 1, {"driver": "GPKG", "dtype": "float32"}),
}


def make(folder: Path, kind: str) -> Path:
    """Write noise as a file of this kind; drivers that cannot write copy a GeoTIFF."""
    name, count, options = KINDS[kind]
    options = {**options}
    driver = options.get("driver", "GTiff")
    if Path(name).suffix[1:] not in {*raster_driver_extensions(), "dat"}:
        pytest.skip(f"this GDAL writes no {driver}")
    values = NOISE[:count].astype(options.pop("dtype", "uint8"))
    if driver not in ("netCDF", "PCRaster"):
        return write(folder / name, values, HERE, **options)
    rasterio.shutil.copy(write(folder / "copy.tif", values, HERE), folder / name, driver=driver)
    return folder / name


def refused(path: Path, like: Frame | None = None, size: int | None = None) -> None:
    """Read everything, at once or by windows, and see it refused in one line that names it."""
    with pytest.raises(RasterError, match=path.name) as caught:
        source = RasterSource(path, like=like)
        for window in tiles(source.frame, size or 1000):
            source.read(window)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_was_cut_off_is_refused_however_it_is_read(tmp_path: Path, kind: str) -> None:
    path = make(tmp_path, kind)
    whole = path.read_bytes()
    RasterSource(path).read()
    # The last 12 bytes of a PNG are needed by nobody, and not the last page of a GeoPackage.
    least = len(whole) // 50 if kind == "geopackage" else 20
    for cut in (len(whole) // 2, len(whole) // 10, least):
        path.write_bytes(whole[:-cut])
        refused(path)
        refused(path, size=50)
        refused(path, like=THERE)
        refused(path, like=utm(100, 130))
        with pytest.raises(RasterError, match=path.name):
            PixelSource(path).read()
        with pytest.raises(RasterError, match=path.name):
            PlainImage(str(path)).read()
    path.write_bytes(whole)
    assert RasterSource(path).read()[1].all()


@pytest.mark.parametrize("kind", ["png", "jpeg", "tiff strips"])
def test_a_vrt_of_a_file_that_was_cut_off_is_refused(tmp_path: Path, kind: str) -> None:
    path = make(tmp_path, kind)
    vrt = path.with_suffix(".vrt")
    with opened(path) as dataset:
        rasterio.shutil.copy(dataset, vrt, driver="VRT")
    RasterSource(vrt).read()
    os.truncate(path, int(path.stat().st_size * 0.9))
    refused(vrt)
    refused(vrt, like=THERE)
    path.unlink()
    refused(vrt)


@pytest.mark.parametrize(
    ("options", "rubbish"),
    [
        ({"driver": "JPEG"}, b"\xff\xd0"),
        ({"compress": "jpeg", "tiled": True, "blockxsize": 64, "blockysize": 64}, b"\xff\xd0"),
        ({"compress": "packbits"}, b"\x81\x00"),
    ],
    ids=["jpeg", "tiff jpeg", "tiff packbits"],
)
def test_what_a_decoder_only_warns_of_is_damage(
    tmp_path: Path, options: dict[str, Any], rubbish: bytes
) -> None:
    """GDAL returns pixels all the same, which the decoder has made up."""
    path = write(tmp_path / "a.tif", NOISE, HERE, **options)
    RasterSource(path).read()
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 300] = rubbish * 150
    path.write_bytes(content)
    with opened(path) as dataset:
        assert dataset.read().any(), "no longer a case that only warns"
    refused(path)
    refused(path, like=THERE)


def test_an_unreadable_block_in_the_middle_spoils_only_what_touches_it(tmp_path: Path) -> None:
    layout = {"tiled": True, "blockxsize": 32, "blockysize": 32, "compress": "deflate"}
    path = write(tmp_path / "a.tif", NOISE[:1], HERE, **layout)
    with opened(path) as dataset:
        offset = int(dataset.get_tag_item("BLOCK_OFFSET_1_1", "TIFF", bidx=1))
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(b"\xff" * 64)
    source = RasterSource(path)
    for window in tiles(HERE, 32):
        if (window.row_off, window.col_off) == (32, 32):
            with pytest.raises(RasterError, match=r"a\.tif: cannot be read at row 32, column 32"):
                source.read(window)
        else:
            rows, cols = window.toslices()
            assert np.array_equal(source.read(window)[0], NOISE[:1, rows, cols])
    with pytest.raises(RasterError, match=r"a\.tif: cannot be read"):
        RasterSource(path, like=THERE).read()


def test_headers_that_say_less_than_there_is_are_no_damage(tmp_path: Path) -> None:
    path = make(tmp_path, "envi")
    values = RasterSource(path).read()[0]
    header = path.with_suffix(".hdr")
    text = header.read_text()
    header.write_text(text.replace("header offset = 0", "header offset = 100"))
    path.write_bytes(bytes(100) + path.read_bytes() + b"more")
    assert np.array_equal(RasterSource(path).read()[0], values)
    os.truncate(path, 100 + values.nbytes - 1)
    refused(path)

    path = make(tmp_path, "envi")
    path.write_bytes(gzip.compress(path.read_bytes()))
    header.write_text(text + "file compression = 1\n")
    assert path.stat().st_size < values.nbytes
    assert np.array_equal(RasterSource(path).read()[0], values)


def test_a_warp_beyond_the_ground_is_no_damage(tmp_path: Path) -> None:
    """PROJ complains of positions that it cannot reach; nothing is wrong with the file."""
    globe = Frame(90, 180, Affine(2, 0, -180, 0, -2, 90), CRS.from_epsg(4326))
    path = write(tmp_path / "a.tif", np.ones((1, 90, 180), "uint8"), globe)
    like = Frame(80, 80, Affine(2e5, 0, -8e6, 0, -2e5, 8e6), CRS.from_string("+proj=ortho"))
    assert RasterSource(path, like=like).read()[1].any()


def test_gdal_is_left_as_it_was(tmp_path: Path) -> None:
    path = make(tmp_path, "png")
    with rasterio.Env(GDAL_PNG_WHOLE_IMAGE_OPTIM="YES"):
        RasterSource(path).read()
        os.truncate(path, 2000)
        refused(path)
        assert rasterio.env.getenv()["GDAL_PNG_WHOLE_IMAGE_OPTIM"] == "YES"


def test_a_png_cut_off_is_found_out_through_a_vrt(tmp_path: Path) -> None:
    """A VRT opens its files when it is first asked about its bands, before anything is read."""
    here = utm(200, 200)
    noise = np.random.default_rng(0).integers(0, 255, (1, 200, 200), dtype="uint8")
    vrt = declared(tmp_path, noise, here, [("Byte", "")])
    png = write(tmp_path / "under.png", noise, here)
    text = vrt.read_text().replace("<NoDataValue></NoDataValue>", "")
    vrt.write_text(text.replace("under.tif", "under.png"))
    os.truncate(png, png.stat().st_size * 3 // 5)
    with pytest.raises(RasterError, match=r"a\.vrt: cannot be read"):
        RasterSource(vrt).read()
