"""What happens around fastai's loop: number formats and the schedule.

fastai is the loop and nothing more. Its own mixed precision is for CUDA only, its progress bar
prints to stdout, its checkpoints are pickles: none of them is used.
"""

import contextlib
from collections.abc import Callable

import torch
from fastai.callback.core import Callback

from geo_p2p.device import exact_arithmetic

__all__ = ["Precision", "Schedule", "flat_then_linear"]


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
