"""Locks that end with the process that holds them, however it ends."""

import errno
import logging
import os
import secrets
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["Lock", "locked"]

log = logging.getLogger(__name__)

PATIENCE = 5.0
"""How long a lock that can be shared is waited for, seconds: another one may be just leaving."""

WITHOUT_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
"""What a file system says that has none."""

if sys.platform == "win32":
    import msvcrt

    # Windows locks ranges of bytes. All of them is for one alone; of those who share, each draws
    # one, and another if it was taken. They lie behind what is written in the file, to be read.
    START, LENGTH = 1 << 20, 1 << 20

    def _try(file: int, shared: bool) -> None:
        os.lseek(file, START + (secrets.randbelow(LENGTH) if shared else 0), os.SEEK_SET)
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1 if shared else LENGTH)

else:
    import fcntl

    def _try(file: int, shared: bool) -> None:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)


class Lock:
    """A file that is locked: its being there means nothing, so that a killed process leaves none.

    Parameters
    ----------
    path : of the file, in a folder that is there; it is removed when the last one lets go.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: int | None = None

    def take(self, shared: bool = False) -> bool:
        """Take the lock without waiting; whether it was to be had.

        Parameters
        ----------
        shared : whether others may share it; otherwise it is for one alone.
        """
        while True:
            file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                _try(file, shared)
            except OSError as error:
                if error.errno not in WITHOUT_LOCKS:
                    os.close(file)
                    return False
                log.warning(
                    "%s: this file system knows no locks; see to it that no two runs have one "
                    "output",
                    self.path.parent,
                )
            if self._is_there(file):
                self._file = file
                return True
            os.close(file)  # of a file that the last holder has removed since

    def _is_there(self, file: int) -> bool:
        """Whether the path still leads to an opened file."""
        with suppress(FileNotFoundError):
            return os.path.samestat(os.fstat(file), self.path.stat())
        return False

    def sign(self, name: str) -> None:
        """Write into the file who holds it."""
        if self._file is not None:
            os.ftruncate(self._file, 0)
            os.lseek(self._file, 0, os.SEEK_SET)
            os.write(self._file, name.encode())

    @property
    def holder(self) -> str:
        """Who has signed the file; "" if that cannot be told."""
        with suppress(OSError, UnicodeDecodeError):
            return self.path.read_text(encoding="utf-8")
        return ""

    def release(self) -> None:
        """Let go, and remove the file unless others hold it too."""
        file, self._file = self._file, None
        if file is None:
            return
        if sys.platform != "win32":
            # While it is locked for this process alone, nobody who opens it now believes in it.
            with suppress(OSError):
                _try(file, shared=False)
                self.path.unlink(missing_ok=True)
        os.close(file)
        if sys.platform == "win32":
            with suppress(OSError):  # it refuses as long as anybody has the file open
                self.path.unlink(missing_ok=True)


@contextmanager
def locked(path: Path, shared: bool = False) -> Iterator[bool]:
    """Hold a lock, if it is to be had; one that can be shared is waited for a moment.

    Yields
    ------
    Whether it is held.
    """
    lock, until = Lock(path), time.monotonic() + (PATIENCE if shared else 0)
    held = lock.take(shared)
    while not held and time.monotonic() < until:
        time.sleep(0.05)
        held = lock.take(shared)
    if held:
        lock.sign("" if shared else f"process {os.getpid()} on {socket.gethostname()}")
    try:
        yield held
    finally:
        lock.release()
