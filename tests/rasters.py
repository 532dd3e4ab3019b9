"""Rasters whose every value is known, and the measures that compare them."""

import hashlib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from conftest import write_raster
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.errors import NotGeoreferencedWarning
from rasterio.rpc import RPC
from rasterio.warp import reproject
from rasterio.windows import Window

from geo_p2p.raster import Frame, RasterSource

# A place in Austria: well inside zone 33, and inside the area of use of EPSG:3035.
EAST, NORTH = 500_000.0, 5_300_000.0


def utm(height: int, width: int, res: float = 1.0, turn: float = 0.0) -> Frame:
    """Return a frame in UTM zone 33; ``turn`` rotates it about its corner, degrees."""
    transform = Affine.translation(EAST, NORTH) * Affine.rotation(turn) * Affine.scale(res, -res)
    return Frame(height, width, transform, CRS.from_epsg(32633))


def seen_from(frame: Frame, crs: CRS, ratio: float, margin: float = 0.0) -> Frame:
    """Return a frame of another CRS around ``frame``.

    Its pixels span ``ratio`` of those of ``frame``; the margin is a share of its sides, negative
    for a frame that lies inside.
    """
    unit = Frame(1, 1, Affine.identity(), crs)
    cols, rows = np.array([0, frame.width] * 2), np.array([0, 0, frame.height, frame.height])
    xs, ys = frame.pixels_in(unit, cols, rows)
    left, right, bottom, top = xs.min(), xs.max(), ys.min(), ys.max()
    across, down = unit.scale_to(frame)
    x, y = (right - left) * margin, (top - bottom) * margin
    res_x, res_y = ratio * across, ratio * down
    width, height = round((right - left + 2 * x) / res_x), round((top - bottom + 2 * y) / res_y)
    return Frame(height, width, Affine(res_x, 0, left - x, 0, -res_y, top + y), crs)


def write(path: Path, values: np.ndarray, frame: Frame, **options: Any) -> Path:
    """Write an array onto a frame (see ``write_raster``)."""
    write_raster(path, values, crs=frame.crs, transform=frame.transform, **options)
    return path


def write_unplaced(
    path: Path,
    values: np.ndarray,
    *,
    gcps: tuple[list[GroundControlPoint], CRS] | None = None,
    rpcs: RPC | None = None,
    colors: dict[int, tuple[int, ...]] | None = None,
    crs: CRS | None = None,
) -> Path:
    """Write a GeoTIFF without a transform, placed by points or RPCs or not at all."""
    count, height, width = values.shape
    shape = {"count": count, "height": height, "width": width, "dtype": values.dtype}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path, "w", driver="GTiff", crs=crs, **shape) as dst:
            if colors:
                dst.write_colormap(1, colors)
            dst.write(values)
            if gcps:
                dst.gcps = gcps
            if rpcs:
                dst.rpcs = rpcs
    return path


VRT = """<VRTDataset rasterXSize="{width}" rasterYSize="{height}"><SRS>{crs}</SRS>
<GeoTransform>{place}</GeoTransform>{bands}</VRTDataset>"""
BAND = """<VRTRasterBand dataType="{kind}" band="{number}"><NoDataValue>{nodata}</NoDataValue>
<SimpleSource><SourceFilename relativeToVRT="1">{path}</SourceFilename>
<SourceBand>{number}</SourceBand></SimpleSource></VRTRasterBand>"""


def declared(
    folder: Path, values: np.ndarray, frame: Frame, kinds: list[tuple[str, object]]
) -> Path:
    """Write a VRT whose bands have these GDAL types and nodata values."""
    write(folder / "under.tif", values, frame)
    bands = [
        BAND.format(kind=kind, number=number, nodata=nodata, path="under.tif")
        for number, (kind, nodata) in enumerate(kinds, start=1)
    ]
    place = ", ".join(map(repr, frame.transform.to_gdal()))
    path = folder / "a.vrt"
    path.write_text(
        VRT.format(
            width=frame.width,
            height=frame.height,
            crs=frame.crs.to_string(),
            place=place,
            bands="".join(bands),
        )
    )
    return path


