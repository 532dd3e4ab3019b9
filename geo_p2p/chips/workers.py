"""Who cuts which group: this process, several on this machine, or a Dask cluster."""

import functools
import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import replace
from queue import Empty, SimpleQueue

from geo_p2p.chips.cut import cut_group
from geo_p2p.chips.plan import Group, Job
from geo_p2p.errors import ChipError
from geo_p2p.scatter import on_cluster

__all__ = ["Crew", "crew_of"]

Crew = Callable[[Sequence[Group]], Generator[int, None, None]]
"""Cuts groups, and yields the tiles of each that is done."""


@contextmanager
def crew_of(job: Job, workers: int = 1, scheduler: str | None = None) -> Iterator[Crew]:
    """Call together who cuts groups, each on its own: whoever does it, the bytes are the same.

    Processes that are to help start at once, and are ready when they are needed.

    Parameters
    ----------
    job : what to cut, and how.
    workers : processes on this machine, of which this is one.
    scheduler : address of a Dask scheduler; its workers must see the same files and folder.

    Yields
    ------
    What cuts the groups that it is given, and yields the tiles of each that is done.

    Raises
    ------
    RasterError
        If a raster cannot be read.
    ChipError
        If a worker dies, or there is no cluster.
    OSError
        If the chips cannot be written.
    """
    helpers = min(workers, len(job.groups)) - 1
    if scheduler is not None:
        yield functools.partial(_on_cluster, job, scheduler)
    elif helpers > 0:
        with _helping(job, helpers) as pool:
            yield functools.partial(_in_processes, job, pool, helpers)
    else:
        yield functools.partial(_here, job)


def _here(job: Job, groups: Sequence[Group]) -> Generator[int, None, None]:
    """Cut groups in this process."""
    for group in groups:
        yield cut_group(job, group)


_received: list[Job] = []


def _receive(job: Job) -> None:
    """Keep the job of this worker process: it comes once, not with every group."""
    _received[:] = [job]


def _cut(group: Group) -> int:
    return cut_group(_received[0], group)


@contextmanager
def _helping(job: Job, helpers: int) -> Iterator[ProcessPoolExecutor]:
    """Start processes of their own, afresh: GDAL does not survive a fork."""
    bare = replace(job)  # without what it has worked out for itself
    with ProcessPoolExecutor(
        helpers, multiprocessing.get_context("spawn"), _receive, (bare,)
    ) as pool:
        try:
            for _ in range(helpers):  # each of which starts one, and has it import all it needs
                pool.submit(os.getpid)
            yield pool
        except BrokenProcessPool as error:
            raise ChipError(
                "a worker process died: of too little memory, or because the script that started "
                'it runs on import; call export_chips under `if __name__ == "__main__":`, or take '
                "fewer workers"
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _in_processes(
    job: Job, pool: ProcessPoolExecutor, helpers: int, groups: Sequence[Group]
) -> Generator[int, None, None]:
    """Cut groups here and in the pool: who is done with one takes the next, the largest first."""
    todo = deque(sorted(groups, key=lambda group: -group.count))
    done: SimpleQueue[int] = SimpleQueue()

    def keep_busy() -> None:
        """Let one helper cut what nobody else has begun."""
        try:
            for group in _taken(todo):
                done.put(pool.submit(_cut, group).result())
        except BaseException:
            todo.clear()  # so that all others end
            raise

    with ThreadPoolExecutor(helpers) as threads:
        waiting = [threads.submit(keep_busy) for _ in range(helpers)]
        try:
            for group in _taken(todo):
                yield cut_group(job, group)
                yield from _gathered(done)
        finally:
            todo.clear()
        for thread in waiting:
            thread.result()
            yield from _gathered(done)


def _taken(todo: deque[Group]) -> Iterator[Group]:
    """Take groups until there is none; several threads may."""
    with suppress(IndexError):
        while True:
            yield todo.popleft()


def _gathered(done: "SimpleQueue[int]") -> Iterator[int]:
    """What has been put into a queue so far."""
    with suppress(Empty):
        while True:
            yield done.get_nowait()


def _on_cluster(job: Job, scheduler: str, groups: Sequence[Group]) -> Generator[int, None, None]:
    """Cut groups on a Dask cluster."""
    yield from on_cluster(scheduler, cut_group, replace(job), groups, ChipError)
