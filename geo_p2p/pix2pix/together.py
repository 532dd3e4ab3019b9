"""Several processes train one model: what each does beside its share of every batch."""

import inspect
from typing import Any

from fastai.callback.core import Callback
from torch import nn
from torch.nn.parallel import DistributedDataParallel

__all__ = ["Together"]

SYNC = next(
    name
    for name in ("forward_sync_buffers", "broadcast_buffers")  # the newer name first
    if name in inspect.signature(DistributedDataParallel).parameters
)
"""Whether buffers are sent around at every step; norms keep the same statistics by themselves."""


class Together(Callback):  # type: ignore[misc]
    """Averages the gradients of both networks over all processes, while they are computed.

    fastai's own does so on CUDA only. In training both networks run inside torch's
    `DistributedDataParallel`; whoever looks at them between epochs finds them bare. Batch norm and
    the losses see the joint batch by themselves: see `geo_p2p.processes`.
    """

    order = -20  # before fastai's own callback puts `learn.model` into train mode

    def __init__(self) -> None:
        self._bare: nn.Module | None = None
        self._wrapped: nn.Module | None = None

    def before_fit(self) -> None:
        """Take the weights of the first process, everywhere."""
        self._bare = self.learn.model
        self._wrapped = _wrapped(self._bare)
        self.adversary.judge = _wrapped(self.adversary.discriminator)

    def before_train(self) -> None:
        """Train in step with the others."""
        self.learn.model = self._wrapped

    def after_train(self) -> None:
        """Bare again, for whoever validates, looks or saves."""
        self.learn.model = self._bare

    def close(self) -> None:
        """Bare again, also after an interruption."""
        self.adversary.judge = self.adversary.discriminator
        if self._bare is not None:
            self.learn.model = self._bare
        self._bare = self._wrapped = None  # nothing of the group outlives the fit


def _wrapped(network: nn.Module) -> nn.Module:
    settings: dict[str, Any] = {SYNC: False}
    return DistributedDataParallel(network, **settings)
