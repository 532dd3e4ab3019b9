"""Who cuts which group: this process, several on this machine, or a Dask cluster."""

import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace

from geo_p2p.chips.cut import cut_group
from geo_p2p.chips.plan import Group, Job
from geo_p2p.errors import ChipError

__all__ = ["cut_groups"]

PATIENCE = "10s"
"""How long a scheduler has to answer."""


def cut_groups(
    job: Job, groups: Sequence[Group], workers: int = 1, scheduler: str | None = None
) -> Iterator[int]:
    """Cut groups, each on its own: whoever does it, the bytes are the same.

    Parameters
    ----------
    job : what to cut, and how.
    groups : those still to be cut.
    workers : processes on this machine; 1 is this one.
    scheduler : address of a Dask scheduler; its workers must see the same files and folder.

    Yields
    ------
    Tiles of a group that is done.

    Raises
    ------
    RasterError
        If a raster cannot be read.
    ChipError
        If a worker dies, or there is no cluster.
    OSError
        If the chips cannot be written.
    """
    if scheduler is not None:
        yield from _on_cluster(job, groups, scheduler)
    elif workers > 1 and len(groups) > 1:
        yield from _in_processes(job, groups, workers)
    else:
        for group in groups:
            yield cut_group(job, group)


_received: list[Job] = []


def _receive(job: Job) -> None:
    """Keep the job of this worker process: it comes once, not with every group."""
    _received[:] = [job]


def _cut(group: Group) -> int:
    return cut_group(_received[0], group)


def _in_processes(job: Job, groups: Sequence[Group], workers: int) -> Iterator[int]:
    """Cut groups in processes of their own, started afresh: GDAL does not survive a fork."""
    bare = replace(job)  # without what it has worked out for itself
    with ProcessPoolExecutor(
        min(workers, len(groups)), multiprocessing.get_context("spawn"), _receive, (bare,)
    ) as pool:
        futures = [pool.submit(_cut, group) for group in groups]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BrokenProcessPool as error:
            raise ChipError(
                "a worker process died: of too little memory, or because the script that started "
                'it runs on import; call export_chips under `if __name__ == "__main__":`, or take '
                "fewer workers"
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _on_cluster(job: Job, groups: Sequence[Group], scheduler: str) -> Iterator[int]:
    """Cut groups on a Dask cluster."""
    try:
        import distributed
    except ImportError as error:
        raise ChipError('a scheduler needs Dask: pip install "geo_p2p[dask]"') from error
    try:
        client = distributed.Client(scheduler, timeout=PATIENCE, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ChipError(
            f"{scheduler}: no Dask scheduler answers there ({error}); start one with "
            "'dask scheduler', and workers with 'dask worker'"
        ) from error
    with client:
        shared = client.scatter(replace(job), broadcast=True)
        futures = client.map(cut_group, [shared] * len(groups), list(groups), pure=False)
        for _, done in distributed.as_completed(futures, loop=client.loop, with_results=True):
            yield int(done)
