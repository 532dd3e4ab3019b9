"""Batch norm over the batch of all processes, wherever several train one network."""

import torch
from torch import Tensor, nn

from ..processes import count, summed

__all__ = ["BatchNorm"]


class BatchNorm(nn.BatchNorm2d):
    """Batch norm whose statistics, in training, are those of the joint batch of all processes.

    In one process it is torch's. `torch.nn.SyncBatchNorm` does the same on CUDA only; this works
    with any backend, gloo on CPUs too, so that what is tested on two processes of one machine is
    what trains on many.
    """

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
