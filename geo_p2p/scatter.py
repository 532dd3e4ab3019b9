"""Spread a work over a Dask cluster: many items, one thing they share.

The one place that knows Dask; it is loaded when a scheduler is named. What the items are is up to
the caller: chips are cut so, and blocks translated. Items do not depend on one another, and each
writes what it makes, so that one that is done twice, because a worker died, does no harm.
"""

import inspect
import logging
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from geo_p2p.errors import GeoP2PError

__all__ = ["on_cluster"]

log = logging.getLogger(__name__)

PATIENCE = "10s"
"""How long a scheduler has to answer."""

GPU = {"GPU": 1}
"""The resource that Dask's own documentation gives to workers with one."""

Shared = TypeVar("Shared")
Item = TypeVar("Item")
Result = TypeVar("Result")


def on_cluster(
    address: str,
    work: Callable[[Shared, Item], Result],
    shared: Shared,
    items: Sequence[Item],
    error: type[GeoP2PError],
    *,
    gpus: bool = False,
) -> Generator[Result, None, None]:
    """Have a Dask cluster do a work, and yield what each item gives, as they are done.

    The item of a worker that dies is given to another one, until it has cost several workers
    their lives (Dask's ``distributed.scheduler.allowed-failures``).

    Parameters
    ----------
    address : of the scheduler, ``tcp://host:port``.
    work : a function of a module that the workers can import.
    shared : what all items need; it is sent once, and sent again if its holder dies.
    items : the other argument of ``work``, one by one.
    error : class of the errors raised here.
    gpus : whether only workers with the resource "GPU" shall work, one item each at a time, if
        there are any.

    Raises
    ------
    GeoP2PError
        Of class ``error``: without Dask, without a scheduler there, if an item has cost too many
        workers, or the scheduler is lost. What ``work`` raises comes through as it is.
    """
    with _client(address, error) as client:
        resources = GPU if gpus and _has_gpus(client) else None
        # A task and not scattered data: those are gone for good with the last worker that has them.
        common = client.submit(_same, shared, pure=False)
        futures = client.map(
            work, [common] * len(items), list(items), pure=False, resources=resources
        )
        yield from _results(address, futures, client, error)


def _same(shared: Shared) -> Shared:
    return shared


@contextmanager
def _client(address: str, error: type[GeoP2PError]) -> Iterator[Any]:
    """Connect with a scheduler."""
    try:
        import distributed
    except ImportError as missing:
        raise error('a scheduler needs Dask: pip install "geo_p2p[dask]"') from missing
    try:
        client = distributed.Client(address, timeout=PATIENCE, set_as_default=False)
    except (OSError, ValueError) as silent:
        raise error(
            f"{address}: no Dask scheduler answers there ({silent}); start one with "
            "'dask scheduler', and workers with 'dask worker'"
        ) from silent
    with _hushed(), client:
        if not client.nthreads():
            log.warning("%s: no worker has joined the scheduler yet; waiting for one", address)
        yield client


@contextmanager
def _hushed() -> Iterator[None]:
    """Keep Dask's client from printing the traceback of what is told here in one line."""
    logger = logging.getLogger("distributed.client")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


def _has_gpus(client: Any) -> bool:
    """Whether a worker was started with ``--resources GPU=1``."""
    # Newer releases tell only of five workers unless they are asked for all.
    asked = inspect.signature(client.scheduler_info).parameters
    info = client.scheduler_info(**({"n_workers": -1} if "n_workers" in asked else {}))
    return any("GPU" in worker["resources"] for worker in info["workers"].values())


def _results(
    address: str, futures: list[Any], client: Any, error: type[GeoP2PError]
) -> Generator[Any, None, None]:
    """Yield results as they come; say in one line what has become of the others."""
    import distributed

    for future in distributed.as_completed(futures, loop=client.loop):
        if future.status == "finished":
            yield future.result()
            continue
        failure = future.exception() if future.status == "error" else None
        if isinstance(failure, distributed.KilledWorker):
            raise error(
                f"{address}: workers died of one and the same item, the last of them "
                f"{failure.last_worker.address}; give them more memory, or fewer threads each"
            ) from failure
        if failure is not None:
            raise failure
        raise error(f"{address}: the scheduler is lost; see its log, and start it again")
