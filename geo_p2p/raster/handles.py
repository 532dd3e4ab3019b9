"""The opened files of each thread: those used last stay open."""

import os
import threading
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

__all__ = ["HANDLES", "MOST_OPEN", "Key"]

MOST_OPEN = 48
"""Sources that a thread keeps open: 16 threads stay below the 1024 files a process may have."""


class Key:
    """What stands for one source; its handles close when it goes."""


class Handles(threading.local):
    """What this thread has open, by key, the latest used last.

    A mosaic of a thousand scenes would otherwise hold a thousand files open in every thread.
    """

    def __init__(self) -> None:
        self._process = os.getpid()
        self._opened: WeakKeyDictionary[Key, Any] = WeakKeyDictionary()

    def of(self, key: Key, opener: Callable[[], Any]) -> Any:
        """Return what is open under a key, or open it."""
        if self._process != os.getpid():
            # A forked process on its parent's handles would move the parent's place in the file.
            self._process, self._opened = os.getpid(), WeakKeyDictionary()
        opened = self._opened.pop(key, None)
        self._opened[key] = opener() if opened is None else opened
        if len(self._opened) > MOST_OPEN:
            self._opened.pop(next(iter(self._opened)), None)
        return self._opened[key]


HANDLES = Handles()
"""The handles of every thread of this process."""
