"""Networks compiled for their training: many small steps of a GPU become few."""

import torch
from torch import nn
from torch.nn import functional

from geo_p2p.errors import ModelError

__all__ = ["compile_networks"]


def compile_networks(device: torch.device, *networks: nn.Module) -> None:
    """Have networks compiled by ``torch.compile`` when they are first called.

    They stay the modules they were, with the same weights under the same names; copies of them are
    not compiled. Sums are taken in another order, so that weights differ in their last bits from
    those of a training that is not compiled.

    Raises
    ------
    ModelError
        If this machine cannot compile: on a CPU that takes a C++ compiler, on CUDA Triton.
    """
    try:
        torch.compile(functional.relu)(torch.zeros(2, device=device))
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise ModelError(
            f"torch.compile does not work here ({reason}): install what it lacks, or train without "
            "compile"
        ) from error
    for network in networks:
        network.compile()
