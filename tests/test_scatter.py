"""Blocks on a Dask cluster: equal bytes, dead workers, GPUs, and what is said when it fails."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from plain import NUMBERS, Plain, load
from rasters import utm, write

from geo_p2p import predict_raster, scatter
from geo_p2p.card import ModelCard, Scaling
from geo_p2p.errors import ChipError, ModelError, RasterError
from geo_p2p.model_file import save_model
from geo_p2p.networks import build_generator, initialise
from geo_p2p.predict import PredictConfig, predict
from geo_p2p.raster import RasterSource
from geo_p2p.scatter import on_cluster

distributed = pytest.importorskip("distributed")
dask = pytest.importorskip("dask")


@contextmanager
def cluster(workers: int = 1, threads: int = 2, **options: Any) -> Iterator[str]:
    """Start a cluster on this machine; yield its address."""
    quiet: dict[str, Any] = {"dashboard_address": None, "protocol": "tcp", "silence_logs": 50}
    options = {"processes": False, **quiet, **options}
    with distributed.LocalCluster(workers, threads_per_worker=threads, **options) as started:
        yield started.scheduler_address


@pytest.fixture
def src(tmp_path: Path) -> RasterSource:
    values = np.random.default_rng(0).uniform(-1, 1, (1, 70, 100)).astype("float32")
    values[0, 20:40, 30:64] = -5
    return RasterSource(write(tmp_path / "src.tif", values, utm(70, 100), nodata=-5))


def run(
    src: RasterSource, dst: Path, loader: Any = None, progress: Any = None, **changes: Any
) -> Any:
    config = PredictConfig(**{"block_size": 16, "keep_parts": True, **changes})
    return predict(Plain(NUMBERS), src, dst, config, loader=loader, progress=progress)


def blocks(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("block_*.tif"))}


def same(first: Path, second: Path) -> bool:
    parts = [blocks(path.with_name(f"{path.name}.parts")) for path in (first, second)]
    return parts[0] == parts[1] and first.read_bytes() == second.read_bytes()


class Deadly(Plain):
    """A model that kills its process at the third block, if nobody has died of it yet."""

    def __init__(self, flag: str) -> None:
        super().__init__(NUMBERS)
        self.flag = Path(flag)

    def __call__(self, tiles: np.ndarray, seed: int) -> np.ndarray:
        """Translate tiles, or die."""
        if self.calls >= 2 and not self.flag.exists():
            self.flag.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(tiles, seed)


def load_deadly(notes: str, flag: str) -> Plain:
    load(notes)
    return Deadly(flag)


@pytest.mark.filterwarnings("ignore")  # of the nanny, whose worker dies
def test_a_cluster_gives_the_same_bytes_although_a_worker_is_killed(
    src: RasterSource, tmp_path: Path
) -> None:
    run(src, tmp_path / "one.tif")
    notes = tmp_path / "notes"
    notes.mkdir()
    loader = partial(load_deadly, str(notes), str(tmp_path / "died"))
    told: list[int] = []
    with cluster(2, 1, processes=True) as address:
        options = {"scheduler": address, "progress": lambda done, total: told.append(done)}
        done = run(src, tmp_path / "two.tif", loader, **options)
    assert (tmp_path / "died").exists()
    assert done.blocks == 35
    assert (len(told), told[0], told[-1]) == (36, 0, 70 * 100)
    assert told == sorted(told)
    assert same(tmp_path / "one.tif", tmp_path / "two.tif")
    # Once in each process: the two at first, and the one that has taken the place of the killed.
    loaded = [path.name.split("_")[0] for path in notes.iterdir()]
    assert len(loaded) == len(set(loaded))
    assert 2 <= len(loaded) <= 3


def test_a_cluster_goes_on_with_what_another_run_has_left(
    src: RasterSource, tmp_path: Path
) -> None:
    run(src, tmp_path / "one.tif")
    run(src, tmp_path / "two.tif", shard="1/2")
    before = {
        path: path.stat().st_mtime_ns for path in (tmp_path / "two.tif.parts").glob("block_*.tif")
    }
    with cluster() as address:
        run(src, tmp_path / "two.tif", partial(load), scheduler=address, block_size=None)
    assert same(tmp_path / "one.tif", tmp_path / "two.tif")
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_workers_take_the_statistics_that_one_process_takes(
    src: RasterSource, tmp_path: Path
) -> None:
    """Of the paper's model: each worker samples the raster for itself, and comes to the same."""
    arguments = {"in_channels": 1, "out_channels": 1, "halvings": 3, "ngf": 4, "dropout": 0.5}
    net = build_generator("unet", **arguments, norm="instance")
    initialise(net, torch.Generator().manual_seed(0))
    unit = Scaling("float32", (-1.0,), (1.0,))
    fields: dict[str, Any] = {"size": 16, "network": "unet", "test_dropout": True}
    fields["arguments"] = {**arguments, "norm": "instance"}
    card = ModelCard(unit, unit, stride=8, halo=net.halo, tile_safe=False, **fields)
    model = save_model(tmp_path / "paper", net, card)
    how: dict[str, Any] = {"model": model, "block_size": 16, "keep_parts": True}
    with cluster() as address:
        for name, scheduler in (("one", None), ("two", address)):
            predict_raster(src.paths[0], tmp_path / f"{name}.tif", scheduler=scheduler, **how)
    assert same(tmp_path / "one.tif", tmp_path / "two.tif")


