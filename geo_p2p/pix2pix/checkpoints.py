"""Checkpoints: an epoch on disk, as a model folder with the state of its training.

::

    <run>/checkpoints/epoch_0007/
        epoch_0007.emd  epoch_0007.safetensors  epoch_0007.discriminator.safetensors
        state.safetensors  state.json

A folder appears under its name only when it is whole, and the one before it goes only then: a
process killed at any moment leaves at least one that loads.
"""

import logging
import re
import shutil
from pathlib import Path

from geo_p2p.errors import ModelError
from geo_p2p.model_file import load_discriminator, load_generator, save_model
from geo_p2p.pix2pix.plan import best_epoch
from geo_p2p.pix2pix.state import has_state, read_state, write_state
from geo_p2p.pix2pix.training import Training

__all__ = ["Checkpoints", "newest_checkpoint", "run_folder", "take_up"]

FOLDER = "checkpoints"
NAME = re.compile(r"epoch_(\d{4,})")

log = logging.getLogger(__name__)


class Checkpoints:
    """Keeps the newest epoch of a fit, the best one, and those that were asked for.

    Parameters
    ----------
    training : with its plan and its folder.
    """

    def __init__(self, training: Training) -> None:
        self.training = training
        assert training.folder is not None  # there is none without a folder
        self.folder = training.folder / FOLDER

    def begin(self) -> None:
        """Copy the best epoch so far from the run that this one branches off, if it does.

        Raises
        ------
        ModelError
            If it cannot be copied.
        """
        best, source = self.best(), self.training.source
        if best is None or source is None or best in _found(self.folder):
            return
        name = f"epoch_{best:04d}"
        partial = self.folder / f".{name}.part"
        try:
            shutil.copytree(source / name, partial, dirs_exist_ok=True)
            partial.replace(self.folder / name)
        except OSError as error:
            raise ModelError(f"{source / name}: cannot be copied ({error})") from error

    def __call__(self) -> None:
        """Write the epoch that is over, and remove those that nobody wants any more.

        Raises
        ------
        ModelError
            If it cannot be written.
        """
        training = self.training
        plan = training.plan
        assert plan is not None
        number = training.epochs
        best = self.best()
        every = plan.checkpoint if not isinstance(plan.checkpoint, bool | str) else 1
        if number % every and number not in (best, plan.last):
            return
        save_model(
            self.folder / f"epoch_{number:04d}",
            training.generator,
            training.card(),
            training.adversary.discriminator,
            lambda folder: write_state(training, folder),
        )
        for left in self.folder.glob(".epoch_*"):  # by a killed process
            shutil.rmtree(left, ignore_errors=True)
        for other, path in _found(self.folder).items():
            if plan.first < other < number and other != best and not plan.keeps(other):
                _remove(path)

    def best(self) -> int | None:
        """Number of the best epoch of the fit, from 1; None where nothing tells."""
        plan = self.training.plan
        assert plan is not None
        index = best_epoch(self.training.rows, plan.monitor)
        return None if index is None else plan.first + index + 1

    def holds(self, epoch: int) -> bool:
        """Whether an epoch is on disk."""
        return epoch in _found(self.folder)

    def load_best(self, epoch: int) -> None:
        """Bring back the weights of the best epoch, and say so.

        Raises
        ------
        ModelError
            If its checkpoint is damaged.
        """
        if not self.holds(epoch):
            log.warning("the best epoch, %d, is gone: the weights are those of the last", epoch)
            return
        log.info("the weights are those of epoch %d, the best one", epoch)
        self.load(epoch)

    def load(self, epoch: int) -> None:
        """Bring back the state of an epoch that is on disk; the history stays.

        Raises
        ------
        ModelError
            If its checkpoint is damaged.
        """
        history, plan = list(self.training.history), self.training.plan
        path = self.folder / f"epoch_{epoch:04d}"
        trained = load_generator(path, self.training.card())
        self.training.generator.load_state_dict(trained.state_dict())
        load_discriminator(path, self.training.adversary.discriminator)
        read_state(self.training, path)
        self.training.history[:], self.training.plan = history, plan


def take_up(training: Training, path: Path) -> None:
    """Bring a training that has the weights of a model to the state that lies beside them, if any.

    Raises
    ------
    ModelError
        If it is damaged.
    """
    home = path.parent if path.is_file() else path
    if not has_state(home):
        return
    read_state(training, home)
    if home.parent.name != FOLDER:
        return
    # From an older epoch on, the run is another one: the newer ones stay as they are.
    if newest_checkpoint(home.parent) == home:
        training.folder = home.parent.parent
    else:
        training.source = home.parent


def run_folder(folder: str | Path, epochs: int) -> Path:
    """Take a folder for a run.

    Raises
    ------
    ModelError
        If it is that of another run, which has come farther.
    """
    newest = newest_checkpoint(Path(folder))
    if newest is not None and int(newest.name.removeprefix("epoch_")) > epochs:
        raise ModelError(
            f"{folder}: holds the checkpoints of another run; choose another folder, or go on with "
            "it: from_model(folder, data).resume()"
        )
    return Path(folder)


def newest_checkpoint(path: Path) -> Path | None:
    """Find the newest checkpoint of a run, by the run's folder or that of its checkpoints."""
    home = path if path.name == FOLDER else path / FOLDER
    found = _found(home)
    return found[max(found)] if found else None


def _found(folder: Path) -> dict[int, Path]:
    """The checkpoints of a folder by their epochs."""
    named = ((NAME.fullmatch(path.name), path) for path in folder.glob("epoch_*"))
    return {int(match[1]): path for match, path in named if match and has_state(path)}


def _remove(path: Path) -> None:
    """Remove a checkpoint: first its name, so that half of one is never taken for a whole."""
    doomed = path.with_name(f".{path.name}.former")
    try:
        path.replace(doomed)
        shutil.rmtree(doomed)
    except OSError as error:
        raise ModelError(f"{path}: cannot be removed ({error.strerror or error})") from error
