"""Who is told of every epoch: a CSV file, pictures, TensorBoard, Weights & Biases.

Each is a small object that is called when an epoch is over; the last row of the history is its.
"""

import csv
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from geo_p2p.errors import GeoP2PError, ModelError
from geo_p2p.pix2pix.training import Training
from geo_p2p.report import triptych
from geo_p2p.translate.scoring import translate_chips

__all__ = ["Board", "HistoryFile", "Samples", "WeightsAndBiases", "write_history"]

ROWS = 4
"""Chips in the picture of an epoch."""


def write_history(training: Training, path: Path) -> None:
    """Write the history as a CSV file: a line an epoch, empty where there is no number."""
    names = list(dict.fromkeys(name for row in training.history for name in row))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["epoch", *names])
        for number, row in enumerate(training.history, start=training.before + 1):
            writer.writerow([number, *(row.get(name) for name in names)])
        file.flush()
        os.fsync(file.fileno())


class HistoryFile:
    """``history.csv``: a line an epoch, on the disk when the epoch is over.

    What a killed process wrote beyond its last checkpoint is removed when training goes on.
    """

    def __init__(self, training: Training) -> None:
        assert training.folder is not None
        self.training = training
        self.path = training.folder / "history.csv"
        self._names: list[str] = []

    def __call__(self) -> None:
        """Add the line of an epoch."""
        row = self.training.history[-1]
        try:
            if list(row) != self._names:  # the first line of this fit, or one with other columns
                part = self.path.with_name(f".{self.path.name}.{os.getpid()}.part")
                write_history(self.training, part)
                part.replace(self.path)
                self._names = list(row)
                return
            with self.path.open("a", newline="", encoding="utf-8") as file:
                line = [self.training.epochs, *row.values()]
                csv.writer(file, lineterminator="\n").writerow(line)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise ModelError(f"{self.path}: cannot be written ({error.strerror})") from error


class Samples:
    """``samples/epoch_0001.png``: input, target and translation of the same chips each epoch."""

    def __init__(self, training: Training) -> None:
        assert training.folder is not None
        self.training = training
        self.folder = training.folder / "samples"
        chips = training.data.chips[1] or training.data.chips[0]
        self._chips = [chips[i] for i in range(0, len(chips), -(-len(chips) // ROWS))]

    def path(self) -> Path:
        """Where the picture of the epoch that is over lies."""
        return self.folder / f"epoch_{self.training.epochs:04d}.png"

    def __call__(self) -> None:
        """Draw the epoch that is over."""
        images = translate_chips(self.training.translator, self._chips)
        pairs = zip(self._chips, images, strict=True)
        rows = [self.training.data.pictures(chip, image) for chip, image in pairs]
        columns = [np.vstack(column) for column in zip(*rows, strict=True)]
        self.folder.mkdir(exist_ok=True)
        triptych(self.path(), columns, ["input", "target", f"epoch {self.training.epochs}"])


class Board:
    """TensorBoard: every number of the history by epoch, under ``training_log``.

    Raises
    ------
    ModelError
        If tensorboard is not installed.
    """

    def __init__(self, training: Training, picture: Callable[[], Path]) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise ModelError(
                "tensorboard is not installed: pip install 'geo_p2p[tensorboard]', or fit with "
                "tensorboard=False"
            ) from error
        assert training.folder is not None
        self.training = training
        self._picture = picture
        # What a killed process wrote beyond its last checkpoint is not shown.
        self._writer: Any = SummaryWriter(
            str(training.folder / "training_log"), purge_step=training.epochs + 1
        )

    def __call__(self) -> None:
        """Write the epoch that is over."""
        number = self.training.epochs
        for name, value in _numbers(self.training).items():
            self._writer.add_scalar(name, value, number)
        self._writer.add_image("samples", _pixels(self._picture()), number, dataformats="HWC")
        self._writer.flush()

    def close(self) -> None:
        """Close its file."""
        self._writer.close()


class WeightsAndBiases:
    """Weights & Biases: every number of the history by epoch; offline where WANDB_MODE says so.

    Raises
    ------
    ModelError
        If wandb is not installed, or refuses to start.
    """

    def __init__(self, training: Training, project: str, picture: Callable[[], Path]) -> None:
        try:
            import wandb
        except ImportError as error:
            raise ModelError(
                "wandb is not installed: pip install 'geo_p2p[wandb]', or fit with wandb=False"
            ) from error
        assert training.folder is not None
        self.training = training
        self._picture = picture
        self._image: Any = wandb.Image
        try:
            self._run: Any = wandb.init(
                project=project,
                name=training.folder.name,
                dir=str(training.folder),
                config=training.config.to_json(),
            )
        except wandb.Error as error:
            raise ModelError(
                f"Weights & Biases does not start ({error}); WANDB_MODE=offline needs no account"
            ) from error

    def __call__(self) -> None:
        """Tell of the epoch that is over."""
        told = {**_numbers(self.training), "samples": self._image(str(self._picture()))}
        self._run.log(told, step=self.training.epochs)

    def close(self) -> None:
        """End the run there."""
        self._run.finish()


def _numbers(training: Training) -> dict[str, float]:
    """The last row of the history, without what has no number."""
    return {name: value for name, value in training.history[-1].items() if value is not None}


def _pixels(path: Path) -> Any:
    from PIL import Image

    try:
        with Image.open(path) as picture:
            return np.asarray(picture.convert("RGB"))
    except OSError as error:
        raise GeoP2PError(f"{path}: cannot be read ({error})") from error
