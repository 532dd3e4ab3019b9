"""A running mean of the generator's weights."""

from copy import deepcopy

import torch
from fastai.callback.core import Callback

from geo_p2p.networks import Generator

__all__ = ["Average"]


class Average(Callback):  # type: ignore[misc]
    """Keeps the exponential mean of a generator's weights, and has it validated.

    After n steps the mean keeps min(decay, (1 + n) / (10 + n)) of its former value, so that the
    first weights, which are noise, are soon forgotten. The statistics of batch norms are averaged
    like weights.

    Parameters
    ----------
    generator : whose weights are averaged; it is trained, the mean is used.
    decay : 0-1.

    Attributes
    ----------
    network : the mean, in eval mode.
    steps : so far.

    References
    ----------
    Yazici et al. 2019, "The unusual effectiveness of averaging in GAN training",
    https://arxiv.org/abs/1806.04498
    """

    order = -20  # before fastai's own callback puts `learn.model` into eval mode

    def __init__(self, generator: Generator, decay: float) -> None:
        self.decay = decay
        self.steps = 0
        self.network = deepcopy(generator)
        self.network.requires_grad_(False).eval()
        self._trained = generator

    def before_fit(self) -> None:
        """Go where the batches are."""
        self.network.to(self.dls.device)

    @torch.no_grad()
    def after_batch(self) -> None:
        """Take a step of the generator into the mean."""
        if not self.training:
            return
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        mean, now = self.network.state_dict(), self._trained.state_dict()
        for name, value in mean.items():
            if value.is_floating_point():
                value.lerp_(now[name], 1 - decay)
            else:
                value.copy_(now[name])

    def before_validate(self) -> None:
        """Validate the mean."""
        self.learn.model = self.network

    def after_validate(self) -> None:
        """Train the generator again."""
        self.close()

    def close(self) -> None:
        """Train the generator again, also after an interruption."""
        self.learn.model = self._trained
