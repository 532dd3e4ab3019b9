"""Run blocks on a Dask cluster: each worker loads the model once, and writes into the parts."""

import functools
import hashlib
import json
import socket
import threading
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from pathlib import Path

from geo_p2p.chips.chip import Source
from geo_p2p.errors import ModelError, RasterError
from geo_p2p.grid import Block
from geo_p2p.predict.config import PredictConfig
from geo_p2p.predict.parts import Parts
from geo_p2p.predict.plan import Job, Model
from geo_p2p.predict.recipes import differences
from geo_p2p.predict.run import Runner
from geo_p2p.scatter import on_cluster

__all__ = ["Crew", "Loader", "crew_of"]

Loader = Callable[[], Model]
"""Loads a model; a function, with its arguments, that other processes can import."""

Crew = Callable[[list[Block]], Generator[Block, None, None]]
"""Makes blocks, and yields each that is done."""

LARGEST = 8
"""Most blocks a task: some, so that reading and writing run beside the model."""

TASKS = 32
"""Least tasks a run, where it has as many blocks: for the workers to share out evenly."""


@dataclass(frozen=True)
class Order:
    """What a worker needs to know: little, so that it can be sent again and again.

    ``recipe`` is a hash of the plan's recipe.
    """

    loader: Loader
    source: Source
    config: PredictConfig
    folder: Path
    recipe: str


def crew_of(job: Job, parts: Parts, loader: Loader | None) -> Crew:
    """Call together who makes blocks: this process, or the cluster that the settings name.

    Raises
    ------
    ModelError
        For a cluster without a loader.
    """
    address = job.config.scheduler
    if address is None:
        return Runner(job, parts).run
    if loader is None:
        raise ModelError(
            "a cluster loads the model on its workers: save it, and give its folder or name"
        )
    config = replace(job.config, block_size=job.plan.size, shard=None)
    order = Order(loader, job.source, config, parts.folder.absolute(), _digest(job))
    return functools.partial(_on_cluster, address, order)


def _digest(job: Job) -> str:
    return hashlib.sha256(json.dumps(job.recipe, sort_keys=True).encode()).hexdigest()


def _on_cluster(address: str, order: Order, blocks: list[Block]) -> Generator[Block, None, None]:
    """Make blocks on a cluster, some a task."""
    size = max(order.config.batch_size, min(LARGEST, len(blocks) // TASKS), 1)
    tasks = [blocks[start : start + size] for start in range(0, len(blocks), size)]
    for done in on_cluster(address, run_blocks, order, tasks, RasterError, gpus=True):
        yield from done


def run_blocks(order: Order, blocks: list[Block]) -> list[Block]:
    """Make blocks on a worker, but for those that one which died has left whole.

    Raises
    ------
    RasterError
        If this worker sees another raster or folder, or loads another model, than who asks.
    """
    parts = Parts(order.folder)
    job = _job(order, parts)
    finished = parts.finished()
    todo = [block for block in blocks if parts.file(block).name not in finished]
    for _ in Runner(job, parts).run(todo):
        pass
    return blocks


_loading = threading.Lock()
_loaded: dict[str, Job] = {}
"""The job that this worker is at, with its model: one at a time, for memory's sake."""


def _job(order: Order, parts: Parts) -> Job:
    """Return the job of an order, with a model loaded here; the threads of a worker share it."""
    with _loading:
        if order.recipe not in _loaded:
            _loaded.clear()
            job = Job.of(order.loader(), order.source, order.config)
            kept = parts.recipe
            if not kept or _digest(job) != order.recipe:
                said = differences(kept, job.recipe) if kept else "the folder is not there"
                raise RasterError(
                    f"{order.folder}: the worker on {socket.gethostname()} does not see what was "
                    f"planned: {said}; workers need the same raster, model and folders"
                )
            _loaded[order.recipe] = job
        return _loaded[order.recipe]
