"""Batch norm over the batch of all processes, wherever several train one network; or frozen."""

import torch
from torch import Tensor, nn

from ..processes import count, summed

__all__ = ["BatchNorm", "freeze"]


class BatchNorm(nn.BatchNorm2d):
    """Batch norm whose statistics, in training, are those of the joint batch of all processes.

    In one process it is torch's. `torch.nn.SyncBatchNorm` does the same on CUDA only; this works
    with any backend, gloo on CPUs too, so that what is tested on two processes of one machine is
    what trains on many.

    Attributes
    ----------
    frozen : bool
        Whether the running statistics are used, and kept, in training too.
    """

    frozen = False

    def train(self, mode: bool = True) -> "BatchNorm":
        """Go to train mode, unless it is frozen: the loop that asks does not know of that."""
        return super().train(mode and not self.frozen)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (batch, channels, rows, cols); in training every process must come by."""
        if not self.training or count() == 1:
            return super().forward(x)
        x32 = x.float()
        pixels = summed(x32.new_full((1,), x32.numel() / x32.shape[1]))
        # Two sums, of values and then of squares about the mean: one would lose digits.
        mean = summed(x32.sum((0, 2, 3))) / pixels
        centred = x32 - mean[:, None, None]
        var = summed(centred.square().sum((0, 2, 3))) / pixels
        self._track(mean.detach(), var.detach() * pixels / (pixels - 1))
        scale = torch.rsqrt(var + self.eps) * self.weight
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(x.dtype)

    @torch.no_grad()
    def _track(self, mean: Tensor, var: Tensor) -> None:
        """Keep running statistics; a momentum of None asks for plain averages."""
        assert self.num_batches_tracked is not None
        assert self.running_mean is not None
        assert self.running_var is not None
        self.num_batches_tracked += 1
        weight = self.momentum or 1 / float(self.num_batches_tracked)
        self.running_mean.lerp_(mean, weight)
        self.running_var.lerp_(var, weight)


def freeze(module: nn.Module, frozen: bool = True) -> None:
    """Keep a part of a network as it is while the rest is trained; or let it go again.

    Its weights get no gradient, and its batch norms neither the statistics of a batch nor new ones
    of their own: weights that stay while the statistics move are the way a frozen half drifts.

    Parameters
    ----------
    module
        With batch norms of `BatchNorm` alone.
    frozen
        False to train it from now on.
    """
    module.requires_grad_(not frozen)
    for layer in module.modules():
        if isinstance(layer, BatchNorm):
            layer.frozen = frozen
            if frozen:
                layer.eval()
