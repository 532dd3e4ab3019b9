"""Several processes train one network: what they compute together is what one computes alone."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import write_raster
from pairs import TINY, blobs, bunch, classed, inverted
from torch import Tensor, distributed, multiprocessing, nn

from geo_p2p import processes
from geo_p2p.chips import export_chips
from geo_p2p.data import Augmentation
from geo_p2p.errors import ModelError
from geo_p2p.networks.batch_norm import BatchNorm
from geo_p2p.pix2pix import Pix2Pix

from fastai.callback.core import Callback  # isort: skip

Work = Callable[[int], Any]
PROCESSES = 2


def _run(rank: int, port: int, folder: Path, work: Work) -> None:
    """What one of the processes does."""
    torch.set_num_threads(1)
    where = f"tcp://127.0.0.1:{port}"
    distributed.init_process_group("gloo", init_method=where, rank=rank, world_size=PROCESSES)
    torch.save(work(rank), folder / f"{rank}.pt")
    processes.leave()


def together(work: Work, folder: Path) -> list[Any]:
    """Do the work in every process of a group; return what each gives."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    multiprocessing.spawn(_run, (port, folder, work), nprocs=PROCESSES)
    return [torch.load(folder / f"{rank}.pt") for rank in range(PROCESSES)]


# ------------------------------------------------------------------ batch norm


def images() -> tuple[Tensor, Tensor]:
    """Return a batch whose samples differ in mean and spread, and what it shall become."""
    seeded = torch.Generator().manual_seed(0)
    x, target = torch.randn(2, 4, 3, 5, 7, generator=seeded)
    return x * torch.tensor([1.0, 2.0, 3.0, 4.0])[:, None, None, None] + 20, target


def normalised(norm: nn.BatchNorm2d, part: slice) -> dict[str, Tensor]:
    """Normalise a part of the batch twice, and take the gradients of a loss."""
    with torch.no_grad():
        assert norm.weight is not None
        norm.weight.copy_(torch.tensor([1.0, -2.0, 0.5]))
    x, target = images()
    x = x[part].requires_grad_()
    norm(x.detach() * 3)
    out = norm(x)
    loss = (out - target[part]).square().mean()
    torch.autograd.backward(loss)
    grads = {"x": x.grad, "weight": norm.weight.grad, "bias": norm.bias.grad}
    return {"out": out.detach(), **norm.state_dict(), **grads}  # type: ignore[dict-item]


def its_share(rank: int) -> dict[str, Tensor]:
    return normalised(BatchNorm(3, momentum=0.3), slice(2 * rank, 2 * rank + 2))


def its_share_averaged(rank: int) -> dict[str, Tensor]:
    return normalised(BatchNorm(3, momentum=None), slice(2 * rank, 2 * rank + 2))


def same_as_torch(found: list[dict[str, Tensor]], momentum: float | None) -> None:
    alone = normalised(nn.BatchNorm2d(3, momentum=momentum), slice(None))
    for name in ("out", "x"):
        both = torch.cat([each[name] for each in found])
        # Each process has the mean over its half as loss.
        whole = alone[name] * (PROCESSES if name == "x" else 1)
        torch.testing.assert_close(both, whole)
    for name in ("weight", "bias"):  # processes take the mean of these
        grads = torch.stack([each[name] for each in found]).mean(0)
        torch.testing.assert_close(grads, alone[name])
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        for each in found:
            torch.testing.assert_close(each[name], alone[name])


def test_batch_norm_is_that_of_the_joint_batch(tmp_path: Path) -> None:
    same_as_torch(together(its_share, tmp_path), 0.3)
    same_as_torch(together(its_share_averaged, tmp_path), None)


def test_alone_batch_norm_is_torch_s() -> None:
    ours, theirs = BatchNorm(3), nn.BatchNorm2d(3)
    for x in images():
        assert torch.equal(ours(x), theirs(x))
    ours.eval(), theirs.eval()
    assert torch.equal(ours(x), theirs(x))


# ------------------------------------------------------------------ training


