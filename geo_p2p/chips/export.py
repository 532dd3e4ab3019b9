"""Cut paired chips from two rasters."""

import json
import logging
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import shapely

from geo_p2p.chips.area import read_area
from geo_p2p.chips.chip import Scene, Source
from geo_p2p.chips.cut import SIDES, group_file
from geo_p2p.chips.finish import finish
from geo_p2p.chips.folder import foreign_files, is_chip_folder
from geo_p2p.chips.ground import pixel_ratio_warning, shared_window
from geo_p2p.chips.plan import Job
from geo_p2p.chips.registration import measure_registration
from geo_p2p.chips.scenes import Rasters, pixel_scenes, scenes
from geo_p2p.chips.settings import ExportConfig
from geo_p2p.chips.workers import cut_groups
from geo_p2p.errors import AlignmentError, ChipError, GeoP2PError
from geo_p2p.raster import Frame, RasterSource, require_encodable

__all__ = ["export_chips", "job_of"]

Progress = Callable[[int, int], None]

log = logging.getLogger(__name__)

MEASURED = 8
"""Scenes of which is measured how they line up: the first ones."""

PLAN = "plan.json"
PARTS = (PLAN, "chips", "group_")
"""Beginnings of the names in a folder of parts."""


def export_chips(
    src: str | Path | Iterable[str | Path],
    additional: str | Path | Iterable[str | Path],
    out_dir: str | Path,
    *,
    overwrite: bool = False,
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
    workers : processes to cut with.
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
        ``overwrite``, if it holds anything beside chips.
    GridError
        For a stride that is no part of a chip.
    """
    config = ExportConfig(**settings)
    folder = Path(out_dir)
    _make_room(folder, overwrite)
    job = registered(job_of(src, additional, config, folder))
    with _parts(job, folder):
        _cut(job, workers, scheduler, progress or (lambda done, total: None))
        split = finish(job)
        _swap(job.folder / "chips", folder)
    log.info("%s: %s", folder, split)
    return folder


def job_of(
    src: str | Path | Iterable[str | Path],
    additional: str | Path | Iterable[str | Path],
    config: ExportConfig,
    folder: Path,
) -> Job:
    """Open both rasters and plan what is to be cut of them; refuse what cannot be.

    See `export_chips` for arguments and errors.
    """
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
    job = Job(tuple(kept), tuple(areas), config, parts)
    if not job.groups:
        total = sum(len(grid) for grid in job.grids)
        raise ChipError(
            f"{config.mask}: none of the {total} chips of {config.side} px lies wholly inside "
            "the area of interest; take smaller chips or a larger area"
        )
    return job


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
def _parts(job: Job, folder: Path) -> Iterator[None]:
    """Give the folder of parts, of the same plan or new.

    It is removed at the end, and after a refusal; after an interruption or a full disk what is
    cut stays, and the next export of the same plan goes on with it.
    """
    _require_ours(job.folder)
    try:
        _open_parts(job)
        yield
    except OSError as error:
        kept = _kept(job)
        again = f"make room and say the same again: what is cut lies in {job.folder.name}"
        advice = again if kept else "check the folder and the space left"
        raise ChipError(
            f"{folder}: cannot be written ({error.strerror or error}); {advice}"
        ) from error
    except GeoP2PError:
        shutil.rmtree(job.folder, ignore_errors=True)
        raise
    except BaseException:
        _kept(job)
        raise
    shutil.rmtree(job.folder, ignore_errors=True)


def _kept(job: Job) -> bool:
    """Keep the folder of parts if there is anything in it to go on with."""
    if any(group_file(job.folder, group).exists() for group in job.groups):
        return True
    shutil.rmtree(job.folder, ignore_errors=True)
    return False


def _open_parts(job: Job) -> None:
    """Make the folder of parts, or go on with what an earlier export of the same plan has cut."""
    plan = job.folder / PLAN
    if job.folder.exists():
        same = plan.exists() and plan.read_text(encoding="utf-8") == json.dumps(job.recipe)
        # Without its chips it is what an export left that was published and then interrupted.
        if same and all((job.folder / "chips" / side).is_dir() for side in SIDES):
            log.info("%s: going on with what an earlier export has cut", job.folder.name)
            return
        shutil.rmtree(job.folder)
    for side in SIDES:
        (job.folder / "chips" / side).mkdir(parents=True)
    plan.write_text(json.dumps(job.recipe), encoding="utf-8")


def _require_ours(folder: Path) -> None:
    """Refuse to replace a folder with anything in it that is not of an export."""
    names = sorted(p.name for p in folder.iterdir()) if folder.is_dir() else []
    names = [folder.name] if folder.is_file() else names
    foreign = [name for name in names if not name.startswith(PARTS)]
    if foreign:
        raise ChipError(
            f"{folder}: holds {foreign[0]}, which is not of an export; move it elsewhere"
        )


def _cut(job: Job, workers: int, scheduler: str | None, tell: Progress) -> None:
    """Cut the groups that are not cut yet."""
    todo = [group for group in job.groups if not group_file(job.folder, group).exists()]
    done, total = job.tiles - sum(group.count for group in todo), job.tiles
    tell(done, total)
    for tiles in cut_groups(job, todo, workers, scheduler):
        done += tiles
        tell(done, total)


def _swap(made: Path, folder: Path) -> None:
    """Put a finished folder in its place; what stood there is moved aside first, removed last."""
    place = folder.resolve()
    former = place.with_name(f".{place.name}.former")
    try:
        if place.exists():
            shutil.rmtree(former, ignore_errors=True)
            place.replace(former)
        made.replace(place)
    finally:
        if former.exists() and not place.exists():
            former.replace(place)
        shutil.rmtree(former, ignore_errors=True)
