"""How far a training is, for people: on stderr, or to whoever asked to be called."""

import logging
from collections.abc import Callable
from typing import TypeAlias

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichBar

from geo_p2p.pix2pix.plan import Row

__all__ = ["Bar", "Progress"]

Progress: TypeAlias = Callable[[int, int], None]
"""Called with (epochs done, in all)."""

log = logging.getLogger(__name__)


class Bar:
    """A bar in a terminal or notebook, one line an epoch in a log, or calls.

    Parameters
    ----------
    wanted : whether to show anything; or what to call.
    done, total : epochs of this fit, of which some may have been trained in another process.
    """

    def __init__(self, wanted: bool | Progress, done: int, total: int) -> None:
        self._wanted = wanted
        self._total = total
        console = Console(stderr=True)
        self._live = wanted is True and (console.is_terminal or console.is_jupyter)
        self._bar = RichBar(
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
        self._task = self._bar.add_task("training", total=total, completed=done, losses="")

    def start(self) -> None:
        """Show the bar."""
        self._bar.start()

    def move(self, epochs: float) -> None:
        """Move the bar to so many epochs."""
        self._bar.update(self._task, completed=min(epochs, self._total))

    def tell(self, epoch: int, row: Row) -> None:
        """Say that an epoch (from 1) is done."""
        losses = f"loss {row['l1_loss']:.4f}"
        if "valid_l1_loss" in row:
            losses += f", validation {row['valid_l1_loss']:.4f}"
        self._bar.update(self._task, losses=losses)
        if callable(self._wanted):
            self._wanted(epoch, self._total)
        elif self._wanted and not self._live:
            log.info("epoch %d of %d: %s", epoch, self._total, losses)

    def close(self) -> None:
        """Take the bar away."""
        self._bar.stop()
