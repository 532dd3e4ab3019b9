"""What is told of a training: its history, its progress, and that it has failed."""

import logging
import math
import time
from collections.abc import Callable
from typing import NoReturn

from fastai.callback.core import Callback, CancelFitException
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from geo_p2p.errors import ModelError
from geo_p2p.pix2pix.adversary import Adversary

__all__ = ["Progress", "Telemetry"]

log = logging.getLogger(__name__)

Progress = Callable[[int, int], None]


class Telemetry(Callback):  # type: ignore[misc]
    """Keeps the history, shows progress on stderr, and stops at a loss that is not a number.

    Parameters
    ----------
    history : list that gets one dict an epoch.
    adversary : whose parts of the loss are kept.
    progress : whether to show it: as a bar in a terminal or notebook, as one line an epoch in a
        log; or what to call with (epochs done, in all).

    Attributes
    ----------
    failure : what stopped the training; fastai would put words of its own before it.
    """

    order = 60

    def __init__(
        self, history: list[dict[str, float]], adversary: Adversary, progress: bool | Progress
    ) -> None:
        self.history = history
        self.adversary = adversary
        self.failure: Exception | None = None
        self._progress = progress
        console = Console(stderr=True)
        self._live = progress is True and (console.is_terminal or console.is_jupyter)
        self._bar = Bar(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("epochs"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[losses]}"),
            console=console,
            disable=not self._live,
            redirect_stdout=False,
        )

    def before_fit(self) -> None:
        """Start the clock and the bar."""
        self._task = self._bar.add_task("training", total=self.n_epoch, losses="")
        self._bar.start()

    def before_epoch(self) -> None:
        """Begin the sums of an epoch."""
        self._sums: dict[str, float] = {}
        self._seen = {True: 0, False: 0}
        self._valid = 0.0
        self._started = time.perf_counter()

    def after_batch(self) -> None:
        """Add a batch."""
        count = len(self.xb[0])
        self._seen[self.training] += count
        if not self.training:
            self._valid += count * float(self.loss)
            return
        for name, value in self.adversary.parts.items():
            number = float(value)
            if not math.isfinite(number):
                self._stop(
                    ModelError(
                        f"{name} is {number} in epoch {self.epoch + 1}, step {self.iter + 1}: "
                        "training has diverged; lower the learning rate"
                    )
                )
            self._sums[name] = self._sums.get(name, 0.0) + count * number
        steps = self.epoch + (self.iter + 1) / self.n_iter
        self._bar.update(self._task, completed=min(steps, self.n_epoch))

    def after_epoch(self) -> None:
        """Keep the epoch, and tell."""
        epoch = {name: total / self._seen[True] for name, total in self._sums.items()}
        if self._seen[False]:
            epoch["valid_l1_loss"] = self._valid / self._seen[False]
        epoch["lr"] = float(self.opt.hypers[-1]["lr"])
        epoch["seconds"] = time.perf_counter() - self._started
        self.history.append(epoch)
        self._tell(epoch)

    def _tell(self, epoch: dict[str, float]) -> None:
        """Say how far the training is."""
        losses = f"loss {epoch['l1_loss']:.4f}"
        if "valid_l1_loss" in epoch:
            losses += f", validation {epoch['valid_l1_loss']:.4f}"
        self._bar.update(self._task, losses=losses)
        if callable(self._progress):
            try:
                self._progress(self.epoch + 1, self.n_epoch)
            except Exception as error:
                self._stop(error)
        elif self._progress and not self._live:
            log.info("epoch %d of %d: %s", self.epoch + 1, self.n_epoch, losses)

    def _stop(self, failure: Exception) -> NoReturn:
        self.failure = failure
        raise CancelFitException

    def close(self) -> None:
        """Take the bar away."""
        self._bar.stop()
