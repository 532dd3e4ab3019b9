"""What happens around fastai's loop: number formats, chance and the schedule.

fastai is the loop and nothing more. Its own mixed precision is for CUDA only, its progress bar
prints to stdout, its checkpoints are pickles: none of them is used.
"""

import contextlib
import math
from collections.abc import Callable

import torch
from fastai.callback.core import Callback

from geo_p2p.device import exact_arithmetic

__all__ = ["Chance", "Precision", "Schedule", "flat_then_linear", "one_cycle"]


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


def one_cycle(position: float) -> float:
    """Return the step size of a fit by the 1cycle policy, as a share of the largest.

    It rises from 1/25 over the first quarter and falls to 1/100 000, along cosines.

    References
    ----------
    Smith & Topin 2017, https://arxiv.org/abs/1708.07120
    """
    rise, low, end = 0.25, 1 / 25, 1e-5
    if position < rise:
        return low + (1 - low) * (1 - math.cos(math.pi * position / rise)) / 2
    return end + (1 - end) * (1 + math.cos(math.pi * (position - rise) / (1 - rise))) / 2


class Schedule(Callback):  # type: ignore[misc]
    """Sets the step size, and nothing else: Adam's decay rates stay what they are.

    Parameters
    ----------
    lr : largest step size.
    factor : share of it by the position in the fit, 0-1.
    done : epochs of the fit that were trained before, in another process perhaps.
    epochs : of the fit in all; those that the loop is asked for if None.
    """

    run_valid = False

    def __init__(
        self,
        lr: float,
        factor: Callable[[float], float],
        done: int = 0,
        epochs: int | None = None,
    ) -> None:
        self.lr = lr
        self.factor = factor
        self.done = done
        self.epochs = epochs

    def before_batch(self) -> None:
        """Set the step size of this batch."""
        # From whole numbers: fastai's own position is a sum that depends on where it began.
        steps = (self.done + self.epoch) * self.n_iter + self.iter
        position = steps / ((self.epochs or self.n_epoch) * self.n_iter)
        self.opt.set_hyper("lr", self.lr * self.factor(position))


class Chance(Callback):  # type: ignore[misc]
    """Draws order, augmentation and dropout of an epoch from its number alone.

    Parameters
    ----------
    seed : of dropout; order and augmentation have that of the data.
    done : epochs trained before.
    """

    def __init__(self, seed: int, done: int) -> None:
        self.seed = seed
        self.done = done

    def before_epoch(self) -> None:
        """Begin an epoch as if it were the first of a process."""
        number = self.done + self.epoch
        torch.manual_seed(self.seed + number)
        self.dls.begin_epoch(number)
