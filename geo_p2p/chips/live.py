"""Chips cut from two rasters into memory, without an export."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from geo_p2p.chips.chip import Chip, Placed
from geo_p2p.chips.cut import fault_of, read_chips
from geo_p2p.chips.export import job_of
from geo_p2p.chips.finish import require_chips
from geo_p2p.chips.pairs import Bidx
from geo_p2p.chips.parting import part_chips
from geo_p2p.chips.plan import Job
from geo_p2p.chips.settings import ExportConfig
from geo_p2p.chips.split import PARTS
from geo_p2p.raster import Bands

__all__ = ["SETTINGS", "RasterPairs", "cut"]

SETTINGS = (
    *("bidx", "additional_bidx", "mask", "min_valid", "resampling"),
    *("edges", "rotation_angle", "split", "test_pct", "buffer", "halo"),
    *("min_content", "background", "min_std_x", "min_std_y", "split_polygons", "split_field"),
)
"""Fields of `ExportConfig` that hold for chips cut on the fly, beside those of every set."""


@dataclass(frozen=True)
class RasterPairs:
    """Chips cut from two rasters, in memory: the very chips that an export would write.

    Parameters
    ----------
    path : the input raster.
    chips : by name.
    infos : what the bands of the two rasters hold.
    split : made as an export makes it.
    bidx : bands taken from either raster.
    """

    path: Path
    chips: Mapping[str, Chip]
    infos: tuple[Bands, Bands]
    split: Mapping[str, Any]
    bidx: Bidx

    @property
    def names(self) -> tuple[str, ...]:
        """Of the chips, as an export numbers them."""
        return tuple(self.chips)

    def bands(self) -> tuple[Bands, Bands]:
        """What the bands of the two rasters hold."""
        return self.infos

    def shape(self, name: str) -> tuple[int, int]:
        """Rows and columns of a chip, px."""
        return self.chips[name].frame.shape

    def picture(self, name: str) -> str:
        """The input raster: all chips are cut from it."""
        return str(self.path)

    def read(self, name: str) -> Chip:
        """Return a chip, which is in memory already."""
        return self.chips[name]


def cut(src: str | Path, additional: str | Path, config: ExportConfig) -> RasterPairs:
    """Cut chips into memory, by the rules of an export.

    All of them stay in memory, in the rasters' own types: with strides of half a chip, about four
    times the pixels of the rasters. Export what is too large for that.

    Parameters
    ----------
    src : the input raster.
    additional : the additional raster, of any CRS, pixel size and extent.
    config : settings of an export.

    Raises
    ------
    RasterError, AlignmentError
        If a raster cannot be read, or the two share no ground.
    ChipError
        If no chip is left, or the area of interest is not usable.
    """
    job = job_of(src, additional, config, Path(src))  # its folder is named, and never made
    found, dropped = _read(job)
    require_chips(job, len(found), dropped)
    split = part_chips(job, [placed for _, placed in found])
    part_of = {chip.name: part for (chip, _), part in zip(found, split.parts, strict=True)}
    parts = {part: [name for name, its in part_of.items() if its == part] for part in PARTS}
    return RasterPairs(
        Path(src),
        {chip.name: chip for chip, _ in found if part_of[chip.name]},
        (job.x.info, job.y.info),
        {**split.how, **parts},
        (config.bidx or (), config.additional_bidx or ()),
    )


def _read(job: Job) -> tuple[list[tuple[Chip, Placed]], Counter[str]]:
    """Read the chips that no filter drops, by name, with their places; count the others."""
    found: list[tuple[Chip, Placed]] = []
    dropped: Counter[str] = Counter()
    for group in job.groups:
        for chip, _, window, angle in read_chips(job, group):
            if verdict := fault_of(chip, job.config):
                dropped[verdict] += 1
                continue
            # Copies, because a view would keep all that was read at once.
            own = replace(chip, x=chip.x.copy(), y=chip.y.copy())
            found.append((own, Placed(job.scenes[group.scene].name, window, angle)))
    return sorted(found, key=lambda pair: pair[0].name), dropped
