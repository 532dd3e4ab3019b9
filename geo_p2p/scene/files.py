"""The town as files: an aerial photograph and its map, on lattices of their own."""

import math
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np
from affine import Affine
from rasterio.crs import CRS
from rasterio.errors import CRSError
from rasterio.warp import transform_bounds

from ..errors import GeoP2PError
from ..grid import TileGrid
from ..raster import Bands, Frame, RasterSink
from .town import CLASSES, Town

__all__ = ["SceneFiles", "scene_frames", "write_scene"]

ORIGIN = 440_000.0, 5_500_000.0  # of the aerial: left and top, metres
MARGIN = 32.0  # m of map around the aerial, at least
COARSER = 1.2  # a pixel of the map on the ground, in pixels of the aerial, unless told
BLOCK = 512  # px written at a time

RGB = ("red", "green", "blue")
COLOURS = Bands(3, "uint8", interp=RGB)
PALETTE = Bands(
    1,
    "uint8",
    names=("class",),
    colors={0: (0, 0, 0, 255), **{c.value: (*c.color, 255) for c in CLASSES}},
    classes={0: "unknown", **{c.value: c.name for c in CLASSES}},
    interp=("palette",),
)


class SceneFiles(NamedTuple):
    """Where a scene was written."""

    aerial: Path
    map: Path
    classes: Path


def scene_frames(
    town: Town,
    size: int | tuple[int, int] = 1536,
    res: float = 0.5,
    map_crs: str = "EPSG:3857",
    map_res: float | None = None,
) -> tuple[Frame, Frame]:
    """Return the frames of an aerial photograph and of a map that covers it with a margin.

    Parameters
    ----------
    town : whose CRS the aerial has.
    size : height and width of the aerial, px, or one number for both.
    res : pixel size of the aerial, metres.
    map_crs : CRS of the map, anything rasterio understands.
    map_res : pixel size of the map, units of its CRS; None for about 1.2 of the aerial's on the
        ground.

    Returns
    -------
    The aerial's frame and the map's.

    Raises
    ------
    GeoP2PError
        If there is no such CRS, or no transformation leads to it.
    """
    height, width = (size, size) if isinstance(size, int) else size
    left, top = ORIGIN
    aerial = Frame(height, width, Affine(res, 0, left, 0, -res, top), town.crs)
    crs = _crs_of(map_crs)
    west, south, east, north = aerial.bounds
    around = (west - MARGIN, south - MARGIN, east + MARGIN, north + MARGIN)
    like_aerial = _step(aerial, crs, COARSER)
    map_res = like_aerial if map_res is None else map_res
    west, south, east, north = transform_bounds(town.crs, crs, *around)
    first, last = math.floor(west / map_res), math.ceil(east / map_res)
    low, high = math.floor(south / map_res), math.ceil(north / map_res)
    lattice = Affine(map_res, 0, first * map_res, 0, -map_res, high * map_res)
    return aerial, Frame(high - low, last - first, lattice, crs)


def _crs_of(name: str) -> CRS:
    try:
        return CRS.from_user_input(name)
    except CRSError as error:
        raise GeoP2PError(f"{name!r} names no coordinate reference system: {error}") from error


def _step(aerial: Frame, crs: CRS, pixels: float) -> float:
    """Return how long pixels in the middle of a frame are in another CRS, to three digits."""
    units = Frame(1, 1, Affine.identity(), crs)  # whose pixels are the CRS's units
    middle = np.full(2, aerial.width / 2)
    points = aerial.pixels_in(units, middle + (0, pixels), np.full(2, aerial.height / 2))
    return float(f"{np.hypot(*(points[:, 1] - points[:, 0])):.3g}")


def write_scene(
    folder: str | Path,
    *,
    town: Town | None = None,
    size: int | tuple[int, int] = 1536,
    res: float = 0.5,
    map_crs: str = "EPSG:3857",
    map_res: float | None = None,
    overwrite: bool = False,
) -> SceneFiles:
    """Write a photograph, its map as drawn and its map in classes; memory ignores their size.

    Parameters
    ----------
    folder : where to write; made if it does not exist.
    town : what to show; None for ``Town()``.
    size, res, map_crs, map_res : as in `scene_frames`.
    overwrite : whether to replace files of those names.

    Returns
    -------
    The paths of the three files.

    Raises
    ------
    RasterError
        If one of the files exists and shall not be overwritten, or cannot be written.
    """
    town = town or Town()
    aerial, chart = scene_frames(town, size, res, map_crs, map_res)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    files = SceneFiles(*(folder / f"{name}.tif" for name in SceneFiles._fields))
    jobs = (
        (aerial, COLOURS, town.aerial),
        (chart, COLOURS, town.map_colours),
        (chart, PALETTE, town.map_classes),
    )
    with ExitStack() as stack:  # all are opened first: a refusal comes before the work
        sinks = [
            stack.enter_context(RasterSink(path, frame, bands, overwrite=overwrite))
            for path, (frame, bands, _) in zip(files, jobs, strict=True)
        ]
        for sink, (frame, _, render) in zip(sinks, jobs, strict=True):
            for tile in TileGrid(*frame.shape, BLOCK, 0):
                sink.write(render(frame.crop(tile.core)), tile.core)
    return files
