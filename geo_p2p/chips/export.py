"""Cut paired chips from two rasters."""

import logging
import shutil
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import shapely

from geo_p2p.chips.append import Former
from geo_p2p.chips.area import read_area
from geo_p2p.chips.chip import Scene, Source
from geo_p2p.chips.cut import group_file
from geo_p2p.chips.finish import finish
from geo_p2p.chips.folder import foreign_files, is_chip_folder
from geo_p2p.chips.ground import pixel_ratio_warning, shared_window
from geo_p2p.chips.interim import JOINED, PLAN, parts_of, restore, swap
from geo_p2p.chips.joining import join
from geo_p2p.chips.plan import Job
from geo_p2p.chips.scenes import Rasters, pixel_scenes, scenes
from geo_p2p.chips.settings import ExportConfig
from geo_p2p.chips.workers import Crew, crew_of
from geo_p2p.errors import AlignmentError, ChipError
from geo_p2p.raster import Frame, RasterSource, require_encodable

__all__ = ["export_chips", "job_of"]

Progress = Callable[[int, int], None]

log = logging.getLogger(__name__)

MEASURED = 8
"""Scenes of which is measured how they line up: the first ones."""


def export_chips(
    src: str | Path | Iterable[str | Path],
    additional: str | Path | Iterable[str | Path],
    out_dir: str | Path,
    *,
    overwrite: bool = False,
    append: bool = False,
    workers: int = 1,
    scheduler: str | None = None,
    progress: Progress | None = None,
    **settings: Any,
) -> Path:
    """Cut paired chips from an input raster and an additional raster of the same place.

    The additional raster is warped onto the input's lattice. The result is a folder in the layout
    of ArcGIS Pro's "Export Tiles"; it appears under its name only when it is whole. What an
    interrupted export has cut lies in ``<out_dir>.parts`` and is not cut again.

    Parameters
    ----------
    src : the input raster; a list of co-registered files stacks as bands of one raster; a folder,
        a pattern or a STAC file is many rasters.
    additional : the additional raster, of any CRS, pixel size and extent, or many; or a vector
        file, whose shapes are drawn onto the input's lattice as classes.
    out_dir : folder to make.
    overwrite : whether to replace a chip folder of that name.
    append : whether to go on behind the last chip of the chip folder of that name, which takes the
        chips of both, and is as it was if anything fails. New chips on the ground of a chip of
        another part are left out, so that no pixel comes to lie in two parts.
    workers : processes to cut with, of which this is one.
    scheduler : address of a Dask scheduler to cut on instead.
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
        ``overwrite``, if it holds anything beside chips; with ``append``, if it does not exist, is
        no export of ours, or its chips are of another kind.
    GridError
        For a stride that is no part of a chip.
    """
    config = ExportConfig(**settings)
    folder = Path(out_dir)
    former = _former(folder, overwrite) if append else None
    if former is None:
        _make_room(folder, overwrite)
    job = job_of(src, additional, config, folder, former)
    if former is not None and former.holds(job):
        shutil.rmtree(job.folder, ignore_errors=True)
        log.info("%s: holds these chips already, appended before an interruption", folder)
        return folder
    with crew_of(job, workers, scheduler) as crew:  # whose processes start in the meantime
        job = registered(job)
        with parts_of(job, folder):
            _cut(job, crew, progress or (lambda done, total: None))
            told, made = str(finish(job, former)), job.folder / "chips"
            if former is not None:
                told = join(former, made, job.folder / JOINED, job.folder / PLAN)
                made = job.folder / JOINED
            swap(made, folder)
    log.info("%s: %s", folder, told)
    return folder


def job_of(
    src: str | Path | Iterable[str | Path],
    additional: str | Path | Iterable[str | Path],
    config: ExportConfig,
    folder: Path,
    former: Former | None = None,
) -> Job:
    """Open both rasters and plan what is to be cut of them; refuse what cannot be.

    See `export_chips` for arguments and errors; ``former`` is the folder to append to.
    """
    if former is not None:
        config = former.continued(config)
    inputs, other = config.inputs(src), config.additional(additional)
    if config.reference_system == "PIXEL_SPACE":
        if not isinstance(other, Rasters):
            raise ChipError(f"{other.name}: shapes have a place, and pixel space has none")
        found = pixel_scenes(inputs, other)
    else:
        found = scenes(inputs, other, config.processing_mode)
    kept, areas = _inside(found, config)
    _require_alike(kept, config)
    place = folder.resolve()
    parts = place.with_name(f"{place.name}.parts")
    job = Job(tuple(kept), tuple(areas), config, parts, appends=former.digest if former else "")
    if former is not None:
        former.require_like(job)
    _require_places(job)
    return job


