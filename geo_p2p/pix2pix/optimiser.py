"""Adam, in one pass over the weights where torch has that."""

from collections.abc import Iterable
from typing import Any

from torch.optim import Adam

__all__ = ["adam"]

FUSED = ("cpu", "cuda")
"""Devices on which torch 2.4 and newer take a step of Adam in one pass."""


def adam(parameters: Iterable[Any], **settings: Any) -> Adam:
    """Make an optimiser of weights, all on one device.

    A step reads and writes every weight, gradient and moment once; else it does so a dozen times,
    which on a CPU at batch 1 is a tenth of all a training does.

    Parameters
    ----------
    parameters : tensors, or groups of them, as torch's own takes them.
    **settings : of `torch.optim.Adam`.
    """
    groups = list(parameters)
    first = groups[0]["params"][0] if isinstance(groups[0], dict) else groups[0]
    return Adam(groups, fused=True if first.device.type in FUSED else None, **settings)
