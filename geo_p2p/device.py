"""Where networks run, in what precision, and what room there is."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import torch

from geo_p2p.card.config import CHOICES
from geo_p2p.errors import ModelError

__all__ = [
    "choose_device",
    "choose_precision",
    "exact_arithmetic",
    "free_memory",
    "machine_memory",
    "precision_name",
]


def choose_device(name: str = "auto") -> torch.device:
    """Return the device of a name; "auto" takes CUDA, then Apple's MPS, then the CPU.

    Raises
    ------
    ModelError
        If there is no such device on this machine.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise ModelError(f"device {name!r}: not to be had here ({reason}); try 'auto'") from error
    return device


def choose_precision(name: str, device: torch.device, target_dtype: str) -> torch.dtype:
    """Return the number format of the network's inner layers.

    "auto" is bf16 on a CUDA device that has it, and if the target is 8 bits wide (bf16 tells only
    256 values of an octave apart); fp32 otherwise.

    Raises
    ------
    ModelError
        For an unknown name.
    """
    if name not in CHOICES["precision"]:
        raise ModelError(f"precision {name!r}: choose one of {', '.join(CHOICES['precision'])}")
    if name == "bf16":
        return torch.bfloat16
    if name == "auto" and device.type == "cuda" and target_dtype in ("uint8", "int8"):
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    return torch.float32


def precision_name(dtype: torch.dtype) -> str:
    """Return "fp32" or "bf16"."""
    return {torch.float32: "fp32", torch.bfloat16: "bf16"}[dtype]


@contextlib.contextmanager
def exact_arithmetic(device: torch.device, dtype: torch.dtype) -> Iterator[None]:
    """Run layers in ``dtype``, with the same sums whatever ran before.

    On CUDA, fp32 convolutions would round to TF32's ten bits, and algorithms be picked by a race.
    """
    with contextlib.ExitStack() as stack:
        if device.type == "cuda":
            flags = torch.backends.cudnn.flags(
                enabled=True, benchmark=False, deterministic=True, allow_tf32=False
            )
            stack.enter_context(flags)
        if dtype is not torch.float32:
            stack.enter_context(torch.autocast(device.type, dtype))
        yield


def machine_memory() -> float:
    """Bytes of memory of this machine; infinite where the system does not tell."""
    try:
        return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (AttributeError, OSError, ValueError):
        return float("inf")


def free_memory(device: torch.device) -> float:
    """Bytes that are free on a device; all the machine has where the system tells no more."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        return float(torch.cuda.mem_get_info(device)[0])
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(1024.0 * int(line.split()[1]) for line in lines if "MemAvailable" in line)
    except (OSError, StopIteration):
        return machine_memory()
