"""What an export would make, without making it."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from geo_p2p.chips.append import Former
from geo_p2p.chips.chip import Chip, Placed
from geo_p2p.chips.cut import fault_of
from geo_p2p.chips.export import job_of
from geo_p2p.chips.parting import part_chips
from geo_p2p.chips.plan import Job, Tile
from geo_p2p.chips.sampling import spread
from geo_p2p.chips.settings import ExportConfig
from geo_p2p.chips.split import Split
from geo_p2p.raster import Frame

__all__ = ["Outlook", "foresee_chips"]

PROBES = 48
"""Tiles that are looked at to tell how many would pass."""

COLUMNS, LINES = 64, 24
"""Most characters a picture is wide and high; a character is twice as high as it is wide."""

MARKS = {"train": "o", "": "-", "test": "x", "val": "#"}
"""Characters of the ground of each part; what comes later is drawn over what comes before."""


@dataclass(frozen=True)
class Outlook:
    """What an export would make.

    Parameters
    ----------
    tiles : places to cut, inside the area of interest.
    chips : about how many of their chips would pass, judged by a sample of them.
    size : about how many bytes all images would take before compression.
    split : how all of them would be split.
    picture : the raster in characters: o training, # validation, x test, - in
        between, . not cut.
    """

    tiles: int
    chips: int
    size: int
    split: Split
    picture: str


def foresee_chips(
    src: str | Path | Iterable[str | Path],
    additional: str | Path | Iterable[str | Path],
    *,
    append_to: str | Path | None = None,
    **settings: Any,
) -> Outlook:
    """Foresee what `export_chips` would make of the same rasters and settings.

    A few tiles are read; nothing is written.

    Parameters
    ----------
    src, additional, **settings : as for `export_chips`.
    append_to : chip folder that the chips would be appended to.

    Raises
    ------
    RasterError, AlignmentError, ChipError, GridError
        As `export_chips`, for settings and rasters that it would refuse.
    """
    former = None if append_to is None else Former.open(Path(append_to))
    job = job_of(src, additional, ExportConfig(**settings), Path(), former)
    config = job.config
    tiles = [(group.scene, tile) for group in job.groups for tile in job.tiles_of(group)]
    chips = round(_passing(job, tiles) * len(tiles)) * len(config.angles)
    placed = [Placed(job.scenes[scene].name, tile.window) for scene, tile in tiles]
    split = part_chips(job, placed)
    if former is not None:
        split = former.leave_out(split, [chip.frame(job.frames[chip.scene]) for chip in placed])
    pixel = sum(s.info.count * np.dtype(s.info.dtype).itemsize for s in (job.x, job.y))
    size = chips * math.prod(config.shape) * pixel
    return Outlook(len(tiles), chips, size, split, _picture(job, tiles, split))


def _passing(job: Job, tiles: Sequence[tuple[int, Tile]]) -> float:
    """Share of tiles that are valid enough, 0-1, by a sample spread over all of them."""
    passed = []
    for scene, tile in spread(tiles, PROBES):
        pair = job.scenes[scene]
        (x, x_valid), (y, y_valid) = pair.x.read(tile.window), pair.y.read(tile.window)
        chip = Chip(x, y, x_valid & y_valid, pair.x.frame.crop(tile.window), "")
        passed.append(not fault_of(chip, job.config))
    return float(np.mean(passed))


def _picture(job: Job, tiles: Sequence[tuple[int, Tile]], split: Split) -> str:
    """Draw every scene, one below the other."""
    drawn = []
    for number, scene in enumerate(job.scenes):
        here = [
            (tile.window, part)
            for (of, tile), part in zip(tiles, split.parts, strict=True)
            if of == number
        ]
        drawn.append(_drawn(scene.x.frame, here))
    return "\n\n".join(drawn)


def _drawn(frame: Frame, tiles: Sequence[tuple[Window, str]]) -> str:
    """Draw a raster in characters, each the part of the tiles that holds its centre."""
    height, width = frame.shape
    step = max(width / COLUMNS, height / LINES / 2, 1)  # px a character is wide
    rows, cols = max(1, round(height / step / 2)), max(1, round(width / step))
    canvas: NDArray[np.str_] = np.full((rows, cols), ".")
    ys, xs = (np.arange(rows) + 0.5) * height / rows, (np.arange(cols) + 0.5) * width / cols
    for wanted in MARKS:
        for window, part in tiles:
            if part == wanted:
                down, across = window.toranges()
                within = slice(*np.searchsorted(ys, down)), slice(*np.searchsorted(xs, across))
                canvas[within] = MARKS[part]
    return "\n".join("".join(row) for row in canvas)
