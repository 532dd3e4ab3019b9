"""What is measured while a training runs, and that it has failed."""

import math
import time
from collections.abc import Callable, Sequence
from typing import NoReturn, TypeAlias

import torch
from fastai.callback.core import Callback, CancelFitException
from torch import Tensor, nn

from geo_p2p import processes
from geo_p2p.errors import ModelError
from geo_p2p.evaluate import scores_for
from geo_p2p.pix2pix.plan import FitConfig, has_stalled
from geo_p2p.pix2pix.progress import Bar
from geo_p2p.pix2pix.training import Training

__all__ = ["Listener", "Telemetry"]

Listener: TypeAlias = Callable[[], None]
"""Called when an epoch is over, and the last row of the history is its own."""

SCORED = 8
"""Validation chips at most that an epoch is scored on: a tenth of a second each, 256 px in RGB."""

SCORES = ("l1", "rmse", "psnr", "ssim", "hp_l1", "accuracy", "miou")


class Telemetry(Callback):  # type: ignore[misc]
    """Keeps the history, tells of each epoch, and stops at what is not a number.

    Parameters
    ----------
    training : whose history gets one dict an epoch.
    plan : of this fit.
    bar : shows how far it is.
    listeners : called in this order after each epoch.

    Attributes
    ----------
    failure : what stopped the training; fastai would put words of its own before it.
    diverged : whether that was a loss or gradient that is not a number.
    """

    order = 60

    def __init__(
        self, training: Training, plan: FitConfig, bar: Bar, listeners: Sequence[Listener]
    ) -> None:
        self.training_state = training
        self.plan = plan
        self.bar = bar
        self.listeners = listeners
        self.failure: Exception | None = None
        self.diverged = False
        self._done = training.epochs - plan.first
        chips = training.data.chips[1]
        step = -(-len(chips) // SCORED) or 1
        self._scored = range(0, len(chips), step)

    def before_epoch(self) -> None:
        """Begin the sums of an epoch."""
        self._sums: dict[str, float] = {}
        self._seen = {True: 0, False: 0}
        self._valid = 0.0
        self._scores = scores_for(self.dls.scalings[1])
        self._started = time.perf_counter()

    def before_step(self) -> None:
        """Add a batch, and stop before a step that would spoil the weights."""
        adversary, config = self.training_state.adversary, self.training_state.config
        values = {
            **adversary.parts,
            "gen_grad_norm": _gradient(self.learn.model),
        }
        if config.gan_weight:
            values |= _accuracies(adversary.judged, config.gan)
            values["disc_grad_norm"] = _gradient(adversary.discriminator)
        # Stacked, because every number that is asked for alone waits for the device.
        stacked = torch.stack([value.detach().float() for value in values.values()])
        numbers = processes.mean(stacked).tolist()
        for name, number in zip(values, numbers, strict=True):
            self._require_finite(name, number, f", step {self.iter + 1}")
            self._sums[name] = self._sums.get(name, 0.0) + len(self.xb[0]) * number

    def after_batch(self) -> None:
        """Count a batch; score it in validation."""
        count = len(self.xb[0])
        if self.training:
            self.bar.move(self._done + self.epoch + (self.iter + 1) / self.n_iter)
        else:
            self._valid += count * float(self.loss)
            self._score(self._seen[False])
        self._seen[self.training] += count

    def _score(self, start: int) -> None:
        """Score those chips of a validation batch that are, in the target's unit."""
        target = self.dls.scalings[1]
        for index in range(start, start + len(self.pred)):
            if index in self._scored:
                chip = self.dls.chips[1][index]
                image = target.inverse(self.pred[index - start].float().cpu().numpy())
                self._scores.update(image, chip.y, chip.valid)

    def after_epoch(self) -> None:
        """Keep the epoch, and tell."""
        row: dict[str, float | None] = {
            name: total / self._seen[True] for name, total in self._sums.items()
        }
        if self._seen[False]:
            row["valid_l1_loss"] = self._valid / self._seen[False]
            self._require_finite("valid_l1_loss", self._valid, "")
            scores = self._scores.result()
            row |= {f"valid_{name}": scores[name] for name in SCORES if name in scores}
        row["lr"] = float(self.opt.hypers[-1]["lr"])
        row["seconds"] = time.perf_counter() - self._started
        self.training_state.history.append(row)
        try:
            for listener in self.listeners:
                listener()
            self.bar.tell(self._done + self.epoch + 1, row)
        except Exception as error:
            self._stop(error)
        rows = self.training_state.rows
        if processes.agreed(self.plan.early_stopping and has_stalled(rows, self.plan.monitor)):
            raise CancelFitException

    def _require_finite(self, name: str, number: float, step: str) -> None:
        if not math.isfinite(number):
            self.diverged = True
            self._stop(
                ModelError(
                    f"{name} is {number} in epoch {self._done + self.epoch + 1}{step}: "
                    "training has diverged; lower the learning rate (the weights are again those "
                    "before this epoch)"
                )
            )

    def _stop(self, failure: Exception) -> NoReturn:
        self.failure = failure
        raise CancelFitException


def _gradient(network: nn.Module) -> Tensor:
    """Euclidean norm of all gradients of a network."""
    norms = [p.grad.norm() for p in network.parameters() if p.grad is not None]
    norm: Tensor = torch.linalg.vector_norm(torch.stack(norms))
    return norm


def _accuracies(judged: tuple[list[Tensor], list[Tensor]], gan: str) -> dict[str, Tensor]:
    """Share of its patches that the discriminator judges right, real ones and translated ones."""
    middle = 0.5 if gan == "lsgan" else 0.0
    real, fake = (torch.cat([scores.flatten() for scores in each]) for each in judged)
    return {
        "d_accuracy_real": (real > middle).float().mean(),
        "d_accuracy_fake": (fake <= middle).float().mean(),
    }