def model_of(kind: str) -> Pix2Pix:
    """Return a model, with all that varies by chance or is averaged."""
    pairs = classed if kind == "classes" else inverted
    chips = pairs(10)
    for hole, chip in enumerate(chips):  # as many valid pixels in no two chips
        chip.valid[:, : 2 * hole] = False
    settings = {"augment": "dihedral", "jitter": 4, "ema": 0.9, "batch_size": 4, "lr": 1e-3}
    if kind == "several":
        settings |= {"scales": 2, "feature_weight": 5.0, "d_norm": "spectral", "gan": "hinge"}
        settings |= {"d_augment": "both", "gradient_weight": 5.0, "ssim_weight": 5.0}
    return Pix2Pix(bunch(chips, pairs(3, seed=50)), **{**TINY, **settings})


def trained(kind: str) -> dict[str, Any]:
    """Train a model for two epochs; return its weights, the first gradients, its history."""
    model = model_of(kind)
    grads: dict[str, Tensor] = {}

    class Note(Callback):  # type: ignore[misc]
        def before_step(self) -> None:
            if not grads:
                for part in (self.learn.model, model.discriminator):
                    named = getattr(part, "module", part).named_parameters()
                    grads.update({f"{len(grads)} {name}": p.grad.clone() for name, p in named})

    before = weights_of(model)
    model.fit(2, checkpoint=False, progress=False, callbacks=[Note()])
    moved = [after - start for after, start in zip(weights_of(model), before, strict=True)]
    rows = [{k: v for k, v in row.items() if k != "seconds"} for row in model.history]
    return {"moved": torch.cat(moved), "grads": grads, "rows": rows}


def weights_of(model: Pix2Pix) -> list[Tensor]:
    networks = (model.generator, model.discriminator)
    states = [value for network in networks for value in network.state_dict().values()]
    return [value.flatten().clone() for value in states if value.is_floating_point()]


def trained_values(rank: int) -> dict[str, Any]:
    return trained("values")


def trained_several(rank: int) -> dict[str, Any]:
    return trained("several")


def trained_classes(rank: int) -> dict[str, Any]:
    return trained("classes")


@pytest.mark.parametrize("work", [trained_values, trained_classes, trained_several])
def test_two_processes_train_as_one_does_with_the_joint_batch(work: Work, tmp_path: Path) -> None:
    alone = work(0)
    for each in together(work, tmp_path):
        for name, grad in alone["grads"].items():
            torch.testing.assert_close(each["grads"][name], grad, rtol=1e-3, atol=1e-5)
        # Adam makes whole steps of gradients that are nearly nothing: single weights may differ.
        apart = (each["moved"] - alone["moved"]).norm() / alone["moved"].norm()
        assert apart < 0.05
        for row, expected in zip(each["rows"], alone["rows"], strict=True):
            assert row == pytest.approx(expected, rel=0.03, abs=0.03)


@pytest.mark.parametrize(("count", "chips"), [(3, 6), (2, 1)])
def test_batches_that_cannot_be_shared_are_refused(
    count: int, chips: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = bunch(inverted(chips))
    monkeypatch.setattr(processes, "count", lambda: count)
    words = f"{count} processes cannot share batches of 4 of {chips} chips"
    with pytest.raises(ModelError, match=words):
        data.configure(8, Augmentation())


def test_torchrun_leaves_one_model_and_tells_of_it_once(tmp_path: Path) -> None:
    home = tmp_path / "in"
    home.mkdir()
    pixels = blobs(3, 160, 160)
    write_raster(home / "x.tif", pixels)
    write_raster(home / "y.tif", 255 - pixels[:1])
    chips = export_chips(home / "x.tif", home / "y.tif", home / "chips", tile_size=32, stride=32)
    models = tmp_path / "models"
    tiny = ("--halvings", "2", "--ngf", "4", "--ndf", "4", "--epochs", "2", "--batch-size", "2")
    run = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
            *("--nproc-per-node", str(PROCESSES), "-m", "geo_p2p.cli"),
            *("train", str(chips), str(models / "model"), *tiny, "--device", "cpu"),
            "--json",
        ],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert run.returncode == 0, run.stderr
    told = json.loads(run.stdout)
    assert told["epochs"] == 2
    assert sorted(path.name for path in models.iterdir()) == ["model", "model.run"]
    assert len((models / "model.run" / "history.csv").read_text().splitlines()) == 1 + 2
    kept = {path.name for path in (models / "model.run" / "checkpoints").iterdir()}
    assert "epoch_0002" in kept
    assert Pix2Pix.from_model(models / "model").epochs == 2
