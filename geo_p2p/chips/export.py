"""Cut paired chips from two rasters."""

import logging
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from geo_p2p.chips.area import read_area
from geo_p2p.chips.chip import Chip, ChipRecord, Source
from geo_p2p.chips.esri import write_esri_files
from geo_p2p.chips.folder import (
    foreign_files,
    is_chip_folder,
    remove_chip,
    write_chip,
    write_own_files,
)
from geo_p2p.chips.split import Split, refuse_impossible, split_territory
from geo_p2p.chips.stats import BandStats
from geo_p2p.errors import ChipError, GridError
from geo_p2p.grid import Tile, TileGrid
from geo_p2p.raster import RasterSource

__all__ = ["ExportConfig", "export_chips"]

Progress = Callable[[int, int], None]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ExportConfig:
    """Settings of an export and their defaults.

    Parameters
    ----------
    tile_size : side of a chip, px of the input raster.
    stride : px from one chip to the next; half a chip if None.
    bidx, additional_bidx : bands to take from either raster, from 1; None for all.
    mask : vector file; only chips wholly inside its polygons are cut.
    min_valid : least share of pixels, 0-1, that must be valid in both rasters.
    resampling : how the additional raster is warped onto the input's lattice.
    split : how to part training from validation: "blocks", "random" or "none".
    val_pct : share of chips to validate on, percent.
    buffer : px between training chips and validation blocks; half a chip if None.
    seed : of the split.
    """

    tile_size: int = 256
    stride: int | None = None
    bidx: tuple[int, ...] | None = None
    additional_bidx: tuple[int, ...] | None = None
    mask: str | Path | None = None
    min_valid: float = 0.9
    resampling: str = "auto"
    split: str = "blocks"
    val_pct: float = 10.0
    buffer: int | None = None
    seed: int = 42

    def __post_init__(self) -> None:
        """Fill in the stride and refuse what cannot be."""
        if self.stride is None:
            object.__setattr__(self, "stride", max(1, self.tile_size // 2))
        if not 0 <= self.min_valid <= 1:
            raise ChipError(f"a valid share of {self.min_valid}: give 0 to 1")
        refuse_impossible(self.split, self.val_pct, self.buffer)

    @property
    def overlap(self) -> int:
        """Px that neighbouring chips share."""
        stride = self.tile_size if self.stride is None else self.stride
        if not 0 < stride <= self.tile_size:
            raise GridError(f"stride {stride} px: give 1 to the tile size, {self.tile_size}")
        return self.tile_size - stride

    def to_json(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {**asdict(self), "mask": None if self.mask is None else str(self.mask)}


@dataclass
class _Tally:
    """What an export has written so far."""

    records: list[ChipRecord] = field(default_factory=list)
    stats: list[tuple[BandStats, BandStats]] = field(default_factory=list)
    seen: int = 0


def export_chips(
    src: str | Path | Iterable[str | Path],
    additional: str | Path | Iterable[str | Path],
    out_dir: str | Path,
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
    **settings: Any,
) -> Path:
    """Cut paired chips from an input raster and an additional raster of the same place.

    The additional raster is warped onto the input's lattice. The result is a folder in the layout
    of ArcGIS Pro's "Export Tiles"; it appears under its name only when it is whole.

    Parameters
    ----------
    src : the input raster; several co-registered files stack as bands.
    additional : the additional raster, of any CRS, pixel size and extent.
    out_dir : folder to make.
    overwrite : whether to replace a chip folder of that name.
    progress : called with (tiles done, tiles in all).
    **settings : fields of `ExportConfig`.

    Returns
    -------
    The folder.

    Raises
    ------
    RasterError, AlignmentError
        If a raster cannot be read, or the two share no ground.
    ChipError
        If no chip is left, the area of interest is not usable, or the folder exists; with
        ``overwrite``, if it holds anything beside chips.
    GridError
        For a stride that is no part of a chip.
    """
    config = ExportConfig(**settings)
    folder = Path(out_dir)
    _make_room(folder, overwrite)
    x = RasterSource(src, config.bidx)
    y = RasterSource(additional, config.additional_bidx, like=x.frame, resampling=config.resampling)
    grid = _grid(x, config)
    area = None if config.mask is None else read_area(config.mask, x.frame)
    with _whole(folder) as partial:
        tally = _cut((x, y), grid, partial, (config, area), progress or (lambda done, total: None))
        split = _split(tally, grid, config, partial)
        write_own_files(partial, (x, y), config.to_json(), tally.records, split)
        write_esri_files(partial, (x, y), config.tile_size, tally.records, _total(tally))
    log.info("%s: %s", folder, split)
    return folder


def _grid(x: RasterSource, config: ExportConfig) -> TileGrid:
    """Tiles of whole chips over the input raster."""
    if min(x.frame.shape) < config.tile_size:
        raise ChipError(
            f"{x.name}: {x.frame.width} x {x.frame.height} px is smaller than a chip of "
            f"{config.tile_size} px; give a smaller tile size"
        )
    return TileGrid(x.frame.height, x.frame.width, config.tile_size, config.overlap)


def _make_room(folder: Path, overwrite: bool) -> None:
    """Refuse a place that is taken by anything but a chip folder that may be replaced."""
    if not folder.absolute().parent.is_dir():
        raise ChipError(f"{folder}: its parent folder does not exist; make it first")
    if not folder.exists():
        return
    if not overwrite:
        raise ChipError(f"{folder}: exists already; choose another name or say overwrite")
    if not is_chip_folder(folder):
        raise ChipError(f"{folder}: not a chip folder, so it is not replaced; remove it yourself")
    foreign = foreign_files(folder)
    if foreign:
        raise ChipError(f"{folder}: holds {foreign[0]} beside the chips; move it elsewhere first")


@contextmanager
def _whole(folder: Path) -> Iterator[Path]:
    """Give a folder to fill, which takes the place of ``folder`` once it is whole.

    What stood there is moved aside first, and removed last, or moved back.
    """
    place = folder.resolve()
    partial, former = (place.with_name(f".{place.name}.{end}") for end in ("part", "former"))
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir()
        yield partial
        if place.exists():
            shutil.rmtree(former, ignore_errors=True)
            place.replace(former)
        partial.replace(place)
    except OSError as error:
        raise ChipError(
            f"{folder}: cannot be written ({error.strerror or error}); "
            "check the folder and the space left"
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        if former.exists() and not place.exists():
            former.replace(place)
        shutil.rmtree(former, ignore_errors=True)


def _cut(
    sources: tuple[Source, Source],
    grid: TileGrid,
    folder: Path,
    filters: tuple[ExportConfig, shapely.Geometry | None],
    progress: Progress,
) -> _Tally:
    """Read every tile and write those that pass the filters."""
    config, area = filters
    frame = sources[0].frame
    tally = _Tally()
    if area is not None:
        shapely.prepare(area)
    for index, tile in enumerate(grid):
        progress(index, len(grid))
        if area is not None and not area.covers(frame.crop(tile.window).polygon):
            continue
        tally.seen += 1
        chip, masks = _read(sources, tile, f"{index:012d}")
        if chip.valid.mean() < config.min_valid or not chip.valid.any():
            continue
        write_chip(folder, chip, masks)
        tally.records.append(ChipRecord(chip.name, tile.window, float(chip.valid.mean())))
        tally.stats.append((BandStats.of(chip.x, masks[0]), BandStats.of(chip.y, masks[1])))
    progress(len(grid), len(grid))
    _require_chips(tally, grid, sources, config)
    return tally


def _read(
    sources: tuple[Source, Source], tile: Tile, name: str
) -> tuple[Chip, tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
    """Read a pair, with the mask of either side."""
    (x, x_valid), (y, y_valid) = (source.read(tile.window) for source in sources)
    chip = Chip(x, y, x_valid & y_valid, sources[0].frame.crop(tile.window), name)
    return chip, (x_valid, y_valid)


def _require_chips(
    tally: _Tally,
    grid: TileGrid,
    sources: tuple[Source, Source],
    config: ExportConfig,
) -> None:
    if tally.records:
        return
    if not tally.seen:
        raise ChipError(
            f"{config.mask}: none of the {len(grid)} chips of {config.tile_size} px lies wholly "
            "inside the area of interest; take smaller chips or a larger area"
        )
    raise ChipError(
        f"none of {tally.seen} chips is valid on {config.min_valid:.0%} of its pixels in both "
        f"{sources[0].name} and {sources[1].name}; lower the valid share, or check that both hold "
        "data where they overlap"
    )


def _split(tally: _Tally, grid: TileGrid, config: ExportConfig, folder: Path) -> Split:
    """Split the chips, and remove those in the buffer: they belong to neither side."""
    split = split_territory(
        [record.window for record in tally.records],
        grid.size,
        method=config.split,
        val_pct=config.val_pct,
        buffer=config.buffer,
        seed=config.seed,
    )
    kept = [i for i, part in enumerate(split.parts) if part]
    for index, record in enumerate(tally.records):
        if not split.parts[index]:
            remove_chip(folder, record.name)
    tally.records = [tally.records[i] for i in kept]
    tally.stats = [tally.stats[i] for i in kept]
    return split


def _total(tally: _Tally) -> tuple[BandStats, BandStats]:
    """Statistics of all chips that are left."""
    (x, y), *others = tally.stats
    for more_x, more_y in others:
        x, y = x.merge(more_x), y.merge(more_y)
    return x, y
