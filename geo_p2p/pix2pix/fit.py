"""One fit from its plan: what is called when, and what is left at the end."""

import contextlib
import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from fastai.callback.core import Callback
from torch import Tensor

from geo_p2p import processes
from geo_p2p.errors import ModelError
from geo_p2p.model_file import model_folder
from geo_p2p.networks import calibrate_batch_norm
from geo_p2p.pix2pix.build import decay_of
from geo_p2p.pix2pix.callbacks import Chance, Schedule, one_cycle
from geo_p2p.pix2pix.checkpoints import Checkpoints
from geo_p2p.pix2pix.loggers import Board, HistoryFile, Samples, WeightsAndBiases
from geo_p2p.pix2pix.memory import told_of_memory
from geo_p2p.pix2pix.plan import FitConfig, has_stalled, require_monitored
from geo_p2p.pix2pix.progress import Bar, Progress
from geo_p2p.pix2pix.state import restore, take
from geo_p2p.pix2pix.telemetry import Listener, Telemetry
from geo_p2p.pix2pix.training import Training
from geo_p2p.pix2pix.watch import Watch

__all__ = ["fit", "seeded"]

CALIBRATION = 64
"""Batches that batch norm's statistics are taken over when training ends."""


def fit(
    training: Training,
    plan: FitConfig,
    progress: bool | Progress = True,
    callbacks: Sequence[Callback] = (),
) -> None:
    """Train the epochs of a plan that are not trained yet, and leave the best ones' weights.

    Parameters
    ----------
    training : what to train; it may be in the midst of the plan.
    plan : of the whole fit.
    progress : whether to show it, on stderr; or what to call with (epochs done, in all).
    callbacks : fastai's own, or others for its loop.

    Raises
    ------
    ModelError
        If a loss or gradient is no longer a number; the weights are then those of the last epoch.
        If the plan watches what no epoch would have.
    """
    data = training.data
    require_monitored(plan, bool(data.scalings[1].classes), len(data.chips[1]))
    training.plan = plan
    files = plan.checkpoint is not False or plan.tensorboard or bool(plan.wandb)
    if training.folder is None and files:
        training.folder = _run_folder(data.origin.working_dir)
    processes.wait()  # before the first of them makes the folder
    with seeded(training):
        stopped = plan.early_stopping and has_stalled(training.rows, plan.monitor)
        if training.epochs < plan.last and not stopped:
            _train(training, plan, progress, callbacks)
        _finish(training, plan)
    training.generator.eval()


def _train(
    training: Training, plan: FitConfig, progress: bool | Progress, callbacks: Sequence[Callback]
) -> None:
    """Run fastai's loop over the epochs that are left."""
    done = training.epochs - plan.first
    first = processes.rank() == 0  # which alone shows and writes
    bar = Bar(progress if first else False, done, plan.epochs)
    good = _Good(training)
    with contextlib.ExitStack() as stack:
        listeners: list[Listener] = []
        if first:
            listeners = [Watch(training), *_listeners(training, plan, stack)]
        listeners.append(good)  # when the others have kept the epoch
        telemetry = Telemetry(training, plan, bar, listeners)
        told = replace(training.config, epochs=plan.epochs)
        factor = one_cycle if plan.one_cycle else decay_of(told)
        schedule = Schedule(plan.lr or training.config.lr, factor, done, plan.epochs)
        chance = Chance(training.config.seed, training.epochs)
        # fastai tells its callbacks of its own interruptions only.
        stack.callback(bar.close)
        stack.callback(training.learn.precision.close)
        if training.average is not None:
            stack.callback(training.average.close)
        if processes.count() > 1:
            stack.callback(training.learn.together.close)
        training.learn.opt.zero_grad()  # what an interruption may have left
        bar.start()
        with told_of_memory(training):
            training.learn.fit(plan.epochs - done, cbs=[chance, schedule, telemetry, *callbacks])
    if telemetry.diverged:
        good.bring_back()
    if telemetry.failure is not None:
        raise telemetry.failure


class _Good:
    """The state after the last epoch that came to its end: in its checkpoint, or else in memory."""

    def __init__(self, training: Training) -> None:
        self._training = training
        self._epoch = training.epochs
        # Not in a checkpoint of that number: the weights may be those of another epoch, the best.
        self._state: dict[str, Tensor] | None = take(training)

    def __call__(self) -> None:
        """Remember the epoch that is over."""
        self._epoch = self._training.epochs
        self._state = None if self._is_on_disk() else take(self._training)

    def bring_back(self) -> None:
        """Bring back what the epoch left."""
        if self._state is None:
            Checkpoints(self._training).load(self._epoch)
        else:
            restore(self._training, self._state)

    def _is_on_disk(self) -> bool:
        training = self._training
        if training.plan is None or training.plan.checkpoint is False or processes.count() > 1:
            return False  # of several processes only the first one has written by now
        return Checkpoints(training).holds(self._epoch)


def _listeners(
    training: Training, plan: FitConfig, stack: contextlib.ExitStack
) -> Iterator[Listener]:
    """Who is told of every epoch; checkpoints last, so that they hold what all others saw."""
    if training.folder is None:
        return
    try:
        training.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ModelError(f"{training.folder}: cannot be made ({error.strerror})") from error
    stack.callback(_remove_empty, training.folder)
    samples = Samples(training)
    yield HistoryFile(training)
    yield samples
    if plan.tensorboard:
        board = Board(training, samples.path)
        stack.callback(board.close)
        yield board
    if plan.wandb:
        project = plan.wandb if isinstance(plan.wandb, str) else "geo_p2p"
        remote = WeightsAndBiases(training, project, samples.path)
        stack.callback(remote.close)
        yield remote
    if plan.checkpoint is not False:
        checkpoints = Checkpoints(training)
        checkpoints.begin()
        yield checkpoints


def _remove_empty(folder: Path) -> None:
    """Remove the folder of a run that failed in its first epoch: it is no run to go on with."""
    with contextlib.suppress(OSError):  # it is not empty
        folder.rmdir()


def _finish(training: Training, plan: FitConfig) -> None:
    """Bring back the best epoch's weights, and take batch norm's statistics anew."""
    if plan.checkpoint is not False:
        checkpoints = Checkpoints(training)
        best = processes.agreed(checkpoints.best() or training.epochs)
        if best != training.epochs:
            checkpoints.load_best(best)
    # Running averages lag behind weights that still move.
    training.data.begin_epoch(training.epochs)
    batches = (x for x, *_ in itertools.islice(_endless(training.data.train_dl), CALIBRATION))
    calibrate_batch_norm(training.generator, batches)


@contextlib.contextmanager
def seeded(training: Training) -> Iterator[None]:
    """Draw dropout from the run's own seed, and leave the user's random numbers alone."""
    forked = [training.device] if training.device.type == "cuda" else []
    with torch.random.fork_rng(forked):
        torch.manual_seed(training.config.seed + training.epochs)
        yield


def _run_folder(home: Path | None) -> Path:
    """A folder for a run that has no name yet, beside where models are saved."""
    now = time.strftime("%Y-%m-%d_%H-%M-%S", time.localtime(processes.agreed(int(time.time()))))
    names = itertools.chain([f"{now}.run"], (f"{now}_{n}.run" for n in itertools.count(2)))
    return next(path for path in (model_folder(name, home) for name in names) if not path.exists())


def _endless(loader: Any) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Batches of a loader, again and again."""
    while True:
        yield from loader
