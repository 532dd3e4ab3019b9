"""Find a step size: a short sweep that leaves no trace."""

import contextlib
import math
from collections.abc import Sequence

import numpy as np
from fastai.callback.core import Callback, CancelFitException, CancelValidException

from geo_p2p.errors import ModelError
from geo_p2p.pix2pix.callbacks import Chance
from geo_p2p.pix2pix.fit import seeded
from geo_p2p.pix2pix.state import restore, take
from geo_p2p.pix2pix.training import Training

__all__ = ["Sweep", "chosen", "sweep"]

BETA = 0.98
"""How much of its past the smoothed loss keeps, as in fastai."""

BLOWN = 4.0
"""The sweep ends where the smoothed loss is so many times its least."""


class Sweep(Callback):  # type: ignore[misc]
    """Raises the step size of both networks together, by one factor a step.

    Parameters
    ----------
    start, end : step sizes.
    steps : from one to the other.

    Attributes
    ----------
    rates, losses : of every step; losses are smoothed.
    """

    order = 70

    def __init__(self, start: float, end: float, steps: int) -> None:
        self.start, self.end, self.steps = start, end, steps
        self.rates: list[float] = []
        self.losses: list[float] = []
        self._mean = 0.0

    def before_batch(self) -> None:
        """Set the step size: the discriminator's optimiser follows it."""
        position = len(self.rates) / max(1, self.steps - 1)
        rate = self.start * (self.end / self.start) ** position
        self.opt.set_hyper("lr", rate)
        self._rate = rate

    def before_step(self) -> None:
        """Note the generator's whole loss, and stop when it is lost."""
        loss = float(self.learn.loss_grad.detach())
        self._mean = BETA * self._mean + (1 - BETA) * loss
        smooth = self._mean / (1 - BETA ** (len(self.losses) + 1))
        if not math.isfinite(smooth):
            raise CancelFitException
        self.rates.append(self._rate)
        self.losses.append(smooth)
        # A loss can be below nothing; how far it has risen is told by its range.
        if smooth > BLOWN * min(self.losses) > 0 or len(self.rates) >= self.steps:
            raise CancelFitException

    def before_validate(self) -> None:
        """Leave validation out."""
        raise CancelValidException


def sweep(training: Training, start: float, end: float, steps: int) -> Sweep:
    """Train some steps with ever larger step sizes, and put everything back.

    Raises
    ------
    ModelError
        For step sizes or a number of steps that make no sweep.
    """
    if not 0 < start < end < math.inf or steps < 2:
        raise ModelError(
            f"a sweep from {start} to {end} in {steps} steps: let it rise, in 2 or more"
        )
    callback = Sweep(start, end, steps)
    state, learn = take(training), training.learn
    chance = Chance(training.config.seed, training.epochs)
    try:
        with seeded(training), contextlib.ExitStack() as stack:
            stack.callback(learn.precision.close)
            if training.average is not None:
                stack.callback(training.average.close)
            learn.opt.zero_grad()
            learn.fit(-(-steps // len(training.data.train_dl)), cbs=[chance, callback])
    finally:
        restore(training, state)
        training.generator.eval()
    return callback


def chosen(rates: Sequence[float], losses: Sequence[float]) -> float:
    """Choose a step size from a sweep: the middle of the longest stretch of falling losses.

    Raises
    ------
    ModelError
        If the loss fell nowhere.

    References
    ----------
    fastai's `valley`: https://docs.fast.ai/callback.schedule.html#valley
    """
    values = np.asarray(losses)
    length = np.ones(len(values), int)  # of the longest falling sequence, with gaps, that ends here
    start = np.arange(len(values))  # where that begins
    for i in range(1, len(values)):
        higher = np.flatnonzero(values[:i] > values[i])[::-1]
        if len(higher):
            before = higher[length[higher].argmax()]  # of equals the last: a plateau is no fall
            length[i], start[i] = length[before] + 1, start[before]
    end = int(length.argmax())
    if length[end] < 2:
        raise ModelError("the loss fell at no step size: give lr by hand, 2e-4 is the recipes'")
    return float(rates[(int(start[end]) + end) // 2])
