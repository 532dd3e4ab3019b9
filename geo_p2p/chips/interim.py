"""The folder of parts, in which an export is made until it takes its place as a whole."""

import json
import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from geo_p2p.chips.cut import SIDES, group_file
from geo_p2p.chips.plan import Job
from geo_p2p.errors import ChipError, GeoP2PError

__all__ = ["JOINED", "PLAN", "restore", "parts_of", "swap"]

log = logging.getLogger(__name__)

PLAN = "plan.json"
JOINED = "joined"
PARTS = (PLAN, JOINED, "chips", "group_")
"""Beginnings of the names in a folder of parts."""


@contextmanager
def parts_of(job: Job, folder: Path) -> Iterator[None]:
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
    plan, recipe = job.folder / PLAN, json.dumps(job.recipe)
    if job.folder.exists():
        same = plan.exists() and plan.read_text(encoding="utf-8") == recipe
        # Without its chips it is what an export left that was published and then interrupted.
        if same and all((job.folder / "chips" / side).is_dir() for side in SIDES):
            log.info("%s: going on with what an earlier export has cut", job.folder.name)
            return
        shutil.rmtree(job.folder)
    for side in SIDES:
        (job.folder / "chips" / side).mkdir(parents=True)
    plan.write_text(recipe, encoding="utf-8")


def _require_ours(folder: Path) -> None:
    """Refuse to replace a folder with anything in it that is not of an export."""
    names = sorted(p.name for p in folder.iterdir()) if folder.is_dir() else []
    names = [folder.name] if folder.is_file() else names
    foreign = [name for name in names if not name.startswith(PARTS)]
    if foreign:
        raise ChipError(
            f"{folder}: holds {foreign[0]}, which is not of an export; move it elsewhere"
        )


def swap(made: Path, folder: Path) -> None:
    """Put a finished folder in its place; what stood there is moved aside first, removed last."""
    place, former = _places(folder)
    try:
        if place.exists():
            shutil.rmtree(former, ignore_errors=True)
            place.replace(former)
        made.replace(place)
    finally:
        if former.exists() and not place.exists():
            former.replace(place)
        shutil.rmtree(former, ignore_errors=True)


def restore(folder: Path) -> None:
    """Put a folder back that an interruption of `swap` has left aside."""
    place, former = _places(folder)
    if former.exists() and not place.exists():
        former.replace(place)
    shutil.rmtree(former, ignore_errors=True)


def _places(folder: Path) -> tuple[Path, Path]:
    """Where a folder is, and where it is put aside."""
    place = folder.resolve()
    return place, place.with_name(f".{place.name}.former")