def _require_places(job: Job) -> None:
    """Tell where fewer places were found at random than asked for; refuse to cut none at all."""
    for scene, placement in zip(job.scenes, job.placements, strict=True):
        if len(placement.windows) < placement.asked:
            log.warning("%s: %s", scene.name, placement)
    if not job.groups:
        total = job.config.count or sum(len(grid) for grid in job.grids)
        raise ChipError(
            f"{job.config.mask}: none of the {total} chips of {job.config.side} px lies wholly "
            "inside the area of interest; take smaller chips or a larger area"
        )


def _inside(
    found: Sequence[Scene], config: ExportConfig
) -> tuple[Sequence[Scene], Sequence[shapely.Geometry | None]]:
    """Scenes that the area of interest touches, and the area on the lattice of each."""
    if config.mask is None:
        return found, [None] * len(found)
    touched: list[tuple[Scene, shapely.Geometry]] = []
    missed: ChipError | None = None
    for scene in found:
        try:
            touched.append((scene, read_area(config.mask, scene.x.frame)))
        except ChipError as error:
            missed = missed or error
            if len(found) > 1:
                log.warning("%s: left out: %s", scene.name, error)
    if not touched and missed is not None:
        raise missed
    return [scene for scene, _ in touched], [area for _, area in touched]


def _require_alike(found: Sequence[Scene], config: ExportConfig) -> None:
    """Refuse scenes of different bands, and what the format of the chips cannot hold."""
    for scene in found:
        for source, first in ((scene.x, found[0].x), (scene.y, found[0].y)):
            require_encodable(config.image_format, source.info, source.name)
            if (source.info.count, source.info.dtype) != (first.info.count, first.info.dtype):
                raise ChipError(
                    f"{source.name} has {source.info.count} bands of {source.info.dtype}, but "
                    f"{first.name} {first.info.count} of {first.info.dtype}: choose bands that all "
                    "have, or export them apart"
                )


def registered(job: Job) -> Job:
    """Measure how the rasters of a job line up, and say so; see `measure_registration`."""
    # Late, because it brings scipy, for which processes that only cut chips would wait.
    from geo_p2p.chips.registration import measure_registration

    measured = {}
    for scene in job.scenes[:MEASURED]:
        own = _own_frame(scene.y)
        if own is not None and (told := pixel_ratio_warning(scene.x.frame, own)):
            log.warning("%s: %s", scene.y.name, told)
        within = None if own is None else shared_window(scene.x.frame, own)
        found = measure_registration(scene.x, scene.y, seed=job.config.seed, within=within)
        level = logging.WARNING if found.visible or found.scattered else logging.DEBUG
        log.log(level, "%s: %s", scene.y.name, found)
        measured[scene.name] = {"summary": str(found), **found.to_json()}
    return replace(job, registration=measured)


def _own_frame(source: Source) -> Frame | None:
    """Where a raster is before it is warped; None where it is not one, or has no place."""
    if type(source) is not RasterSource:
        return None
    try:
        return RasterSource(source.paths, source.bands).frame
    except AlignmentError:  # files that only a warp brings together
        return None


def _former(folder: Path, overwrite: bool) -> Former:
    """Open the folder that is to be appended to."""
    if overwrite:
        raise ChipError(f"{folder}: either append to it or overwrite it; leave out one of the two")
    restore(folder)
    return Former.open(folder)


def _make_room(folder: Path, overwrite: bool) -> None:
    """Refuse a place that is taken by anything but a chip folder that may be replaced."""
    if not folder.absolute().parent.is_dir():
        raise ChipError(f"{folder}: its parent folder does not exist; make it first")
    if not folder.exists():
        return
    if not overwrite:
        raise ChipError(
            f"{folder}: exists already; choose another name, or say overwrite or append"
        )
    if not is_chip_folder(folder):
        raise ChipError(f"{folder}: not a chip folder, so it is not replaced; remove it yourself")
    foreign = foreign_files(folder)
    if foreign:
        raise ChipError(f"{folder}: holds {foreign[0]} beside the chips; move it elsewhere first")


def _cut(job: Job, crew: Crew, tell: Progress) -> None:
    """Cut the groups that are not cut yet."""
    todo = [group for group in job.groups if not group_file(job.folder, group).exists()]
    done, total = job.tiles - sum(group.count for group in todo), job.tiles
    tell(done, total)
    with closing(crew(todo)) as cutting:  # nobody may go on where this does not
        for tiles in cutting:
            done += tiles
            tell(done, total)
