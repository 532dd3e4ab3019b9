"""What happens around fastai's loop: the adversary, precision, the schedule, telemetry.

fastai is the loop and nothing more. Its own mixed precision is for CUDA only, its progress bar
prints to stdout, its checkpoints are pickles: none of them is used.
"""

import contextlib
import logging
import math
import time
from collections.abc import Callable
from typing import NoReturn

import torch
from fastai.callback.core import Callback, CancelFitException
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from torch import Tensor, nn

from geo_p2p.card import TrainConfig
from geo_p2p.device import exact_arithmetic
from geo_p2p.errors import ModelError
from geo_p2p.losses import discriminator_loss, fill, gan_loss

__all__ = ["Adversary", "Precision", "Schedule", "Telemetry", "flat_then_linear"]

log = logging.getLogger(__name__)

Progress = Callable[[int, int], None]


class Adversary(Callback):  # type: ignore[misc]
    """Owns the discriminator and its optimiser: the part of the loss that learns.

    Each training batch, after the generator's forward pass, the discriminator takes one step on
    (x, y) against (x, G(x)); then its opinion of G(x) joins the generator's loss, with its own
    weights frozen. It always sees (input, image), in that order, with invalid pixels of input,
    target and translation filled alike; for classes, also pixels whose class is not known.

    Parameters
    ----------
    discriminator : called with (condition, image).
    config : loss, weights and optimiser settings.
    logits : whether the generator gives class scores, which are shown to it as probabilities.
    """

    order = 10
    run_valid = False

    def __init__(self, discriminator: nn.Module, config: TrainConfig, logits: bool) -> None:
        self.discriminator = discriminator
        self.config = config
        self.logits = logits
        self.optimiser = torch.optim.Adam(
            discriminator.parameters(), lr=config.lr, betas=(config.beta1, config.beta2)
        )
        self.parts: dict[str, Tensor] = {}

    def before_fit(self) -> None:
        """Go where the batches are."""
        self.discriminator.to(self.dls.device).train()

    def after_pred(self) -> None:
        """Take the discriminator's step; the generator is not touched."""
        y, valid = self.yb
        known = valid & (y.sum(1, keepdim=True) > 0) if self.logits else valid
        x, image = fill(self.xb[0], valid), fill(self._image(self.pred), known)
        self._shown = x, image
        for group in self.optimiser.param_groups:
            group["lr"] = self.opt.hypers[-1]["lr"]
        with self.learn.arithmetic():
            real = self.discriminator(x, fill(y, known))
            fake = self.discriminator(x, image.detach())
        loss = discriminator_loss(real, fake, self.config.gan)
        self.optimiser.zero_grad()
        torch.autograd.backward(loss.total)
        self.optimiser.step()
        self.parts = {
            "total_disc_loss": loss.total.detach(),
            "real_d_loss": loss.real.detach(),
            "fake_d_loss": loss.fake.detach(),
        }

    def after_loss(self) -> None:
        """Add the discriminator's opinion to the generator's loss."""
        self.discriminator.requires_grad_(False)
        with self.learn.arithmetic():
            opinion = gan_loss(self.discriminator(*self._shown), True, self.config.gan)
        self.discriminator.requires_grad_(True)
        weight = self.config.class_weight if self.logits else self.config.pixel_weight
        self.learn.loss_grad = opinion + weight * self.learn.loss_grad
        self.parts["fake_d_real_class_loss"] = opinion.detach()
        self.parts["l1_loss"] = self.learn.loss.detach()
        self.parts["total_gen_loss"] = self.learn.loss_grad.detach()
        del self._shown

    def _image(self, pred: Tensor) -> Tensor:
        return pred.float().softmax(1) if self.logits else pred


class Precision(Callback):  # type: ignore[misc]
    """Runs the forward passes in a number format, on any device.

    `Learner.arithmetic` is the context it opens for the generator, and others for their nets.
    """

    order = -5

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self._open = contextlib.ExitStack()

    def before_fit(self) -> None:
        """Offer the context to other callbacks."""
        device = torch.device(self.dls.device)
        self.learn.arithmetic = lambda: exact_arithmetic(device, self.dtype)

    def before_batch(self) -> None:
        """Open the context for the generator's forward pass."""
        self._open.enter_context(self.learn.arithmetic())

    def after_pred(self) -> None:
        """Close it: losses are taken in fp32."""
        self._open.close()

    def close(self) -> None:
        """Close it after an interruption."""
        self._open.close()


def flat_then_linear(flat: float) -> Callable[[float], float]:
    """Return the schedule of a fit: 1 for the share ``flat`` of it, then linearly to 0.

    References
    ----------
    The authors' PyTorch code: 100 epochs at a constant rate, 100 decaying.
    """

    def factor(position: float) -> float:
        return 1.0 if position <= flat else (1 - position) / (1 - flat)

    return factor


class Schedule(Callback):  # type: ignore[misc]
    """Sets the step size, and nothing else: Adam's decay rates stay what they are."""

    run_valid = False

    def __init__(self, lr: float, factor: Callable[[float], float]) -> None:
        self.lr = lr
        self.factor = factor

    def before_batch(self) -> None:
        """Set the step size of this batch."""
        self.opt.set_hyper("lr", self.lr * self.factor(self.pct_train))


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
