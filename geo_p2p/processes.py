"""Processes that train one model together, on one machine or on many: how many, and their sums.

Alone, a process is the first of one, and everything here gives back what it is given.
"""

import gc
import os
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed

from geo_p2p.errors import ModelError

__all__ = ["agreed", "beside", "count", "join", "leave", "mean", "rank", "share", "summed", "wait"]


Item = TypeVar("Item")

PATIENCE = timedelta(hours=2)
"""How long the others wait while the first one scores and saves."""


def join(device: str) -> str:
    """Join the processes that ``torchrun`` has started, if it has started this one.

    Parameters
    ----------
    device : name of a device; of several CUDA devices of a machine each process takes its own.

    Returns
    -------
    The name of the device of this process.

    Raises
    ------
    ModelError
        If the others cannot be reached.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or not distributed.is_available():
        return device
    if device == "auto" and torch.cuda.is_available():
        device = "cuda"
    if device == "cuda":
        device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    if not distributed.is_initialized():
        backend = "nccl" if device.startswith("cuda") else "gloo"
        try:
            if backend == "nccl":
                torch.cuda.set_device(device)
            distributed.init_process_group(backend, timeout=PATIENCE)
        except (RuntimeError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise ModelError(
                f"the other processes of this training cannot be reached ({reason}); start all of "
                "them by torchrun"
            ) from error
    return device


def count() -> int:
    """How many processes train together."""
    return distributed.get_world_size() if _joined() else 1


def beside() -> int:
    """How many of them are on this machine, joined or not yet."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def rank() -> int:
    """Number of this process, from 0; the first one writes and shows."""
    return distributed.get_rank() if _joined() else 0


def share(items: Sequence[Item]) -> Sequence[Item]:
    """What falls to this process of what falls to all of them."""
    return items[rank() :: count()]


def summed(tensor: Tensor) -> Tensor:
    """Sum a tensor over all processes, each of which must come by; so is its gradient."""
    total: Tensor = tensor if count() == 1 else _Sum.apply(tensor)
    return total


def mean(tensor: Tensor) -> Tensor:
    """Average a tensor over all processes, as `summed` does."""
    return tensor if count() == 1 else summed(tensor) / count()


def agreed(number: int) -> int:
    """What the first process says: others may have rounded to another number."""
    if count() == 1:
        return number
    told = torch.tensor([int(number) if rank() == 0 else 0], device=_device())
    return int(_reduced(told))


def wait() -> None:
    """Wait until all processes have come here."""
    agreed(0)


def leave() -> None:
    """Part from the others, once all of them have come here; alone, do nothing."""
    if not _joined():
        return
    wait()
    gc.collect()  # what still holds the group would end the process with a signal
    distributed.destroy_process_group()


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        return _reduced(tensor)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return _reduced(grads[0])


def _reduced(tensor: Tensor) -> Tensor:
    total = tensor.clone()
    distributed.all_reduce(total)
    return total


def _device() -> torch.device:
    """Where the backend takes tensors from."""
    return torch.device("cuda" if distributed.get_backend() == "nccl" else "cpu")


def _joined() -> bool:
    return distributed.is_available() and distributed.is_initialized()
