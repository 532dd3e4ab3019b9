"""Folders of runs and of models, for ``geo-p2p train``: found, refused or cleared."""

import os
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from geo_p2p.errors import ModelError

RUN = ("checkpoints", "samples", "training_log", "wandb", "history.csv")
"""What a run leaves in its folder."""


def is_first() -> bool:
    """Whether this process, of those that torchrun has started, is the one that writes."""
    return int(os.environ.get("WORLD_SIZE", "1")) == 1 or os.environ.get("RANK") == "0"


def clear(run: Path) -> None:
    """Remove an earlier run, while the other processes wait."""
    from geo_p2p import processes

    if is_first() and run.exists():
        shutil.rmtree(run)
    processes.wait()


def part() -> None:
    """Part from the other processes, if there are any."""
    from geo_p2p import processes

    processes.leave()


def newest(folder: Path, run: Path) -> Path | None:
    """Find the checkpoint to go on from; None for a run that has none yet.

    Raises
    ------
    ModelError
        If there is a model but nothing to go on from.
    """
    from geo_p2p.pix2pix.checkpoints import newest_checkpoint

    found = newest_checkpoint(run)
    if found is None and folder.exists():
        raise ModelError(f"{run}: holds no checkpoint to go on from; train anew with --overwrite")
    return found


def require_run_room(run: Path, replace: bool) -> None:
    """Refuse a place where a run is that is not to be replaced, or something else.

    Raises
    ------
    ModelError
        Saying which.
    """
    if not run.exists():
        return
    if not replace:
        raise ModelError(
            f"{run}: a run is there; say --resume to go on with it, --overwrite to begin anew"
        )
    if not run.is_dir() or {path.name for path in run.iterdir()} - set(RUN):
        raise ModelError(f"{run}: holds more than a run leaves; choose another name, or move it")


def require_room(folder: Path, overwrite: bool) -> None:
    """Refuse, before hours of training, a place where no model can be saved.

    Raises
    ------
    ModelError
        If something is there that is not to be replaced, or nothing can be written there.
    """
    if folder.exists():
        if not overwrite:
            raise ModelError(f"{folder}: exists already; choose another name or say --overwrite")
        from geo_p2p.model_file import load_card

        load_card(folder)  # refuses what is no model's, which shall not be replaced
    home = next(parent for parent in folder.absolute().parents if parent.exists())
    try:
        # To try is the one way to know: of rights, full disks and read-only places.
        with TemporaryDirectory(prefix=".geo-p2p.", dir=home):
            pass
    except OSError as error:
        reason = error.strerror or error
        raise ModelError(f"{folder}: no folder can be made in {home} ({reason})") from error
