"""Where networks run, in what precision, and what room there is."""

import contextlib
import ctypes
import functools
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from geo_p2p.card import Scaling
from geo_p2p.card.config import CHOICES
from geo_p2p.errors import ModelError

__all__ = [
    "choose_device",
    "choose_precision",
    "cpu_has_bf16",
    "exact_arithmetic",
    "free_memory",
    "inference_precision",
    "kept_memory",
    "machine_memory",
    "precision_name",
]


DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
"""Number formats of the inner layers."""

# As in glibc's malloc.h.
M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3
M_MMAP_MAX = -4


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

    "auto" is bf16 on a CUDA device that computes in it, and if the target is 8 bits wide (bf16
    tells only 256 values of an octave apart); fp32 otherwise.

    Raises
    ------
    ModelError
        For an unknown name.
    """
    if name not in CHOICES["precision"]:
        raise ModelError(f"precision {name!r}: choose one of {', '.join(CHOICES['precision'])}")
    if name == "auto" and device.type == "cuda" and target_dtype in ("uint8", "int8"):
        return torch.bfloat16 if _cuda_has_bf16() else torch.float32
    return DTYPES.get(name, torch.float32)


def inference_precision(name: str, device: torch.device, target: Scaling) -> torch.dtype:
    """Return the number format of the inner layers for translating alone.

    As `choose_precision`, but that "fp16" is one too, that "auto" is fp16 on a CUDA device without
    bf16, and bf16 on a CPU if its cores compute in it, and that for classes of any type: these are
    told apart by scores.
    """
    if name in DTYPES:
        return DTYPES[name]
    if name == "auto" and (target.classes or target.dtype in ("uint8", "int8")):
        if device.type == "cpu":
            return torch.bfloat16 if cpu_has_bf16() else torch.float32
        if device.type == "cuda":
            return torch.bfloat16 if _cuda_has_bf16() else torch.float16
    return choose_precision(name, device, target.dtype)


def _cuda_has_bf16() -> bool:
    """Whether a CUDA device computes in bf16; those before Ampere only imitate it."""
    return bool(torch.cuda.is_bf16_supported(including_emulation=False))


@functools.cache
def cpu_has_bf16() -> bool:
    """Whether the cores multiply in bf16; where they only imitate it, it is slower than fp32."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="ignore").splitlines()
    except OSError:
        return False  # no Linux: macOS and Windows do not tell
    flags = next((line for line in lines if line.lower().startswith(("flags", "features"))), "")
    return not {"avx512_bf16", "amx_bf16", "bf16"}.isdisjoint(flags.split())


def precision_name(dtype: torch.dtype) -> str:
    """Return the name of a number format: "fp32", "bf16" or "fp16"."""
    return next(name for name, known in DTYPES.items() if known is dtype)


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


@contextlib.contextmanager
def kept_memory() -> Iterator[None]:
    """Keep memory for the next tile rather than hand it back to the system after each layer.

    glibc returns large arrays at once, and the system clears every page when it is asked for
    again: a tenth to a third of the time of a network on a CPU. Elsewhere nothing changes.
    """
    libc: Any = ctypes.CDLL(None) if sys.platform == "linux" else None
    if not hasattr(libc, "mallopt") or not hasattr(libc, "malloc_trim"):  # another libc
        yield
        return
    try:
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
        yield
    finally:
        libc.mallopt(M_MMAP_MAX, 65536)
        # What glibc's own rule comes to, which holds no longer once any of them is set by hand.
        libc.mallopt(M_MMAP_THRESHOLD, 32 * 2**20)
        libc.mallopt(M_TRIM_THRESHOLD, 64 * 2**20)
        libc.malloc_trim(0)


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
