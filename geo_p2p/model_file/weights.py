"""Tensors on disk, as safetensors: nothing that is read can run code."""

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from geo_p2p.errors import ModelError

__all__ = ["DISCRIMINATOR", "WEIGHTS", "load_weights", "read_tensors", "write_tensors"]

WEIGHTS = ".safetensors"
DISCRIMINATOR = ".discriminator.safetensors"
"""Ends of the files beside ``<name>.emd``."""


def write_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write named tensors; `OSError` or `SafetensorError` if that fails."""
    save_file({name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, path)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read named tensors, onto the CPU.

    Raises
    ------
    ModelError
        If the file is missing or damaged.
    """
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        reason = str(error).splitlines()[0]
        raise ModelError(f"{path}: weights that cannot be read ({reason})") from error


def load_weights(network: nn.Module, path: Path) -> None:
    """Read the weights of a network.

    Raises
    ------
    ModelError
        If they are missing, damaged, or those of another network.
    """
    tensors = read_tensors(path)
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:  # torch lists every tensor, a line each
        raise ModelError(f"{path}: weights of another network than its card describes") from error
