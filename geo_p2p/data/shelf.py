"""Where decoded chips are kept while a model is trained: in memory, or in a file that is mapped."""

import os
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geo_p2p import processes
from geo_p2p.chips import Chip
from geo_p2p.device import machine_memory
from geo_p2p.errors import ChipError

__all__ = ["MEMORY_SHARE", "Shelf"]

MEMORY_SHARE = 0.5
"""Share of the machine's memory that chips may take, in all processes that train on it."""


class Shelf:
    """Keeps chips in memory, or, where they would take too much of it, in a file without a name.

    The file is mapped: the system reads from it what a batch asks for, and it is gone with the
    last chip. It lies where temporary files do (``$TMPDIR``), never in a folder of the user's.

    Parameters
    ----------
    count : chips to come, all like the first.
    memory : bytes that they may take; if None this process's part of `MEMORY_SHARE` of the
        machine's.
    """

    def __init__(self, count: int, memory: int | None = None) -> None:
        self._count = count
        share = MEMORY_SHARE / processes.beside()
        self._memory = machine_memory() * share if memory is None else memory
        self._pages: NDArray[np.uint8] | None = None
        self._end = 0

    def keep(self, chip: Chip) -> Chip:
        """Return the chip with its arrays where they are kept.

        Raises
        ------
        ChipError
            If there is no room for the file.
        """
        arrays = (chip.x, chip.y, chip.valid)
        size = sum(array.nbytes for array in arrays)
        if self._end == 0 and size * self._count > self._memory:
            self._pages = _pages(size * self._count)
        if self._pages is None or self._end + size > len(self._pages):
            self._end += size
            return chip
        x, y, valid = self._copied(arrays)
        return replace(chip, x=x, y=y, valid=valid)

    def _copied(self, arrays: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        copies = []
        for array in arrays:
            assert self._pages is not None
            place = self._pages[self._end : self._end + array.nbytes]
            copies.append(place.view(array.dtype).reshape(array.shape))
            copies[-1][...] = array
            self._end += array.nbytes
        return copies


def _pages(size: int) -> NDArray[np.uint8]:
    """Map a new file of that many bytes."""
    try:
        with tempfile.TemporaryFile() as file:
            if hasattr(os, "posix_fallocate"):  # a sparse file would end the process on a full disk
                os.posix_fallocate(file.fileno(), 0, size)
            return np.asarray(np.memmap(file, np.uint8, "r+", shape=(size,)))
    except OSError as error:
        raise ChipError(
            f"{tempfile.gettempdir()}: no room for {size / 1e9:.1f} GB of decoded chips, which are "
            f"too many for memory ({error.strerror}); set TMPDIR to a larger disk"
        ) from error
