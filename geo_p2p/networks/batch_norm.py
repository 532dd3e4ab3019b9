"""Batch norm over the batch of all processes, wherever several train one network."""

from typing import Any

import torch
from torch import Tensor, distributed, nn

__all__ = ["BatchNorm"]


class BatchNorm(nn.BatchNorm2d):
    """Batch norm whose statistics, in training, are those of the joint batch of all processes.

    In one process it is torch's. `torch.nn.SyncBatchNorm` does the same on CUDA only; this works
    with any backend, gloo on CPUs too, so that what is tested on two processes of one machine is
    what trains on many.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (batch, channels, rows, cols); in training every process must come by."""
        if not self.training or _processes() == 1:
            return super().forward(x)
        x32 = x.float()
        count = _sum(x32.new_full((1,), x32.numel() / x32.shape[1]))
        # Two sums, of values and then of squares about the mean: one would lose digits.
        mean = _sum(x32.sum((0, 2, 3))) / count
        centred = x32 - mean[:, None, None]
        var = _sum(centred.square().sum((0, 2, 3))) / count
        self._track(mean.detach(), var.detach() * count / (count - 1))
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


class _Sum(torch.autograd.Function):
    """The sum of a tensor over all processes; so is its gradient."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        total = tensor.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        total = grads[0].clone()
        distributed.all_reduce(total)
        return total


def _sum(tensor: Tensor) -> Tensor:
    total: Tensor = _Sum.apply(tensor)
    return total


def _processes() -> int:
    """How many processes train together."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return 1
    return distributed.get_world_size()