def test_where_workers_have_gpus_each_runs_one_task_at_a_time_and_others_none(
    tmp_path: Path,
) -> None:
    workers = {
        name: {"cls": distributed.Worker, "options": {"nthreads": 4, "resources": resources}}
        for name, resources in (("with", {"GPU": 1}), ("without", {}))
    }
    head = {"cls": distributed.Scheduler, "options": {"dashboard": False, "protocol": "tcp"}}
    with distributed.SpecCluster(workers, head, silence_logs=50) as started:
        address = started.scheduler_address
        busy = list(on_cluster(address, _alone, str(tmp_path), range(12), ChipError, gpus=True))
        free = list(on_cluster(address, _alone, str(tmp_path), range(12), ChipError))
    assert {name for name, _ in busy} == {"with"}
    assert max(together for _, together in busy) == 1
    assert max(together for _, together in free) > 1


def _alone(folder: str, number: int) -> tuple[str, int]:
    """Tell which worker this is, and how many items it is at."""
    worker = distributed.get_worker()
    mine = Path(folder) / f"{worker.name}_{number}"
    mine.touch()
    time.sleep(0.05)
    together = len(list(Path(folder).glob(f"{worker.name}_*")))
    mine.unlink()
    return worker.name, together


def _die(shared: int, item: int) -> int:
    os._exit(9)


@pytest.mark.filterwarnings("ignore")  # of the nanny, whose worker dies
def test_an_item_that_costs_worker_after_worker_is_one_line() -> None:
    few = dask.config.set({"distributed.scheduler.allowed-failures": 0})
    with few, cluster(1, 1, processes=True) as address:
        with pytest.raises(ChipError, match="workers died of one and the same item") as told:
            list(on_cluster(address, _die, 0, [1], ChipError))
        assert "\n" not in str(told.value)


def _refuse(shared: int, item: int) -> int:
    raise RasterError(f"item {item}")


def test_what_an_item_raises_comes_through_as_it_is() -> None:
    with cluster() as address, pytest.raises(RasterError, match="^item 3$"):
        list(on_cluster(address, _refuse, 0, [3], ChipError))


def _wait(shared: int, item: int) -> int:
    time.sleep(item)
    return item


def test_a_scheduler_that_is_lost_is_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    options = {"dashboard_address": None, "protocol": "tcp", "silence_logs": 50}
    started = distributed.LocalCluster(1, threads_per_worker=1, processes=False, **options)
    results = on_cluster(started.scheduler_address, _wait, 0, [0, 3, 4], ChipError)
    assert next(results) == 0
    started.close()
    with pytest.raises(ChipError, match="the scheduler is lost; see its log, and start it") as told:
        next(results)
    assert "\n" not in str(told.value)
    assert capfd.readouterr().err == ""


def test_a_worker_that_sees_something_else_is_told_by_name(
    src: RasterSource, tmp_path: Path
) -> None:
    said = "does not see what was planned: it differs in the model or its precision; workers need"
    with cluster() as address:
        with pytest.raises(RasterError, match=said) as told:
            other = partial(load, "", "another")
            run(src, tmp_path / "o.tif", other, scheduler=address)
        assert "\n" not in str(told.value)


def test_a_cluster_wants_a_model_that_lies_on_disk(src: RasterSource, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="save it, and give its folder or name"):
        run(src, tmp_path / "o.tif", scheduler="tcp://127.0.0.1:9")
    assert not (tmp_path / "o.tif.parts" / "block_00000_00000.tif").exists()


def test_without_a_scheduler_there_it_says_how_to_start_one(
    src: RasterSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scatter, "PATIENCE", "1s")
    with pytest.raises(RasterError, match="no Dask scheduler answers there"):
        run(src, tmp_path / "o.tif", load, scheduler="tcp://127.0.0.1:9")