def texture(frame: Frame, seed: int = 0, shortest: float = 8.0) -> np.ndarray:
    """Waves of random direction and length over the ground, in (-1, 1).

    ``shortest`` is the shortest wave, in px of the frame; the longest is eight times that.
    """
    rng = np.random.default_rng(seed)
    rows, cols = np.indices(frame.shape) + 0.5
    total = np.zeros(frame.shape)
    for angle, phase in rng.uniform(0, 2 * np.pi, (40, 2)):
        length = shortest * 8 ** rng.uniform()
        total += np.sin((np.cos(angle) * cols + np.sin(angle) * rows) * 2 * np.pi / length + phase)
    return total / 40


def ramps(frame: Frame) -> np.ndarray:
    """Two bands that tell where in the frame a value comes from: column and row of its centre."""
    rows, cols = np.indices(frame.shape, dtype="float32") + np.float32(0.5)
    return np.stack([cols, rows])


def shift_between(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """By how many rows and columns ``second`` lies further down and right than ``first``.

    Phase correlation: the phase of the cross power spectrum, weighted by its strength, so that
    only frequencies count at which the images hold anything; its peak is refined on a raster of
    1/100 px by the matrix form of the Fourier transform (Guizar-Sicairos et al. 2008).
    """
    window = np.outer(*(np.hanning(n) for n in first.shape))
    spectra = [np.fft.fft2((image - image.mean()) * window) for image in (first, second)]
    cross = spectra[1] * spectra[0].conj()
    cross *= np.abs(cross) ** -0.5
    coarse = np.fft.ifft2(cross).real
    peak = np.unravel_index(coarse.argmax(), coarse.shape)
    fine = np.arange(-150, 151) / 100
    shifts = [(at + n // 2) % n - n // 2 + fine for at, n in zip(peak, coarse.shape, strict=True)]
    turns = [
        np.exp(2j * np.pi * np.outer(shift, np.fft.fftfreq(n)))
        for shift, n in zip(shifts, coarse.shape, strict=True)
    ]
    surface = (turns[0] @ cross @ turns[1].T).real
    row, col = np.unravel_index(surface.argmax(), surface.shape)
    return float(shifts[0][row]), float(shifts[1][col])


def warped(values: np.ndarray, src: Frame, dst: Frame, method: str, **options: Any) -> np.ndarray:
    """Warp with rasterio's own function: the oracle."""
    out = np.zeros((len(values), *dst.shape), values.dtype)
    reproject(
        values,
        out,
        src_transform=src.transform,
        src_crs=src.crs,
        dst_transform=dst.transform,
        dst_crs=dst.crs,
        resampling=Resampling[method],
        **options,
    )
    return out


def scales(src: Frame, dst: Frame) -> dict[str, float]:
    """The scales that a warp of the whole has."""
    across, down = src.scale_to(dst)
    return {"XSCALE": 1 / across, "YSCALE": 1 / down}


def tiles(frame: Frame, size: int) -> Iterator[Window]:
    """Windows of ``size`` that cover the frame."""
    for row in range(0, frame.height, size):
        for col in range(0, frame.width, size):
            yield Window(col, row, min(size, frame.width - col), min(size, frame.height - row))


@contextmanager
def opened(path: Path, **options: Any) -> Iterator[Any]:
    """Open a file with rasterio itself, to see what others would see."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        dataset = rasterio.open(path, **options)
    with dataset:
        yield dataset


def digest(source: RasterSource, window: Window) -> str:
    """Fingerprint of what a source reads; other processes find it by name."""
    return hashlib.sha256(b"".join(part.tobytes() for part in source.read(window))).hexdigest()
